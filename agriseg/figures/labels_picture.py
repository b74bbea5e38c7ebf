"""Labels over their image, with the clicks that they were made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from agriseg.figures.charts import FONTS, decoded, save_figure, shown_name
from agriseg.figures.quicklook import class_picture, image_quicklook
from agriseg.grid import Window
from agriseg.legend import Legend
from agriseg.raster.reader import Source

_PANEL, _MARGIN = 8.0, 1.2  # inches: side of a panel, height of titles and legend
_TINT = 0.5  # opacity of a label
_DOT = 14  # points^2: area of the mark of a click


@dataclass(frozen=True)
class Marks:
    """Clicks to show.

    Args:
        xy: (N, 2) in pixels of the image.
        ids: (N,) uint8 class; 255 for unlabelled.
        grown: (N,) bool whether each grew to a plant; the others are crosses.
        texts: class name to what the legend says about its clicks.
    """

    xy: NDArray[np.float64]
    ids: NDArray[np.uint8]
    grown: NDArray[np.bool_]
    texts: Mapping[str, str]


@rc_context({"font.family": FONTS})
def save_labels_picture(
    path: Path, image: Source, roles: tuple[str, ...], labels: Path, legend: Legend, marks: Marks
) -> None:
    """Write a PNG: the image, and beside it the same under its labels and clicks.

    `labels` is a raster of class ids on the grid of the image, 255 for unlabelled; `roles` are those of the bands of
    the image.
    """
    ground = decoded(image_quicklook(image, Window(0, 0, image.width, image.height), roles))
    tint = decoded(class_picture(labels, legend)).copy()
    tint[..., 3] = np.where(tint[..., 3] > 0, round(255 * _TINT), 0)
    figure = Figure(figsize=(2 * _PANEL, _PANEL * image.height / image.width + _MARGIN), layout="constrained")
    bare, labelled = figure.subplots(1, 2)
    for axes, title in ((bare, "Image"), (labelled, "Labels (unlabelled without a tint)")):
        axes.imshow(ground, extent=(0, image.width, image.height, 0), interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        axes.set_title(title, loc="left")
    labelled.imshow(tint, extent=(0, image.width, image.height, 0), interpolation="nearest")
    _mark(labelled, legend, marks)
    labelled.set(xlim=(0, image.width), ylim=(image.height, 0))
    figure.legend(handles=_key(legend, marks), loc="outside lower left", ncols=3, frameon=False)
    save_figure(figure, path)


def _mark(axes: Axes, legend: Legend, marks: Marks) -> None:
    """Clicks as dots in the colour of their class, crosses where they did not grow."""
    for entry in legend:
        x, y = marks.xy[(marks.ids == entry.id) & marks.grown].T
        axes.scatter(x, y, s=_DOT, color=entry.colour, linewidths=0.8, edgecolors="white")
        x, y = marks.xy[(marks.ids == entry.id) & ~marks.grown].T
        for colour, width in (("white", 2.4), (entry.colour, 1.2)):
            axes.scatter(x, y, s=2 * _DOT, color=colour, marker="x", linewidths=width)


def _key(legend: Legend, marks: Marks) -> list[Patch | Line2D]:
    def text(name: str, number: int) -> str:
        about = marks.texts.get(name)
        return shown_name(name, number) + (f": {about}" if about else "")

    entries: list[Patch | Line2D] = [Patch(color=entry.colour, label=text(entry.name, entry.id)) for entry in legend]
    if len(marks.xy):
        entries.append(Line2D([], [], color="grey", marker="o", linestyle="", label="a click that grew"))
        entries.append(Line2D([], [], color="grey", marker="x", linestyle="", label="a click that counts as drawn"))
    return entries
