"""I: a damaged raster is refused in one line, or read as far as it can be, and never guessed at."""

import json
import logging.handlers
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import blocks, nearest, noise, read, record_of, write_raster
from PIL import Image
from runs import TILE, Nursery, Subject

from agriseg import SegmentationModel, segment
from agriseg.errors import DataError
from agriseg.grid import Window
from agriseg.raster.header import RasterInfo
from agriseg.raster.reader import Reader, Source
from agriseg.raster.valid_mask import ValidityRule

Tries = Callable[[int, int], int]


@pytest.mark.fault("I01")
@pytest.mark.parametrize("share", [0, 1, 25, 50, 90, 99])
@pytest.mark.parametrize("driver", ["GTiff", "COG"])
def test_cut_short(nursery: Nursery, subject: Subject, tmp_path: Path, share: int, driver: str) -> None:
    """The directory of a COG comes first, so that it opens; that of a GeoTIFF of rasterio's comes last."""
    image = tmp_path / "cut.tif"
    layout = {"blocksize": 128} if driver == "COG" else {"tiled": True, "blockxsize": 128, "blockysize": 128}
    write_raster(image, noise(400, 500), driver=driver, compress="deflate", **layout)
    data = image.read_bytes()
    image.write_bytes(data[: len(data) * share // 100])
    ended = nursery.run("run", image, "-m", subject.model, "-o", tmp_path / "out", "-q")
    assert ended.code == 65, ended.err
    assert ended.one_line
    assert not (tmp_path / "out").exists()


def damaged(path: Path, codec: str, tile: int = 5, how: str = "flip") -> tuple[Path, np.ndarray]:
    """A raster of 16 tiles of 64 px whose sixth one is damaged; the raster, and its pixels before."""
    pixels = blocks(256, 256, low=1)
    write_raster(path, pixels, tiled=True, blockxsize=64, blockysize=64, compress=codec, interleave="pixel")
    with rasterio.open(path) as dataset:
        place = int(dataset.get_tag_item(f"BLOCK_OFFSET_{tile % 4}_{tile // 4}", "TIFF", bidx=1))
        size = int(dataset.get_tag_item(f"BLOCK_SIZE_{tile % 4}_{tile // 4}", "TIFF", bidx=1))
    data = bytearray(path.read_bytes())
    middle = slice(place + size // 4, place + size // 4 + min(64, size // 2))
    data[middle] = bytes(255 - byte for byte in data[middle]) if how == "flip" else bytes(middle.stop - middle.start)
    path.write_bytes(data)
    return path, pixels


CODECS = ["deflate", "lzw", "zstd", "lerc", "webp", "jpeg", "packbits", "none"]


@pytest.mark.fault("I02")
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("how", ["flip", "zero"])
def test_a_damaged_block(nursery: Nursery, subject: Subject, tmp_path: Path, codec: str, how: str) -> None:
    """Where GDAL notices, so do we, and can map the rest; where the codec has no means to notice, nobody can."""
    image, _ = damaged(tmp_path / "a.tif", codec, how=how)
    noticed = not readable(image)
    ended = nursery.run("run", image, "-m", subject.model, "-o", tmp_path / "out", "-q", *TILE)
    assert ended.code == (65 if noticed else 0), ended.err
    if not noticed:
        return
    assert ended.one_line
    assert "window" in ended.err
    assert not (tmp_path / "out").exists()
    flags = ["--on-read-error", "nodata"]
    rest = nursery.run("run", image, "-m", subject.model, "-o", tmp_path / "out", *TILE, *flags)
    assert rest.code == 3, rest.err
    record = record_of(tmp_path / "out")
    lost = np.zeros((256, 256), int)
    for col, row, width, height in record["lost_windows"]:  # a block may lie in several bands
        lost[row : row + height, col : col + width] += 1
    assert lost[64:128, 64:128].min() == lost.max() == 1
    assert lost.sum() == 64 * 64
    assert record["pixels"] == {"total": 256 * 256, "predicted": 256 * 256 - 64 * 64, "nodata": 0, "failed": 64 * 64}
    assert any("could not be read" in text for text in record["warnings"])
    assert "could not be read" in rest.err


def readable(image: Path) -> bool:
    """Whether GDAL neither fails nor grumbles."""
    grumbles = logging.handlers.BufferingHandler(1000)
    logging.getLogger("rasterio").addHandler(grumbles)
    try:
        with rasterio.open(image) as dataset:
            dataset.read()
    except rasterio.errors.RasterioIOError:
        return False
    finally:
        logging.getLogger("rasterio").removeHandler(grumbles)
    return not grumbles.buffer


def test_the_codecs_that_notice(tmp_path: Path) -> None:
    """Otherwise the test above could pass without ever seeing damage."""
    found = {
        codec
        for codec in CODECS
        for how in ("flip", "zero")
        if not readable(damaged(tmp_path / "a.tif", codec, how=how)[0])
    }
    assert {"deflate", "zstd"} & found


@pytest.mark.fault("I02")
def test_around_a_damaged_block_the_map_is_that_of_a_hole(tmp_path: Path, oracle: SegmentationModel) -> None:
    image, pixels = damaged(tmp_path / "a.tif", "deflate")
    report = segment(image, oracle, tmp_path / "out", tile=96, overlap=32, on_read_error="nodata")
    truth = nearest(pixels)
    truth[64:128, 64:128] = 255
    np.testing.assert_array_equal(read(report.classes)[0], truth)


@pytest.mark.fault("I02")
def test_a_damaged_block_of_a_resampled_raster(tmp_path: Path, oracle: SegmentationModel) -> None:
    """No pixel that leans on the lost block is data; all others are as without damage."""
    flags: dict[str, Any] = {"gsd": "0.27m", "tile": 64}
    whole = segment(write_raster(tmp_path / "whole.tif", blocks(256, 256, low=1)), oracle, tmp_path / "whole", **flags)
    image, _ = damaged(tmp_path / "a.tif", "deflate")
    report = segment(image, oracle, tmp_path / "out", on_read_error="nodata", **flags)
    got, truth = read(report.classes)[0], read(whole.classes)[0]
    first, last = int(64 / 2.7), -int(-128 // 2.7)
    truth[first:last, first:last] = 255
    np.testing.assert_array_equal(got, truth)
    assert report.pixels.failed == (last - first) ** 2
    assert report.pixels.nodata == 0


@pytest.mark.fault("I02", "K01")
def test_a_damaged_block_is_told_after_a_kill_too(nursery: Nursery, subject: Subject, tmp_path: Path) -> None:
    image, _ = damaged(tmp_path / "a.tif", "deflate")
    command = ["run", str(image), "-m", str(subject.model), "-q", *TILE, "--on-read-error", "nodata"]
    assert nursery.run(*command, "-o", tmp_path / "straight").code == 3
    child = nursery.start(*command, "-o", tmp_path / "out", patches=[["hold", 22]])
    child.held()
    child.signal(signal.SIGKILL)
    child.ended()
    assert nursery.run(*command, "-o", tmp_path / "out").code == 3
    told, expected = (record_of(tmp_path / name) for name in ("out", "straight"))
    assert told["lost_windows"] == expected["lost_windows"] != []
    assert told["pixels"] == expected["pixels"]


@pytest.mark.fault("I03")
@pytest.mark.parametrize("codec", ["deflate", "jpeg"])
def test_what_failed_once_fails_again(tmp_path: Path, codec: str) -> None:
    """GDAL may answer a second read of a damaged block with what was in its memory."""
    image = tmp_path / "a.tif"
    write_raster(image, noise(256, 256), tiled=True, blockxsize=64, blockysize=64, compress=codec, interleave="pixel")
    data = image.read_bytes()
    with rasterio.open(image) as dataset:
        place = int(dataset.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", bidx=1))
    image.write_bytes(data[: place + 99] + bytes(400) + data[place + 499 :])
    info = RasterInfo.read(image)
    source = Source(info, (1, 2, 3), ValidityRule.of(info), 256, 256)
    if codec == "jpeg" and readable(image):
        pytest.skip("this libjpeg does not notice")
    for _ in range(3):
        with Reader(source) as reader, pytest.raises(DataError, match="cannot be read"):
            reader.read(Window(0, 0, 256, 256))


def text(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(content)


def picture(path: Path) -> None:
    Image.fromarray(np.moveaxis(blocks(60, 60), 0, -1)).save(path, "PNG")


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("field.tif", b"II*\0")


NO_RASTERS: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "nothing": (text(""), 65, "empty"),
    "text": (text("no raster"), 65, "text"),
    "an error page": (text("<!doctype html><title>404 Not Found</title>"), 65, "text"),
    "a git-lfs pointer": (
        text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
        65,
        "git-lfs pointer",
    ),
    "a zip": (archive, 65, "unknown format"),
    "a PNG by another name": (picture, 0, ""),
}


@pytest.mark.fault("I05")
@pytest.mark.parametrize("kind", NO_RASTERS)
def test_no_raster_at_all(nursery: Nursery, subject: Subject, tmp_path: Path, kind: str) -> None:
    make, code, says = NO_RASTERS[kind]
    image = tmp_path / "field.tif"
    make(image)
    ended = nursery.run("run", image, "-m", subject.model, "-o", tmp_path / "out", "-q")
    assert ended.code == code, ended.err
    if code:
        assert ended.one_line
        assert says in ended.err
        assert not (tmp_path / "out").exists()
    else:
        assert ended.err == ""
        assert read(tmp_path / "out" / "field_classes.tif").shape == (1, 60, 60)


LAYOUTS: list[dict[str, Any]] = [
    {"compress": codec, "interleave": order, **({"tiled": True, "blockxsize": 32, "blockysize": 32} if tiled else {})}
    for codec, order, tiled in [
        ("none", "pixel", False), ("none", "band", True), ("deflate", "pixel", True), ("deflate", "band", False),
        ("lzw", "pixel", True), ("zstd", "pixel", True), ("packbits", "band", False), ("jpeg", "pixel", True),
        ("lerc", "band", True), ("webp", "pixel", True), ("lzma", "pixel", False),
    ]
] + [{"driver": "COG", "compress": "deflate", "blocksize": 128}]  # fmt: skip
_AT_ONCE = 40


@pytest.mark.fault("I04")
def test_bytes_changed_at_random(nursery: Nursery, subject: Subject, tmp_path: Path, tries: Tries) -> None:
    """1 to 64 bytes of small TIFFs of twelve layouts: no signal, no hang, no traceback, one line or a map."""
    assert len(LAYOUTS) == 12
    originals = []
    for index, layout in enumerate(LAYOUTS):
        path = write_raster(tmp_path / f"{index}.tif", blocks(70, 90), **layout)
        originals.append(path.read_bytes())
    rng, left, number, refused = np.random.default_rng(0), tries(60, 10_000), 0, 0
    while left:
        names, report = [], tmp_path / "report"
        report.unlink(missing_ok=True)
        for _ in range(min(_AT_ONCE, left)):
            data = bytearray(originals[number % 12])
            for place in rng.integers(0, len(data), rng.integers(1, 65)):
                data[place] = rng.integers(0, 256)
            names.append(tmp_path / f"mutant{number}.tif")
            names[-1].write_bytes(data)
            number += 1
        commands = [
            ["run", str(name), "-m", str(subject.model), "-o", str(tmp_path / f"out{name.stem}"), "-q"]
            for name in names
        ]
        child = nursery.start(report=str(report), commands=commands, limits={"AS": 8 * 2**30})
        ended = child.wait(20 * len(names))
        assert ended is not None, f"it hangs after {report.read_text().count(chr(10))} of {names}"
        assert ended.code == 0, f"it died after {report.read_text().count(chr(10))} of {names}: {ended}"
        for name, line in zip(names, report.read_text().splitlines(), strict=True):
            code, said = json.loads(line)
            assert code in (0, 65), f"{name}: {code} {said}"
            if code:
                refused += 1
                assert said.startswith("agriseg: error: "), f"{name}: {said}"
                assert said.count("\n") == 1
                assert len(said) <= 301
            name.unlink()
        left -= len(names)
    assert refused > number / 20, "the changes must have met something"
