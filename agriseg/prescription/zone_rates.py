"""A rate for each cell, by the zone that its centre lies in."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from agriseg.errors import DataError, UsageError
from agriseg.options.table import nearest
from agriseg.prescription.cells import Cells
from agriseg.raster.safe_open import check_regular
from agriseg.vectors.read import Field, read_fields

_COLUMNS = ("zone", "rate")


def zone_rates(path: Path, rates: Mapping[str, float] | Path, cells: Cells) -> NDArray[np.float64]:
    """(rows, cols) rate of each cell; 0 where its centre is in no zone. On the line between two, the first counts.

    Args:
        path: polygons, each with a name.
        rates: of the zones by name, or the CSV file with them.

    Raises:
        InputMissing, DataError: a file cannot be read, zones with different rates overlap, or none is on the map.
        UsageError: a zone has no rate, or a rate no zone.
    """
    zones = read_fields(path, cells.georeference.crs)
    by_name = rates_in_csv(rates) if isinstance(rates, Path) else rates
    _check_rates(path, zones, by_name)
    x, y = np.meshgrid(np.arange(cells.shape[1]) + 0.5, np.arange(cells.shape[0]) + 0.5)
    result, within = np.zeros(cells.shape), np.zeros(cells.shape, bool)
    for number, zone in enumerate(zones):
        shape = cells.in_cells(zone.shape)
        shapely.prepare(shape)
        clash = within & (result != by_name[zone.name])
        if clash.any() and shapely.contains_xy(shape, x[clash], y[clash]).any():
            _check_overlap(path, zones[: number + 1], by_name)
        inside = shapely.intersects_xy(shape, x, y) & ~within
        result[inside] = by_name[zone.name]
        within |= inside
    if not within.any():
        raise DataError(f"{path}: none of its zones is on the map; check the CRS of both")
    return result


def rates_in_csv(path: Path) -> dict[str, float]:
    """Rate by zone from a CSV file with the columns zone and rate.

    Raises:
        InputMissing, DataError: it cannot be read.
    """
    check_regular(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: no CSV of UTF-8 text; export it again") from error
    rates: dict[str, float] = {}
    for number, row in enumerate(rows, 2):
        name, rate = ((row.get(column) or "").strip() for column in _COLUMNS)
        if not name or name in rates:
            raise DataError(f"{path}: line {number}: expected each zone once, in columns named zone and rate")
        try:
            rates[name] = float(rate)
        except ValueError as error:
            raise DataError(
                f"{path}: line {number}: the rate {rate!r} of {name} is no number; write it as 150"
            ) from error
    return rates


def _check_rates(path: Path, zones: Sequence[Field], rates: Mapping[str, float]) -> None:
    names = [zone.name for zone in zones]
    for name, rate in rates.items():
        if name not in names:
            raise UsageError(f"--rates {name}: {path} has no such zone; {nearest(name, names)}")
        if not 0 <= rate < math.inf:
            raise UsageError(f"--rates {name}={rate:g}, expected a number of 0 or more")
    for name in names:
        if name not in rates:
            raise UsageError(f"--rates has none for {name!r} of {path}; give it one, 0 for nothing: '{name}=0'")


def _check_overlap(path: Path, zones: Sequence[Field], rates: Mapping[str, float]) -> None:
    """Refuse the last zone if a zone with another rate lies under it."""
    last = zones[-1]
    for zone in zones[:-1]:
        if rates[zone.name] != rates[last.name] and shapely.relate_pattern(zone.shape, last.shape, "T********"):
            raise DataError(
                f"{path}: zones {zone.name!r} and {last.name!r} overlap and have different rates; cut one of them"
            )
