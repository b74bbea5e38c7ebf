"""Files for DJI Agras drones: a raster of rates with its world file, and the boundary of the field."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import rasterio

from agriseg.errors import DataError
from agriseg.machine_files.archive import write_archive
from agriseg.machine_files.fit import Fitted
from agriseg.machine_files.prescription import Prescription
from agriseg.machine_files.profiles import MachineProfile
from agriseg.machine_files.shapefile_set import shapefile_parts
from agriseg.raster.gdal_env import gdal_calls

_BOUNDARY = "field_boundary"
_RASTER, _SHAPES = "DJI/Rx", "DJI/Shapefile"
_HEADER = 4096  # bytes of a GeoTIFF beside its pixels, at most, without the table of strips
_STRIP_ENTRY = 8


def write_agras(item: Fitted, profile: MachineProfile, path: Path) -> None:
    """Write a zip with the folders of an SD card; DataError for a raster that is too large."""
    _check_bytes(item, profile)
    boundary = np.array(item.prescription.boundary.geoms, object)
    columns = {"NAME": np.full(len(boundary), item.stem, object)}
    shapes = shapefile_parts(boundary, columns, _BOUNDARY, path)
    write_archive(
        path,
        {
            f"{_RASTER}/{item.stem}.tiff": _geotiff(item.prescription, path),
            f"{_RASTER}/{item.stem}.tfw": _world_file(item.prescription),
            **{f"{_SHAPES}/{name}": data for name, data in shapes.items()},
        },
    )


def _check_bytes(item: Fitted, profile: MachineProfile) -> None:
    rows, cols = item.prescription.rates.shape
    size, limit = rows * (cols * 4 + _STRIP_ENTRY) + _HEADER, profile.limits.bytes
    if limit is not None and size > limit:
        raise DataError(
            f"{item.stem}: {rows} x {cols} cells make a raster of {size:,} bytes, {profile.id} takes {limit:,}; "
            "give larger cells: --cell"
        )


def _geotiff(prescription: Prescription, path: Path) -> bytes:
    """Float32, uncompressed, without a nodata value: no rate is 0."""
    rows, cols = prescription.rates.shape
    with TemporaryDirectory(dir=path.parent) as folder, gdal_calls(f"{path}: cannot be written; check the disk"):
        made = Path(folder) / "rates.tiff"
        with rasterio.open(
            made, "w", driver="GTiff", width=cols, height=rows, count=1, dtype="float32", crs="EPSG:4326",
            transform=prescription.georeference.transform, compress=None,
        ) as raster:  # fmt: skip
            raster.write(prescription.rates.astype(np.float32), 1)
        return made.read_bytes()


def _world_file(prescription: Prescription) -> bytes:
    """Sides of a pixel, and the centre of the first one."""
    transform = prescription.georeference.transform
    x, y = transform @ (0.5, 0.5)
    numbers = (transform.a, transform.d, transform.b, transform.e, x, y)
    return "".join(f"{number:.15f}\n" for number in numbers).encode()
