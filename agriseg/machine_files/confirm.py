"""Whether a file says what a prescription says: rates at 1,000 places, amount, ground, unit and boundary."""

from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.warp import transform as warp

from agriseg.errors import DataError, StorageError
from agriseg.machine_files.prescription import Prescription
from agriseg.machine_files.readers.read_rates import ReadFile
from agriseg.units import HECTARE

PLACES = 1000
"""Places that are compared: in cells with a rate, in and beside those of their borders, and anywhere around."""

_EDGE = 0.02  # of a cell, by which a place is away from a cell's sides
_RATE = 1e-6  # relative: a float32 has 7 digits
_GROUND = 1e-5  # relative, of areas and amounts
_BOUNDARY = 1e-8  # degrees, 1 mm
_AROUND = 0.1  # of the grid's sides, that places may be outside


def confirm(prescription: Prescription, read: ReadFile, path: Path, seed: int = 0) -> None:
    """Raise `StorageError` if a file that was read says anything else than the prescription."""
    lon, lat, expected = sampled_places(prescription, np.random.default_rng(seed))
    wrong = ~np.isclose(read.rates.at(lon, lat), expected, rtol=_RATE, atol=0)
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        found = float(read.rates.at(lon[at : at + 1], lat[at : at + 1])[0])
        raise _differs(
            path, f"the rate at {lat[at]:.7f}, {lon[at]:.7f} is {found:g}, expected {expected[at]:g} "
            f"(so at {wrong.sum()} of {len(lon):,} places)",
        )  # fmt: skip
    grounds = prescription.cell_areas().sum() / HECTARE
    for what, found, wanted in (
        ("amount", read.rates.amount, prescription.amount),
        ("ground with a rate in ha", read.rates.treated_hectares, prescription.treated_hectares),
        ("ground in ha", read.rates.hectares, grounds),
    ):
        if not np.isclose(found, wanted, rtol=_GROUND, atol=0):
            raise _differs(path, f"the {what} is {found:.8g}, expected {wanted:.8g}")
    if read.unit not in ("", prescription.unit.value):
        raise _differs(path, f"the unit is {read.unit}, expected {prescription.unit.value}")
    if len(read.boundary) and not _same_boundary(prescription.boundary, read.boundary):
        raise _differs(path, "the boundary of the field is another")


def check_field(prescription: Prescription) -> None:
    """Refuse what no machine should get.

    Raises:
        DataError: there is no field, or it is elsewhere than the cells with a rate.
    """
    name = prescription.name
    if prescription.boundary.is_empty or not prescription.boundary.is_valid:
        raise DataError(f"{name}: the boundary is no valid polygon; draw it again, without crossing lines")
    rows, cols = np.nonzero(prescription.rates)
    lon, lat = _lonlat(prescription, np.asarray(cols + 0.5), np.asarray(rows + 0.5))
    reach = _cell_reach(prescription)
    field = prescription.boundary.buffer(reach)
    shapely.prepare(field)
    outside = ~shapely.contains_xy(field, lon, lat)
    if outside.any():
        raise DataError(
            f"{name}: {outside.sum():,} of {len(lon):,} cells with a rate are outside the field; "
            "is the boundary in longitude and latitude, and of this field?"
        )


def sampled_places(
    prescription: Prescription, random: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Longitude, latitude and expected rate of `PLACES` places, none of them near a side of a cell."""
    rows, cols = prescription.rates.shape
    treated, border = (np.argwhere(cells)[:, ::-1] for cells in _treated_and_border(prescription.rates))
    within, beside = (cells[random.integers(0, len(cells), PLACES // 4)] for cells in (treated, border))
    beside = beside + random.integers(-1, 2, beside.shape)
    near = np.concatenate([within, beside]) + _inside(random, PLACES // 2)
    around = np.array([cols, rows]) * _AROUND + 1
    anywhere = random.uniform(-around, np.array([cols, rows]) + around, (PLACES - len(near), 2))
    places = np.concatenate([near, np.floor(anywhere) + _inside(random, len(anywhere))])
    lon, lat = _lonlat(prescription, *places.T)
    return lon, lat, _expected(prescription, lon, lat)


def _treated_and_border(rates: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(rows, cols) cells with a rate, and those of them where the rate beside them is another; else all cells."""
    padded = np.pad(rates, 1)
    others = [padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]
    treated = rates > 0
    if not treated.any():
        return ~treated, ~treated
    return treated, treated & np.any([other != rates for other in others], axis=0)


def _inside(random: np.random.Generator, number: int) -> NDArray[np.float64]:
    return random.uniform(_EDGE, 1 - _EDGE, (number, 2))


def _expected(prescription: Prescription, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) rates by the prescription's own transform, backwards; 0 outside the grid."""
    x, y = np.array(warp("OGC:CRS84", prescription.georeference.crs, lon, lat))
    col, row = (np.floor(part).astype(np.int64) for part in ~prescription.georeference.transform @ (x, y))
    rows, cols = prescription.rates.shape
    inside = (col >= 0) & (col < cols) & (row >= 0) & (row < rows)
    rates = np.zeros(len(lon))
    rates[inside] = prescription.rates[row[inside], col[inside]]
    return rates


def _lonlat(
    prescription: Prescription, cols: NDArray[np.floating[Any]], rows: NDArray[np.floating[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    place = prescription.georeference
    found = place.lonlat(*place.transform @ (np.asarray(cols), np.asarray(rows)))
    if found is None or not np.isfinite(found).all():
        raise DataError(f"{prescription.name}: the cells are nowhere in longitude and latitude; give the raster a CRS")
    return found[0], found[1]


def _cell_reach(prescription: Prescription) -> float:
    """Degrees that cover a cell from its centre."""
    lon, lat = _lonlat(prescription, np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.0, 0.0, 1.0, 1.0]))
    return float(np.hypot(np.ptp(lon), np.ptp(lat)))


def _same_boundary(wanted: shapely.MultiPolygon, found: NDArray[np.object_]) -> bool:
    """Whether the rings are the same, vertex by vertex; formats differ in their direction."""
    polygons = np.array(wanted.geoms, object)
    if len(polygons) != len(found):
        return False
    one, two = (shapely.orient_polygons(each) for each in (polygons, found))
    return bool(shapely.equals_exact(one, two, _BOUNDARY).all())


def _differs(path: Path, what: str) -> StorageError:
    return StorageError(
        f"{path}: what was written is not what can be read back: {what}; report it, and use no such file"
    )
