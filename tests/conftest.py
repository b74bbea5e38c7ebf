"""Rasters and models that the tests share. Everything is seeded, and nothing comes from outside the repository."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
import torch

import agriseg.raster.safe_open  # noqa: F401  (sets GDAL's switches before the first raster is opened)
from agriseg import SegmentationModel
from agriseg.demo.reference_models import LEVELS, nearest_level, random_network

if TYPE_CHECKING:
    from runs import Ended, Nursery

pytest_plugins = ["browser", "faulttable", "runs"]

DATA = Path(__file__).parent / "data"
"""Small real rasters; NOTICE.md says whose they are."""
UTM = {"crs": "EPSG:32632", "transform": rasterio.Affine(0.1, 0, 500_000, 0, -0.1, 5_400_000)}


def write_raster(path: Path, pixels: np.ndarray, **profile: Any) -> Path:
    """A GeoTIFF of (C, H, W) pixels, in UTM unless told otherwise."""
    count, height, width = pixels.shape
    size = {"count": count, "height": height, "width": width, "dtype": pixels.dtype}
    with rasterio.open(path, "w", **{"driver": "GTiff", **UTM, **size, **profile}) as dataset:
        dataset.write(pixels)
    return path


def noise(height: int, width: int, *, seed: int = 0, low: int = 0, bands: int = 3) -> np.ndarray:
    """(bands, H, W) uint8, each pixel its own."""
    return np.random.default_rng(seed).integers(low, 256, (bands, height, width), np.uint8)


def blocks(height: int, width: int, *, side: int = 7, seed: int = 0, low: int = 0) -> np.ndarray:
    """(3, H, W) uint8 in patches: something a convolution can see."""
    small = noise(-(-height // side), -(-width // side), seed=seed, low=low)
    return small.repeat(side, 1).repeat(side, 2)[:, :height, :width].copy()


def nearest(pixels: np.ndarray, nodata: int | None = None) -> np.ndarray:
    """The oracle's answer by numpy, (H, W) uint8."""
    grey = pixels[:3].astype(np.float32).mean(0, dtype=np.float32)
    truth = np.stack([-np.abs(grey - level) for level in LEVELS]).argmax(0).astype(np.uint8)
    if nodata is not None:
        truth[(pixels == nodata).all(0)] = 255
    return truth


def examples_in(folder: Path, side: int = 640) -> Path:
    """The repository's examples in a folder, with the first rows and columns alone of their field, which takes long."""
    shutil.copytree(Path(__file__).parents[1] / "examples", folder / "examples")
    image = folder / "examples" / "polygon_field" / "field.tif"
    with rasterio.open(image) as whole:
        pixels, place = whole.read()[:, :side, :side], {"crs": whole.crs, "transform": whole.transform}
    write_raster(image, pixels, photometric="RGB", **place)
    return folder / "examples"


def read(path: Path) -> np.ndarray:
    """All bands."""
    with rasterio.open(path) as dataset:
        return dataset.read()


def started_with(folder: Path, code: str) -> dict[str, str]:
    """The environment of processes that run `code` when Python starts, after whatever the tests themselves run then."""
    own = Path(__file__).parent / "processor" / "sitecustomize.py"
    (folder / "sitecustomize.py").write_text(f"import runpy\nrunpy.run_path({str(own)!r})\n{code}")
    return {**os.environ, "PYTHONPATH": str(folder)}


TIMED = ("_run.json", "_report.html")
"""Ends of the names of files that tell times."""


def layer_bytes(folder: Path) -> dict[str, bytes]:
    """Every file of a run but its record and its report, which hold times."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if not path.name.endswith(TIMED)}


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """`--cpu-threads` and `--workers` set the threads of the network for good, in this process for the tests that follow."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def oracle() -> SegmentationModel:
    return nearest_level()


@pytest.fixture(scope="session")
def small() -> SegmentationModel:
    """A convolutional network that takes milliseconds: stride 2, sees 32 px."""
    return random_network("fcn_small")


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`small` as a file."""
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    random_network("fcn_small").save(path)
    return path


@pytest.fixture
def interruptible_children() -> Iterator[None]:
    """Children end by SIGINT, which a shell's background jobs ignore: exec drops a handler, but keeps an ignored signal.

    `preexec_fn` would fork this process with all of its threads, and a child may then wait for ever for a lock of one.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def agriseg_cli(nursery: "Nursery", tmp_path: Path) -> Callable[..., "Ended"]:
    """Run the command line in a process of its own, in `tmp_path`."""

    def run(*args: Any) -> "Ended":
        return nursery.start(*args, cwd=tmp_path).ended(300)

    return run


def record_of(folder: Path) -> dict[str, Any]:
    """The run's record."""
    return json.loads(next(folder.glob("*_run.json")).read_text())
