"""Figures with a legend: the panels of a map, the curves of a training, a confusion matrix."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font, get_font_names
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from agriseg import files
from agriseg.figures.quicklook import (
    SIDE,
    class_colours,
    class_picture,
    confidence_colours,
    confidence_picture,
    image_quicklook,
)
from agriseg.grid import Window
from agriseg.legend import Legend
from agriseg.raster.reader import Source

_INK, _FAINT = "#282828", "#d9d9d9"
_PANEL, _MARGIN = 6.0, 0.9  # inches: side of a panel, height of titles and legend
_BOXES = 9.0  # inches: longest side of a picture of boxes
_BOX = "#ffd400"  # yellow stands out on soil, plants and water
_EMPTY = "#e8e8e8"  # of pixels without data
_HAN = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei",
    "Microsoft YaHei", "SimHei", "PingFang SC", "Arial Unicode MS",
)  # fmt: skip
FONTS = ["DejaVu Sans", *sorted(set(_HAN) & set(get_font_names()), key=_HAN.index)]
"""Fonts of all figures: the one that comes with matplotlib, then the Chinese ones of this machine."""


@rc_context({"font.family": FONTS})
def save_picture(
    path: Path, image: bytes, classes: Path, confidence: Path, legend: Legend, labels: NDArray[np.uint8] | None = None
) -> None:  # fmt: skip
    """Write a PNG: the mapped image, the labels if there are any, the classes and the confidence.

    The image is a PNG as of `image_quicklook`. Labels are (H, W) class ids, 255 where unknown.
    """
    panels = {"Image": decoded(image)}
    if labels is not None:
        step = -(-max(labels.shape) // SIDE)
        panels["Labels"] = decoded(class_colours(labels[::step, ::step], legend))
    panels["Classes"] = decoded(class_picture(classes, legend))
    panels["Confidence"] = decoded(confidence_picture(confidence, len(legend)))
    size = (_PANEL * len(panels), _PANEL * panels["Image"].shape[0] / panels["Image"].shape[1] + _MARGIN)
    figure = Figure(figsize=size, layout="constrained")
    for axes, (title, pixels) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        axes.imshow(pixels, interpolation="nearest")
        axes.set(facecolor=_EMPTY, xticks=[], yticks=[])
        axes.set_title(title, loc="left")
    figure.legend(handles=_key(legend), loc="outside lower left", ncols=len(legend) + 2, frameon=False)
    save_figure(figure, path)


@rc_context({"font.family": FONTS})
def save_boxes(
    path: Path, image: Source, roi: Window, roles: tuple[str, ...], boxes: Mapping[str, Window]
) -> None:  # fmt: skip
    """Write a PNG: a window of a raster with boxes, windows of the raster, and their names."""
    longest = max(roi.width, roi.height)
    figure = Figure(figsize=(_BOXES * roi.width / longest, _BOXES * roi.height / longest))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(
        decoded(image_quicklook(image, roi, roles)), extent=(roi.col_off, roi.col_stop, roi.row_stop, roi.row_off)
    )
    axes.set(facecolor=_EMPTY, xticks=[], yticks=[])
    for name, box in boxes.items():
        corner = box.col_off, box.row_off
        axes.add_patch(Rectangle(corner, box.width, box.height, fill=False, edgecolor=_BOX, linewidth=1.5))
        axes.annotate(name, corner, (2, -2), textcoords="offset points", va="top", color=_INK, backgroundcolor=_BOX)
    save_figure(figure, path)


def _key(legend: Legend) -> list[Patch]:
    entries = [Patch(color=entry.colour, label=shown_name(entry.name, entry.id)) for entry in legend]
    guess, certain = confidence_colours(np.array([0, 250], np.uint8), 2) / 255
    return [*entries, Patch(color=guess.tolist(), label="a guess"), Patch(color=certain.tolist(), label="certain")]


@dataclass(frozen=True)
class CurvePoint:
    """A validation of a training; the fields are keys of a line of `metrics.jsonl`.

    Args:
        loss: mean training loss since the last validation.
        iou: by class name; None for a class without pixels.
    """

    step: int
    loss: float
    miou: float
    iou: Mapping[str, float | None]


@rc_context({"font.family": FONTS})
def save_curves(path: Path, points: Sequence[CurvePoint], legend: Legend) -> None:
    """Write a PNG: loss and IoU over the steps."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = [point.step for point in points]
    left.plot(steps, [point.loss for point in points], color=_INK, marker=".")
    left.set(xlabel="step", ylabel="mean training loss since the last validation", ylim=(0, None))
    for entry in legend:
        values = np.array([point.iou.get(entry.name) for point in points], np.float64)  # None becomes NaN
        right.plot(steps, values, color=entry.colour, marker=".", label=shown_name(entry.name, entry.id))
    right.plot(steps, [point.miou for point in points], color=_INK, linewidth=2.5, label="mean")
    best = max(points, key=lambda point: point.miou)
    right.axvline(best.step, color=_FAINT, zorder=0)
    right.annotate(f"kept: {best.miou:.3f}", (best.step, 0.02), rotation=90, ha="right", color=_INK, fontsize="small")
    right.set(xlabel="step", ylabel="IoU of what is held back", ylim=(0, 1))
    right.legend(loc="lower right", fontsize="small")
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(color=_FAINT, linewidth=0.5)
    save_figure(figure, path)


@rc_context({"font.family": FONTS})
def save_confusion(path: Path, matrix: NDArray[np.int64], legend: Legend) -> None:
    """Write a PNG: of each true class, the shares that were mapped as each class; rows of `matrix` are the truth."""
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    side = 2.5 + 0.75 * len(legend)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, col in np.ndindex(*shares.shape):
        ink = "white" if shares[row, col] > 0.6 else _INK
        text = f"{shares[row, col]:.1%}\n{matrix[row, col]:,}"
        axes.text(col, row, text, ha="center", va="center", color=ink, fontsize="small")
    names = [shown_name(entry.name, entry.id) for entry in legend]
    axes.set_xticks(range(len(legend)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(legend)), names)
    axes.set(xlabel="mapped as", ylabel="labelled as", title="Share of each labelled class, and pixels")
    save_figure(figure, path)


def decoded(png: bytes) -> NDArray[np.uint8]:
    """(h, w, 4) red, green, blue, alpha of a PNG."""
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture.convert("RGBA"))


def shown_name(name: str, number: int) -> str:
    """A class name as text of a figure, without mathematical markup; the number where no font has its letters."""
    fonts = [get_font(findfont(family)) for family in FONTS]
    known = all(any(font.get_char_index(ord(letter)) for font in fonts) for letter in name)
    return name.replace("$", r"\$") if known else f"class {number}"


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    files.write_bytes(path, buffer.getvalue())
