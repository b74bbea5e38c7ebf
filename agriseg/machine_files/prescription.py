"""A prescription: one rate for each cell of a grid over a field."""

from dataclasses import dataclass
from enum import Enum

import numpy as np
import shapely
from numpy.typing import NDArray

from agriseg.errors import DataError
from agriseg.raster.georeference import Georeference
from agriseg.units import HECTARE


class RateUnit(Enum):
    """What is applied on a hectare; the value is how people write it."""

    LITRES = "l/ha"
    KILOGRAMS = "kg/ha"

    @property
    def amount(self) -> str:
        """Unit of an amount: l or kg."""
        return self.value.removesuffix("/ha")


@dataclass(frozen=True)
class Prescription:
    """A rate for each cell.

    Args:
        name: of the files.
        georeference: of the cells, as if they were pixels; its transform takes (0, 0) to the corner of the first cell.
            It is rotated if the cells are turned to the line of work.
        rates: (rows, cols) float64 in `unit`, 0 where nothing is applied; never negative or NaN.
        boundary: of the field, longitude and latitude, `OGC:CRS84`.
        product: that is applied, for people; may be empty.

    Raises:
        DataError: a rate that is negative or no number.
    """

    name: str
    georeference: Georeference
    rates: NDArray[np.float64]
    unit: RateUnit
    boundary: shapely.MultiPolygon
    product: str = ""

    def __post_init__(self) -> None:
        if not (np.isfinite(self.rates).all() and (self.rates >= 0).all()):
            raise DataError(f"{self.name}: a rate is negative or no number; expected {self.unit.value} of 0 or more")

    def cell_areas(self) -> NDArray[np.float64]:
        """(rows, cols) square metres of each cell on the WGS 84 ellipsoid; DataError where the ground is unknown."""
        areas = self.georeference.each_pixel_area(*self.rates.shape)
        if areas is None:
            raise DataError(f"{self.name}: the ground of the cells is unknown; give the raster a CRS: gdal_edit.py")
        return areas

    @property
    def treated_hectares(self) -> float:
        """Ground of all cells with a rate above 0."""
        return float(self.cell_areas()[self.rates > 0].sum()) / HECTARE

    @property
    def amount(self) -> float:
        """Litres or kilograms that all cells take together."""
        return float((self.cell_areas() * self.rates).sum()) / HECTARE
