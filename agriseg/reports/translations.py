"""The languages of the pages: sentences, and formats of numbers."""

import json
from functools import cache
from importlib.resources import files as package_files

from agriseg.errors import UsageError
from agriseg.options.exports import LANGUAGES
from agriseg.units import HECTARE

NOTHING = "\u2013"
"""In place of a number that is not known."""
_SMALL_HA = 0.1  # smaller areas are written in square metres
_MU = 15.0  # per hectare


class Translator:
    """One language, en or zh.

    Raises:
        UsageError: it is another one.
    """

    def __init__(self, lang: str) -> None:
        if lang not in LANGUAGES:
            raise UsageError(f"--lang {lang}, expected {' or '.join(LANGUAGES)}")
        self.lang = lang

    def __call__(self, text: str, **values: object) -> str:
        """A sentence with `{name}` for values, which is its own English."""
        sentence = text if self.lang == "en" else catalogue()[text]
        return sentence.format(**values)

    def label(self, text: str) -> str:
        """A title of a layer, translated if the catalogue has it."""
        return text if self.lang == "en" else catalogue().get(text, text)

    def around(self, text: str, name: str, **values: object) -> tuple[str, str]:
        """The text before and after one value of a sentence, so that the page can emphasise the value."""
        before, _, after = self(text, **values, **{name: "\0"}).partition("\0")
        return before, after

    def area(self, hectares: float | None, upper: float | None = None) -> str:
        """Hectares, or square metres where these are few; `upper` is the upper end of an interval: it sets the unit."""
        if hectares is None:
            return self("unknown")
        largest = hectares if upper is None else upper
        if largest == 0 or largest >= _SMALL_HA:
            return self("{number} ha", number=f"{hectares:,.{2 if hectares >= 10 else 3}f}" if hectares else "0")
        metres = hectares * HECTARE
        return self("{number} m²", number=f"{metres:,.0f}" if metres >= 10 else f"{metres:.2g}")

    def long_area(self, hectares: float) -> str:
        """The same; in Chinese also in mu, the unit of farmers there."""
        area = self.area(hectares)
        if self.lang == "en" or hectares < _SMALL_HA:
            return area
        return self("{area} ({mu} mu)", area=area, mu=f"{hectares * _MU:,.1f}")

    def percent(self, share: float | None) -> str:
        """A share of 0 to 1: `3.1 %`."""
        if share is None:
            return NOTHING
        percent = 100 * share
        return f"{percent:.2g} %" if 0 < percent < 1 else f"{percent:.1f} %"

    def points(self, change: float) -> str:
        """The difference of two shares of 0 to 1: `2.4 percentage points`."""
        return self("{number} percentage points", number=f"{100 * change:.1f}")

    def length(self, metres: float) -> str:
        """`5 cm`, `20 m`, `1.5 km`."""
        if metres >= 1000:
            return f"{metres / 1000:g} km"
        return f"{metres:.3g} m" if metres >= 1 else f"{metres * 100:.3g} cm"


@cache
def catalogue() -> dict[str, str]:
    """English to Chinese."""
    sentences: dict[str, str] = json.loads(package_files("agriseg").joinpath("data/words.zh.json").read_text("utf-8"))
    return sentences
