"""A network trained for some minutes on a part of the field that the benchmark does not map."""

import subprocess
import sys
from pathlib import Path

import rasterio
from rasterio.windows import Window

from benchmarks.peers.environments import EngineError, last_line
from benchmarks.peers.rasters import cut

_SIDE = 2048  # of the part that it is trained on (px), at most
_LEAST = 512
_RECIPE = """\
classes = [{classes}]
arch = "{arch}"
[data]
images = "train.tif"
labels = "train_labels.tif"
[recipe]
minutes = {minutes:g}
batch = 4
lr = 1e-3
ema_decay = 0.8  # few steps: a slow mean would still be the first weights
validate_every = 1000000
"""


def labels_of(image: Path) -> Path | None:
    """`<stem>_labels.tif` beside the raster, if it is there."""
    beside = image.with_name(f"{image.stem}_labels.tif")
    return beside if beside.exists() else None


def trained(arch: str, minutes: float, image: Path, folder: Path, window: Window) -> Path:
    """The model file of a network trained on the upper left of the raster, left of the window.

    A model that is there already is taken again.

    Raises:
        EngineError: the raster has no labels or no room beside the window, or the training failed.
    """
    made = folder / f"trained_{arch.replace('/', '_')}" / "best.safetensors"
    if made.exists():
        return made
    labels = labels_of(image)
    with rasterio.open(image) as dataset:
        width, height = min(_SIDE, int(window.col_off)), min(_SIDE, dataset.height)
    if labels is None or min(width, height) < _LEAST:
        raise EngineError(f"{image}: expected {image.stem}_labels.tif, and {_LEAST} px left of the window to train on")
    part = Window(0, 0, width, height)
    cut(image, part, folder / "train.tif")
    with rasterio.open(cut(labels, part, folder / "train_labels.tif")) as dataset:
        number = int(dataset.read(1).max()) + 1
    recipe = folder / "train.toml"
    classes = ", ".join(f'"class {k}"' for k in range(number))
    recipe.write_text(_RECIPE.format(classes=classes, arch=arch, minutes=minutes), "utf-8")
    command = [sys.executable, "-m", "agriseg", "train", str(recipe), "-o", str(made.parent)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise EngineError(f"training {arch}: {last_line(done.stderr)}")
    return made
