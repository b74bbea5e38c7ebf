"""Real rasters, and odd ones out of other projects' test suites. Skipped where the files are not at hand."""

import csv
import hashlib
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import read, record_of
from rio_cogeo import cog_validate
from runs import Nursery

from agriseg import SegmentationModel, segment
from agriseg.jobs.oracle import LEVELS, nearest_level

SHARED = Path(__file__).parents[2] / "shared" / "data"
RGB = ("red", "green", "blue")
# file: flags, bands the model asks for, factor from the oracle's 8-bit levels to the file's numbers
RASTERS: dict[str, tuple[dict[str, Any], tuple[str, ...], float]] = {
    "aerial_rgba_epsg4326/3420B_2010_328_RGB_LATLNG.tif": ({}, RGB, 1),
    "drone_ortho_rgba_utm12n/orthomosaic.tif": ({}, RGB, 1),
    "drone_ortho_rgba_utm12n/rgb_17_7_W.tif": ({}, RGB, 1),
    "drone_ortho_rgba_utm12n/rgb_40_11_W.tif": ({}, RGB, 1),
    "micasense_plot_float32/615.tif": ({"bands": "red=3,green=2,blue=1"}, RGB, 1e-3),
    "micasense_plot_float32/rgb.tif": ({"bands": "red=1,green=2,blue=3,alpha=4"}, RGB, 1),
    "naip_rgbn_nodata/m_4709963_se_14_1_20160816.tif": ({"bands": "red=1,green=2,blue=3"}, RGB, 1),
    "naip_rgbn_nodata/m_4709963_se_14_1_20190904.tif": ({"bands": "1,2,3"}, RGB, 1),
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
    """What the oracle must give, by GDAL and numpy alone: (H, W) uint8, 255 where the file says there is nothing."""
    with rasterio.open(path) as dataset:
        grey = dataset.read(numbers).astype(np.float32).mean(0, dtype=np.float32)
        valid = dataset.dataset_mask() != 0
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


def test_every_real_raster_is_listed(shared: Path) -> None:
    there = {str(path.relative_to(shared)) for path in shared.rglob("*.tif") if "odd" not in path.parts}
    assert there == set(RASTERS)


@pytest.mark.parametrize("name", RASTERS)
def test_real_raster(shared: Path, tmp_path: Path, name: str) -> None:
    path = shared / name
    flags, bands, factor = RASTERS[name]
    report = segment(path, graded(bands, factor), tmp_path, tile=512, overlap=64, **flags)
    numbers = [int(part.split("=")[-1]) for part in flags.get("bands", "1,2,3,4").split(",")][: len(bands)]
    truth = truth_of(path, numbers, factor, alpha=4 if "alpha" in flags.get("bands", "") else None)
    got = read(report.classes)[0]
    np.testing.assert_array_equal(got == 255, truth == 255)
    assert np.count_nonzero(got != truth) == 0
    assert len(np.unique(got[got != 255])) > 1, "the oracle must have something to tell apart"
    assert report.pixels["nodata"] == np.count_nonzero(truth == 255)
    with rasterio.open(path) as source, rasterio.open(report.classes) as mask:
        assert (mask.shape, mask.crs, mask.transform) == (source.shape, source.crs, source.transform)
    for layer in (report.classes, report.confidence):
        assert cog_validate(layer, strict=True)[0]


def test_an_untagged_validity_band_is_said(shared: Path, tmp_path: Path) -> None:
    report = segment(shared / "micasense_plot_float32/rgb.tif", graded(RGB, 1), tmp_path)
    assert any("alpha=4" in text for text in report.warnings)
    assert report.pixels["nodata"] == 0
    assert any("alpha=4" in text for text in record_of(tmp_path)["warnings"])


# odd/

SECONDS = 20
ADDRESS_SPACE = 8 * 2**30
RUN_AND_READ = """
import hashlib, sys
from dataclasses import replace
from pathlib import Path
from agriseg.cli import main
image, model = sys.argv[1:]
try:
    main(["run", image, "-m", model, "-o", "out", "-q"])
except SystemExit as left:
    if left.code:
        raise
from agriseg.grid import Window
from agriseg.raster.info import RasterInfo
from agriseg.raster.reader import Reader, Source
from agriseg.raster.validity import ValidityRule
info = RasterInfo.read(Path(image))
bands = tuple(range(1, info.count + 1))
with Reader(Source(info, bands, ValidityRule.of(info), info.width, info.height)) as reader:
    strip = reader.read(Window(0, 0, info.width, info.height))
Path("read").write_text(f"{hashlib.sha256(strip.pixels.tobytes()).hexdigest()} {(~strip.valid).sum()}")
"""


def odd_rows() -> Iterator[dict[str, str]]:
    index = SHARED / "odd" / "INDEX.tsv"
    if index.is_file():
        with index.open(newline="") as lines:
            yield from csv.DictReader(lines, delimiter="\t")


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))


def child(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, with a limit on time and memory."""
    return subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, timeout=SECONDS, preexec_fn=limited,
        check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def plain_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model for 1 to 4 unnamed bands, `1.safetensors` and so on."""
    folder = tmp_path_factory.mktemp("models")
    for count in range(1, 5):
        bands = ",".join(f"b{i}" for i in range(1, count + 1))
        flags = ["--arch", "fcn_small", "--classes", "soil,crop", "--bands", bands, "--scale", "1"]
        flags += ["--mean", ",".join("0" * count), "--std", ",".join("1" * count)]
        done = child(folder, "-m", "agriseg", "model", "init", *flags, "-o", f"{count}.safetensors")
        assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.fault("I06", "I07", "I08", "P10", "G06", "G10")
@pytest.mark.parametrize("row", list(odd_rows()), ids=lambda row: row["file"][:4] + row["expect"])
def test_odd_file_gets_its_verdict(shared: Path, tmp_path: Path, plain_models: Path, row: dict[str, str]) -> None:
    path = shared / "odd" / row["file"]
    model = str(plain_models / f"{int(row['bands'] or 3) or 3}.safetensors")
    done = child(tmp_path, "-c", RUN_AND_READ, str(path), model)
    written = list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else []
    if row["expect"] in ("ok", "skip"):
        assert done.returncode == 0, done.stderr
    if done.returncode == 0:
        assert row["expect"] in ("ok", "ok-or-reject", "skip"), "it should have been refused"
        sha, invalid = (tmp_path / "read").read_text().split()
        assert sha == row["pixels_sha256"]
        assert invalid == (row["mask_invalid_px"] or "0")
        assert record_of(tmp_path / "out")["pixels"]["nodata"] == int(invalid)
        if row["expect"] == "ok-or-reject":
            assert record_of(tmp_path / "out")["warnings"]
    else:
        assert done.returncode == 65, done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        assert row["file"] in done.stderr
        assert not written
    if row["expect"] == "read-error":
        assert "cannot be read" in done.stderr


@pytest.mark.fault("I07", "S03", "S04")
@pytest.mark.parametrize(
    "row", [row for row in odd_rows() if row["expect"] not in ("ok", "skip")], ids=lambda row: row["file"][:4]
)
def test_an_odd_file_is_decided_on_soon_and_in_little_memory(
    nursery: Nursery, shared: Path, tmp_path: Path, plain_models: Path, row: dict[str, str]
) -> None:
    """Within 5 s, and 1 GiB of address space above what the imports take."""
    model = plain_models / f"{int(row['bands'] or 3) or 3}.safetensors"
    command = ["run", shared / "odd" / row["file"], "-m", model, "-o", tmp_path / "out", "-q"]
    ended = nursery.start(*command, headroom=2**30).ended(5)
    assert ended.code == 65 or (ended.code == 0 and row["expect"] == "ok-or-reject"), ended.err


@pytest.mark.fault("B02", "I07")
def test_the_odd_files_in_one_night(shared: Path, tmp_path: Path, plain_models: Path) -> None:
    """The same verdicts as one by one, in one line each; what fits no model of three bands is refused as well."""
    command = ["batch", str(shared / "odd"), "-o", str(tmp_path / "out"), "-m", str(plain_models / "3.safetensors")]
    done = subprocess.run(
        [sys.executable, "-m", "agriseg", *command, "--settle", "0s", "--glob", "o0*"], capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    rows = {row["name"]: row for row in json.loads((tmp_path / "out" / "summary.json").read_text())["rows"]}
    assert done.stderr.count("agriseg: failed: ") == done.stderr.count("\n")
    for row in odd_rows():
        told = rows.get(row["file"])
        if row["expect"] in ("reject", "limit", "read-error"):
            assert told, row["file"]
            assert (told["status"], told["code"]) == ("failed", 65), told
        elif told:
            assert told["code"] in (0, 65), told


def test_every_odd_file_is_untouched(shared: Path) -> None:
    for row in odd_rows():
        assert hashlib.sha256((shared / "odd" / row["file"]).read_bytes()).hexdigest() == row["sha256"]
