"""Labels of one raster as the page sends them, and changes of a set of labels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import shapely
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agriseg.errors import DataError, UsageError

Kind = Literal["point", "line", "polygon", "area"]
"""An area is ground within which everything is labelled; it has no class."""

MAX_POINTS = 200_000
"""Corners of one label."""
MAX_CHANGED = 20_000
"""Labels that one change adds or removes."""
FAR = 10.0
"""How many sides of the raster a corner may lie beyond it."""
_KINDS: dict[str, Kind] = {
    "Point": "point", "MultiPoint": "point", "LineString": "line", "MultiLineString": "line", "Polygon": "polygon",
    "MultiPolygon": "polygon",
}  # fmt: skip
_LEAST = {"point": 1, "line": 2, "polygon": 3, "area": 3}


@dataclass(frozen=True)
class Label:
    """One label.

    Args:
        id: a text that is its own.
        class_name: None for an area, or for a label of another program whose class is empty.
        shape: a point, line or polygon in pixels of the raster: x to the right, y down, (0, 0) the outer corner of the
            first pixel.
    """

    id: str
    kind: Kind
    class_name: str | None
    shape: shapely.Geometry

    @property
    def xy(self) -> list[list[float]]:
        """Its corners: of a polygon those of the first ring, without the repeated last one."""
        first = shapely.get_parts(self.shape)[0]
        ring = shapely.get_exterior_ring(first) if first.geom_type == "Polygon" else first
        corners: list[list[float]] = shapely.get_coordinates(ring).tolist()
        return corners[:-1] if first.geom_type == "Polygon" else corners


class SentLabel(BaseModel):
    """A label in a request."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")
    kind: Kind
    class_name: str | None = Field(alias="class")
    xy: list[list[float]] = Field(min_length=1, max_length=MAX_POINTS)


class SentChange(BaseModel):
    """A change in a request."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: int
    add: list[SentLabel] = Field(max_length=MAX_CHANGED)
    remove: list[str] = Field(max_length=MAX_CHANGED)


@dataclass(frozen=True)
class Change:
    """Labels that come and labels that go, in one step.

    Args:
        version: of the labels that it was made on.
        remove: ids of labels.
    """

    version: int
    add: tuple[Label, ...]
    remove: tuple[str, ...]


def change_of_json(body: bytes, classes: Sequence[str], size: tuple[int, int]) -> Change:
    """The change that a request holds, for a raster of so many columns and rows.

    Raises:
        UsageError: it is no change, an unknown class, or a shape that is none.
    """
    try:
        sent = SentChange.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{'.'.join(map(str, first['loc'])) or 'the request'}: {first['msg']}") from error
    if len({each.id for each in sent.add}) < len(sent.add):
        raise UsageError("two labels with one id; give each its own")
    return Change(sent.version, tuple(_label(each, classes, size) for each in sent.add), tuple(sent.remove))


def _label(sent: SentLabel, classes: Sequence[str], size: tuple[int, int]) -> Label:
    if (sent.class_name is None) != (sent.kind == "area") or sent.class_name not in (None, *classes):
        expected = "no class" if sent.kind == "area" else " or ".join(classes)
        raise UsageError(f"label {sent.id}: a {sent.kind} of class {sent.class_name!r}, expected {expected}")
    xy = _corners(sent, size)
    if sent.kind == "point":
        return Label(sent.id, sent.kind, sent.class_name, shapely.Point(xy[0]))
    if sent.kind == "line":
        return Label(sent.id, sent.kind, sent.class_name, shapely.LineString(xy))
    polygon = shapely.Polygon(xy)
    if not polygon.area:
        raise UsageError(f"label {sent.id}: a polygon without any ground in it; draw it again")
    return Label(sent.id, sent.kind, sent.class_name, polygon)


def _corners(sent: SentLabel, size: tuple[int, int]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """(N, 2) corners, which are numbers near the raster."""
    least = _LEAST[sent.kind]
    if len(sent.xy) < least or (sent.kind == "point" and len(sent.xy) > 1):
        raise UsageError(f"label {sent.id}: {len(sent.xy)} corners of a {sent.kind}, expected {least} or more")
    limit = FAR * max(size)
    for corner in sent.xy:
        if len(corner) != 2 or not all(math.isfinite(value) and abs(value) <= limit for value in corner):
            raise UsageError(f"label {sent.id}: a corner that is no x and y near the raster")
    return np.array(sent.xy, np.float64).reshape(-1, 2)


def kind_of(shape: shapely.Geometry, path: object) -> Kind:
    """The kind of a label of another program.

    Raises:
        DataError: it is no point, line or polygon.
    """
    if shape.geom_type not in _KINDS:
        raise DataError(f"{path}: a {shape.geom_type}, expected points, lines and polygons; delete it in QGIS")
    return _KINDS[shape.geom_type]
