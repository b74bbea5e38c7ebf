"""A map that is what its record says passes; one changed byte, pixel or number does not."""

import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import blocks, read, record_of, write_raster

from agriseg import SegmentationModel, segment
from agriseg.analysis.build import make_layers
from agriseg.cli import main
from agriseg.errors import DataError, InputMissing
from agriseg.files import file_hash
from agriseg.mapping.verify import verify
from agriseg.options.layers import LayerOptions


@pytest.fixture
def maps(tmp_path: Path, model_file: Path) -> Path:
    """A finished run."""
    pixels = blocks(600, 700, low=1)
    pixels[:, 100:300, 200:500] = 0
    image = write_raster(tmp_path / "a.tif", pixels, nodata=0)
    segment(image, model_file, tmp_path / "maps", tile=128, probabilities=True)
    return tmp_path / "maps"


def wrong(folder: Path, **how: Any) -> list[str]:
    return [f"{finding.what} {finding.wrong}" for finding in verify(folder, **how) if finding.wrong]


@pytest.mark.parametrize(
    "flags", [{}, {"gsd": "0.25m"}, {"window": "37,51,400,200"}, {"blend": "exact"}, {"max_memory": "150MB"}], ids=str
)
def test_every_tile_of_a_good_map_comes_out_again(tmp_path: Path, model_file: Path, flags: dict[str, Any]) -> None:
    image = write_raster(tmp_path / "a.tif", blocks(300, 1100, low=1), nodata=0)
    tile = {} if flags.keys() & {"blend", "max_memory"} else {"tile": 128}
    segment(image, model_file, tmp_path / "maps", **tile, **flags)
    findings = list(verify(tmp_path / "maps", tiles=1000))
    assert [finding for finding in findings if finding.wrong] == []
    again = [finding for finding in findings if "run again" in finding.what]
    assert len(again) >= record_of(tmp_path / "maps")["parameters"]["tiles"] - 1 > 0
    seen = np.zeros(read(tmp_path / "maps" / "a_classes.tif").shape[1:], int)
    for finding in again:
        left, top, width, height = map(int, re.findall(r"window (\d+),(\d+),(\d+),(\d+)", finding.what)[0])
        seen[top : top + height, left : left + width] += 1
    assert seen.min() == 1, "no pixel is left out"
    if len(again) > 1 and flags.get("blend") != "exact":
        assert seen.max() > 1, "borders are run again from both sides"


def test_files_alone_and_few_tiles(maps: Path) -> None:
    assert not [finding for finding in verify(maps, tiles=0) if "run again" in finding.what]
    assert len([finding for finding in verify(maps, tiles=3) if "run again" in finding.what]) == 3


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "name", ["a_classes.tif", "a_confidence.tif", "a_probabilities.tif", "a_classes.qml", "a_classes.png"]
)
def test_a_flipped_bit_and_a_missing_file_are_found(maps: Path, name: str) -> None:
    flip(maps / name)
    assert any(name in text and "SHA-256" in text for text in wrong(maps))
    (maps / name).unlink()
    assert any(name in text and "is gone" in text for text in wrong(maps))


@pytest.mark.filterwarnings("ignore:statistics")
def test_a_look_is_no_damage(maps: Path) -> None:
    """As gdalinfo -stats and QGIS do; tiles are run again all the same."""
    for name in ("classes", "confidence", "probabilities"):
        with rasterio.open(maps / f"a_{name}.tif") as dataset:
            dataset.statistics(1, clear_cache=True)
        assert "STATISTICS" in (maps / f"a_{name}.tif.aux.xml").read_text()
    findings = list(verify(maps))
    assert [finding for finding in findings if finding.wrong] == []
    assert any("written to by a viewer" in finding.what for finding in findings)
    assert len([finding for finding in findings if "run again" in finding.what]) == 4


BAND = "<PAMRasterBand band='1'>{}</PAMRasterBand>"


@pytest.mark.parametrize("layer", ["classes", "confidence"])
@pytest.mark.parametrize(
    "said",
    [
        BAND.format("<Scale>2</Scale>"), BAND.format("<NoDataValue>0</NoDataValue>"), "<SRS>EPSG:32633</SRS>",
        "<GeoTransform>0,1,0,0,0,-1</GeoTransform>",
        BAND.format("<CategoryNames><Category>weed</Category><Category>soil</Category></CategoryNames>"),
    ],
)  # fmt: skip
def test_law_what_a_sidecar_says_of_a_layer_is_the_run_s_or_wrong(maps: Path, layer: str, said: str) -> None:
    (maps / f"a_{layer}.tif.aux.xml").write_text(f"<PAMDataset>{said}</PAMDataset>")
    assert any(f"a_{layer}.tif.aux.xml" in text for text in wrong(maps, tiles=0))


@pytest.mark.parametrize("name", ["a_classes.tif.msk", "a_classes.tif.ovr", "a_confidence.tfw", "a_classes.tif.aux"])
def test_what_gdal_reads_with_a_layer_is_the_run_s_or_wrong(maps: Path, name: str) -> None:
    (maps / name).write_bytes(b"anything")
    assert any(name in text and "none of the run's" in text for text in wrong(maps, tiles=0))


def test_a_legend_that_is_another_is_wrong(maps: Path) -> None:
    path = maps / "a_classes.tif.aux.xml"
    path.write_text(path.read_text().replace("class 1", "class one"))
    assert any("does not say what was written" in text for text in wrong(maps, tiles=0))
    path.unlink()
    assert any("is gone" in text for text in wrong(maps, tiles=0))


def test_a_geopackage_that_was_shown_is_no_damage_and_one_that_was_edited_is(maps: Path) -> None:
    make_layers(maps / "a_run.json", LayerOptions())
    with closing(sqlite3.connect(maps / "a.gpkg")) as package:
        package.execute("PRAGMA journal_mode=WAL")
        assert wrong(maps, tiles=0) == []
        for (name,) in package.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            package.execute(f"DROP TRIGGER {name}")  # they call functions of GDAL
        package.execute("UPDATE classes SET class_name = 'other' WHERE fid = 1")
        package.commit()
        assert any("a.gpkg" in text for text in wrong(maps, tiles=0)), "what is in the log counts"


def test_what_viewers_made_of_a_map_goes_with_it(maps: Path, model_file: Path) -> None:
    for name in ("a_classes.tif.ovr", "a_confidence.tif.aux.xml", "a_classes.tif.msk"):
        (maps / name).write_bytes(b"of the map that was here before")
    segment(maps.parent / "a.tif", model_file, maps, tile=128, overwrite=True)
    assert wrong(maps, tiles=0) == []


def forge(maps: Path, change: Callable[[np.ndarray], None]) -> None:
    """Another map under the record, with a hash that says it is the right one."""
    path = maps / "a_classes.tif"
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dataset:
        pixels = dataset.read()
        change(pixels)
        dataset.write(pixels)
    vouch(maps, lambda record: record["outputs"].update({path.name: file_hash(path)}))


def vouch(maps: Path, change: Callable[[dict[str, Any]], None]) -> None:
    record = record_of(maps)
    change(record)
    (maps / "a_run.json").write_text(json.dumps(record))


def test_a_pixel_that_is_another_is_found_by_the_account(maps: Path) -> None:
    def one(pixels: np.ndarray) -> None:
        pixels[0, 0, 0] = (pixels[0, 0, 0] + 1) % 4

    forge(maps, one)
    assert any("the account" in text for text in wrong(maps, tiles=0))


def test_classes_that_changed_places_are_found_by_running_again(maps: Path) -> None:
    """The account does not see it."""

    def swap(pixels: np.ndarray) -> None:
        pixels[0, :90] = pixels[0, :90][::-1].copy()

    forge(maps, swap)
    assert wrong(maps, tiles=0) == []
    assert any("of another class" in text for text in wrong(maps, tiles=1000))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: r["pixels"].update(nodata=r["pixels"]["nodata"] + 1), "do not add up"),
        (lambda r: r["parameters"].update(file_mask=True), "another file_mask today"),
        (lambda r: r["model"].update(fingerprint="0" * 64), "not the model that made the map"),
        (lambda r: r["model"].update(path=None), "name it with -m"),
        (lambda r: r["input"].update(sha256="0" * 64), "not the raster that was mapped"),
    ],
)
def test_a_record_that_does_not_fit(maps: Path, change: Callable[[dict[str, Any]], None], says: str) -> None:
    vouch(maps, change)
    assert any(says in text for text in wrong(maps))


def test_another_machine_may_differ_in_few_pixels(maps: Path) -> None:
    vouch(maps, lambda record: record["versions"].update(torch="1.0"))
    findings = list(verify(maps))
    assert not [finding for finding in findings if finding.wrong]
    assert any("on another machine: 0 pixels differ" in finding.what for finding in findings)


def test_a_map_of_a_device_that_is_not_here_is_run_on_another(maps: Path) -> None:
    vouch(maps, lambda record: record["options"].update(device="cuda:77"))
    assert wrong(maps) == []


def test_the_input_and_the_model_may_have_moved(maps: Path, tmp_path: Path, model_file: Path) -> None:
    image = tmp_path / "a.tif"
    shutil.copy(model_file, tmp_path / "m.safetensors")
    image.rename(tmp_path / "b.tif")
    assert any("--input" in text for text in wrong(maps))
    assert wrong(maps, image=tmp_path / "b.tif", model=tmp_path / "m.safetensors") == []


def test_what_is_no_record(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match="no record of a run"):
        list(verify(tmp_path))
    for text in ("no JSON", "{}", "[]", '{"format": 2}'):
        (tmp_path / "a_run.json").write_text(text)
        with pytest.raises(DataError, match=r"a_run\.json"):
            list(verify(tmp_path))


def test_the_command(maps: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def call(*args: str) -> int:
        with pytest.raises(SystemExit) as left:
            main(["verify", str(maps), *args])
        assert isinstance(left.value.code, int)
        return left.value.code

    assert call() == 0
    assert "WRONG" not in capsys.readouterr().out
    flip(maps / "a_confidence.tif")
    assert call("--json") == 65
    out, err = capsys.readouterr()
    assert json.loads(out)["ok"] is False
    assert err.startswith("agriseg: error: ")
    assert err.count("\n") == 1


def test_models_of_ones_own_are_named(tmp_path: Path, oracle: SegmentationModel) -> None:
    segment(write_raster(tmp_path / "a.tif", blocks(70, 90)), oracle, tmp_path / "maps")
    assert any("name it with -m" in text for text in wrong(tmp_path / "maps"))
