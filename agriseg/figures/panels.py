"""The figure of a map: image, labels, mask and confidence side by side, with the legend."""

import io
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from PIL import Image

from agriseg.figures.quicklook import SIDE, class_picture, confidence_colours, confidence_picture, image_quicklook
from agriseg.figures.training_charts import FONTS, save_figure, shown_name
from agriseg.grid import Window
from agriseg.legend import NODATA, Legend
from agriseg.raster.reader import Source

_PANEL, _MARGIN = 6.0, 0.9  # inches: side of a panel, height of titles and legend
_EMPTY = "#e8e8e8"  # of pixels without data


@rc_context({"font.family": FONTS})
def save_picture(
    path: Path, image: Source, classes: Path, confidence: Path, legend: Legend,
    labels: NDArray[np.uint8] | None = None,
) -> None:  # fmt: skip
    """Write a PNG.

    Args:
        path: the PNG.
        image: the raster that was mapped; its first three bands are shown as red, green, blue.
        classes, confidence: layers of the run.
        legend: of the mask.
        labels: (H, W) true class ids, 255 unknown, to show beside the mask; None without.
    """
    roi = Window(0, 0, image.width, image.height)
    panels = {"Image": _pixels(image_quicklook(image, roi, ("",) * len(image.bands)))}
    if labels is not None:
        panels["Labels"] = _label_colours(labels, legend)
    panels["Classes"] = _pixels(class_picture(classes, legend))
    panels["Confidence"] = _pixels(confidence_picture(confidence, len(legend)))
    size = (_PANEL * len(panels), _PANEL * image.height / image.width + _MARGIN)
    figure = Figure(figsize=size, layout="constrained")
    for axes, (title, pixels) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        axes.imshow(pixels, interpolation="nearest")
        axes.set(facecolor=_EMPTY, xticks=[], yticks=[])
        axes.set_title(title, loc="left")
    figure.legend(handles=_key(legend), loc="outside lower left", ncols=len(legend) + 2, frameon=False)
    save_figure(figure, path)


def _pixels(png: bytes) -> NDArray[np.uint8]:
    """(h, w, 4) red, green, blue, alpha of a PNG."""
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture.convert("RGBA"))


def _label_colours(labels: NDArray[np.uint8], legend: Legend) -> NDArray[np.uint8]:
    """(h, w, 4) colours of labels, of every nth pixel, with at most `SIDE` pixels a side."""
    step = -(-max(labels.shape) // SIDE)
    colours = np.zeros((NODATA + 1, 4), np.uint8)
    colours[: len(legend)] = [(*entry.rgb, 255) for entry in legend]
    return np.asarray(colours[labels[::step, ::step]])


def _key(legend: Legend) -> list[Patch]:
    """Entries of the legend, and the ends of the confidence scale."""
    entries = [Patch(color=entry.colour, label=shown_name(entry.name, entry.id)) for entry in legend]
    guess, certain = confidence_colours(np.array([0, 250], np.uint8), 2) / 255
    return [*entries, Patch(color=guess.tolist(), label="a guess"), Patch(color=certain.tolist(), label="certain")]
