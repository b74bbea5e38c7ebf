"""Which band of a raster has which role, by its tags or by the user, and what looks like no data in them."""

import re
from collections.abc import Iterable

from agriseg.errors import DataError, UsageError
from agriseg.raster.header import RasterInfo
from agriseg.raster.pixel_sample import Sample
from agriseg.raster.valid_mask import ValidityRule

ALPHA = "alpha"
"""Role of a band whose 0 means no data."""

_COLOURS = {
    "red": "red", "green": "green", "blue": "blue", "nir": "nir", "rededge": "red_edge", "coastal": "coastal",
    "pan": "pan", "swir": "swir", "mwir": "mwir", "lwir": "lwir", "tir": "tir",
}  # fmt: skip
"""GDAL's colour interpretations to roles, by name: an older rasterio knows the first three alone."""
_SYNONYMS = {
    "r": "red", "g": "green", "b": "blue", "near_infrared": "nir", "near_infra_red": "nir", "nearinfrared": "nir",
    "near_ir": "nir", "nearir": "nir", "rededge": "red_edge", "re": "red_edge",
}  # fmt: skip
_ROLES = {*_COLOURS.values(), *_SYNONYMS.values()}
_NOISE = re.compile(r"\d+(nm)?|nm|band|b\d+|channel|reflectance")
"""Words of a description that do not name the role: Band 4, B8, 842 nm."""
_NUMBER = re.compile(r"b[1-9]\d*")


def role_name(text: str) -> str:
    """A role as agriseg writes it: `Near infrared`, `NIR-840` and `Band_4_NIR` are nir, `Rededge` and `RE` red_edge.

    Other words stay, in small letters and joined by underscores.
    """
    words = [word for word in re.split(r"[\W_]+", text.lower()) if word]
    role = "_".join(word for word in words if not _NOISE.fullmatch(word))
    role = _SYNONYMS.get(role, role)
    return role if role in _ROLES else "_".join(words)


def is_number(role: str) -> bool:
    """Whether a role is a band by its number: b1, b2, ..."""
    return bool(_NUMBER.fullmatch(role.lower()))


def known_bands(info: RasterInfo) -> dict[str, tuple[int, ...]]:
    """Name to the numbers of the bands that have it.

    `b1`, `b2`, ... are always numbers. Colour interpretations count where a band's description names no role.
    """
    described: dict[str, tuple[int, ...]] = {}
    coloured: dict[str, tuple[int, ...]] = {}
    for number, (text, colour) in enumerate(zip(info.descriptions, info.colours, strict=True), 1):
        name, role = role_name(text or ""), _COLOURS.get(colour.name)
        if name and number not in info.alpha:  # the user is asked for a band that is both
            described[name] = (*described.get(name, ()), number)
        if role and name not in _ROLES:
            coloured[role] = (*coloured.get(role, ()), number)
    return {**coloured, **described, **{f"b{number}": (number,) for number in range(1, info.count + 1)}}


def find_bands(info: RasterInfo, roles: Iterable[str]) -> dict[str, int]:
    """Role to band number, of the roles in the file's tags; DataError if several bands have one of them."""
    known = known_bands(info)
    bands: dict[str, int] = {}
    for role in roles:
        numbers = known.get(role_name(role), ())
        if len(numbers) > 1:
            both = " and ".join(map(str, numbers))
            raise DataError(
                f"{info.path}: bands {both} are both called {role}; say with --bands which one is meant, of all roles"
            )
        if numbers:
            bands[role] = numbers[0]
    return bands


def misnamed(info: RasterInfo, roles: Iterable[str]) -> list[str]:
    """Warnings of roles that are numbers, where the file describes another band so."""
    return [
        f"{role} is band {role[1:]} by its number; the file describes band {number} so"
        for role in filter(is_number, roles)
        for number, text in enumerate(info.descriptions, 1)
        if (text or "").strip().lower() == role.lower() != f"b{number}"
    ]


def listed(info: RasterInfo) -> str:
    """The bands for a reader: `4 bands (red, green, blue, undefined)`."""
    names = [(d or "").strip() or c.name for d, c in zip(info.descriptions, info.colours, strict=True)]
    return f"{info.count} bands ({', '.join(names)})" if info.count > 1 else f"1 band ({names[0]})"


def check_numbers(info: RasterInfo, bands: Iterable[tuple[str, int]]) -> None:
    """Raise UsageError for a number that no band has, and for a band in two roles."""
    roles: dict[int, str] = {}
    for role, number in bands:
        if not 1 <= number <= info.count:
            raise UsageError(f"--bands {role}={number}, but {info.path.name} has bands 1 to {info.count}")
        if number in roles:
            raise UsageError(f"--bands has {roles[number]} and {role} as band {number}; each has its own")
        roles[number] = role


def validity_hints(rule: ValidityRule, sample: Sample) -> list[str]:
    """Warnings of pixels that look like no data but are not declared, with the flag that declares them."""
    hints = []
    if sample.mask_like and sample.mask_like not in rule.alpha:
        hints.append(
            f"band {sample.mask_like} holds only two values and is not tagged alpha: if it marks valid pixels, "
            f"add alpha={sample.mask_like} to --bands, or --alpha {sample.mask_like} to a training"
        )
    elif collar := sample.collar:
        value = collar.value
        text = (
            f"the border is {value} in all bands and nothing declares it nodata: if it is empty, add --nodata {value}"
        )
        lossy = f"; it is so but for a few grey levels: first make them all {value} with GDAL's nearblack"
        hints.append(text if collar.exact else text + lossy)
    return hints
