"""CVAT for images 1.1: one XML file for many images.

Source: https://docs.cvat.ai/docs/other/xml_format
"""

from collections.abc import Iterator
from xml.etree.ElementTree import Element

import shapely

from agriseg.annotations.members import Malformed, base_name, counts, number, whole
from agriseg.annotations.shapes import AnnotatedImage, Runs, Shape, box, ellipse, line, point, polygon

_SHAPES = ("polygon", "box", "ellipse", "mask", "polyline", "points")
_OTHERS = ("cuboid", "skeleton")


def read_cvat(root: Element) -> list[AnnotatedImage]:
    """All images of the file, also those without annotations, shapes in z-order; raises `Malformed`."""
    if root.find("track") is not None:
        raise Malformed("tracks of a video; export as CVAT for images 1.1")
    images = []
    for position, image in enumerate(root.iterfind("image"), 1):
        try:
            size = whole(image.get("width"), "width", 1), whole(image.get("height"), "height", 1)
            images.append(AnnotatedImage((base_name(image.get("name")),), size, _shapes(image)))
        except ValueError as error:
            raise Malformed(f"image {position}: {error}") from error
    return images


def _shapes(image: Element) -> tuple[Shape, ...]:
    drawn = []
    for position, each in enumerate(image, 1):
        if each.tag in _OTHERS:
            raise Malformed(f"shape {position} is a {each.tag}, expected {', '.join(_SHAPES)}")
        if each.tag not in _SHAPES:
            continue  # tags of the whole image
        try:
            label, order = each.get("label"), number(each.get("z_order", "0"), "z_order")
            if not label:
                raise Malformed("no label")
            drawn += [(order, Shape(label, form)) for form in _forms(each)]
        except ValueError as error:
            raise Malformed(f"shape {position}: {error}") from error
    return tuple(shape for _, shape in sorted(drawn, key=lambda item: item[0]))


def _forms(each: Element) -> Iterator[shapely.Geometry | Runs]:
    def at(name: str) -> float:
        return number(each.get(name), name)

    if each.tag == "polygon":
        yield polygon(_points(each))
    elif each.tag == "polyline":
        yield line(_points(each))
    elif each.tag == "points":
        yield from (point(*place) for place in _points(each))
    elif each.tag == "box":
        yield _box(at("xtl"), at("ytl"), at("xbr"), at("ybr"), number(each.get("rotation", "0"), "rotation"))
    elif each.tag == "ellipse":
        yield ellipse(at("cx"), at("cy"), at("rx"), at("ry"), number(each.get("rotation", "0"), "rotation"))
    else:
        runs = counts([whole(text, "a run") for text in (each.get("rle") or "").split(",")])
        width, height, left, top = (whole(each.get(name), name) for name in ("width", "height", "left", "top"))
        yield Runs(runs, width, height, left, top)


def _box(left: float, top: float, right: float, bottom: float, degrees: float) -> shapely.Geometry:
    """A box turned clockwise about its centre."""
    if right < left or bottom < top:
        raise Malformed(f"a box of {right - left:g} x {bottom - top:g} px")
    flat = box(left, top, right - left, bottom - top)
    return shapely.affinity.rotate(flat, degrees, origin="center") if degrees else flat


def _points(each: Element) -> list[tuple[float, float]]:
    pairs = [pair.split(",") for pair in (each.get("points") or "").split(";")]
    if not all(len(pair) == 2 for pair in pairs):
        raise Malformed("points that are no pairs")
    return [(number(x, "a coordinate"), number(y, "a coordinate")) for x, y in pairs]
