"""A map that is what its record says passes; one changed byte, pixel or number does not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import blocks, record_of, write_raster

from agriseg import SegmentationModel, segment
from agriseg.cli import main
from agriseg.errors import DataError, InputMissing
from agriseg.files import file_hash
from agriseg.jobs.verify import verify


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


def test_files_alone_and_few_tiles(maps: Path) -> None:
    assert not [finding for finding in verify(maps, tiles=0) if "run again" in finding.what]
    assert len([finding for finding in verify(maps, tiles=3) if "run again" in finding.what]) == 3


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "name", ["a_classes.tif", "a_confidence.tif", "a_probabilities.tif", "a_classes.qml", "a_classes.tif.aux.xml"]
)
def test_a_flipped_bit_and_a_missing_file_are_found(maps: Path, name: str) -> None:
    flip(maps / name)
    assert any(name in text and "SHA-256" in text for text in wrong(maps))
    (maps / name).unlink()
    assert any(name in text and "is gone" in text for text in wrong(maps))


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
