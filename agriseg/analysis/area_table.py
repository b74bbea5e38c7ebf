"""The area table: hectares of each class, of a whole map or of each field."""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from agriseg.analysis.area_interval import ErrorMatrix
from agriseg.analysis.zonal_stats import ZonalStats
from agriseg.errors import UsageError
from agriseg.legend import Legend
from agriseg.units import HECTARE

GROUND = ("soil", "bare soil", "bare_soil", "ground", "background")
"""Names of classes that are no plants, unless the user says which are."""


@dataclass(frozen=True)
class AreaRow:
    """One class of one field. What cannot be known is None.

    Args:
        field: its name; the map's for all of it.
        class_name: of the class.
        pixels: of it.
        hectares: as the map shows it.
        adjusted_ha, low_ha, high_ha: corrected by the model's validation, with its 95 % interval.
        share_of_field: of the mapped pixels' ground, 0 to 1.
        share_of_canopy: of the plants' ground; None for a class that is none.
        mean_confidence: 0 to 1.
        doubtful_ha: with a confidence below 0.7.
    """

    field: str
    class_name: str
    pixels: int
    hectares: float | None
    adjusted_ha: float | None
    low_ha: float | None
    high_ha: float | None
    share_of_field: float | None
    share_of_canopy: float | None
    mean_confidence: float | None
    doubtful_ha: float | None

    def as_dict(self) -> dict[str, Any]:
        """As JSON values, under the names of the table's columns."""
        values = asdict(self)
        return {("class" if name == "class_name" else name): value for name, value in values.items()}


def ground_classes(legend: Legend, named: Collection[str] | None) -> frozenset[int]:
    """Ids of the classes that are no plants.

    Args:
        legend: of the map.
        named: by the user; None takes those whose names say it.

    Raises:
        UsageError: no such class.
    """
    if named is None:
        return frozenset(entry.id for entry in legend if entry.name.strip().lower() in GROUND)
    return frozenset(class_id(legend, name, "--ground") for name in named)


def class_id(legend: Legend, name: str, flag: str) -> int:
    """Id of a class that a flag names.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in legend.names:
        raise UsageError(f"{flag} {name}: no such class; the map has {', '.join(legend.names)}")
    return legend.names.index(name)


def area_rows(
    field: str, found: ZonalStats, legend: Legend, ground: Collection[int], agreement: ErrorMatrix | None
) -> list[AreaRow]:
    """The rows of one field, a class each.

    Args:
        field: its name.
        found: what it shows.
        legend: of the map.
        ground: ids of classes that are no plants.
        agreement: of the map's model with its labels; None leaves the adjusted areas out.
    """
    known = found.square_metres
    extent = found.pixels.astype(np.float64) if known is None else known  # shares need no metres
    plants = [k for k in range(len(legend)) if k not in ground]
    adjusted = None if agreement is None or known is None else agreement.adjust(known, int(found.pixels.sum()))
    rows = []
    for entry in legend:
        k = entry.id
        area, low, high = (None,) * 3 if adjusted is None else (adjusted.area[k], adjusted.low[k], adjusted.high[k])
        rows.append(
            AreaRow(
                field=field,
                class_name=entry.name,
                pixels=int(found.pixels[k]),
                hectares=None if known is None else _hectares(known[k]),
                adjusted_ha=_hectares(area),
                low_ha=_hectares(low),
                high_ha=_hectares(high),
                share_of_field=_share(extent[k], extent.sum()),
                share_of_canopy=_share(extent[k], extent[plants].sum()) if ground and k in plants else None,
                mean_confidence=_share(found.confidence[k], float(found.pixels[k])),
                doubtful_ha=None if known is None else _hectares(found.doubtful[k]),
            )
        )
    return rows


def _hectares(square_metres: float | None) -> float | None:
    return None if square_metres is None else round(float(square_metres) / HECTARE, 8)


def _share(part: float, whole: float) -> float | None:
    return round(float(part / whole), 8) if whole > 0 else None
