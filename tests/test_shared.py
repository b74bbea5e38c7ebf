"""Real rasters of `tests/data`, and odd ones out of other projects' test suites."""

import csv
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import DATA, read, record_of
from rio_cogeo import cog_validate
from runs import Nursery

from agriseg import SegmentationModel, segment
from agriseg.cli import main
from agriseg.demo.reference_models import LEVELS, nearest_level
from agriseg.grid import Window
from agriseg.raster.header import RasterInfo
from agriseg.raster.reader import Reader, Source
from agriseg.raster.valid_mask import ValidityRule

SHARED = Path(__file__).parents[2] / "shared" / "data"
"""Large rasters that do not come with the repository; tried with `--long` where they are."""
RGB = ("red", "green", "blue")
# file: flags, bands the model asks for, factor from the oracle's 8-bit levels to the file's numbers
RASTERS: dict[str, tuple[dict[str, Any], tuple[str, ...], float]] = {
    "drone_rgba/orthomosaic.tif": ({}, RGB, 1),
    "drone_rgba/rgb_17_7_W.tif": ({}, RGB, 1),
    "micasense/615.tif": ({"bands": "red=3,green=2,blue=1"}, RGB, 1e-3),
    "micasense/rgb.tif": ({"bands": "red=1,green=2,blue=3,alpha=4"}, RGB, 1),
    "naip_rgbn/20160816.tif": ({"bands": "red=1,green=2,blue=3"}, RGB, 1),
    "naip_rgbn/20190904.tif": ({"bands": "1,2,3"}, RGB, 1),
    "photograph/coffee_leaf.jpg": ({}, RGB, 1),
    "sentinel2_uint16/S2_L2A.tif": ({}, ("b1", "b2", "b3", "b4"), 15),
}
LARGE: dict[str, tuple[dict[str, Any], tuple[str, ...], float]] = {
    "aerial_rgba_epsg4326/3420B_2010_328_RGB_LATLNG.tif": ({}, RGB, 1),
    "drone_ortho_rgba_utm12n/orthomosaic.tif": ({}, RGB, 1),
    "naip_rgbn_nodata/m_4709963_se_14_1_20160816.tif": ({"bands": "red=1,green=2,blue=3"}, RGB, 1),
    "paletted_large/cog_cmap.tif": ({}, ("b1",), 0.04),
    "potato_weed_uav/field/field_cols00-10.tif": ({}, RGB, 1),
    "potato_weed_uav/field/field_cols00-10_labels.tif": ({}, ("b1",), 0.01),
    "sentinel2_uint16_nodata/S2_L2A_sample.tif": ({}, ("b1", "b2", "b3", "b4"), 15),
}


def graded(bands: tuple[str, ...], factor: float) -> SegmentationModel:
    """The pixelwise oracle for these bands, its levels in the file's numbers."""
    oracle = nearest_level()
    oracle.network.levels *= factor  # type: ignore[operator]
    return SegmentationModel(oracle.network, legend=oracle.legend, bands=bands, name="oracle")


def truth_of(path: Path, numbers: list[int], factor: float, alpha: int | None) -> np.ndarray:
    """What the oracle must give, by GDAL and numpy alone: (H, W) uint8, 255 where the file says there is nothing.

    That is where GDAL's dataset mask says so, and beyond 8 bits where a band in use holds its declared nodata value.
    """
    with rasterio.open(path) as dataset:
        grey = dataset.read(numbers).astype(np.float32).mean(0, dtype=np.float32)
        valid = dataset.dataset_mask() != 0
        if dataset.dtypes[0] != "uint8":
            valid &= (dataset.read_masks(numbers) != 0).all(0)
        if alpha:
            valid &= dataset.read(alpha) != 0
    levels = np.float32(LEVELS) * np.float32(factor)
    nearest, best = np.zeros(grey.shape, np.uint8), np.full(grey.shape, np.inf, np.float32)
    for k, level in enumerate(levels):
        distance = np.abs(grey - level)
        closer = distance < best
        nearest[closer], best[closer] = k, distance[closer]
    nearest[~valid] = 255
    return nearest


def test_every_real_raster_is_listed() -> None:
    there = {str(path.relative_to(DATA)) for path in DATA.rglob("*.[tj][ip][fg]") if "odd" not in path.parts}
    assert there == set(RASTERS)


@pytest.mark.parametrize("name", RASTERS)
def test_real_raster(tmp_path: Path, name: str) -> None:
    check_real_raster(DATA / name, tmp_path, RASTERS[name])


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in LARGE if (SHARED / name).is_file()])
def test_large_real_raster(tmp_path: Path, name: str) -> None:
    check_real_raster(SHARED / name, tmp_path, LARGE[name])


def check_real_raster(path: Path, out: Path, how: tuple[dict[str, Any], tuple[str, ...], float]) -> None:
    """The oracle's map is what GDAL and numpy say of the file, pixel for pixel, on the file's own grid."""
    flags, bands, factor = how
    report = segment(path, graded(bands, factor), out, tile=512, overlap=64, **flags)
    numbers = [int(part.split("=")[-1]) for part in flags.get("bands", "1,2,3,4").split(",")][: len(bands)]
    truth = truth_of(path, numbers, factor, alpha=4 if "alpha" in flags.get("bands", "") else None)
    got = read(report.classes)[0]
    np.testing.assert_array_equal(got == 255, truth == 255)
    assert np.count_nonzero(got != truth) == 0
    assert len(np.unique(got[got != 255])) > 1, "the oracle must have something to tell apart"
    assert report.pixels.nodata == np.count_nonzero(truth == 255)
    with rasterio.open(path) as source, rasterio.open(report.classes) as mask:
        assert (mask.shape, mask.crs, mask.transform) == (source.shape, source.crs, source.transform)
    for layer in (report.classes, report.confidence):
        assert cog_validate(layer, strict=True)[0]


def test_an_untagged_validity_band_is_said(tmp_path: Path) -> None:
    report = segment(DATA / "micasense/rgb.tif", graded(RGB, 1), tmp_path)
    assert any("alpha=4" in text for text in report.warnings)
    assert report.pixels.nodata == 0
    assert any("alpha=4" in text for text in record_of(tmp_path)["warnings"])


# odd/

ODD = DATA / "odd"


def odd_rows() -> Iterator[dict[str, str]]:
    with (ODD / "INDEX.tsv").open(newline="") as lines:
        yield from csv.DictReader(lines, delimiter="\t")


@pytest.fixture(scope="module")
def plain_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model for 1 to 4 unnamed bands, `1.safetensors` and so on."""
    folder = tmp_path_factory.mktemp("models")
    for count in range(1, 5):
        bands = ",".join(f"b{i}" for i in range(1, count + 1))
        flags = ["--arch", "fcn_small", "--classes", "soil,crop", "--bands", bands, "--scale", "1"]
        flags += ["--mean", ",".join("0" * count), "--std", ",".join("1" * count)]
        with pytest.raises(SystemExit) as left:
            main(["model", "init", *flags, "-o", str(folder / f"{count}.safetensors")])
        assert not left.value.code
    return folder


@pytest.mark.fault("I06", "I07", "I08", "P10", "G06", "G10", "S03", "S04")
@pytest.mark.parametrize("row", list(odd_rows()), ids=lambda row: row["file"][:4] + row["expect"])
def test_odd_file_gets_its_verdict(nursery: Nursery, tmp_path: Path, plain_models: Path, row: dict[str, str]) -> None:
    """In 1 GiB of address space above what the imports take."""
    path, out = ODD / row["file"], tmp_path / "out"
    model = plain_models / f"{int(row['bands'] or 3) or 3}.safetensors"
    done = nursery.run("run", path, "-m", model, "-o", out, "-q", headroom=2**30)
    if row["expect"] in ("ok", "skip"):
        assert done.code == 0, done.err
    if done.code == 0:
        assert row["expect"] in ("ok", "ok-or-reject", "skip"), "it should have been refused"
        invalid = int(row["mask_invalid_px"] or 0)
        assert pixels_of(path) == (row["pixels_sha256"], invalid)
        assert record_of(out)["pixels"]["nodata"] == invalid
        if row["expect"] == "ok-or-reject":
            assert record_of(out)["warnings"]
    else:
        assert done.code == 65, done.err
        assert done.one_line, done.err
        assert row["file"] in done.err
        assert not list(out.glob("*"))
    if row["expect"] == "read-error":
        assert "cannot be read" in done.err


def pixels_of(path: Path) -> tuple[str, int]:
    """SHA-256 of all pixels as the reader gives them, and how many of them are not valid."""
    info = RasterInfo.read(path)
    bands = tuple(range(1, info.count + 1))
    with Reader(Source(info, bands, ValidityRule.of(info), info.width, info.height)) as reader:
        strip = reader.read(Window(0, 0, info.width, info.height))
    return hashlib.sha256(strip.pixels.tobytes()).hexdigest(), int((~strip.valid).sum())


@pytest.mark.fault("B02", "I07")
def test_the_odd_files_in_one_batch(tmp_path: Path, plain_models: Path, nursery: Nursery) -> None:
    """The same verdicts as one by one, in one line each; what fits no model of three bands is refused as well."""
    command = ["batch", str(ODD), "-o", str(tmp_path / "out"), "-m", str(plain_models / "3.safetensors")]
    done = nursery.start(*command, "--settle", "0s", "--glob", "o0*", patches=[["forks"]]).ended(300)
    assert done.code == 3, done.err
    rows = {row["name"]: row for row in json.loads((tmp_path / "out" / "summary.json").read_text())["rows"]}
    assert done.err.count("agriseg: failed: ") == done.err.count("\n")
    for row in odd_rows():
        told = rows.get(row["file"])
        if row["expect"] in ("reject", "limit", "read-error"):
            assert told, row["file"]
            assert (told["status"], told["code"]) == ("failed", 65), told
        elif told:
            assert told["code"] in (0, 65), told


def test_every_odd_file_is_untouched() -> None:
    for row in odd_rows():
        assert hashlib.sha256((ODD / row["file"]).read_bytes()).hexdigest() == row["sha256"]
