"""Which band of a raster is which, as its tags or a user say it, and what looks like no data in them."""

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
"""Words of a description that say nothing of the role beside others: Band 4, B8, 842 nm."""
_NUMBER = re.compile(r"b[1-9]\d*")


def role_name(text: str) -> str:
    """A role as agriseg writes it: `Near infrared`, `NIR-840` and `Band_4_NIR` are nir, `Rededge` and `RE` red_edge.

    Other words stay, in small letters and joined by underscores.
    """
    words = [word for word in re.split(r"[\W_]+", text.lower()) if word]
    telling = "_".join(word for word in words if not _NOISE.fullmatch(word))
    telling = _SYNONYMS.get(telling, telling)
    return telling if telling in _ROLES else "_".join(words)


def is_number(role: str) -> bool:
    """Whether a role is a band by its number: b1, b2, ..."""
    return bool(_NUMBER.fullmatch(role.lower()))


def known_bands(info: RasterInfo) -> dict[str, tuple[int, ...]]:
    """Name to the numbers of the bands that have it.

    `b1`, `b2`, ... are numbers always, whatever is described so. Descriptions count more than colour interpretations,
    which count where a band's description tells no role.
    """
    described: dict[str, tuple[int, ...]] = {}
    coloured: dict[str, tuple[int, ...]] = {}
    for number, (text, colour) in enumerate(zip(info.descriptions, info.colours, strict=True), 1):
        name, role = role_name(text or ""), _COLOURS.get(colour.name)
        if name and number not in info.alpha:  # one that is both is asked for
            described[name] = (*described.get(name, ()), number)
        if role and name not in _ROLES:
            coloured[role] = (*coloured.get(role, ()), number)
    return {**coloured, **described, **{f"b{number}": (number,) for number in range(1, info.count + 1)}}


def find_bands(info: RasterInfo, roles: Iterable[str]) -> dict[str, int]:
    """Role to band number, of the roles that the file's tags tell.

    Raises:
        DataError: several bands have one of the roles.
    """
    known = known_bands(info)
    found: dict[str, int] = {}
    for role in roles:
        numbers = known.get(role_name(role), ())
        if len(numbers) > 1:
            told = " and ".join(map(str, numbers))
            raise DataError(
                f"{info.path}: bands {told} are both called {role}; say with --bands which one is meant, of all roles"
            )
        if numbers:
            found[role] = numbers[0]
    return found


def misnamed(info: RasterInfo, roles: Iterable[str]) -> list[str]:
    """What to say of roles that are numbers, where the file describes another band so."""
    said = []
    for role in roles:
        others = [
            number
            for number, text in enumerate(info.descriptions, 1)
            if is_number(role) and (text or "").strip().lower() == role.lower() != f"b{number}"
        ]
        said += [f"{role} is band {role[1:]} by its number; the file describes band {number} so" for number in others]
    return said


def listed(info: RasterInfo) -> str:
    """The bands for a reader: `4 bands (red, green, blue, undefined)`."""
    names = [(d or "").strip() or c.name for d, c in zip(info.descriptions, info.colours, strict=True)]
    return f"{info.count} bands ({', '.join(names)})" if info.count > 1 else f"1 band ({names[0]})"


def check_numbers(info: RasterInfo, given: Iterable[tuple[str, int]]) -> None:
    """Refuse numbers that no band has, and a band in two roles.

    Raises:
        UsageError: the first one.
    """
    roles: dict[int, str] = {}
    for role, number in given:
        if not 1 <= number <= info.count:
            raise UsageError(f"--bands {role}={number}, but {info.path.name} has bands 1 to {info.count}")
        if number in roles:
            raise UsageError(f"--bands has {roles[number]} and {role} as band {number}; each has its own")
        roles[number] = role


def validity_hints(rule: ValidityRule, sample: Sample) -> list[str]:
    """Pixels that look like no data although nothing says so, with the flag that says it."""
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
