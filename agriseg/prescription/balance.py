"""What of a field and of its spots a prescription treats, and what it leaves out and why."""

from dataclasses import dataclass

import numpy as np
import shapely
from rasterio.crs import CRS
from rasterio.warp import transform as warp

from agriseg.prescription.cells import Cells, Floats
from agriseg.prescription.ground import Ground
from agriseg.prescription.spots import Mask
from agriseg.prescription.treated import CellSpots
from agriseg.units import HECTARE
from agriseg.vectors.features import LONLAT, moved


@dataclass(frozen=True)
class LeftOut:
    """Hectares of spots that are not treated, each counted for the first reason that holds.

    Args:
        outside: in cells outside the field.
        edge: in cells across the edge of the field.
        excluded: in cells too near to an excluded shape.
        no_rate: in cells without a zone, or with one whose rate is 0.
        below_min_area: in cells with less than the smallest area of spots, and beyond the margin of others.
    """

    outside: float
    edge: float
    excluded: float
    no_rate: float
    below_min_area: float

    @property
    def total(self) -> float:
        """Hectares for all reasons."""
        return self.outside + self.edge + self.excluded + self.no_rate + self.below_min_area


@dataclass(frozen=True)
class Balance:
    """What a prescription comes to. All areas are of the WGS 84 ellipsoid.

    Args:
        field_hectares: inside the boundaries; without any, ground with data.
        unmapped_hectares: of the field in cells without data and outside the map: never treated.
        treated_hectares: cells with a rate above 0.
        amount: litres or kilograms on them.
        field_cells, treated_cells: numbers of cells wholly inside the field, and of those with a rate above 0.
        spot_hectares: pixels on all of the map that count as spots; 0 without spot classes.
        left_out: those that are not treated.
        doubtful_hectares: doubtful pixels on all of the map, whether they count or not.
        treated_for_doubt: hectares of treated cells that would not be if doubtful pixels did not count.
    """

    field_hectares: float
    unmapped_hectares: float
    treated_hectares: float
    amount: float
    field_cells: int
    treated_cells: int
    spot_hectares: float
    left_out: LeftOut
    doubtful_hectares: float
    treated_for_doubt: float

    @property
    def doubt_share(self) -> float:
        """Share of the treated ground that is treated for doubt alone; 0 where nothing is treated."""
        return self.treated_for_doubt / self.treated_hectares if self.treated_hectares else 0.0


@dataclass(frozen=True)
class CellRates:
    """(rows, cols) rates: `offered` to each cell by its zone or to all, and `applied` where it is treated."""

    offered: Floats
    applied: Floats


@dataclass(frozen=True)
class FieldArea:
    """Hectares of a field within its boundaries, and of its part beyond the grid of cells."""

    hectares: float
    beyond: float

    @classmethod
    def of(cls, field: shapely.Geometry, cells: Cells) -> "FieldArea":
        """Of boundaries in the CRS of the cells."""
        rows, cols = cells.shape
        beyond = moved(
            shapely.difference(cells.in_cells(field), shapely.box(0, 0, cols, rows)), cells.georeference.transform
        )
        return cls(*(geodesic_hectares(shape, cells.georeference.crs) for shape in (field, beyond)))


def balance_of(
    rates: CellRates, areas: Floats, ground: Ground, spots: CellSpots | None, field: FieldArea | None
) -> Balance:
    """Balance of rates in cells of (rows, cols) square metres.

    Args:
        spots: in each cell; None if zones alone decide.
        field: None if the ground with data is the field.
    """
    treated = rates.applied > 0
    of_cells = areas / HECTARE
    nowhere = np.zeros(areas.shape)
    count, doubtful = (spots.spots / HECTARE, spots.doubtful / HECTARE) if spots else (nowhere, nowhere)
    for_doubt = treated & ~spots.treated_for_certain if spots else treated & False
    unmapped = of_cells[ground.inside & ~ground.mapped].sum()
    return Balance(
        field_hectares=float(ground.valid.sum()) / HECTARE if field is None else field.hectares,
        unmapped_hectares=0.0 if field is None else float(unmapped) + field.beyond,
        treated_hectares=float(of_cells[treated].sum()),
        amount=float((of_cells * rates.applied).sum()),
        field_cells=int(ground.inside.sum()),
        treated_cells=int(treated.sum()),
        spot_hectares=float(count.sum()),
        left_out=_left_out(np.where(treated, 0, count), ground, rates.offered == 0),
        doubtful_hectares=float(doubtful.sum()),
        treated_for_doubt=float(of_cells[for_doubt].sum()),
    )


def geodesic_hectares(shape: shapely.Geometry, crs: CRS) -> float:
    """Hectares of a polygon on the WGS 84 ellipsoid, by Lambert's equal-area projection around its middle."""
    if shape.is_empty:
        return 0.0

    def lonlat(xy: Floats) -> Floats:
        return np.transpose(warp(crs, LONLAT, xy[:, 0], xy[:, 1]))

    on_earth = shapely.transform(shape, lonlat)
    west, south, east, north = shapely.bounds(on_earth)
    plane = CRS.from_user_input(f"+proj=laea +lon_0={(west + east) / 2} +lat_0={(south + north) / 2} +datum=WGS84")
    return float(
        shapely.transform(on_earth, lambda xy: np.transpose(warp(LONLAT, plane, xy[:, 0], xy[:, 1]))).area / HECTARE
    )


def _left_out(hectares: Floats, ground: Ground, without_rate: Mask) -> LeftOut:
    """Hectares of spots in untreated cells, by reason."""
    reasons = [~ground.touched, ~ground.inside, ground.excluded, without_rate, np.ones_like(ground.inside)]
    found, left = [], np.ones_like(ground.inside)
    for reason in reasons:
        found.append(float(hectares[left & reason].sum()))
        left &= ~reason
    return LeftOut(*found)
