"""Label rasters on the grid of an image, from polygons or other label rasters."""

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
from agriseg.labels.clicks import Clicks
from agriseg.labels.drawing import Drawing
from agriseg.legend import NODATA, Legend
from agriseg.raster.gdal_env import gdal_calls
from agriseg.raster.header import RasterInfo
from agriseg.raster.safe_open import open_raster
from agriseg.vectors.read import Polygon

_ROWS = 2048  # of a strip that is rasterized at once
_SHOWN = 12  # remarks on one image


@dataclass(frozen=True)
class Drawn:
    """A rasterized drawing: (K,) int64 pixels of each class, warnings, and the points of the file."""

    pixels: NDArray[np.int64]
    remarks: tuple[str, ...]
    clicks: Clicks


def rasterize_polygons(info: RasterInfo, drawing: Drawing, legend: Legend, out: Path, *, alone: bool = True) -> Drawn:
    """Write a label raster on an image's grid.

    A pixel belongs to the polygon that contains its centre, or to the point or line on it; of overlapping shapes the
    later wins. Other pixels are 255, unlabelled, or the class `rest` where everything is labelled. If the image is
    `alone`, each class needs pixels here.

    Raises:
        DataError: if alone, a class entirely under later shapes, or no shape on the image.
    """
    features = drawing.shapes[drawing.grown :]
    with files.draft_of(out) as draft:
        visible = _write(draft, info, drawing, legend)
        hidden = _hidden(info, features, visible.features[drawing.grown :])
        if alone:
            if drawing.shapes and not visible.features.any():
                raise DataError(f"{drawing.path}: no shape meets {info.path.name}; are they of another field?")
            _check_hidden(drawing, legend, visible, hidden)
    remarks = [*drawing.remarks, *_remarks_on_shapes(features)] + [
        f"feature {features[i].number} ({features[i].label}) lies under later ones: none of its {count:,} px is left"
        for i, count in hidden.items()
    ]
    more = [f"and {len(remarks) - _SHOWN:,} remarks more of the same kinds"] if len(remarks) > _SHOWN else []
    return Drawn(visible.classes, (*remarks[:_SHOWN], *more), drawing.clicks)


@dataclass(frozen=True)
class _Visible:
    """Visible pixels of each class (K,), and of each feature (N,)."""

    classes: NDArray[np.int64]
    features: NDArray[np.int64]


def _write(draft: Path, info: RasterInfo, drawing: Drawing, legend: Legend) -> _Visible:
    """Rasterize shapes in order, in strips, and count the visible pixels of each."""
    where = info.georeference
    profile = {
        "driver": "GTiff", "dtype": "uint8", "count": 1, "width": info.width, "height": info.height, "crs": where.crs,
        "transform": where.transform, "nodata": NODATA, "tiled": True, "compress": "deflate", "bigtiff": "IF_SAFER",
    }  # fmt: skip
    shapes = _Stack.of([each.shape for each in drawing.shapes])
    inside_shapes = _Stack.of(drawing.inside)
    id_of_number = np.concatenate([np.array([NODATA], np.uint8), drawing.ids])
    classes, features = np.zeros(NODATA + 1, np.int64), np.zeros(len(drawing.shapes) + 1, np.int64)
    with rasterio.open(draft, "w", **profile) as target:
        target.update_tags(AGRISEG_OUTPUT="yes")
        target.write_colormap(1, dict(legend.colormap))
        for top in range(0, info.height, _ROWS):
            place = (0, top, info.width, min(_ROWS, info.height - top))
            numbers = _rasterized(shapes.on_rows(top, place[3]), "uint32", place)
            inside = _rasterized([(shape, 1) for shape, _ in inside_shapes.on_rows(top, place[3])], "uint8", place)
            ids = np.where(inside, drawing.rest, NODATA).astype(np.uint8)
            ids = np.where(numbers, id_of_number[numbers], ids)
            classes += np.bincount(ids.ravel(), minlength=len(classes))
            features += np.bincount(numbers.ravel(), minlength=len(features))
            target.write(ids, 1, window=Box(*place))
    return _Visible(classes[: len(legend)], features[1:])


@dataclass(frozen=True)
class _Stack:
    """Shapes in the order in which they are drawn, with their lowest and highest row (N, 2)."""

    shapes: Sequence[shapely.Geometry]
    rows: NDArray[np.float64]

    @classmethod
    def of(cls, shapes: Sequence[shapely.Geometry]) -> "_Stack":
        """Empty shapes have rows NaN."""
        return cls(shapes, shapely.bounds(np.array(shapes, object)).reshape(-1, 4)[:, [1, 3]])

    def on_rows(self, top: int, height: int) -> list[tuple[shapely.Geometry, int]]:
        """The shapes that may touch these rows, each with its number from 1."""
        touch = (self.rows[:, 0] <= top + height) & (self.rows[:, 1] >= top)
        return [(self.shapes[i], i + 1) for i in np.flatnonzero(touch).tolist()]


def _rasterized(
    shapes: Sequence[tuple[shapely.Geometry, int]], dtype: str, place: tuple[int, int, int, int]
) -> NDArray[np.integer[Any]]:
    """(height, width) number of the last shape on the pixel, 0 for none."""
    left, top, width, height = place
    if not shapes:
        return np.zeros((height, width), dtype)
    transform = rasterio.Affine.translation(left, top)
    return np.asarray(rasterize(shapes, fill=0, dtype=dtype, out_shape=(height, width), transform=transform))


def _hidden(info: RasterInfo, features: Sequence[Polygon], visible: NDArray[np.int64]) -> dict[int, int]:
    """Features entirely under later ones: index and number of own pixels."""
    counts = {index: _own_pixels(info, features[index].shape) for index in np.flatnonzero(visible == 0).tolist()}
    return {index: count for index, count in counts.items() if count}


def _own_pixels(info: RasterInfo, shape: shapely.Geometry) -> int:
    """Number of pixels of a shape."""
    if shape.is_empty:
        return 0
    bounds = shapely.bounds(shape)
    left, top = np.maximum(np.floor(bounds[:2]), 0).astype(int).tolist()
    right, bottom = np.minimum(np.floor(bounds[2:]) + 1, (info.width, info.height)).astype(int).tolist()
    if right <= left or bottom <= top:
        return 0
    return int(_rasterized([(shape, 1)], "uint8", (left, top, right - left, bottom - top)).sum())


def _check_hidden(drawing: Drawing, legend: Legend, visible: _Visible, hidden: Mapping[int, int]) -> None:
    """Refuse a class entirely under later polygons."""
    for index, count in hidden.items():
        class_id, number = drawing.ids[drawing.grown + index], drawing.shapes[drawing.grown + index].number
        if class_id != NODATA and not visible.classes[class_id]:
            raise DataError(
                f"{drawing.path}: class {legend.names[class_id]} has no pixel: feature {number} ({count:,} px) lies "
                "under later ones, which win; put it behind them (QGIS: Order by expression), or cut it out of them "
                "(QGIS: Difference)"
            )


def reproject_labels(image: Path, labels: Path, out: Path) -> None:
    """Resample a label raster of any CRS and resolution to the grid of an image, nearest neighbour.

    Beyond the labels the result is 255, or transparent if they are colours.

    Raises:
        DataError: image or labels have no coordinate reference system, or cannot be read.
    """
    grid, stored = RasterInfo.read(image), RasterInfo.read(labels)
    for info in (grid, stored):
        if info.georeference.crs is None:
            raise DataError(f"{info.path}: no coordinate reference system, so labels cannot be laid on the image")
    nodata = next((value for value in stored.nodata if value is not None), None if stored.count > 1 else NODATA)
    add_alpha = stored.count > 1 and nodata is None and not stored.alpha  # no colour is free for nodata
    profile = {
        "driver": "GTiff", "dtype": stored.dtype, "count": stored.count + add_alpha, "width": grid.width,
        "height": grid.height, "crs": grid.georeference.crs, "transform": grid.georeference.transform,
        "nodata": nodata, "tiled": True, "compress": "deflate", "bigtiff": "IF_SAFER",
        **({"photometric": "RGB", "alpha": "YES"} if stored.count > 1 else {}),
    }  # fmt: skip
    bands = list(range(1, stored.count + 1))
    with (
        files.draft_of(out) as draft,
        gdal_calls(f"{labels}: cannot be laid on {image.name}"),
        open_raster(labels) as source,
        rasterio.open(draft, "w", **profile) as target,
    ):
        target.update_tags(AGRISEG_OUTPUT="yes")
        reproject(
            rasterio.band(source, bands), rasterio.band(target, bands), resampling=Resampling.nearest,
            src_nodata=nodata, dst_nodata=nodata, dst_alpha=stored.count + 1 if add_alpha else 0, tolerance=0,
        )  # fmt: skip


def _remarks_on_shapes(features: Sequence[Polygon]) -> list[str]:
    """Remarks on polygons that are invalid, empty or smaller than a pixel, or overlap with another class."""
    remarks = []
    for each in features:
        if each.shape.is_empty:
            remarks.append(f"feature {each.number} is empty")
        elif not each.shape.is_valid:
            remarks.append(f"feature {each.number}: {shapely.is_valid_reason(each.shape)}")
        elif "Polygon" in each.shape.geom_type and each.shape.area < 1:
            remarks.append(f"feature {each.number} is smaller than a pixel")
    return remarks + _overlaps([each for each in features if each.shape.is_valid and not each.shape.is_empty])


def _overlaps(features: Sequence[Polygon]) -> list[str]:
    """Remarks on pairs of different classes that share more than a pixel."""
    shapes = np.array([each.shape for each in features], object)
    remarks = []
    for first, second in sorted(shapely.STRtree(shapes).query(shapes, predicate="intersects").T.tolist()):
        one, other = features[first], features[second]
        if first < second and one.label != other.label:
            shared = one.shape.intersection(other.shape).area
            if shared > 1:
                remarks.append(
                    f"features {one.number} ({one.label}) and {other.number} ({other.label}) overlap by "
                    f"{shared:,.0f} px; the later one wins"
                )
    return remarks
