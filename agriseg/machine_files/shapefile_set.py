"""Shapefiles with the rates as polygons, in the folder of the zip that a machine asks for."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray

from agriseg.errors import StorageError
from agriseg.machine_files import dbf
from agriseg.machine_files.archive import write_archive
from agriseg.machine_files.fit import BeyondLimit, Fitted
from agriseg.machine_files.profiles import MachineProfile
from agriseg.machine_files.zones import zones_of
from agriseg.vectors.features import LONLAT
from agriseg.vectors.ogr import OGR_ERRORS, reason

_PARTS = (".shp", ".shx", ".prj")  # the table is written without GDAL


def write_shapefile_set(item: Fitted, profile: MachineProfile, path: Path) -> None:
    """Write a zip with the parts of a shapefile.

    Raises:
        BeyondLimit: more polygons or bytes than the machine takes.
    """
    zones = zones_of(item.prescription)
    limit = profile.limits.features
    if limit is not None and len(zones) > limit:
        raise BeyondLimit(
            f"{item.stem}: {len(zones):,} areas of one rate, {profile.id} takes {limit}; give larger cells: --cell"
        )
    columns: dict[str, NDArray[Any]] = {profile.column: zones.rates}
    if profile.unit_column:
        columns[profile.unit_column] = np.full(len(zones), item.prescription.unit.value, object)
    parts = shapefile_parts(zones.in_crs(LONLAT, path), columns, item.stem, path)
    _check_bytes(item, profile, parts)
    folder = f"{profile.folder}/" if profile.folder else ""
    write_archive(path, {f"{folder}{name}": data for name, data in parts.items()})


def shapefile_parts(
    polygons: NDArray[np.object_], columns: Mapping[str, NDArray[Any]], stem: str, path: Path
) -> dict[str, bytes]:
    """Name to bytes of each part of a shapefile of polygons in degrees; StorageError if it cannot be made."""
    with TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / f"{stem}.shp"
        try:
            pyogrio.raw.write(
                made, shapely.to_wkb(polygons), [np.zeros(len(polygons), np.uint8)], ["NONE"],
                driver="ESRI Shapefile", geometry_type="Polygon", crs="EPSG:4326",
            )  # fmt: skip
            parts = {f"{stem}{part}": made.with_suffix(part).read_bytes() for part in _PARTS}
            return parts | {f"{stem}.dbf": dbf.table(columns)}
        except (OSError, *OGR_ERRORS) as error:
            raise StorageError(f"{path}: cannot be written ({reason(made, error)}); check the disk") from error


def _check_bytes(item: Fitted, profile: MachineProfile, parts: Mapping[str, bytes]) -> None:
    limit, largest = profile.limits.bytes, sum(map(len, parts.values()))
    if limit is not None and largest > limit:
        raise BeyondLimit(
            f"{item.stem}: {largest:,} bytes, {profile.id} takes {limit:,}; give larger cells: --cell, or fewer rates"
        )
