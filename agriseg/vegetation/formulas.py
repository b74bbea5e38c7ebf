"""Vegetation indices: numbers made of a few bands, that tell plants from soil or green plants from pale ones.

Short names, formulas and constants are those of Awesome Spectral Indices (Montero et al. 2023, "A standardized
catalogue of spectral indices to advance the use of remote sensing in Earth system research", Scientific Data 10,
197; MIT licence), where each is listed with the paper it comes from.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from agriseg.errors import UsageError

Floats = NDArray[np.float64]
Kind = Literal["ratio", "linear", "additive"]

ROLES = ("red", "green", "blue", "nir", "red_edge")
"""Bands that formulas are made of: near infrared is `nir`; `red_edge` is the slope at about 700 to 735 nm."""

_ZERO = 1e-6  # of numerator and denominator's terms, below which a denominator is the rounding of zero
_L = 1.0  # background of the canopy; the catalogue's default. Huete 1988 has 0.5 for SAVI at medium cover
_GAIN, _C1, _C2 = 2.5, 6.0, 7.5  # EVI's gain and aerosol terms, the catalogue's defaults, Huete et al. 1997
_OSAVI = 0.16  # background, Rondeaux et al. 1996
_EVI2 = 2.4  # weight of red in place of blue, Jiang et al. 2008
_EXR = 1.3  # weight of red, Meyer et al. 1998


@dataclass(frozen=True)
class Index:
    """One vegetation index.

    Args:
        roles: bands it needs, in the order of the function's arguments.
        formula: the same as text, over roles.
        function: from float64 arrays of one shape.
        kind: `ratio` does not depend on the unit of the bands, `linear` grows with it, `additive` adds constants to
            bands and so means nothing without reflectance.
        range: values for reflectances 0 to 1, for a reader.
        greener: whether more of it is greener; False where less is.
    """

    name: str
    long_name: str
    roles: tuple[str, ...]
    formula: str
    function: Callable[..., Floats]
    kind: Kind
    reference: str
    range: str
    greener: bool = True


def _ratio(numerator: Floats, *terms: Floats | float) -> Floats:
    """A numerator over the sum of terms; NaN where they cancel to what is zero but for rounding."""
    denominator = sum(terms)
    size = np.abs(numerator) + sum(np.abs(term) for term in terms)
    return np.where(np.abs(denominator) <= _ZERO * size, np.nan, numerator / denominator)


def _difference(one: Floats, two: Floats) -> Floats:
    """Normalized difference."""
    return _ratio(one - two, one, two)


def _msavi(nir: Floats, red: Floats) -> Floats:
    return 0.5 * (2 * nir + 1 - np.sqrt((2 * nir + 1) ** 2 - 8 * (nir - red)))


_RGB = ("red", "green", "blue")
_ANY, _ONE = "any number", "-1 to 1"
_ALL = (
    Index("ExG", "Excess Green", _RGB, "2 * green - red - blue",
          lambda r, g, b: 2 * g - r - b, "linear", "https://doi.org/10.13031/2013.27838", "-2 to 2"),
    Index("ExR", "Excess Red", ("red", "green"), "1.3 * red - green",
          lambda r, g: _EXR * r - g, "linear", "https://doi.org/10.1117/12.336896", "-1 to 1.3", greener=False),
    Index("ExGR", "Excess Green less Excess Red", _RGB, "(2 * green - red - blue) - (1.3 * red - green)",
          lambda r, g, b: (2 * g - r - b) - (_EXR * r - g),
          "linear", "https://doi.org/10.1016/j.compag.2008.03.009", "-3.3 to 3"),
    Index("GLI", "Green Leaf Index", _RGB, "(2 * green - red - blue) / (2 * green + red + blue)",
          lambda r, g, b: _ratio(2 * g - r - b, 2 * g, r, b),
          "ratio", "https://doi.org/10.1080/10106040108542184", _ONE),
    Index("NGRDI", "Normalized Green Red Difference Index", ("red", "green"), "(green - red) / (green + red)",
          lambda r, g: _difference(g, r), "ratio", "https://doi.org/10.1016/0034-4257(79)90013-0", _ONE),
    Index("VARI", "Visible Atmospherically Resistant Index", _RGB, "(green - red) / (green + red - blue)",
          lambda r, g, b: _ratio(g - r, g, r, -b), "ratio", "https://doi.org/10.1016/S0034-4257(01)00289-9", _ANY),
    Index("TGI", "Triangular Greenness Index", _RGB, "-0.5 * (190 * (red - green) - 120 * (red - blue))",
          lambda r, g, b: -0.5 * (190 * (r - g) - 120 * (r - b)),
          "linear", "https://doi.org/10.1016/j.jag.2012.07.020", "-95 to 95"),
    Index("RGBVI", "Red Green Blue Vegetation Index", _RGB,
          "(green ** 2 - blue * red) / (green ** 2 + blue * red)",
          lambda r, g, b: _difference(g**2, b * r), "ratio", "https://doi.org/10.1016/j.jag.2015.02.012", _ONE),
    Index("MGRVI", "Modified Green Red Vegetation Index", ("red", "green"),
          "(green ** 2 - red ** 2) / (green ** 2 + red ** 2)",
          lambda r, g: _difference(g**2, r**2), "ratio", "https://doi.org/10.1016/j.jag.2015.02.012", _ONE),
    Index("GCC", "Green Chromatic Coordinate", _RGB, "green / (red + green + blue)",
          lambda r, g, b: _ratio(g, r, g, b), "ratio", "https://doi.org/10.1016/0034-4257(87)90088-5", "0 to 1"),
    Index("IKAW", "Kawashima Index", ("red", "blue"), "(red - blue) / (red + blue)",
          lambda r, b: _difference(r, b), "ratio", "https://doi.org/10.1006/anbo.1997.0544", _ONE, greener=False),
    Index("NDVI", "Normalized Difference Vegetation Index", ("nir", "red"), "(nir - red) / (nir + red)",
          lambda n, r: _difference(n, r), "ratio", "https://ntrs.nasa.gov/citations/19740022614", _ONE),
    Index("GNDVI", "Green Normalized Difference Vegetation Index", ("nir", "green"), "(nir - green) / (nir + green)",
          lambda n, g: _difference(n, g), "ratio", "https://doi.org/10.1016/S0034-4257(96)00072-7", _ONE),
    Index("NDREI", "Normalized Difference Red Edge Index", ("nir", "red_edge"),
          "(nir - red_edge) / (nir + red_edge)",
          lambda n, e: _difference(n, e), "ratio", "https://doi.org/10.1016/1011-1344(93)06963-4", _ONE),
    Index("SAVI", "Soil-Adjusted Vegetation Index", ("nir", "red"), "(1 + 1.0) * (nir - red) / (nir + red + 1.0)",
          lambda n, r: (1 + _L) * _ratio(n - r, n, r, _L),
          "additive", "https://doi.org/10.1016/0034-4257(88)90106-X", _ONE),
    Index("OSAVI", "Optimized Soil-Adjusted Vegetation Index", ("nir", "red"), "(nir - red) / (nir + red + 0.16)",
          lambda n, r: _ratio(n - r, n, r, _OSAVI),
          "additive", "https://doi.org/10.1016/0034-4257(95)00186-7", "-0.86 to 0.86"),
    Index("MSAVI", "Modified Soil-Adjusted Vegetation Index", ("nir", "red"),
          "0.5 * (2 * nir + 1 - ((2 * nir + 1) ** 2 - 8 * (nir - red)) ** 0.5)",
          _msavi, "additive", "https://doi.org/10.1016/0034-4257(94)90134-1", _ONE),
    Index("EVI", "Enhanced Vegetation Index", ("nir", "red", "blue"),
          "2.5 * (nir - red) / (nir + 6.0 * red - 7.5 * blue + 1.0)",
          lambda n, r, b: _GAIN * _ratio(n - r, n, _C1 * r, -_C2 * b, _L),
          "additive", "https://doi.org/10.1016/S0034-4257(96)00112-5", f"{_ANY}, plants 0 to 1"),
    Index("EVI2", "Two-Band Enhanced Vegetation Index", ("nir", "red"),
          "2.5 * (nir - red) / (nir + 2.4 * red + 1.0)",
          lambda n, r: _GAIN * _ratio(n - r, n, _EVI2 * r, _L),
          "additive", "https://doi.org/10.1016/j.rse.2008.06.006", "-0.74 to 1.25"),
    Index("CIG", "Chlorophyll Index Green", ("nir", "green"), "nir / green - 1",
          lambda n, g: _ratio(n, g) - 1, "ratio", "https://doi.org/10.1078/0176-1617-00887", "-1 and more"),
    Index("CIRE", "Chlorophyll Index Red Edge", ("nir", "red_edge"), "nir / red_edge - 1",
          lambda n, e: _ratio(n, e) - 1, "ratio", "https://doi.org/10.1078/0176-1617-00887", "-1 and more"),
    Index("MCARI", "Modified Chlorophyll Absorption in Reflectance Index", ("red_edge", "red", "green"),
          "((red_edge - red) - 0.2 * (red_edge - green)) * (red_edge / red)",
          lambda e, r, g: ((e - r) - 0.2 * (e - g)) * _ratio(e, r),
          "linear", "https://doi.org/10.1016/S0034-4257(00)00113-9", _ANY),
    Index("NIRv", "Near-Infrared Reflectance of Vegetation", ("nir", "red"), "(nir - red) / (nir + red) * nir",
          lambda n, r: _difference(n, r) * n, "linear", "https://doi.org/10.1126/sciadv.1602244", _ONE),
)  # fmt: skip

INDICES: Mapping[str, Index] = {index.name: index for index in _ALL}
"""Short name to index, those of photographs first."""

_ALIASES = {"NDRE": "NDREI"}


def get_index(name: str) -> Index:
    """The index of this short name, in capitals or not; NDRE is NDREI.

    Raises:
        UsageError: there is none; the message has the nearest name.
    """
    known = {short.upper(): short for short in (*INDICES, *_ALIASES)}
    wanted = name.strip().upper()
    if wanted not in known:
        near = difflib.get_close_matches(wanted, list(known), 1, cutoff=0.5)
        hint = f"did you mean {known[near[0]]}?" if near else f"known are {', '.join(INDICES)}"
        raise UsageError(f"no index {name.strip()!r}; {hint}")
    short = known[wanted]
    return INDICES[_ALIASES.get(short, short)]


def compute(index: Index, bands: Mapping[str, ArrayLike]) -> NDArray[np.float32]:
    """An index of some pixels, computed in float64; `bands` maps a role to an array, all of one shape.

    They are reflectances 0 to 1 unless the index is a ratio.

    Returns:
        float32 of that shape; NaN where a denominator is zero but for rounding (a millionth of what it is summed of),
        where a band is not finite, and where the result is no float32.

    Raises:
        UsageError: a band is missing.
    """
    if missing := [role for role in index.roles if role not in bands]:
        raise UsageError(f"{index.name} needs {', '.join(index.roles)}; {', '.join(missing)} not given")
    with np.errstate(all="ignore"):
        values = np.float32(index.function(*(np.asarray(bands[role], np.float64) for role in index.roles)))
    return np.where(np.isfinite(values), values, np.float32(np.nan))
