"""Labels before training: polygons burnt onto an image's grid, and what is wrong with labels."""

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
from agriseg.errors import DataError, UsageError
from agriseg.legend import NODATA, Legend
from agriseg.raster.door import open_raster
from agriseg.raster.gdal import gdal_calls
from agriseg.raster.info import RasterInfo
from agriseg.training.labels import Labels, Value, misfit
from agriseg.training.pairs import Pair, find_pairs
from agriseg.vectors.polygons import Polygon, is_vector, read_polygons

_ROWS = 2048  # of a strip that is burnt at once


def burn(
    image: Path, polygons: Path, column: str, legend: Legend, out: Path, *, area: Path | None = None
) -> NDArray[np.int64]:
    """Write a label raster on an image's grid.

    A pixel belongs to the polygon its centre lies in; of overlapping ones the later wins. What no polygon covers is
    255, nobody knows; inside the area of interest it is the first class, the background.

    Args:
        image: gives the grid.
        polygons: the labels.
        column: that holds class names.
        legend: the classes.
        out: the GeoTIFF to write.
        area: polygons within which everything was labelled.

    Returns:
        (K,) pixels of each class.

    Raises:
        DataError: the image has no place on the ground, a class that the legend lacks, or no polygon that meets it.
    """
    info = RasterInfo.read(image)
    where = info.georeference
    if where.crs is None:
        raise DataError(f"{image}: no coordinate reference system, so polygons cannot be laid on it")
    shapes = _by_class(read_polygons(polygons, where.crs, column), legend, polygons)
    inside = [each.shape for each in read_polygons(area, where.crs)] if area else []
    draft = out.with_name(f".{out.name}.part")
    counts = np.zeros(len(legend), np.int64)
    profile = {
        "driver": "GTiff", "dtype": "uint8", "count": 1, "width": info.width, "height": info.height, "crs": where.crs,
        "transform": where.transform, "nodata": NODATA, "tiled": True, "compress": "deflate", "bigtiff": "IF_SAFER",
    }  # fmt: skip
    with rasterio.open(draft, "w", **profile) as target:
        target.update_tags(AGRISEG_OUTPUT="yes")
        target.write_colormap(1, dict(legend.colormap))
        for top in range(0, info.height, _ROWS):
            shape = min(_ROWS, info.height - top), info.width
            place = {"out_shape": shape, "transform": where.transform @ rasterio.Affine.translation(0, top)}
            ids = rasterize([(each, 0) for each in inside], fill=NODATA, dtype="uint8", **place) if inside else None
            ids = np.full(shape, NODATA, np.uint8) if ids is None else ids
            burnt = rasterize(shapes, fill=NODATA, dtype="uint8", **place)
            ids = np.where(burnt != NODATA, burnt, ids)
            counts += np.bincount(ids.ravel(), minlength=256)[: len(legend)]
            target.write(ids, 1, window=Box(0, top, info.width, shape[0]))
    if not counts.sum():
        draft.unlink()
        raise DataError(f"{polygons}: no polygon meets {image.name}; are they of another field?")
    files.commit(draft, out)
    return counts


def align(image: Path, labels: Path, out: Path) -> None:
    """Write a label raster anew on an image's grid, from any CRS and resolution, by the nearest label.

    Args:
        image: gives the grid.
        labels: class numbers or colours, with a place on the ground.
        out: the GeoTIFF to write; what the labels do not reach is 255 there, or transparent if they are colours.

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
    draft = out.with_name(f".{out.name}.part")
    bands = list(range(1, given.count + 1))
    with (
        gdal_calls(f"{labels}: cannot be laid on {image.name}"),
        open_raster(labels) as source,
        rasterio.open(draft, "w", **profile) as target,
    ):
        target.update_tags(AGRISEG_OUTPUT="yes")
        reproject(
            rasterio.band(source, bands), rasterio.band(target, bands), resampling=Resampling.nearest,
            src_nodata=nodata, dst_nodata=nodata, dst_alpha=given.count + 1 if veiled else 0, tolerance=0,
        )  # fmt: skip
    files.commit(draft, out)


def label_pairs(
    images: Path, labels: Path, label_suffix: str, column: str | None, legend: Legend, folder: Path, *,
    area: Path | None = None, reproject_labels: bool = False,
) -> list[Pair]:  # fmt: skip
    """Images with label rasters; polygons are burnt to one in `folder`.

    Args:
        images, labels, label_suffix: as `find_pairs`; or one image and polygons.
        column: of the polygons, that holds class names.
        legend: the classes.
        folder: for the label raster.
        area: as `burn`.
        reproject_labels: lay label rasters on their images' grids, in `folder`; see `align`.

    Raises:
        UsageError: polygons without a column, or a column without polygons.
    """
    if not is_vector(labels):
        if column is not None or area is not None:
            raise UsageError(f"{labels}: no polygons, so leave the class column and the area out")
        pairs = find_pairs(images, labels, label_suffix)
        return [_aligned(pair, folder) for pair in pairs] if reproject_labels else pairs
    if column is None:
        raise UsageError(f"{labels}: polygons; name the column that holds the class")
    files.make_folder(folder)
    out = folder / f"{images.stem}_labels.tif"
    burn(images, labels, column, legend, out, area=area)
    return [Pair(images, out, labels)]


def _aligned(pair: Pair, folder: Path) -> Pair:
    """The same with labels on the image's grid; those that lie there already stay."""
    if misfit(RasterInfo.read(pair.image), RasterInfo.read(pair.labels)) is None:
        return pair
    files.make_folder(folder)
    out = folder / f"{pair.image.stem}_labels.tif"
    align(pair.image, pair.labels, out)
    return Pair(pair.image, out, pair.labels)


@dataclass(frozen=True)
class Findings:
    """What a look at labels gave.

    Args:
        problems: what would stop a training.
        remarks: what a person should look at.
        pixels: class name to labelled pixels.
        ignored: pixels that nobody labelled.
    """

    problems: tuple[str, ...]
    remarks: tuple[str, ...]
    pixels: Mapping[str, int]
    ignored: int

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "problems": list(self.problems), "remarks": list(self.remarks), "pixels": dict(self.pixels),
            "ignored": self.ignored,
        }  # fmt: skip


def check_rasters(pairs: Sequence[Pair], names: Sequence[str], values: Sequence[Value]) -> Findings:
    """Look at all label rasters before a training does."""
    problems, remarks, ignored = [], [], 0
    counts = np.zeros(len(names), np.int64)
    for pair in pairs:
        try:
            labels = Labels.of(pair.labels, values)
        except DataError as error:
            problems.append(str(error))
            continue
        if problem := misfit(RasterInfo.read(pair.image), labels.info):
            problems.append(problem)
        if strange := labels.unknown():
            listed = ", ".join(f"{value} ({count:,} px)" for value, count in strange.most_common(5))
            problems.append(f"{pair.labels}: no class has {listed}")
            continue
        hidden = [name for name, value in zip(names, values, strict=True) if value in labels.info.nodata]
        if hidden:
            remarks.append(f"{pair.labels}: class {hidden[0]} is the file's nodata value, so it counts as unlabelled")
        for window in labels.windows():
            found = np.bincount(labels.read(window).ravel(), minlength=256)
            counts += found[: len(names)]
            ignored += int(found[NODATA])
    remarks += [f"class {name} is nowhere" for name, count in zip(names, counts, strict=True) if not count]
    return Findings(tuple(problems), tuple(remarks), dict(zip(names, counts.tolist(), strict=True)), ignored)


def check_polygons(image: Path, polygons: Path, column: str, legend: Legend) -> list[str]:
    """What is odd about polygons: invalid, empty or smaller than a pixel, overlapping with another class."""
    info = RasterInfo.read(image)
    if info.georeference.crs is None:
        raise DataError(f"{image}: no coordinate reference system, so polygons cannot be laid on it")
    features = read_polygons(polygons, info.georeference.crs, column)
    _by_class(features, legend, polygons)
    pixel = abs(info.georeference.transform.determinant)
    found = []
    for each in features:
        if each.shape.is_empty:
            found.append(f"feature {each.number} is empty")
        elif not each.shape.is_valid:
            found.append(f"feature {each.number}: {shapely.is_valid_reason(each.shape)}")
        elif each.shape.area < pixel:
            found.append(f"feature {each.number} is smaller than a pixel")
    return found + _overlaps([each for each in features if each.shape.is_valid and not each.shape.is_empty], pixel)


def _overlaps(features: Sequence[Polygon], pixel: float) -> list[str]:
    """Pairs of different classes that share more than a pixel."""
    tree = shapely.STRtree([each.shape for each in features])
    found = []
    for first, second in sorted(tree.query([each.shape for each in features], predicate="intersects").T.tolist()):
        one, other = features[first], features[second]
        if first < second and one.label != other.label:
            shared = one.shape.intersection(other.shape).area
            if shared > pixel:
                found.append(
                    f"features {one.number} ({one.label}) and {other.number} ({other.label}) overlap by "
                    f"{shared / pixel:,.0f} px"
                )
    return found


def _by_class(features: Sequence[Polygon], legend: Legend, path: Path) -> list[tuple[shapely.Geometry, int]]:
    """Shapes with class ids, empty ones left out."""
    strange = sorted({str(each.label) for each in features if each.label not in legend.names})
    if strange:
        raise DataError(f"{path}: class {', '.join(strange)} is not in the legend ({', '.join(legend.names)})")
    return [(each.shape, legend.names.index(each.label)) for each in features if each.label and not each.shape.is_empty]
