"""COCO: one JSON file for many images, with polygons or run lengths.

Sources: https://cocodataset.org/#format-data, and the text form of run lengths as in `rleToString` of
https://github.com/cocodataset/cocoapi/blob/master/common/maskApi.c.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from agriseg.annotations.members import Malformed, base_name, brief, counts, member, number, whole
from agriseg.annotations.shapes import AnnotatedImage, Runs, Shape, polygon


def read_coco(tree: Any) -> list[AnnotatedImage]:
    """All images of the file, also those without annotations.

    Polygons of one annotation add up; crowds count for their class.

    Raises:
        Malformed: a member that is missing or makes no sense, or an annotation with a box alone.
    """
    names = {member(each, "id", (int, str)): member(each, "name", str) for each in member(tree, "categories", list)}
    images = _images(member(tree, "images", list))
    shapes: dict[Any, list[Shape]] = {key: [] for key in images}
    boxes = 0
    for position, each in enumerate(member(tree, "annotations", list), 1):
        try:
            key, label = _known(each, "image_id", images), names[_known(each, "category_id", names)]
            outline = each.get("segmentation")
            if not outline:
                boxes += 1
                continue
            name, size = images[key]
            forms = list(_forms(outline, size))
            shapes[key] += [Shape(label, form) for form in forms]
            if size is None and isinstance(forms[0], Runs):
                images[key] = name, (forms[0].width, forms[0].height)
        except ValueError as error:
            raise Malformed(f"annotation {position}: {error}") from error
    if boxes:
        raise Malformed(f"{boxes:,} annotations have no outline, a box at most, and a box is no label of pixels")
    return [AnnotatedImage((name,), size, tuple(shapes[key])) for key, (name, size) in images.items()]


def from_text(text: str) -> list[int]:
    """Run lengths from their text; raises `Malformed` if it is damaged.

    A letter has five bits, the lowest first. From the fourth on, a length is stored as its difference to the one two
    before.
    """
    lengths: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise Malformed("run lengths that cannot be read")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        value -= (bits & 16 and 1) << shift
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
        value = shift = 0
    if shift:
        raise Malformed("run lengths that are cut off")
    return lengths


def _images(images: Sequence[Any]) -> dict[Any, tuple[str, tuple[int, int] | None]]:
    by_id: dict[Any, tuple[str, tuple[int, int] | None]] = {}
    for position, each in enumerate(images, 1):
        try:
            key = member(each, "id", (int, str))
            if key in by_id:
                raise Malformed(f"its id {brief(key)} occurs twice")
            size = None
            if each.get("width") is not None or each.get("height") is not None:
                size = whole(each.get("width"), "width", 1), whole(each.get("height"), "height", 1)
            by_id[key] = base_name(each.get("file_name")), size
        except Malformed as error:
            raise Malformed(f"image {position}: {error}") from error
    return by_id


def _known(owner: Any, name: str, known: dict[Any, Any]) -> Any:
    key = member(owner, name, (int, str))
    if key not in known:
        raise Malformed(f"its {name} {brief(key)} is not in the file")
    return key


def _forms(outline: Any, size: tuple[int, int] | None) -> Iterator[Any]:
    """Polygons, or one mask."""
    if isinstance(outline, dict):
        pair = member(outline, "size", list)
        if len(pair) != 2:
            raise Malformed(f"'size' has {len(pair)} numbers, expected height and width")
        height, width = whole(pair[0], "height", 1), whole(pair[1], "width", 1)
        if size not in (None, (width, height)):
            raise Malformed(f"a mask of {width} x {height} px on an image of {size[0]} x {size[1]}" if size else "")
        runs = member(outline, "counts", (list, str))
        runs = counts(from_text(runs)) if isinstance(runs, str) else counts(runs)
        yield Runs(runs, width, height, by_column=True)
        return
    if not isinstance(outline, list) or not all(isinstance(ring, list) for ring in outline):
        raise Malformed("'segmentation' holds neither lists of coordinates nor run lengths")
    for ring in outline:
        if len(ring) % 2:
            raise Malformed(f"{len(ring)} coordinates, expected pairs")
        xy = [number(value, "a coordinate") for value in ring]
        yield polygon(list(zip(xy[::2], xy[1::2], strict=True)))
