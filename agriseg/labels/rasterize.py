"""Label rasters on the grid of an image: rasterized polygons, or reprojected labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.features import rasterize
from rasterio.warp import reproject
from rasterio.windows import Window as Box

from agriseg import files
from agriseg.errors import DataError
from agriseg.labels.drawing import Drawing
from agriseg.legend import NODATA, Legend
from agriseg.raster.gdal_env import gdal_calls
from agriseg.raster.header import RasterInfo
from agriseg.raster.safe_open import open_raster
from agriseg.vectors.read import Polygon

_ROWS = 2048  # of a strip that is burnt at once
_TOLD = 12  # remarks on one image


@dataclass(frozen=True)
class Drawn:
    """A rasterized drawing.

    Args:
        pixels: (K,) int64 pixels of each class.
        remarks: warnings.
    """

    pixels: NDArray[np.int64]
    remarks: tuple[str, ...]


def rasterize_polygons(info: RasterInfo, drawing: Drawing, legend: Legend, out: Path, *, alone: bool = True) -> Drawn:
    """Write a label raster on an image's grid.

    A pixel belongs to the shape that contains its centre; of overlapping shapes the later wins. Other pixels are 255,
    unlabelled, or the class `rest` where everything is labelled.

    Args:
        info: has the grid.
        drawing: the labels.
        legend: the classes.
        out: the GeoTIFF to write.
        alone: no other image is labelled, so each class needs pixels here.

    Raises:
        DataError: if alone, a class entirely under later shapes, or no shape on the image.
    """
    features, ids = drawing.shapes, drawing.ids
    with files.draft_of(out) as draft:
        seen = _write(draft, info, drawing, legend)
        hidden = _hidden(info, features, seen.features)
        if alone:
            _check_met(drawing, info, seen)
            _check_lost(drawing.given, features, ids, legend, seen, hidden)
    lost = [
        f"feature {features[i].number} ({features[i].label}) lies under later ones: none of its {count:,} px is left"
        for i, count in hidden.items()
    ]
    return Drawn(seen.classes, tuple(_first([*_odd(features), *lost])))


def _check_met(drawing: Drawing, info: RasterInfo, seen: "_Seen") -> None:
    if drawing.shapes and not seen.features.sum():
        raise DataError(f"{drawing.given}: no polygon meets {info.path.name}; are they of another field?")


def _first(remarks: list[str]) -> list[str]:
    """The first remarks, and the number of the others."""
    more = len(remarks) - _TOLD
    return [*remarks[:_TOLD], f"and {more:,} remarks more of the same kinds"] if more > 0 else remarks


@dataclass(frozen=True)
class _Seen:
    """Pixels of each class (K,), and of each feature (N,)."""

    classes: NDArray[np.int64]
    features: NDArray[np.int64]


def _write(draft: Path, info: RasterInfo, drawing: Drawing, legend: Legend) -> _Seen:
    """Rasterize shapes in order, in strips, and count the visible pixels of each."""
    where = info.georeference
    profile = {
        "driver": "GTiff", "dtype": "uint8", "count": 1, "width": info.width, "height": info.height, "crs": where.crs,
        "transform": where.transform, "nodata": NODATA, "tiled": True, "compress": "deflate", "bigtiff": "IF_SAFER",
    }  # fmt: skip
    shapes = [(each.shape, number) for number, each in enumerate(drawing.shapes, 1) if not each.shape.is_empty]
    of_number = np.concatenate([np.array([NODATA], np.uint8), drawing.ids])
    classes, seen = np.zeros(NODATA + 1, np.int64), np.zeros(len(drawing.shapes) + 1, np.int64)
    with rasterio.open(draft, "w", **profile) as target:
        target.update_tags(AGRISEG_OUTPUT="yes")
        target.write_colormap(1, dict(legend.colormap))
        for top in range(0, info.height, _ROWS):
            place = (0, top, info.width, min(_ROWS, info.height - top))
            numbers = _burnt(shapes, "uint32", place)
            all_seen = _burnt([(each, 1) for each in drawing.inside], "uint8", place)
            ids = np.where(all_seen, drawing.rest, NODATA).astype(np.uint8)
            ids = np.where(numbers, of_number[numbers], ids)
            classes += np.bincount(ids.ravel(), minlength=len(classes))
            seen += np.bincount(numbers.ravel(), minlength=len(seen))
            target.write(ids, 1, window=Box(*place))
    return _Seen(classes[: len(legend)], seen[1:])


def _burnt(
    shapes: Sequence[tuple[shapely.Geometry, int]], dtype: str, place: tuple[int, int, int, int]
) -> NDArray[np.integer[Any]]:
    """Number of the last shape that contains the pixel centre, 0 for none; at (left, top, width, height)."""
    left, top, width, height = place
    if not shapes:
        return np.zeros((height, width), dtype)
    transform = rasterio.Affine.translation(left, top)
    return np.asarray(rasterize(shapes, fill=0, dtype=dtype, out_shape=(height, width), transform=transform))


def _hidden(info: RasterInfo, features: Sequence[Polygon], seen: NDArray[np.int64]) -> dict[int, int]:
    """Features entirely under later ones: index and number of own pixels."""
    found = {index: _own_pixels(info, features[index].shape) for index in np.flatnonzero(seen == 0).tolist()}
    return {index: count for index, count in found.items() if count}


def _own_pixels(info: RasterInfo, shape: shapely.Geometry) -> int:
    """Number of pixels whose centre is in a shape."""
    if shape.is_empty:
        return 0
    corners = shapely.get_coordinates(shapely.envelope(shape))
    left, top = np.maximum(np.floor(corners.min(0)), 0).astype(int).tolist()
    right, bottom = np.minimum(np.ceil(corners.max(0)), (info.width, info.height)).astype(int).tolist()
    if right <= left or bottom <= top:
        return 0
    return int(_burnt([(shape, 1)], "uint8", (left, top, right - left, bottom - top)).sum())


def _check_lost(
    path: Path,
    features: Sequence[Polygon],
    class_ids: NDArray[np.uint8],
    legend: Legend,
    seen: _Seen,
    hidden: Mapping[int, int],
) -> None:
    """Refuse a class entirely under later polygons."""
    for index, count in hidden.items():
        if class_ids[index] != NODATA and not seen.classes[class_ids[index]]:
            raise DataError(
                f"{path}: class {legend.names[class_ids[index]]} has no pixel: feature {features[index].number} "
                f"({count:,} px) lies under later ones, which win; put it behind them (QGIS: Order by expression), or "
                "cut it out of them (QGIS: Difference)"
            )


def reproject_labels(image: Path, labels: Path, out: Path) -> None:
    """Resample a label raster of any CRS and resolution to the grid of an image, nearest neighbour.

    Args:
        image: has the grid.
        labels: class numbers or colours, with a CRS.
        out: the GeoTIFF to write; beyond the labels it is 255, or transparent if they are colours.

    Raises:
        DataError: image or labels have no coordinate reference system, or cannot be read.
    """
    grid, given = RasterInfo.read(image), RasterInfo.read(labels)
    for info in (grid, given):
        if info.georeference.crs is None:
            raise DataError(f"{info.path}: no coordinate reference system, so labels cannot be laid on the image")
    nodata = next((value for value in given.nodata if value is not None), None if given.count > 1 else NODATA)
    veiled = given.count > 1 and nodata is None and not given.alpha  # colours leave no number for what is not there
    profile = {
        "driver": "GTiff", "dtype": given.dtype, "count": given.count + veiled, "width": grid.width,
        "height": grid.height, "crs": grid.georeference.crs, "transform": grid.georeference.transform,
        "nodata": nodata, "tiled": True, "compress": "deflate", "bigtiff": "IF_SAFER",
        **({"photometric": "RGB", "alpha": "YES"} if given.count > 1 else {}),
    }  # fmt: skip
    bands = list(range(1, given.count + 1))
    with (
        files.draft_of(out) as draft,
        gdal_calls(f"{labels}: cannot be laid on {image.name}"),
        open_raster(labels) as source,
        rasterio.open(draft, "w", **profile) as target,
    ):
        target.update_tags(AGRISEG_OUTPUT="yes")
        reproject(
            rasterio.band(source, bands), rasterio.band(target, bands), resampling=Resampling.nearest,
            src_nodata=nodata, dst_nodata=nodata, dst_alpha=given.count + 1 if veiled else 0, tolerance=0,
        )  # fmt: skip


def _odd(features: Sequence[Polygon]) -> list[str]:
    """What is odd about polygons: invalid, empty or smaller than a pixel, overlapping with another class."""
    found = []
    for each in features:
        if each.shape.is_empty:
            found.append(f"feature {each.number} is empty")
        elif not each.shape.is_valid:
            found.append(f"feature {each.number}: {shapely.is_valid_reason(each.shape)}")
        elif each.shape.area < 1:
            found.append(f"feature {each.number} is smaller than a pixel")
    return found + _overlaps([each for each in features if each.shape.is_valid and not each.shape.is_empty])


def _overlaps(features: Sequence[Polygon]) -> list[str]:
    """Pairs of different classes that share more than a pixel."""
    shapes = np.array([each.shape for each in features], object)
    found = []
    for first, second in sorted(shapely.STRtree(shapes).query(shapes, predicate="intersects").T.tolist()):
        one, other = features[first], features[second]
        if first < second and one.label != other.label:
            shared = one.shape.intersection(other.shape).area
            if shared > 1:
                found.append(
                    f"features {one.number} ({one.label}) and {other.number} ({other.label}) overlap by "
                    f"{shared:,.0f} px; the later one wins"
                )
    return found
