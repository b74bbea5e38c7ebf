"""Annotations of an image: polygons, lines, points and masks, in pixels of the image.

Coordinates are continuous: x to the right, y down, (0, 0) the outer corner of the first pixel, whose centre is
(0.5, 0.5).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.features import shapes as outlines

_DECIMALS = 6
"""Of a pixel. Formats that store percent give the same polygon only after rounding."""


@dataclass(frozen=True)
class Runs:
    """A mask as run lengths; the first run is outside.

    Args:
        counts: pixels outside and inside in turn; their sum is `width * height`.
        width, height: of the mask (px).
        left, top: of its first pixel in the image.
        by_column: runs go down the columns instead of along the rows.
    """

    counts: tuple[int, ...]
    width: int
    height: int
    left: int = 0
    top: int = 0
    by_column: bool = False

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"a mask of {self.width} x {self.height} px")
        if any(count < 0 for count in self.counts) or sum(self.counts) != self.width * self.height:
            raise ValueError(f"runs that do not add up to the {self.width} x {self.height} px of the mask")

    @classmethod
    def of(cls, mask: NDArray[np.bool_], left: int = 0, top: int = 0) -> "Runs":
        """Runs of a mask (h, w)."""
        flat = np.concatenate([[False], mask.ravel(), [not mask.flat[-1]]])
        ends = np.flatnonzero(flat[1:] != flat[:-1])
        counts = np.diff(np.concatenate([[0], ends]))
        return cls(tuple(counts.tolist()), mask.shape[1], mask.shape[0], left, top)

    def decoded(self) -> NDArray[np.bool_]:
        """The mask (h, w)."""
        flat = np.repeat(np.arange(len(self.counts)) % 2 == 1, self.counts)
        if self.by_column:
            return flat.reshape(self.width, self.height).T
        return flat.reshape(self.height, self.width)

    def outline(self) -> shapely.MultiPolygon:
        """The mask as polygons along the edges of its pixels, in pixels of the image."""
        inside = self.decoded().astype(np.uint8)
        place = rasterio.Affine.translation(self.left, self.top)
        polygons = outlines(inside, mask=inside > 0, transform=place)
        return shapely.MultiPolygon([shapely.geometry.shape(each) for each, _ in polygons])


@dataclass(frozen=True)
class Shape:
    """One annotation: the name of its class, and a polygon, point, line or mask."""

    label: str
    form: shapely.Geometry | Runs


@dataclass(frozen=True)
class AnnotatedImage:
    """An image with its annotations; a later shape covers an earlier one.

    Args:
        names: possible names of its file, without folders, the most likely first.
        size: width and height (px); None if unknown.
        shapes: in order.
    """

    names: tuple[str, ...]
    size: tuple[int, int] | None
    shapes: tuple[Shape, ...]


def polygon(points: Sequence[tuple[float, float]]) -> shapely.Polygon:
    """An outline; raises `ValueError` with fewer than three points."""
    return shapely.Polygon(_vertices(points, 3, "an outline"))


def line(points: Sequence[tuple[float, float]]) -> shapely.LineString:
    """A line without width; raises `ValueError` with fewer than two points."""
    return shapely.LineString(_vertices(points, 2, "a line"))


def point(x: float, y: float) -> shapely.Point:
    """A place without extent."""
    return shapely.Point(round(x, _DECIMALS), round(y, _DECIMALS))


def box(x: float, y: float, width: float, height: float, degrees: float = 0) -> shapely.Polygon:
    """A rectangle by its first corner, turned clockwise about that corner."""
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], float)
    return polygon(_turned(corners, degrees, x, y))


def ellipse(x: float, y: float, radius_x: float, radius_y: float, degrees: float = 0) -> shapely.Polygon:
    """An ellipse by its centre, turned clockwise; raises `ValueError` for a radius below 0."""
    if radius_x < 0 or radius_y < 0:
        raise ValueError(f"an ellipse of radius {min(radius_x, radius_y):g}")
    angle = np.arange(256) * (2 * np.pi / 256)
    ring = np.stack([radius_x * np.cos(angle), radius_y * np.sin(angle)], axis=1)
    return polygon(_turned(ring, degrees, x, y))


def _vertices(points: Sequence[tuple[float, float]], least: int, what: str) -> NDArray[np.float64]:
    if len(points) < least:
        raise ValueError(f"{what} of {len(points)} points, expected {least} or more")
    return np.round(points, _DECIMALS)


def _turned(xy: NDArray[np.float64], degrees: float, x: float, y: float) -> list[tuple[float, float]]:
    """Turned about the origin, then moved to (x, y)."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [(cos * a - sin * b + x, sin * a + cos * b + y) for a, b in xy.tolist()]
