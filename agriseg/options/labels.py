"""The options of labels: how they are matched with images, and what they mean."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from agriseg.errors import UsageError
from agriseg.options.table import Options, option

Value = float | tuple[int, int, int]
"""What a label raster stores for a class: a number, or red, green and blue."""


def _values(flag: str, text: str | tuple[Value, ...]) -> tuple[Value, ...]:
    if not isinstance(text, str):
        return text
    try:
        return tuple(_value(part.strip()) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"{flag} {text}, expected whole numbers such as 0,1,2, or colours as #rrggbb") from error


def _value(text: str) -> Value:
    if not text.startswith("#"):
        return int(text)
    red, green, blue = bytes.fromhex(text[1:])
    return red, green, blue


def _renamed(text: str | tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Pairs of `old=new`; the old name may contain `=`, the class may not."""
    if not isinstance(text, str):
        return text
    parts = [part.rpartition("=") for part in text.split(",")]
    if not all(middle for _, middle, _ in parts):
        raise UsageError(f"--rename {text}, expected old=new, such as dock=weed, or flag= for unlabelled")
    return tuple((old.strip(), new.strip()) for old, _, new in parts)


@dataclass(frozen=True)
class LabelOptions(Options):
    """How labels are matched with images and what they mean; the fields are flags of the commands that read labels.

    `values` None means 0, 1, 2, ...; 255 is unlabelled in any case. Everything is labelled within `area`, or with
    `rest` alone on the whole image: ground under no shape is there of the class `rest`, by default within `area` the
    first class. Points and lines count as the pixels under them, without `point_radius` and `grow`. `rename` holds
    (name, class) pairs; an empty class means unlabelled.
    """

    label_suffix: str = option("", "What the stem of a label file adds to that of its image, such as _mask.", "TEXT")
    values: tuple[Value, ...] | None = option(
        None, "Number or #rrggbb of each class in the labels; default 0, 1, 2, ...", "LIST",
        parse=partial(_values, "--values"),
    )  # fmt: skip
    unlabelled: tuple[Value, ...] = option(
        (), "Numbers or #rrggbb in the labels that mean unlabelled, such as 0; 255 always does.", "LIST",
        parse=partial(_values, "--unlabelled"),
    )  # fmt: skip
    column: str | None = option(None, "Column of polygons with the class: names, or numbers as in --values.", "NAME")
    area: Path | None = option(
        None, "Polygons within which everything is labelled: the rest there is --rest, or the first class.", "FILE",
        parse=Path,
    )  # fmt: skip
    rest: str | None = option(
        None, "Class of the ground under no polygon or annotation, where everything is labelled, such as soil.", "CLASS"
    )
    rename: tuple[tuple[str, str], ...] = option(
        (), "Classes of names in annotations or polygons: dock=weed,flag= (empty for unlabelled).", "LIST",
        parse=_renamed,
    )  # fmt: skip
    point_radius: str | None = option(
        None, "Radius of the discs that points become, and half the width of lines: 8px or 5cm.", "LENGTH"
    )
    grow: str | None = option(
        None,
        "Grow a point to the plant under it, at most so far from the point: 20cm or 60px. Points of --rest, or of the "
        "first class, are ground.", "LENGTH",
    )  # fmt: skip
    reproject_labels: bool = option(
        False, "Resample labels of another grid or CRS to the grid of the image, nearest neighbour.", kind=bool
    )
