"""Annotation formats: a table of readers, and of formats that are recognised but not read.

A new format is a module with its reader and a line in `FORMATS`.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from agriseg.annotations.coco import read_coco
from agriseg.annotations.cvat import read_cvat
from agriseg.annotations.label_studio import read_label_studio
from agriseg.annotations.labelme import read_labelme
from agriseg.annotations.members import Malformed, parsed_json
from agriseg.annotations.shapes import AnnotatedImage
from agriseg.errors import DataError
from agriseg.raster.safe_open import check_regular
from agriseg.vectors.geojson import SHAPES
from agriseg.vectors.safe_xml import parsed_xml


@dataclass(frozen=True)
class Format:
    """A format of annotations.

    Args:
        name: in messages.
        fits: returns whether a parsed file has this format.
        read: reads the parsed file at a path; None for a format that is recognised but not read.
    """

    name: str
    fits: Callable[[Any], bool]
    read: Callable[[Any, Path], list[AnnotatedImage]] | None = None


def _has(*names: str) -> Callable[[Any], bool]:
    return lambda tree: isinstance(tree, dict) and set(names) <= set(tree)


def _first_has(*names: str) -> Callable[[Any], bool]:
    return lambda tree: isinstance(tree, list) and bool(tree) and _has(*names)(tree[0])


def _is(tag: str) -> Callable[[Any], bool]:
    return lambda tree: isinstance(tree, Element) and tree.tag == tag


def _segments(tree: Any) -> bool:
    listed = tree.get("annotations") if isinstance(tree, dict) else None
    return _has("images")(tree) and isinstance(listed, list) and bool(listed) and _has("segments_info")(listed[0])


def _regions(tree: Any) -> bool:
    return isinstance(tree, dict) and bool(tree) and all(_has("regions", "filename")(each) for each in tree.values())


FORMATS = (
    Format("COCO panoptic", _segments),
    Format("COCO", _has("images", "annotations"), lambda tree, _: read_coco(tree)),
    Format("LabelMe", _has("shapes", "imagePath"), read_labelme),
    Format("LabelMe", _has("shapes", "version"), read_labelme),
    Format("Label Studio", _first_has("data", "annotations"), lambda tree, _: read_label_studio(tree)),
    Format("CVAT", _is("annotations"), lambda tree, _: read_cvat(tree)),
    Format("Label Studio JSON-MIN", _first_has("annotation_id")),
    Format("Label Studio tasks", _first_has("data")),
    Format("Supervisely", _has("objects", "size")),
    Format("VGG Image Annotator", _has("_via_img_metadata")),
    Format("VGG Image Annotator", _regions),
    Format("Pascal VOC", _is("annotation")),
)
_GEOJSON = ("FeatureCollection", "Feature", "GeometryCollection", "Topology", *SHAPES)


def is_annotations(path: Path) -> bool:
    """Whether a file has annotations rather than features, by suffix or JSON; raises `DataError` if it is damaged."""
    if path.suffix.lower() != ".json" or not path.is_file():
        return path.suffix.lower() == ".xml"
    try:
        tree = _parsed(path)
    except DataError:
        if _has_lines(path):
            return False
        raise
    return not (isinstance(tree, dict) and (tree.get("type") in _GEOJSON or "features" in tree))


def _has_lines(path: Path) -> bool:
    """Whether the first line alone is JSON, as in GeoJSON text sequences."""
    with path.open("rb") as file:
        first = file.readline().lstrip(b"\xef\xbb\xbf\x1e")
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def has_annotations(path: Path) -> bool:
    """Whether a file has a format of the table; raises `DataError` if it is damaged."""
    return path.suffix.lower() in (".json", ".xml") and _format(_parsed(path)) is not None


def read_annotations(path: Path) -> list[AnnotatedImage]:
    """All images of a file of COCO, LabelMe or Label Studio (JSON), or of CVAT for images (XML).

    Raises:
        InputMissing: no such file.
        DataError: damaged, another format, or members that are missing or make no sense.
    """
    check_regular(path)
    tree = _parsed(path)
    kind = _format(tree)
    expected = ", ".join(dict.fromkeys(each.name for each in FORMATS if each.read is not None))
    if kind is None:
        raise DataError(f"{path}: none of the formats {expected}; export the annotations as one of these")
    if kind.read is None:
        raise DataError(f"{path}: {kind.name}, which is not read; export the annotations as one of {expected}")
    try:
        return kind.read(tree, path)
    except Malformed as error:
        raise DataError(f"{path}: {kind.name}: {error}; mend it, or export it again") from error


def _parsed(path: Path) -> Any:
    return parsed_xml(path, "XML") if path.suffix.lower() == ".xml" else parsed_json(path)


def _format(tree: Any) -> Format | None:
    return next((each for each in FORMATS if each.fits(tree)), None)
