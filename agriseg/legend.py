"""The legend: the one place that knows a map's classes, their order, names and colours."""

import colorsys
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from agriseg.errors import ModelError, UsageError

NODATA = 255
"""Value of a mask's pixel that holds no class."""

CONFIDENCE_STEP = 0.004
"""Confidence per count of the uint8 confidence layer: 250 is 1.0, 255 is nodata."""

DOUBTFUL = 0.7
"""Confidence below which a pixel counts as doubtful."""

UNSURE = "unsure"
"""Name of the class of the pixels whose confidence is below --min-confidence."""

UNSURE_TAG = "UNSURE_CLASS"
"""Tag of a mask's band with the id of that class."""

_GREY = "#808080"  # of that class
# Okabe and Ito 2008, "Color Universal Design": colour-blind readers can distinguish them; without black.
_PALETTE = ("#e69f00", "#009e73", "#d55e00", "#56b4e9", "#f0e442", "#cc79a7", "#0072b2")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")  # XML and terminals cannot show these


@dataclass(frozen=True)
class LegendClass:
    """One class of a map: `id` is its value in the mask (0 to 254) and the network's channel, `colour` is `#rrggbb`."""

    id: int
    name: str
    colour: str

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ModelError(f"class {self.id} has no name; every class needs one")
        if _CONTROL.search(self.name):
            raise ModelError(f"class {self.id} is named {self.name!r}; control characters are no part of a name")
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", self.colour):
            raise ModelError(f"class {self.name!r} has colour {self.colour!r}; write it as #rrggbb")

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green, blue, 0 to 255."""
        red, green, blue = bytes.fromhex(self.colour[1:])
        return red, green, blue


@dataclass(frozen=True)
class Legend:
    """The classes of a map in the order of the network's channels; at most 255 of them.

    Args:
        has_unsure: whether one more class follows, `unsure`: of pixels that have none for lack of confidence.

    >>> Legend.from_names(["soil", "crop"]).names
    ('soil', 'crop')
    """

    classes: tuple[LegendClass, ...]
    has_unsure: bool = False

    def __post_init__(self) -> None:
        if not 1 <= len(self.classes) <= NODATA:
            raise ModelError(f"a legend of {len(self.classes)} classes; a uint8 mask holds 1 to {NODATA}")
        if [c.id for c in self.classes] != list(range(len(self.classes))):
            raise ModelError("class ids must be 0, 1, 2, ... in order, as the network's channels are")
        if len(set(self.names)) != len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise ModelError(f"class {twice!r} is in the legend twice; names must differ")

    @classmethod
    def from_names(cls, names: Sequence[str], colours: Sequence[str] | None = None) -> "Legend":
        """A legend from class names in channel order; None takes the colours of a safe palette."""
        chosen = [_colour(i) for i in range(len(names))] if colours is None else list(colours)
        if len(chosen) != len(names):
            raise ModelError(f"{len(names)} class names but {len(chosen)} colours; give one colour a class")
        pairs = zip(names, chosen, strict=True)
        return cls(tuple(LegendClass(i, name, colour) for i, (name, colour) in enumerate(pairs)))

    @property
    def names(self) -> tuple[str, ...]:
        """Class names in channel order."""
        return tuple(c.name for c in self.classes)

    def with_unsure(self) -> "Legend":
        """The same classes, and `unsure` as the last.

        Raises:
            UsageError: one of them has this name, or a mask has no value left.
        """
        remedy = "leave --min-confidence out: the confidence layer says which pixels are unsure"
        if UNSURE in [name.strip().casefold() for name in self.names]:
            raise UsageError(f"--min-confidence adds a class {UNSURE!r}, but the model has one of this name; {remedy}")
        if len(self) == NODATA:
            raise UsageError(
                f"--min-confidence adds a class to the {NODATA} of the model, the most of a mask; {remedy}"
            )
        return Legend((*self.classes, LegendClass(len(self), UNSURE, _GREY)), has_unsure=True)

    @property
    def unsure(self) -> int | None:
        """Id of the class `unsure`; None in a map without it."""
        return len(self) - 1 if self.has_unsure else None

    @property
    def decided(self) -> "Legend":
        """The same classes without `unsure`: those of the network."""
        return replace(self, classes=self.classes[: self.unsure], has_unsure=False)

    @property
    def tags(self) -> dict[str, str]:
        """Tags of a mask's band: `CLASS_<id>` is a name, `UNSURE_CLASS` the id of `unsure` if there is one."""
        names = {f"CLASS_{entry.id}": entry.name for entry in self}
        return names | ({UNSURE_TAG: str(self.unsure)} if self.has_unsure else {})

    @property
    def colormap(self) -> dict[int, tuple[int, int, int, int]]:
        """Mask value to red, green, blue, alpha (0 to 255); nodata is transparent."""
        return {c.id: (*c.rgb, 255) for c in self.classes} | {NODATA: (0, 0, 0, 0)}

    def __len__(self) -> int:
        return len(self.classes)

    def __iter__(self) -> Iterator[LegendClass]:
        return iter(self.classes)


def _colour(index: int) -> str:
    """Colour of class `index`: the palette first, then hues a golden angle apart."""
    if index < len(_PALETTE):
        return _PALETTE[index]
    red, green, blue = colorsys.hsv_to_rgb(index * 0.381966 % 1, 0.65, 0.75 + 0.2 * (index % 2))
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
