"""The numbers of a map that are compared with those of other dates."""

from dataclasses import dataclass

from agriseg.analysis.area_table import AreaRow, recorded_areas, total_hectares
from agriseg.analysis.record import LayersRecord
from agriseg.maps.reader import FinishedMap


@dataclass(frozen=True)
class MapSummary:
    """One map in numbers. Hectares are None if the ground is unknown.

    Args:
        stem: first part of the names of the map's files.
        date: date of the flight, ISO 8601; None if no name contains it.
        made: when the map was finished, ISO 8601.
        rows: areas of the whole map, one for each class.
        verdict: green, amber or red.
        model: fingerprint of the model.
    """

    stem: str
    date: str | None
    made: str
    rows: tuple[AreaRow, ...]
    affected: tuple[str, ...]
    verdict: str
    model: str

    @classmethod
    def of(cls, run: FinishedMap, layers: LayersRecord | None) -> "MapSummary":
        """Of a finished map, and of its layers if there are any."""
        record = run.record
        rows = _counted(run) if layers is None else recorded_areas(layers)[: len(run.legend)]
        affected = () if layers is None else layers.affected
        return cls(
            run.stem, record.input.acquired, record.finished, rows, affected, record.verdict.colour,
            record.model.fingerprint,
        )  # fmt: skip

    @property
    def hectares(self) -> float | None:
        """Mapped area."""
        return total_hectares(self.rows)

    @property
    def affected_hectares(self) -> float | None:
        """Area of the affected classes; None without any."""
        return total_hectares(self._affected_rows) if self.affected else None

    @property
    def affected_share(self) -> float | None:
        """Share of the affected classes, 0 to 1; None without any."""
        if not self.affected:
            return None
        return float(sum(row.share_of_field or 0 for row in self._affected_rows))

    @property
    def _affected_rows(self) -> list[AreaRow]:
        return [row for row in self.rows if row.class_name in self.affected]


def _counted(run: FinishedMap) -> tuple[AreaRow, ...]:
    """Rows of a map without layers, from the counts of the run; shares by area where that is known."""
    areas = [entry.hectares for entry in run.record.classes if entry.hectares is not None]
    sizes = areas if len(areas) == len(run.legend) else [entry.pixels for entry in run.record.classes]
    total = sum(sizes)
    return tuple(
        AreaRow(run.stem, entry.name, entry.pixels, entry.hectares, share_of_field=size / total if total else None)
        for entry, size in zip(run.record.classes, sizes, strict=True)
    )
