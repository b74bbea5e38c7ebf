"""The options of labels: how they are matched with images, and what they mean."""

from dataclasses import dataclass
from pathlib import Path

Value = float | tuple[int, int, int]


@dataclass(frozen=True)
class LabelOptions:
    """How labels are found and what they mean.

    Args:
        suffix: what the stem of a label file has behind the stem of its image, such as `_mask`.
        values: number, or red, green and blue, of each class in label rasters; None for 0, 1, 2, ...
        unlabelled: numbers or colours that mean unlabelled, beside 255.
        column: of polygons, with names or numbers of classes.
        area: polygons within which everything is labelled.
        rest: class of the ground under no shape where everything is labelled: within `area`, or on the whole image.
            None leaves that ground unlabelled; within `area` it is then the first class.
        rename: (name in annotations or polygons, class) pairs; an empty class means unlabelled.
        point_radius: radius of the discs that points become, and half the width of lines, such as `8px` or `5cm`.
        reproject: resample label rasters of another grid or CRS to the grid of their image, nearest neighbour.
    """

    suffix: str = ""
    values: tuple[Value, ...] | None = None
    unlabelled: tuple[Value, ...] = ()
    column: str | None = None
    area: Path | None = None
    rest: str | None = None
    rename: tuple[tuple[str, str], ...] = ()
    point_radius: str | None = None
    reproject: bool = False
