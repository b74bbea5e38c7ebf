"""What a person can choose for the layers of a map."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from agriseg import units
from agriseg.errors import UsageError

FORMATS = ("geojson", "fgb", "parquet")


@dataclass(frozen=True)
class LayerOptions:
    """Which layers are made, and how; the fields are the flags of `agriseg layers`.

    Args:
        fields: boundaries; the layers end there, and the area table has a part for each.
        field_id: column with their names.
        plots: of a trial; they get a tidy table.
        plot_id: column with their names.
        plot_buffer: metres that each plot grows by; below 0 its border is left out.
        mmu: minimum mapping unit, square metres; smaller patches take the nearest class.
        smooth: half-width in metres of the window whose majority each pixel takes; 0 for none.
        simplify: metres by which the outlines of polygons may be simplified; 0 for none.
        formats: of the polygons, beside the GeoPackage.
        affected: class to the percent that it counts in severity and scouting; empty leaves both out.
        ground: classes that are no plants; None takes those whose names say it.
        cell: side of a cell of the severity grid, metres.
        zones: number of management zones; 0 for none.
        zones_by: raster of numbers, such as an index, that the zones go by; severity if None.
        width: working width, metres: side of the zones' cells; the severity's if None.
        heading: of the work, degrees; or auto.
        scout: number of places worth a walk.
        scout_distance: metres that these lie apart at least; None chooses by the size of the field.
    """

    fields: Path | None = None
    field_id: str | None = None
    plots: Path | None = None
    plot_id: str | None = None
    plot_buffer: float = 0.0
    mmu: float = 0.0
    smooth: float = 0.0
    simplify: float = 0.0
    formats: tuple[str, ...] = ()
    affected: Mapping[str, float] | None = None
    ground: tuple[str, ...] | None = None
    cell: float = 2.0
    zones: int = 0
    zones_by: Path | None = None
    width: float | None = None
    heading: float | str = 0.0
    scout: int = 5
    scout_distance: float | None = None

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
        trouble = bool(self.affected)
        return [
            ("--field-id", bool(self.field_id) and self.fields is None, "--fields; name the file of the boundaries"),
            ("--plot-id", bool(self.plot_id) and no_plots, "--plots; name the file of the plots"),
            ("--plot-buffer", bool(self.plot_buffer) and no_plots, "--plots; name the file of the plots"),
            ("--zones", bool(self.zones) and not (trouble or self.zones_by), "--affected CLASS or --zones-by RASTER"),
            ("--zones-by", self.zones_by is not None and not self.zones, "--zones; say how many zones"),
        ]

    @classmethod
    def of(cls, **flags: Any) -> "LayerOptions":
        """Options from flags as people write them: `mmu="0.25m2"`, `cell="2m"`, `affected="weed,rust=30%"`.

        Raises:
            UsageError: a flag that is unknown or cannot be read.
        """
        known = [option.name for option in fields(cls)]
        for name in flags:
            if name not in known:
                raise UsageError(f"unknown option {name!r}; known are {', '.join(known)}")
        read: dict[str, Callable[[Any], Any]] = {
            "fields": Path, "plots": Path, "zones_by": Path, "plot_buffer": units.signed_metres,
            "mmu": units.square_metres, "smooth": units.metres, "simplify": units.metres, "affected": _weights,
            "ground": _names, "cell": units.metres, "width": units.metres, "heading": _heading,
            "scout_distance": units.metres, "formats": tuple,
        }  # fmt: skip
        return cls(**{name: read.get(name, lambda v: v)(value) for name, value in flags.items() if value is not None})


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


def _heading(value: float | str) -> float | str:
    try:
        return "auto" if value == "auto" else float(value)
    except ValueError as error:
        raise UsageError(f"--heading {value}, expected degrees such as 45, or auto") from error
