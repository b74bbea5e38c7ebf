"""Label Studio: one JSON file for many tasks, polygons in percent of the image, brushes as packed run lengths.

Sources: https://labelstud.io/guide/export (JSON), https://labelstud.io/guide/task_format; brushes are RGBA packed by
https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import shapely

from agriseg.annotations.members import Malformed, base_name, member, number, points, whole
from agriseg.annotations.shapes import AnnotatedImage, Runs, Shape, box, ellipse, point, polygon

_UPLOADED = re.compile(r"[0-9a-f]{8}-(.+)")
_IMAGES = (".tif", ".tiff", ".jpg", ".jpeg", ".png")
_LABELS = ("polygonlabels", "brushlabels", "rectanglelabels", "ellipselabels", "keypointlabels")


def read_label_studio(tree: Any) -> list[AnnotatedImage]:
    """All images of the tasks, also those without annotations.

    If several people annotated one image, the annotation marked as ground truth counts.

    Raises:
        Malformed: a member that is missing or makes no sense, or several annotations of one picture.
    """
    images = []
    for position, task in enumerate(tree, 1):
        try:
            names = _names(member(task, "data", dict))
            size, shapes = _drawn(_chosen(member(task, "annotations", list)))
            images.append(AnnotatedImage(names, size, shapes))
        except ValueError as error:
            raise Malformed(f"task {position}: {error}") from error
    return images


def _names(data: Mapping[str, object]) -> tuple[str, ...]:
    """Names of the image: as stored, then without the prefix of an upload."""
    texts = [value for value in (data.get("image"), *data.values()) if isinstance(value, str)]
    for text in texts:
        parts = urlsplit(text)
        place = parts.query.rpartition("d=")[2] if parts.path.endswith("/local-files/") else parts.path
        name = unquote(place)
        if name.lower().endswith(_IMAGES):
            stored = base_name(name)
            uploaded = _UPLOADED.fullmatch(stored)
            return (stored, uploaded[1]) if uploaded else (stored,)
    raise Malformed("its data name no image")


def _chosen(annotations: Sequence[Any]) -> Any:
    """The annotation that counts; None without any."""
    kept = [each for each in annotations if not (isinstance(each, dict) and each.get("was_cancelled"))]
    truth = [each for each in kept if isinstance(each, dict) and each.get("ground_truth")]
    kept = truth or kept
    if len(kept) > 1:
        raise Malformed(f"{len(kept)} annotations of one image; mark one as ground truth, then export again")
    return kept[0] if kept else None


def _drawn(annotation: Any) -> tuple[tuple[int, int] | None, tuple[Shape, ...]]:
    size, shapes = None, []
    for position, each in enumerate(member(annotation, "result", list) if annotation is not None else [], 1):
        kind = each.get("type") if isinstance(each, dict) else None
        if kind not in _LABELS:
            continue  # choices, texts and relations are no shapes
        try:
            width, height = (whole(each.get(f"original_{name}"), name, 1) for name in ("width", "height"))
            if size not in (None, (width, height)):
                raise Malformed(f"an image of {width} x {height} px, but others have it larger or smaller")
            if number(each.get("image_rotation", 0), "image_rotation"):
                raise Malformed("the image was turned; turn it back, or rotate the file before annotating")
            size, value = (width, height), member(each, "value", dict)
            shapes += [Shape(_label(value, kind), form) for form in _forms(kind, value, width, height)]
        except ValueError as error:
            raise Malformed(f"result {position}: {error}") from error
    return size, tuple(shapes)


def _label(value: Mapping[str, object], kind: str) -> str:
    labels = member(value, kind, list)
    if len(labels) != 1 or not isinstance(labels[0], str):
        raise Malformed(f"{len(labels)} classes, expected one")
    return labels[0]


def _forms(kind: str, value: Mapping[str, object], width: int, height: int) -> Iterator[shapely.Geometry | Runs]:
    def across(name: str) -> float:
        return number(value.get(name), name) * width / 100

    def down(name: str) -> float:
        return number(value.get(name), name) * height / 100

    turned = number(value.get("rotation", 0), "rotation")
    if kind == "polygonlabels":
        yield polygon([(x * width / 100, y * height / 100) for x, y in points(value.get("points"))])
    elif kind == "rectanglelabels":
        yield box(across("x"), down("y"), across("width"), down("height"), turned)
    elif kind == "ellipselabels":
        yield ellipse(across("x"), down("y"), across("radiusX"), down("radiusY"), turned)
    elif kind == "keypointlabels":
        yield point(across("x"), down("y"))
    elif value.get("format") == "rle":
        yield Runs(unpacked(member(value, "rle", list), width * height), width, height)
    else:
        raise Malformed("a brush that is not stored as run lengths")


class _Bits:
    """Bits of bytes, the highest first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def read(self, count: int) -> int:
        start, self._position = self._position, self._position + count
        last = (self._position + 7) // 8
        if last > len(self._data):
            raise Malformed("run lengths that are cut off")
        return int.from_bytes(self._data[start // 8 : last], "big") >> (-self._position % 8) & ((1 << count) - 1)


def unpacked(packed: Sequence[Any], pixels: int) -> tuple[int, ...]:
    """Runs of the alpha channel of packed RGBA bytes, outside and inside in turn; raises `Malformed` if damaged."""
    if not all(isinstance(each, int) and 0 <= each < 256 for each in packed):
        raise Malformed("run lengths that are no bytes")
    bits = _Bits(bytes(packed))
    total, word = bits.read(32), bits.read(5) + 1
    sizes = [bits.read(4) + 1 for _ in range(4)]
    if total != 4 * pixels:
        raise Malformed(f"run lengths of {total // 4:,} px, but the image has {pixels:,}")
    runs, inside, done = [0], False, 0
    while done < total:
        same = bits.read(1)
        length = bits.read(sizes[bits.read(2)]) + 1
        for step in (length,) if same else (1,) * min(length, total - done):
            value, end = bits.read(word), min(done + step, total)
            opaque = end // 4 - done // 4  # the fourth of each four words is the opacity
            done = end
            if opaque and (value > 0) != inside:
                runs.append(0)
                inside = not inside
            runs[-1] += opaque
    return tuple(runs)
