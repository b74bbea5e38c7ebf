"""What each machine's files must obey: a table, `data/machines.toml`, with the source of each rule."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, TypeAdapter

from agriseg.errors import UsageError

TABLE = Path(__file__).parents[1] / "data" / "machines.toml"
_DBF_NAME = 10  # characters of a column's name
_SHORTEST_TEXT = 8  # of a text in a file, such as "200 l/ha"


@dataclass(frozen=True)
class Limits:
    """What a machine takes at most; None where no source states a limit.

    Args:
        bytes: of all parts of a shapefile, or of a raster.
        features: polygons.
        rates: different ones above 0.
        columns: of numbers.
        hectares: of the ground that the cells cover.
        text_length: characters of a name within the file.
        short_names: names of files of 8 characters, upper case letters and digits.
    """

    bytes: int | None = None
    features: int | None = None
    rates: int | None = None
    columns: int | None = None
    hectares: float | None = None
    text_length: int | None = None
    short_names: bool = False

    def __post_init__(self) -> None:
        for name in ("bytes", "features", "rates", "columns", "hectares", "text_length"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"limit {name} is {value}, expected more than 0, or nothing")
        if self.text_length is not None and self.text_length < _SHORTEST_TEXT:
            raise ValueError(f"text_length is {self.text_length}, expected at least {_SHORTEST_TEXT}")


@dataclass(frozen=True)
class Source:
    """A rule, and the document that states it."""

    rule: str
    source: str


@dataclass(frozen=True)
class MachineProfile:
    """The form of a machine's files.

    Args:
        id: how people name it.
        title: for readers.
        format: which writer and reader.
        grid: `lonlat` for cells along the degrees of EPSG:4326, `any` for turned cells in any CRS.
        sources: of each rule.
        folder: of the files in the zip, '' for none.
        column: of the rates.
        unit_column: of the unit as text, '' for none.
        unit_in_name: whether the name of the files ends in the unit, for who must choose it at the import.
        units: of the rates that it takes.
        version, grid_type: of ISO 11783-10; 0 for other formats.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    id: str
    title: str
    format: Literal["taskdata", "shapefile", "agras", "geopackage"]
    grid: Literal["lonlat", "any"]
    sources: tuple[Source, ...]
    limits: Limits = Limits()
    folder: str = ""
    column: str = ""
    unit_column: str = ""
    unit_in_name: bool = False
    units: tuple[str, ...] = ("l/ha", "kg/ha")
    version: Literal[0, 3, 4] = 0
    grid_type: Literal[0, 1, 2] = 0

    def __post_init__(self) -> None:
        has_columns, is_taskdata = self.format in ("shapefile", "geopackage"), self.format == "taskdata"
        if has_columns != bool(self.column) or max(len(self.column), len(self.unit_column)) > _DBF_NAME:
            raise ValueError(
                f"{self.id}: column {self.column!r}, expected 1 to {_DBF_NAME} characters for polygons alone"
            )
        if is_taskdata != bool(self.version and self.grid_type):
            raise ValueError(f"{self.id}: version and grid type belong to task data, and to nothing else")
        if is_taskdata and self.grid_type == 1 and self.limits.rates is None:
            raise ValueError(f"{self.id}: grid type 1 needs a limit of rates")
        if not self.sources:
            raise ValueError(f"{self.id}: no source; name the document of each rule")


@cache
def profiles() -> tuple[MachineProfile, ...]:
    """All profiles of the table, checked; ValueError if the table is wrong."""
    return profiles_of(TABLE.read_text("utf-8"))


def profiles_of(text: str) -> tuple[MachineProfile, ...]:
    """The profiles of a table in TOML; ValueError (pydantic) if one is wrong or occurs twice."""
    made = TypeAdapter(tuple[MachineProfile, ...]).validate_python(tomllib.loads(text)["machine"], strict=False)
    names = [profile.id for profile in made]
    if len(set(names)) < len(names):
        raise ValueError(f"a machine occurs twice in {sorted(names)}")
    return made


def load_profile(name: str) -> MachineProfile:
    """The profile of a machine; UsageError for another name."""
    for profile in profiles():
        if profile.id == name:
            return profile
    raise UsageError(f"machine {name!r} is unknown; expected {', '.join(profile.id for profile in profiles())}")
