"""What a run or a command replaces it replaces as a set: nothing of an older map stays beside a newer one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import blocks, write_raster
from test_layers import boundaries

from agriseg import SegmentationModel, files, segment
from agriseg.analysis.build import make_layers
from agriseg.batch.withdrawn import withdraw
from agriseg.change.compare import ChangeOptions, make_change
from agriseg.errors import OutputError, StorageError
from agriseg.export.exports import write_exports
from agriseg.mapping.outputs import Outputs
from agriseg.mapping.prepare import prepare
from agriseg.mapping.run import run
from agriseg.mapping.verify import verify
from agriseg.maps.index_maps import write_indices
from agriseg.maps.stem import Stem
from agriseg.options.exports import ExportOptions
from agriseg.options.layers import FORMATS, LayerOptions
from agriseg.options.run import RunOptions
from agriseg.options.verdict import PublishPolicy, VerdictLimits
from agriseg.verdict import COLOURS

ALL = {"affected": "bright", "mmu": "0.3m2", "zones": 2, "formats": FORMATS, "cell": "1m"}
MINE = {"field_notes.txt": "a", "field_2_severity.tif": "b", "field_classes_old.qml": "c", "other_layers.json": "{}"}


def fly(folder: Path, seed: int) -> Path:
    """The raster of a day, under the name that it always has."""
    return write_raster(folder / "field.tif", blocks(96, 96, side=12, seed=seed), photometric="RGB")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def wrong(folder: Path) -> list[str]:
    return [f"{finding.what}: {finding.wrong}" for finding in verify(folder, tiles=0) if finding.wrong]


def everything(folder: Path, out: Path, model: SegmentationModel, seed: int = 0) -> Path:
    """All that can be made of one raster; returns the record."""
    plots = boundaries(folder / "plots.geojson", {"one": (10, 10, 70, 70)})
    record = segment(fly(folder, seed), model, out, probabilities=True, overwrite=True).record
    flags = {**ALL, "fields": plots, "plots": plots}
    make_layers(record, LayerOptions.of(**flags), overwrite=True)
    write_indices(folder / "field.tif", ["gli", "exg"], out, overwrite=True)
    write_exports(record, ExportOptions(stac=True, zarr=True))
    (out / "field_confidence.tif.aux.xml").write_text("<PAMDataset/>")  # by a viewer, that has looked
    (out / "field_severity.tif.aux.xml").write_text("<PAMDataset/>")
    return record


def test_every_file_has_a_name_of_the_list(tmp_path: Path, oracle: SegmentationModel) -> None:
    out = tmp_path / "out"
    record = everything(tmp_path, out, oracle)
    write_indices(tmp_path / "field.tif", ["ngrdi"], out)  # of the same raster: beside the others
    assert wrong(out) == []
    assert not Stem.of(record).strays()
    for path in list(out.glob("field*.json")):
        if path.name != "field_stac.json":
            path.unlink()
    told = {path.name for path in Stem.of(record).strays()}
    by_hand = {
        "field_report.html",
        "field_stac.json",
        "field.zarr",
        "field_gli.qml",
        "field_exg.qml",
        "field_ngrdi.qml",
    }
    left = {name for name in names(out) if not name.endswith(("_mlm.json", "e.tif.aux.xml", "y.tif.aux.xml"))}
    assert told == left - by_hand


def test_a_run_replaces_all_of_an_older_one(tmp_path: Path, oracle: SegmentationModel) -> None:
    """As if the older map had never been; what is nobody's, or the user's, stays."""
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    everything(tmp_path, out, oracle)
    change = tmp_path / "earlier"
    segment(tmp_path / "field.tif", oracle, change)
    make_change(change, out / "field_run.json", out, ChangeOptions(align=False))
    for name, text in MINE.items():
        (out / name).write_text(text)
    assert wrong(out) == []
    image = fly(tmp_path, 1)
    segment(image, oracle, out, overwrite=True)
    segment(image, oracle, fresh)
    model_item = {path.name for path in out.glob("*_mlm.json")}
    assert names(out) == names(fresh) | MINE.keys() | model_item
    assert {name: (out / name).read_text() for name in MINE} == MINE
    assert wrong(out / "field_run.json") == []


def test_indices_of_the_same_raster_stay_beside_a_new_map(tmp_path: Path, oracle: SegmentationModel) -> None:
    image, out = fly(tmp_path, 0), tmp_path / "out"
    write_indices(image, ["gli"], out)
    segment(image, oracle, out)
    segment(image, oracle, out, overwrite=True)
    assert {"field_gli.tif", "field_index.json"} < names(out)
    assert wrong(out) == []


def test_indices_of_another_day_do_not_stay(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_indices(fly(tmp_path, 0), ["gli", "exg"], out)
    image = fly(tmp_path, 1)
    with pytest.raises(OutputError, match=r"the indices there are of another field.tif; add --overwrite"):
        write_indices(image, ["ngrdi"], out)
    assert len(names(out)) == 5
    write_indices(image, ["ngrdi"], out, overwrite=True)
    assert names(out) == {"field_ngrdi.tif", "field_ngrdi.qml", "field_index.json"}


@pytest.mark.parametrize("seed", range(2))
def test_layers_replace_those_of_other_flags(tmp_path: Path, oracle: SegmentationModel, seed: int) -> None:
    rng = np.random.default_rng(seed)
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    image = fly(tmp_path, seed)
    record, other = (segment(image, oracle, folder).record for folder in (out, fresh))
    for _ in range(3):
        flags = {name: value for name, value in ALL.items() if rng.random() < 0.5 and name != "zones"}
        made = make_layers(record, LayerOptions.of(**flags), overwrite=True)
        write_exports(record, ExportOptions(stac=True))
    made = make_layers(record, LayerOptions.of(**flags), overwrite=True)
    make_layers(other, LayerOptions.of(**flags))
    assert names(out) - {p.name for p in out.glob("*_mlm.json")} == names(fresh)
    assert set(made.files) <= {out / name for name in names(fresh)}
    assert wrong(out) == []


def stopped_at(monkeypatch: pytest.MonkeyPatch, count: int, act: Callable[[], Any]) -> bool:
    """Whether an act came to its end although the disk fails at one of its steps: a rename, a deletion."""
    left = count

    def failing(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise StorageError("the disk has failed")
            return real(*args, **more)

        return step

    with monkeypatch.context() as patched:
        patched.setattr(files, "commit", failing(files.commit))
        patched.setattr(Path, "unlink", failing(Path.unlink))
        try:
            act()
        except StorageError:
            return False
    return True


def test_whatever_step_fails_the_same_command_again_leaves_one_set(
    tmp_path: Path, oracle: SegmentationModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    few = LayerOptions.of(affected="bright")
    make_layers(segment(fly(tmp_path, 1), oracle, fresh).record, few)
    for count in range(3, 60, 14):
        record = segment(fly(tmp_path, 0), oracle, out, probabilities=True, overwrite=True).record
        make_layers(record, LayerOptions.of(**ALL), overwrite=True)
        image = fly(tmp_path, 1)

        def again(image: Path = image) -> None:
            make_layers(segment(image, oracle, out, overwrite=True).record, few, overwrite=True)

        if not stopped_at(monkeypatch, count, again):
            again()
        assert names(out) == names(fresh), count
        assert wrong(out) == [], count


def test_a_red_map_takes_the_place_of_a_green_one_and_back(tmp_path: Path, oracle: SegmentationModel) -> None:
    home, away = tmp_path / "out", tmp_path / "quarantine"
    outputs = Outputs(home, "field", with_probabilities=False, overwrite=True)
    red, green = PublishPolicy(VerdictLimits(), COLOURS, away), PublishPolicy(VerdictLimits(), (), away)
    for seed, policy, here, there in ((0, green, home, away), (1, red, away, home)):
        run(prepare(fly(tmp_path, seed), oracle, RunOptions()), outputs, policy=policy)
        assert "field_classes.tif" in names(here)
        assert not there.exists() or not names(there)
    run(prepare(fly(tmp_path, 2), oracle, RunOptions()), outputs, policy=green)
    assert "field_classes.tif" in names(home)
    assert not names(away)


def test_a_withdrawn_map_leaves_nothing_behind(tmp_path: Path, oracle: SegmentationModel) -> None:
    """Twice, so that the files of the second take the place of those of the first."""
    outputs = Outputs(tmp_path / "out", "field", with_probabilities=False)
    for seed in (0, 1):
        report = segment(fly(tmp_path, seed), oracle, outputs.folder, layers=True, stac=True, zarr=True)
        made = {path.name for path in (*report.files, *(report.layers.files if report.layers else ()), *report.exports)}
        made = {name for name in made if not name.endswith("_mlm.json")}  # of the model, for all maps of the folder
        assert {"field.zarr", "field_report.html", "field_stac.json", "field_layers.json"} <= made
        assert withdraw(outputs, tmp_path / "withdrawn")
        assert not [path.name for path in outputs.folder.iterdir() if path.name in made]
        assert made <= {path.name for path in (tmp_path / "withdrawn").iterdir()}
    assert not withdraw(outputs, tmp_path / "withdrawn")


def test_what_no_record_vouches_for_is_named(tmp_path: Path, oracle: SegmentationModel) -> None:
    out = tmp_path / "out"
    segment(fly(tmp_path, 0), oracle, out)
    for name, text in MINE.items():
        (out / name).write_text(text)
    (out / "field.gpkg").write_text("boundaries of the user's own")
    write_raster(out / "field_ndvi.tif", np.zeros((1, 4, 4), np.float32))  # by another program
    assert wrong(out / "field_run.json") == []
    strays = ["field_severity.tif", "field_scout.kml", "field_area.csv", "field_probabilities.tif", "field_layers.json"]
    for name in strays[:-1]:
        (out / name).write_text("old")
    found = wrong(out / "field_run.json")
    assert [Path(text.split(":")[0]).name for text in found] == sorted(strays[:-1])
    assert all("no record vouches for it" in text for text in found)


def test_a_record_deletes_nothing_but_what_agriseg_makes(tmp_path: Path, oracle: SegmentationModel) -> None:
    """Whoever sends a folder may have written the record."""
    out = tmp_path / "out"
    segment(fly(tmp_path, 0), oracle, out)
    for path in (out / "mine.txt", tmp_path / "mine.txt", out / "field_mine.tif"):
        path.write_text("mine")
    hostile = {"mine.txt": "", "../mine.txt": "", "field_mine.tif": "", ".": "", str(tmp_path / "mine.txt"): ""}
    (out / "field_layers.json").write_text(json.dumps({"format": 1, "outputs": hostile}))
    segment(fly(tmp_path, 1), oracle, out, overwrite=True)
    assert {"mine.txt", "field_mine.tif"} < names(out)
    assert (tmp_path / "mine.txt").read_text() == "mine"
