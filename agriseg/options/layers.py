"""The options of the layers that are made from a finished map."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agriseg import units
from agriseg.errors import UsageError
from agriseg.options.table import Options, option

FORMATS = ("geojson", "fgb", "parquet")


def _names(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value


def _weights(value: str | Mapping[str, float]) -> Mapping[str, float]:
    """Percent by class: 100 for a class alone."""
    if not isinstance(value, str):
        return value
    weights = {}
    for part in _names(value):
        name, _, percent = part.partition("=")
        weights[name] = 100 * units.share(percent) if percent else 100.0
        if not 0 < weights[name] <= 100:
            raise UsageError(f"--affected {part}: expected more than 0 and at most 100%, such as {name}=30%")
    return weights


def heading_of(value: float | str) -> float | str:
    """Degrees, or auto; UsageError for another text."""
    try:
        return "auto" if value == "auto" else float(value)
    except ValueError as error:
        raise UsageError(f"--heading {value}, expected degrees such as 45, or auto") from error


@dataclass(frozen=True)
class LayerOptions(Options):
    """Which layers are made, and how; the fields are the flags of `agriseg layers`.

    Lengths are in metres, `mmu` in square metres. `affected` maps a class to its weight in severity and scouting, in
    percent; without it both are left out. `ground` None selects the classes whose names mean soil.
    """

    fields: Path | None = option(
        None, "Field boundaries (GeoJSON, Shapefile, KML, GeoPackage, or a layer of one, farm.gpkg:fields): layers are "
        "clipped to them, and areas are given per field.", "FILE", parse=Path,
    )  # fmt: skip
    field_id: str | None = option(None, "Column of the fields' names; default 'name' if there is one.", "COLUMN")
    plots: Path | None = option(None, "Trial plots: adds a table of plot, trait and value.", "FILE", parse=Path)
    plot_id: str | None = option(None, "Column of the plots' names.", "COLUMN")
    plot_buffer: float = option(
        0.0, "Grow each plot by this; -0.1m leaves its border out.", "LENGTH", parse=units.signed_metres
    )
    mmu: float = option(
        0.0, "Minimum mapping unit, such as 0.25m2: a smaller patch takes the class of the nearest larger one.", "AREA",
        parse=units.square_metres,
    )  # fmt: skip
    smooth: float = option(0.0, "Half-width of the majority filter.", "LENGTH", parse=units.metres)
    simplify: float = option(0.0, "Tolerance for simplifying polygon outlines.", "LENGTH", parse=units.metres)
    formats: tuple[str, ...] = option(
        (), "Polygons also as geojson, fgb or parquet.", "NAME", names=("--format",), multiple=True, parse=tuple
    )
    affected: Mapping[str, float] | None = option(
        None, "Affected classes, for severity and scouting: weed, or with weights: rust_low=30%,dead.", "LIST",
        parse=_weights,
    )  # fmt: skip
    ground: tuple[str, ...] | None = option(
        None, "Classes that are not plants, for shares of the canopy; default: those named soil, ground or background.",
        "LIST", parse=_names,
    )  # fmt: skip
    cell: float = option(2.0, "Cell side of the severity grid; default 2m.", "LENGTH", parse=units.metres)
    zones: int = option(0, "Number of management zones, by severity.", "N", span=(2, 9))
    zones_by: Path | None = option(
        None, "Raster that the zones follow instead, such as a vegetation index.", "RASTER", parse=Path
    )
    width: float | None = option(None, "Working width: cell side of the zones.", "LENGTH", parse=units.metres)
    heading: float | str = option(
        0.0, "Working direction, degrees clockwise from the map's top; or auto.", "DEGREES", parse=heading_of
    )
    scout: int = option(5, "Number of scouting points; default 5.", "N", span=(0, None))
    scout_distance: float | None = option(
        None, "Minimum distance between scouting points.", "LENGTH", parse=units.metres
    )

    def __post_init__(self) -> None:
        for name in ("mmu", "smooth", "simplify", "zones", "scout"):
            if getattr(self, name) < 0:
                raise UsageError(f"--{name} {getattr(self, name)}, expected 0 or more")
        for name in ("cell", "width", "scout_distance"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"--{name.replace('_', '-')} {value}, expected metres above 0")
        for format_ in self.formats:
            if format_ not in FORMATS:
                raise UsageError(f"--format {format_}, expected {', '.join(FORMATS)}; the GeoPackage is always written")
        for flag, missing, remedy in self._alone:
            if missing:
                raise UsageError(f"{flag} without {remedy}")

    @property
    def _alone(self) -> list[tuple[str, bool, str]]:
        """Flags that mean nothing without another: the flag, whether that is so here, and what is missing."""
        no_plots = self.plots is None
        affected = bool(self.affected)
        return [
            ("--field-id", bool(self.field_id) and self.fields is None, "--fields; name the file of the boundaries"),
            ("--plot-id", bool(self.plot_id) and no_plots, "--plots; name the file of the plots"),
            ("--plot-buffer", bool(self.plot_buffer) and no_plots, "--plots; name the file of the plots"),
            ("--zones", bool(self.zones) and not (affected or self.zones_by), "--affected CLASS or --zones-by RASTER"),
            ("--zones-by", self.zones_by is not None and not self.zones, "--zones; say how many zones"),
        ]
