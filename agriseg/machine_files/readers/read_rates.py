"""What a reader finds in a machine's files: rates by longitude and latitude, and the boundary of the field."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import shapely
from numpy.typing import NDArray

from agriseg.machine_files.ground import polygon_areas, strip_areas
from agriseg.units import HECTARE


class Rates(Protocol):
    """Rates on the ground."""

    def at(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N,) rates at places in degrees; 0 where the file says nothing."""

    @property
    def amount(self) -> float:
        """What all cells take together, litres or kilograms."""

    @property
    def treated_hectares(self) -> float:
        """Ground with a rate above 0."""

    @property
    def hectares(self) -> float:
        """Ground that the file says a rate for."""


@dataclass(frozen=True)
class ReadGrid:
    """Cells along the degrees.

    Args:
        west, south: corner of the first cell.
        across, up: sides of a cell, degrees.
        rates: (rows, cols) from south to north, per hectare.
    """

    west: float
    south: float
    across: float
    up: float
    rates: NDArray[np.float64]

    def at(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N,) rates at places in degrees; 0 outside."""
        rows, cols = self.rates.shape
        col = np.floor((lon - self.west) / self.across).astype(np.int64)
        row = np.floor((lat - self.south) / self.up).astype(np.int64)
        inside = (col >= 0) & (col < cols) & (row >= 0) & (row < rows)
        found = np.zeros(lon.shape)
        found[inside] = self.rates[row[inside], col[inside]]
        return found

    @cached_property
    def _cell_hectares(self) -> NDArray[np.float64]:
        south = self.south + np.arange(len(self.rates)) * self.up
        return strip_areas(south, south + self.up, self.across) / HECTARE

    @property
    def amount(self) -> float:
        """What all cells take together."""
        return float(self.rates.sum(axis=1) @ self._cell_hectares)

    @property
    def treated_hectares(self) -> float:
        """Ground with a rate above 0."""
        return float((self.rates > 0).sum(axis=1) @ self._cell_hectares)

    @property
    def hectares(self) -> float:
        """Ground of the grid."""
        return float(self._cell_hectares.sum() * self.rates.shape[1])


@dataclass(frozen=True)
class ReadZones:
    """Polygons in degrees with a rate per hectare each."""

    polygons: NDArray[np.object_]
    rates: NDArray[np.float64]

    def at(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N,) rates at places in degrees; 0 outside, NaN where polygons of different rates overlap."""
        places, zones = shapely.STRtree(self.polygons).query(shapely.points(lon, lat), predicate="intersects")
        low, high = np.full(lon.shape, np.inf), np.full(lon.shape, -np.inf)
        np.minimum.at(low, places, self.rates[zones])
        np.maximum.at(high, places, self.rates[zones])
        return np.where(np.isinf(low), 0.0, np.where(low == high, low, np.nan))

    @cached_property
    def _hectares(self) -> NDArray[np.float64]:
        return polygon_areas(self.polygons) / HECTARE

    @property
    def amount(self) -> float:
        """What all polygons take together."""
        return float(self.rates @ self._hectares)

    @property
    def treated_hectares(self) -> float:
        """Ground with a rate above 0."""
        return float(self._hectares[self.rates > 0].sum())

    @property
    def hectares(self) -> float:
        """Ground of the polygons."""
        return float(self._hectares.sum())


@dataclass(frozen=True)
class ReadFile:
    """What a file says.

    Args:
        rates: on the ground.
        unit: such as l/ha; '' where the format names none.
        boundary: polygons of the field in degrees, (N,); empty where the format has none.
    """

    rates: Rates
    unit: str
    boundary: NDArray[np.object_]
