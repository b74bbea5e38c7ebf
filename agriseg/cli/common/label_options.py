"""Label options, shared by `labels check`, `labels rasterize`, `train` and `evaluate`."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agriseg.errors import UsageError

if TYPE_CHECKING:
    from agriseg.labels.label_set import LabelRequest
    from agriseg.options.labels import Value

_VALUES = "Each class's number or #rrggbb in the labels; 0, 1, 2, ... if not given."
_UNLABELLED = "Numbers or #rrggbb in the labels that mean that nobody knows, such as 0; 255 does without."
_COLUMN = "Class column, when the labels are polygons: names, or numbers as in --values."
_AREA = "Polygons within which all was labelled: the rest there is --rest, or the first class."
_REST = "Class of what no polygon or annotation covers, where all was labelled, such as soil."
_RENAME = "Names in annotations or polygons and their classes: dock=weed,flag= (empty for unlabelled)."
_RADIUS = "Points become discs, lines strips, this far to each side: 8px or 5cm."


def label_options(command: Callable[..., None]) -> Callable[..., None]:
    """The flags that say how labels are found and what they mean; the command gets them as `label_flags`."""
    options = [
        click.option("--label-suffix", metavar="TEXT", help="What a label's name adds to its image's: _mask."),
        click.option("--values", metavar="LIST", help=_VALUES),
        click.option("--unlabelled", metavar="LIST", help=_UNLABELLED),
        click.option("--column", metavar="NAME", help=_COLUMN),
        click.option("--area", metavar="FILE", help=_AREA),
        click.option("--rest", metavar="CLASS", help=_REST),
        click.option("--rename", metavar="LIST", help=_RENAME),
        click.option("--point-radius", metavar="LENGTH", help=_RADIUS),
        click.option("--reproject-labels", is_flag=True, help="Lay labels of another grid or CRS on the image's."),
    ]
    names = [each.name for each in fields(LabelFlags)]

    @wraps(command)
    def with_label_flags(**parameters: Any) -> None:
        command(label_flags=LabelFlags(**{name: parameters.pop(name) for name in names}), **parameters)

    for option in reversed(options):
        with_label_flags = option(with_label_flags)
    return with_label_flags


@dataclass(frozen=True)
class LabelFlags:
    """The values of those flags, as click gives them."""

    label_suffix: str | None
    values: str | None
    unlabelled: str | None
    column: str | None
    area: str | None
    rest: str | None
    rename: str | None
    point_radius: str | None
    reproject_labels: bool

    def request(self, images: str, labels: str, classes: tuple[str, ...], least: int = 2) -> "LabelRequest":
        """The labels of images, for `load_labels`.

        Raises:
            UsageError: a flag that cannot be read.
        """
        from agriseg.labels.label_set import LabelRequest
        from agriseg.options.labels import LabelOptions

        options = LabelOptions(
            self.label_suffix or "", label_values("--values", self.values),
            label_values("--unlabelled", self.unlabelled) or (), self.column, Path(self.area) if self.area else None,
            self.rest, renamed(self.rename), self.point_radius, self.reproject_labels,
        )  # fmt: skip
        return LabelRequest(Path(images), Path(labels), classes, options, least)


def class_names(text: str) -> tuple[str, ...]:
    """Class names in order."""
    return tuple(name.strip() for name in text.split(","))


def renamed(text: str | None) -> tuple[tuple[str, str], ...]:
    """Pairs of `old=new`; a name may hold `=` itself, but not the class."""
    if text is None:
        return ()
    parts = [part.rpartition("=") for part in text.split(",")]
    if not all(middle for _, middle, _ in parts):
        raise UsageError(f"--rename {text}, expected old=new, such as dock=weed, or flag= for unlabelled")
    return tuple((old.strip(), new.strip()) for old, _, new in parts)


def label_values(flag: str, text: str | None) -> "tuple[Value, ...] | None":
    """Label values: whole numbers, or colours as `#rrggbb`; None where none are given."""
    if text is None:
        return None
    try:
        return tuple(_label_value(part.strip()) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"{flag} {text}, expected whole numbers such as 0,1,2, or colours as #rrggbb") from error


def _label_value(text: str) -> "Value":
    if not text.startswith("#"):
        return int(text)
    red, green, blue = bytes.fromhex(text[1:])
    return red, green, blue
