"""LabelMe, AnyLabeling and X-AnyLabeling: one JSON file for each image.

Source: https://github.com/wkentaro/labelme, `labelme/_label_file.py`.
"""

import base64
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from PIL import Image

from agriseg.annotations.members import Malformed, base_name, member, points, whole
from agriseg.annotations.shapes import AnnotatedImage, Runs, Shape, box, ellipse, line, point, polygon

_PIXELS = 100_000_000  # of a mask


def read_labelme(tree: Any, path: Path) -> list[AnnotatedImage]:
    """The one image, named in the file or by that of the file; raises `Malformed`."""
    size = None
    if tree.get("imageWidth") is not None or tree.get("imageHeight") is not None:
        size = whole(tree.get("imageWidth"), "imageWidth", 1), whole(tree.get("imageHeight"), "imageHeight", 1)
    shapes = []
    for position, each in enumerate(member(tree, "shapes", list), 1):
        try:
            label = member(each, "label", str)
            shapes += [Shape(label, form) for form in _forms(each)]
        except ValueError as error:
            raise Malformed(f"shape {position}: {error}") from error
    return [AnnotatedImage((base_name(tree.get("imagePath") or path.name), path.name), size, tuple(shapes))]


def _forms(each: Any) -> Iterator[shapely.Geometry | Runs]:
    xy, kind = points(member(each, "points", list)), each.get("shape_type") or "polygon"
    if kind in ("polygon", "rotation") or (kind == "rectangle" and len(xy) == 4):
        yield polygon(xy)
    elif kind == "rectangle":
        (left, top), (right, bottom) = _two(xy, kind)
        yield box(left, top, right - left, bottom - top)
    elif kind == "circle":
        (x, y), edge = _two(xy, kind)
        radius = math.dist((x, y), edge)
        yield ellipse(x, y, radius, radius)
    elif kind in ("line", "linestrip"):
        yield line(xy)
    elif kind in ("point", "points"):
        yield from (point(*place) for place in xy)
    elif kind == "mask":
        yield _mask(member(each, "mask", str), _two(xy, kind))
    else:
        raise Malformed(f"shape_type {str(kind)[:30]!r} is not known")


def _two(xy: list[tuple[float, float]], kind: str) -> list[tuple[float, float]]:
    if len(xy) != 2:
        raise Malformed(f"a {kind} of {len(xy)} points, expected 2")
    return xy


def _mask(text: str, corners: list[tuple[float, float]]) -> Runs:
    """A PNG from the pixel of the first corner to that of the second."""
    (left, top), (right, bottom) = (tuple(math.floor(value) for value in corner) for corner in corners)
    wanted = (right - left + 1, bottom - top + 1)
    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"]) as picture:
            if picture.size != wanted or wanted[0] * wanted[1] > _PIXELS:
                raise Malformed(
                    f"a mask of {picture.width} x {picture.height} px in a box of {wanted[0]} x {wanted[1]}"
                )
            inside = np.asarray(picture.convert("L")) > 0
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise Malformed("a mask that is no PNG") from error
    return Runs.of(inside, left, top)
