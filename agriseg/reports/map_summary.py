"""What one flight over one field comes to, in the few numbers that are compared with those of other days."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agriseg.maps.reader import FinishedMap
from agriseg.maps.record import RunRecord


@dataclass(frozen=True)
class MapSummary:
    """One map in numbers. Hectares are None where the ground is unknown.

    Args:
        stem: of the map's files.
        date: of the flight, ISO 8601; None if no name tells it.
        made: when the map was finished, ISO 8601.
        rows: a mapping a class, as `table.AreaRow` has it: class, pixels, hectares, share_of_field and so on.
        affected: names of the classes that are trouble.
        verdict: green, amber or red.
        model: fingerprint of the model.
    """

    stem: str
    date: str | None
    made: str
    rows: tuple[Mapping[str, Any], ...]
    affected: tuple[str, ...]
    verdict: str
    model: str

    @classmethod
    def of(cls, run: FinishedMap, layers: Mapping[str, Any] | None) -> "MapSummary":
        """Of a finished map, and of its layers if there are any."""
        record = run.record
        rows = _counted(record) if layers is None else layers["areas"][: len(run.legend)]
        affected = {} if layers is None else layers["options"]["affected"] or {}
        return cls(
            run.stem, record.input.acquired, record.finished, tuple(rows), tuple(affected), record.verdict.colour,
            record.model.fingerprint,
        )  # fmt: skip

    @property
    def day(self) -> str:
        """To sort by: the flight's, or when the map was made."""
        return self.date or self.made

    @property
    def hectares(self) -> float | None:
        """Mapped."""
        return _total(self.rows)

    @property
    def affected_hectares(self) -> float | None:
        """Of the classes that are trouble; None without any."""
        return _total(self._trouble) if self.affected else None

    @property
    def affected_share(self) -> float | None:
        """Of what is mapped, 0 to 1; None without such classes."""
        if not self.affected:
            return None
        return float(sum(row["share_of_field"] or 0 for row in self._trouble))

    @property
    def _trouble(self) -> list[Mapping[str, Any]]:
        return [row for row in self.rows if row["class"] in self.affected]


def _counted(record: RunRecord) -> list[dict[str, Any]]:
    """Rows of a map without layers: what the run has counted."""
    by_area = all(entry.hectares is not None for entry in record.classes)
    unit = "hectares" if by_area else "pixels"
    total = sum(getattr(entry, unit) for entry in record.classes)
    return [
        {
            "class": entry.name, "pixels": entry.pixels, "hectares": entry.hectares,
            "share_of_field": getattr(entry, unit) / total if total else None,
        }
        for entry in record.classes
    ]  # fmt: skip


def _total(rows: Any) -> float | None:
    areas = [row["hectares"] for row in rows]
    return None if any(area is None for area in areas) else float(sum(areas))
