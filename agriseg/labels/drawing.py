"""Label shapes of an image in pixel coordinates, from vector files and annotations."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from agriseg.annotations.shapes import AnnotatedImage, Runs
from agriseg.errors import DataError, UsageError
from agriseg.labels.clicks import Clicks, grown_shapes, radii, single_points
from agriseg.labels.label_set import LabelRequest
from agriseg.labels.raster import value_text
from agriseg.legend import NODATA
from agriseg.raster.header import RasterInfo
from agriseg.vectors.features import moved
from agriseg.vectors.read import Polygon, read_polygons, read_shapes

_DECIMALS = 6  # of a pixel; smaller differences come from the rounding of a change of coordinates
_ABOVE = 1.0  # pixels beyond an edge, where a click of a person may lie


@dataclass(frozen=True)
class Drawing:
    """Shapes in pixel coordinates of an image: x to the right, y down, (0, 0) the outer corner of the first pixel.

    Args:
        path: of their file.
        shapes: polygons; a later one covers an earlier one.
        ids: (N,) uint8 class of each; 255 for unlabelled.
        grown: number of the first shapes that are made from clicks; the others are those of the file.
        clicks: the points of the file.
        remarks: warnings about them.
        inside: polygons within which everything is labelled.
        rest: class id of the ground under no shape within them.
    """

    path: Path
    shapes: tuple[Polygon, ...]
    ids: NDArray[np.uint8]
    inside: tuple[shapely.Geometry, ...]
    rest: int
    grown: int
    clicks: Clicks
    remarks: tuple[str, ...]


def drawing_of_polygons(info: RasterInfo, path: Path, request: LabelRequest) -> Drawing:
    """Shapes of a vector file, transformed to the pixels of an image.

    If the image has no CRS, coordinates are pixels: x counts columns; y counts rows downward, or upward as in QGIS if
    it is negative.

    Raises:
        InputMissing, DataError: as `read_shapes`; or an unknown class.
    """
    return _drawing(info, path, _in_pixels(info, path, request.options.column), request)


def drawing_of_annotations(info: RasterInfo, path: Path, annotated: AnnotatedImage, request: LabelRequest) -> Drawing:
    """Annotations of an image.

    Raises:
        DataError: annotations of an image of another size, or an unknown class.
    """
    size = annotated.size or (info.width, info.height)
    if size != (info.width, info.height):
        raise DataError(
            f"{path}: drawn on {annotated.names[0]} of {size[0]} x {size[1]} px, but {info.path.name} has "
            f"{info.width} x {info.height}; give the image that was drawn on, or annotate this one"
        )
    shapes = []
    for number, each in enumerate(annotated.shapes, 1):
        form = each.form
        if isinstance(form, Runs):
            if form.left + form.width > info.width or form.top + form.height > info.height:
                raise DataError(
                    f"{path}: mask {number} of {annotated.names[0]} reaches beyond the image; draw it again"
                )
            form = form.outline()
        shapes.append(Polygon(number, form, each.label))
    return _drawing(info, path, shapes, request)


def _drawing(info: RasterInfo, path: Path, shapes: Sequence[Polygon], request: LabelRequest) -> Drawing:
    area = request.options.area
    inside = area_in_pixels(info, area) if area else []
    rest = 0
    if request.options.rest is not None:
        if request.options.rest not in request.classes:
            raise UsageError(f"--rest {request.options.rest} is no class; expected one of {', '.join(request.classes)}")
        rest = request.classes.index(request.options.rest)
        inside = inside or [shapely.box(0, 0, info.width, info.height)]
    shapes = single_points(shapes)
    ids = _class_ids(shapes, path, request)
    clicked = grown_shapes(info, shapes, ids, request.classes, request.options)
    drawn = _widened(info, [shapes[i] for i in clicked.drawn], request.options.point_radius)
    return Drawing(
        path, (*clicked.grown, *drawn), np.concatenate([clicked.grown_ids, ids[clicked.drawn]]), tuple(inside), rest,
        len(clicked.grown), clicked.clicks, clicked.remarks,
    )  # fmt: skip


def area_in_pixels(info: RasterInfo, path: Path) -> list[shapely.Geometry]:
    """Polygons of a vector file in pixel coordinates of an image, as those of `--area`; errors as of `read_shapes`."""
    return [each.shape for each in _in_pixels(info, path, None)]


def _in_pixels(info: RasterInfo, path: Path, column: str | None) -> list[Polygon]:
    where = info.georeference
    if where.crs is None:
        return _upright(path, read_shapes(path, None, column))
    read = read_polygons if column is None else read_shapes
    shapes = read(path, where.crs, column)
    placed = [moved(each.shape, ~where.transform) for each in shapes]
    rounded = [shapely.transform(shape, lambda xy: np.round(xy, _DECIMALS)) for shape in placed]
    return [replace(each, shape=shape) for each, shape in zip(shapes, rounded, strict=True)]


def _upright(path: Path, shapes: list[Polygon]) -> list[Polygon]:
    """Rows downward; QGIS counts them upward from 0 for an image without CRS."""
    y = shapely.get_coordinates([each.shape for each in shapes])[:, 1]
    if not y.size or y.min() >= -_ABOVE:
        return shapes
    if y.max() > _ABOVE:
        raise DataError(f"{path}: y from {y.min():g} to {y.max():g}, expected pixels, all from 0 up or all from 0 down")
    return [replace(each, shape=shapely.transform(each.shape, lambda xy: xy * (1, -1))) for each in shapes]


def _widened(info: RasterInfo, shapes: Sequence[Polygon], radius: str | None) -> list[Polygon]:
    """The shapes with points and lines buffered by the radius; without one they are the pixels that they touch."""
    if radius is None or all("Polygon" in each.shape.geom_type for each in shapes):
        return list(shapes)
    across = radii(info, "--point-radius", radius)

    def widened(shape: shapely.Geometry) -> shapely.Geometry:
        if "Polygon" in shape.geom_type:
            return shape
        disc = shapely.buffer(shapely.transform(shape, lambda xy: xy / across), 1, quad_segs=32)
        return shapely.transform(disc, lambda xy: xy * across)

    return [replace(each, shape=widened(each.shape)) for each in shapes]


def _class_ids(shapes: Sequence[Polygon], path: Path, request: LabelRequest) -> NDArray[np.uint8]:
    """(N,) class of each shape by its name or its number among the values; 255 for unlabelled."""
    known = {name: number for number, name in enumerate(request.classes)}
    known |= {value_text(value): number for number, value in enumerate(request.options.values or ())}
    known |= {value_text(value): NODATA for value in request.options.unlabelled}
    for old, new in request.options.rename:
        if new and new not in request.classes:
            raise UsageError(f"--rename {old}={new}: {new} is no class; expected one of {', '.join(request.classes)}")
    known |= {old: known[new] if new else NODATA for old, new in request.options.rename}
    labels = [(each.label or "").strip() for each in shapes]
    unknown = Counter(label for label in labels if label not in known)
    if unknown:
        raise DataError(f"{path}: {_unknown_classes(unknown, request)}")
    return np.array([known[label] for label in labels], np.uint8)


def _unknown_classes(unknown: Counter[str], request: LabelRequest) -> str:
    """The message about names and numbers that are no class."""
    listed = ", ".join(f"{_shown(name) or 'without a name'} ({count:,})" for name, count in unknown.most_common(4))
    more = f" and {len(unknown) - 4} more" if len(unknown) > 4 else ""
    first, target = _shown(next(iter(unknown))), request.classes[-1][:20]
    fault = f"class {listed}{more} is not in the legend ({', '.join(request.classes)[:40]})"
    if request.options.values is None and all(re.fullmatch(r"-?\d+", name) for name in unknown):
        numbers = ",".join(map(str, range(len(request.classes))))
        return f"{fault}; say each class's number, such as --values {numbers}"
    return f"{fault}; --rename {first}={target} makes it one, --rename {first}= leaves it unlabelled"


def _shown(name: str) -> str:
    """The start of a name, without control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:20])
