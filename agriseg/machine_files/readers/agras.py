"""Read the files for DJI Agras with Pillow and pyshp, which share nothing with GDAL.

Sources: TIFF 6.0 (tags 258 to 339); OGC 19-008r4, GeoTIFF 1.1 (tags 33550, 33922 and 34735).
"""

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from agriseg.machine_files.readers.read_rates import ReadFile, ReadGrid
from agriseg.machine_files.readers.shapefile_set import read_polygons

_TAGS = {258: 32, 259: 1, 277: 1, 339: 3}  # bits, no compression, bands, floating point
_KEYS = {1024: 2, 1025: 1, 2048: 4326}  # geographic; a pixel is an area; EPSG:4326
_SCALE, _TIE, _KEY_DIRECTORY, _GDAL_NODATA = 33550, 33922, 34735, 42113
_SAME = 1e-9  # degrees


def read_agras(path: Path) -> ReadFile:
    """Rates and boundary in a zip with the folders of an SD card.

    Raises:
        ValueError, KeyError, zipfile.BadZipFile, OSError: it is not of the form that is specified.
    """
    with zipfile.ZipFile(path) as archive:
        rasters = [name for name in archive.namelist() if name.startswith("DJI/Rx/") and name.endswith(".tiff")]
        if len(rasters) != 1:
            raise ValueError(f"{len(rasters)} rasters in DJI/Rx, expected one")
        raster = archive.read(rasters[0])
        world = archive.read(rasters[0].removesuffix(".tiff") + ".tfw")
        shapes = {part: archive.read(f"DJI/Shapefile/field_boundary.{part}") for part in ("shp", "shx", "dbf", "prj")}
    return ReadFile(_grid(raster, world), "", read_polygons(shapes)[0])


def _grid(raster: bytes, world: bytes) -> ReadGrid:
    with Image.open(io.BytesIO(raster), formats=["TIFF"]) as image:
        tags = image.tag_v2  # type: ignore[attr-defined]
        wrong = {tag: tags.get(tag) for tag, wanted in _TAGS.items() if _first(tags.get(tag, 1)) != wanted}
        if wrong or _GDAL_NODATA in tags:
            raise ValueError(f"tags {wrong or _GDAL_NODATA} are not those of uncompressed float32 without nodata")
        directory = tags[_KEY_DIRECTORY]
        keys = {directory[at]: directory[at + 3] for at in range(4, len(directory), 4)}
        if any(keys.get(key) != wanted for key, wanted in _KEYS.items()):
            raise ValueError("the GeoTIFF is not in EPSG:4326 with pixels as areas")
        across, down = tags[_SCALE][:2]
        tie = tags[_TIE]
        rates = np.asarray(image, np.float64)
    west, north = tie[3] - tie[0] * across, tie[4] + tie[1] * down
    expected = (across, 0, 0, -down, west + across / 2, north - down / 2)
    lines = [float(line) for line in world.split()]
    if len(lines) != len(expected) or not np.allclose(lines, expected, rtol=0, atol=_SAME):
        raise ValueError("the world file says another place than the GeoTIFF")
    return ReadGrid(west, north - len(rates) * down, across, down, rates[::-1])


def _first(value: object) -> object:
    return value[0] if isinstance(value, tuple) else value
