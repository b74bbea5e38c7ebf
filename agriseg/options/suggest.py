"""The options of suggestions: how many boxes, how large, and what is labelled already."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agriseg import units
from agriseg.errors import UsageError
from agriseg.options.table import Options, option

_LEAST_SIDE = 16  # px; in less nobody sees a plant


@dataclass(frozen=True)
class SuggestOptions(Options):
    """Which boxes are suggested; the fields are flags of `agriseg suggest`.

    `box` is a side, in pixels of the grid that the model maps on, or in metres.
    """

    count: int = option(20, "How many boxes; default 20.", "N", names=("-n", "--count"), kind=int, span=(1, None))
    box: str = option("256px", "Side of a box: 256px of the model's resolution (default), or 5m.", "LENGTH")
    done: tuple[Path, ...] = option(
        (), "Polygons of what is labelled already, such as an earlier file of boxes; these are passed over.", "FILE",
        multiple=True, parse=lambda files: tuple(map(Path, files)),
    )  # fmt: skip

    def side(self, gsd: tuple[float, float] | None, image: Path) -> int:
        """The side of a box in pixels of so many metres; `image` is for the message.

        Raises:
            UsageError: no length, metres where the pixel size is unknown, or less than 16 pixels.
        """
        length, in_pixels = units.pixels_or_metres(self.box)
        if not in_pixels and gsd is None:
            raise UsageError(f"--box {self.box}, but the pixel size of {image} is unknown; write it as 256px")
        side = round(length if in_pixels or gsd is None else length / _mean(gsd))
        if side < _LEAST_SIDE:
            raise UsageError(f"--box {self.box} is {side} px of {image.name}, expected {_LEAST_SIDE} px or more")
        return side


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
