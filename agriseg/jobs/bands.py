"""Which band of a raster is which, as its tags or a user say it, and what looks like no data in them."""

from collections.abc import Iterable

from rasterio.enums import ColorInterp

from agriseg.errors import UsageError
from agriseg.raster.info import RasterInfo
from agriseg.raster.sample import Sample
from agriseg.raster.validity import ValidityRule

ALPHA = "alpha"
"""Role of a band whose 0 means no data."""

_COLOURS = {ColorInterp.red: "red", ColorInterp.green: "green", ColorInterp.blue: "blue"}


def named(info: RasterInfo) -> dict[str, int]:
    """Name to band number: `b1`, `b2`, ..., colour interpretations, and descriptions, which count most."""
    numbers = range(1, info.count + 1)
    known = {f"b{number}": number for number in numbers}
    for number in reversed(numbers):  # of bands with one name the first counts
        known |= {_COLOURS[colour]: number for colour in (info.colours[number - 1],) if colour in _COLOURS}
    for number in reversed(numbers):
        described = info.descriptions[number - 1] or ""
        known |= {described.strip().lower().replace(" ", "_").replace("-", "_"): number}
    return known


def listed(info: RasterInfo) -> str:
    """The bands for a reader: `4 bands (red, green, blue, undefined)`."""
    names = [(d or "").strip() or c.name for d, c in zip(info.descriptions, info.colours, strict=True)]
    return f"{info.count} bands ({', '.join(names)})" if info.count > 1 else f"1 band ({names[0]})"


def check_numbers(info: RasterInfo, given: Iterable[tuple[str, int]]) -> None:
    """Refuse numbers that no band has.

    Raises:
        UsageError: the first one.
    """
    for role, number in given:
        if not 1 <= number <= info.count:
            raise UsageError(f"--bands {role}={number}, but {info.path.name} has bands 1 to {info.count}")


def validity_hints(info: RasterInfo, rule: ValidityRule, sample: Sample) -> list[str]:
    """Pixels that look like no data although nothing says so, with the flag that says it."""
    hints = []
    if sample.mask_like and sample.mask_like not in rule.alpha:
        hints.append(
            f"band {sample.mask_like} holds only two values and is not tagged alpha: if it marks valid pixels, "
            f"add alpha={sample.mask_like} to --bands"
        )
    elif sample.black_border and not (rule.nodata or rule.alpha or rule.file_mask):
        hints.append("the border is 0 in all bands and nothing is declared nodata: if it is empty, add --nodata 0")
    return hints
