"""The options of a prescription: what is applied where, in cells of which size."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agriseg import units
from agriseg.errors import UsageError
from agriseg.legend import DOUBTFUL
from agriseg.options.layers import heading_of
from agriseg.options.table import Options, option

RATE_UNITS = ("l/ha", "kg/ha")
TREAT, SKIP = "treat", "skip"
"""What is done with doubtful pixels."""

LonLatLine = tuple[float, float, float, float]


def _names(value: str | Sequence[str]) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    return tuple(name.strip() for name in parts if name.strip())


def _rate(value: float | str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise UsageError(f"--rate {value}, expected a number; give its unit apart: --rate 200 --unit l/ha") from error


def _rates(value: str | Path | Mapping[str, float]) -> Mapping[str, float] | Path:
    """Rate by zone, or the CSV file with them."""
    if not isinstance(value, str):
        return value
    if "=" not in value:
        return Path(value)
    rates = {}
    for part in _names(value):
        name, _, number = (each.strip() for each in part.rpartition("="))
        if not name or name in rates:
            raise UsageError(f"--rates {part}: expected each zone once, with its rate, such as 'zone 1=150,zone 2=100'")
        try:
            rates[name] = float(number)
        except ValueError as error:
            raise UsageError(f"--rates {part}: expected a number, such as '{name}=150'") from error
    return rates


def _line(value: str | Path | Sequence[float]) -> LonLatLine | Path:
    """Longitude and latitude of two points, or the file with the line."""
    if isinstance(value, Path):
        return value
    parts = value.split(",") if isinstance(value, str) else value
    if isinstance(value, str) and len(parts) != 4:
        return Path(value)
    try:
        west, south, east, north = (float(part) for part in parts)
    except ValueError as error:
        raise UsageError(f"--ab {value}, expected LON,LAT,LON,LAT in degrees, or a file with one line") from error
    return west, south, east, north


def _paths(value: str | Path | Sequence[str | Path]) -> tuple[Path, ...]:
    return (Path(value),) if isinstance(value, str | Path) else tuple(Path(each) for each in value)


@dataclass(frozen=True)
class RxOptions(Options):
    """What is applied where; the fields are flags of `agriseg rx`.

    Lengths are in metres, `min_area` in square metres, rates in `unit`. Nothing that decides where a machine works has
    a silent default: `cell` and `unit` must be given, and with `spot` also `min_area` and `doubtful`.

    Raises:
        UsageError: a value is missing or makes no sense, alone or beside another.
    """

    spot: tuple[str, ...] = option((), "Classes to treat, such as weed.", "LIST", parse=_names)
    rate: float | None = option(None, "Rate of application, in --unit.", "NUMBER", parse=_rate)
    unit: str | None = option(None, "Unit of all rates: l/ha or kg/ha.", "UNIT")
    zones: Path | None = option(
        None, "Polygons with a rate each (GeoJSON, Shapefile, KML, GeoPackage, or a layer of one, north.gpkg:zones).",
        "FILE", parse=Path,
    )  # fmt: skip
    rates: Mapping[str, float] | Path | None = option(
        None, "Rate of each zone: 'zone 1=150,zone 2=100', or a CSV file with the columns zone and rate.", "RATES",
        parse=_rates,
    )  # fmt: skip
    cell: float | None = option(None, "Side of a cell, such as the width of a section.", "LENGTH", parse=units.metres)
    min_area: float | None = option(
        None, "Smallest area of --spot classes in a cell for the cell to be treated; 0cm2 for any.", "AREA",
        parse=units.square_metres,
    )  # fmt: skip
    margin: float = option(0.0, "Also treat cells within this distance of plants.", "LENGTH", parse=units.metres)
    heading: float | str | None = option(
        None, "Working direction, degrees clockwise from the map's top; default auto.", "DEGREES", parse=heading_of
    )
    ab: LonLatLine | Path | None = option(
        None, "Line of work that the edges of cells lie on: LON,LAT,LON,LAT, or a file with one line.", "LINE",
        parse=_line,
    )  # fmt: skip
    fields: Path | None = option(
        None, "Field boundaries: only cells that lie wholly inside are treated.", "FILE", parse=Path
    )
    field_id: str | None = option(None, "Column of the fields' names; default 'name' if there is one.", "COLUMN")
    exclude: tuple[Path, ...] = option(
        (), "Shapes that no treated cell may touch, such as water.", "FILE", multiple=True, parse=_paths
    )
    exclude_buffer: float = option(0.0, "Distance to keep from --exclude shapes.", "LENGTH", parse=units.metres)
    threshold: float = option(
        DOUBTFUL, "Confidence from which a pixel is no longer doubtful; default 0.7.", "SHARE",
        parse=lambda value: units.share(str(value)),
    )  # fmt: skip
    doubtful: str | None = option(
        None, "Treat or skip pixels that may or may not be of --spot classes: treat or skip.", "NAME"
    )
    product: str = option("", "Name of the product, for people.", "TEXT", parse=str.strip)

    def __post_init__(self) -> None:
        self._check_given()
        self._check_numbers()
        for flag, is_alone, remedy in self._alone:
            if is_alone:
                raise UsageError(f"{flag} without {remedy}")

    def _check_given(self) -> None:
        """Refuse what is missing."""
        if not self.spot and self.zones is None:
            raise UsageError("nothing says where to apply; name classes with --spot weed, or areas with --zones FILE")
        needed: list[tuple[str, object, str]] = [
            ("--cell", self.cell, "the width that the machine switches, such as --cell 0.5m"),
            ("--unit", self.unit, "the unit of the rates: --unit l/ha or --unit kg/ha"),
        ]
        if self.zones is None:
            needed += [("--rate", self.rate, "how much is applied, such as --rate 200 --unit l/ha")]
        else:
            needed += [("--rates", self.rates, "a rate for each zone, such as --rates 'zone 1=150,zone 2=100'")]
        if self.spot:
            needed += [
                ("--min-area", self.min_area, "the area of plants from which a cell counts, such as --min-area 25cm2"),
                ("--doubtful", self.doubtful, "what happens to doubtful pixels: --doubtful treat or --doubtful skip"),
            ]
        for flag, value, what in needed:
            if value is None:
                raise UsageError(f"{flag} is missing; give {what}")

    def _check_numbers(self) -> None:
        if self.unit not in RATE_UNITS:
            raise UsageError(f"--unit {self.unit}, expected {' or '.join(RATE_UNITS)}")
        if self.doubtful not in (None, TREAT, SKIP):
            raise UsageError(f"--doubtful {self.doubtful}, expected treat or skip")
        if self.cell is None or not 0 < self.cell < math.inf:
            raise UsageError(f"--cell {self.cell}, expected a length above 0, such as 0.5m")
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise UsageError(f"--rate {self.rate:g}, expected a number above 0, such as 200")
        for name in ("min_area", "margin", "exclude_buffer"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise UsageError(f"--{name.replace('_', '-')} {value:g}, expected 0 or more")
        if self.min_area is not None and self.min_area > self.cell**2:
            raise UsageError(
                f"--min-area {self.min_area:g} m2 is more than a cell of {self.cell:g} m has, so none is treated"
            )
        if not 0.5 <= self.threshold <= 1:
            raise UsageError(f"--threshold {self.threshold:g}, expected 0.5 to 1, such as 0.7")
        if isinstance(self.heading, float) and not math.isfinite(self.heading):
            raise UsageError(f"--heading {self.heading}, expected degrees such as 45, or auto")

    @property
    def _alone(self) -> list[tuple[str, bool, str]]:
        """Flags that mean nothing without another, or beside one: the flag, whether that is so, and the remedy."""
        no_spot = not self.spot
        return [
            ("--rate", self.rate is not None and self.zones is not None, "a use: --zones has its own; give --rates"),
            ("--rates", self.rates is not None and self.zones is None, "--zones; name the file of the zones"),
            ("--min-area", self.min_area is not None and no_spot, "--spot; name the classes to treat"),
            ("--doubtful", self.doubtful is not None and no_spot, "--spot; name the classes to treat"),
            ("--margin", bool(self.margin) and no_spot, "--spot; name the classes to treat"),
            ("--field-id", self.field_id is not None and self.fields is None, "--fields; name the boundaries' file"),
            ("--exclude-buffer", bool(self.exclude_buffer) and not self.exclude, "--exclude; name the shapes' file"),
            ("--heading", self.heading is not None and self.ab is not None, "a use: --ab has one; leave one out"),
        ]
