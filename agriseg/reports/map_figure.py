"""The map of a report: the image, a picture for each class, doubtful pixels, and the position of each pixel.

All pictures have one size, that of the quick looks, and are small enough for a page that is sent by mail.
"""

import io
import math
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from PIL import Image
from rasterio.warp import transform as warp
from scipy.ndimage import zoom

from agriseg.figures.quicklook import overview
from agriseg.legend import CONFIDENCE_STEP, DOUBTFUL, NODATA, LegendClass
from agriseg.maps.reader import FinishedMap
from agriseg.raster.georeference import Georeference
from agriseg.vectors.features import moved

MOST_BYTES = 1_900_000
"""Most bytes of all pictures; in base64, with the page around them, they stay below 3 MB."""
_CLASS_BYTES = 1_100_000  # of them for classes and the hatch, which have no quality to lower
_QUALITIES = (84, 72, 60, 45)  # of the image, WebP
_HATCH = 6  # px between the lines over doubtful pixels
_NODES = (3, 5, 9, 17, 33)  # nodes along a side of the grid of longitudes and latitudes
_SIMPLIFIED = 0.7  # px by which outlines may move
TILE = 8
"""Side of a pattern (px), which repeats."""
_BRIGHT = 0.4  # luminance above which the lines are darker than the ground, below it lighter
_MIXED = 0.5  # share of black or white in the lines
_SWATCH = 3 * TILE, 2 * TILE  # columns and rows of the legend's samples (px)
_BAR_SHARE = 0.2  # largest share of the map's width that a scale bar takes

Grid = NDArray[np.intp]
_KINDS: tuple[Callable[[Grid, Grid], NDArray[np.bool_]], ...] = (
    lambda row, col: np.zeros(np.broadcast_shapes(row.shape, col.shape), bool),  # plain
    lambda row, col: (row + col) % TILE < 2,  # rising
    lambda row, col: (row - col) % TILE < 2,  # falling
    lambda row, col: (row % 4 < 2) & (col % 4 < 2),  # dots
    lambda row, col: (row % TILE < 2) | np.zeros_like(col, bool),  # lying
    lambda row, col: (col % TILE < 2) | np.zeros_like(row, bool),  # standing
    lambda row, col: (row % TILE < 1) | (col % TILE < 1),  # grid
    lambda row, col: ((row + col) % TILE < 1) | ((row - col) % TILE < 1),  # crossed
)


@dataclass(frozen=True)
class ClassPicture:
    """A class on the map: data URIs of its area, of the lines of its pattern, and of a sample for the legend."""

    entry: LegendClass
    picture: str
    lines: str
    swatch: str


@dataclass(frozen=True)
class GroundPosition:
    """The coordinates of pixels, for the page's script.

    Args:
        transform: six numbers of the affine transform, pixels to the CRS.
        crs: authority code or name; None without a CRS.
        lon, lat: degrees (OGC:CRS84) at the nodes of a square grid over the map, by rows; empty if they are unknown.
    """

    transform: tuple[float, ...]
    crs: str | None
    lon: tuple[tuple[float, ...], ...] = ()
    lat: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True)
class MapPicture:
    """The map of a page.

    Args:
        width, height: size of the pictures (px).
        columns, rows: size of the map (px).
        photo: data URI of the image; None without its quick look.
        classes: the classes that occur, in the legend's order.
        doubt: data URI of a hatch over pixels with low confidence.
        gsd: metres along a row and along a column, in the middle; None if unknown.
        north: degrees clockwise from up; None if unknown.
    """

    width: int
    height: int
    columns: int
    rows: int
    photo: str | None
    classes: tuple[ClassPicture, ...]
    doubt: str
    position: GroundPosition
    gsd: tuple[float, float] | None
    north: float | None

    @classmethod
    def of(cls, run: FinishedMap, mask: Path, photo: Path | None) -> "MapPicture":
        """Draw a map; `mask` is that of the run or of its layers, `photo` is the quick look of the image."""
        ids, counts = overview(mask), overview(run.confidence)
        doubtful = (ids != NODATA) & (counts < round(DOUBTFUL / CONFIDENCE_STEP))
        present = [entry for entry in run.legend if (ids == entry.id).any()]
        drawn = _drawn(ids, doubtful, present)
        while sum(map(len, drawn)) > _CLASS_BYTES:
            ids, doubtful = ids[::2, ::2], doubtful[::2, ::2]
            drawn = _drawn(ids, doubtful, present)
        height, width = ids.shape
        left = MOST_BYTES - sum(map(len, drawn))
        return cls(
            width, height, run.width, run.height, None if photo is None else _photo(photo, left),
            tuple(
                ClassPicture(entry, *(_uri(data, "png") for data in (area, lines, _swatch(entry))))
                for entry, area, lines in zip(present, drawn[1::2], drawn[2::2], strict=True)
            ),
            _uri(drawn[0], "png"), _position(run), run.georeference.gsd(run.width, run.height), _north(run),
        )  # fmt: skip

    @property
    def scale_bar(self) -> tuple[float, float] | None:
        """Metres of a round length, and its share of the map's width; None where the ground is unknown."""
        if self.gsd is None:
            return None
        extent = self.gsd[0] * self.columns
        power = 10.0 ** math.floor(math.log10(extent * _BAR_SHARE))
        length = max(step * power for step in (1, 2, 5) if step * power <= extent * _BAR_SHARE)
        return length, length / extent


def scout_positions(run: FinishedMap, lonlat: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Positions of longitudes and latitudes (OGC:CRS84), as shares of the map's width and height."""
    if not lonlat:
        return []
    lon, lat = zip(*lonlat, strict=True)
    x, y = warp("OGC:CRS84", run.georeference.crs, lon, lat)
    cols, rows = ~run.georeference.transform @ (np.array(x), np.array(y))
    return list(zip((cols / run.width).tolist(), (rows / run.height).tolist(), strict=True))


def outline(run: FinishedMap, shape: shapely.Geometry, width: int, height: int) -> str:
    """A polygon in the map's CRS as the path of an SVG of this size (px)."""
    to_picture = rasterio.Affine.scale(width / run.width, height / run.height) @ ~run.georeference.transform
    simple = shapely.simplify(moved(shape, to_picture), _SIMPLIFIED)
    rings = shapely.get_rings(shapely.get_parts(simple))
    return " ".join(
        "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in shapely.get_coordinates(ring)[:-1]) + "Z" for ring in rings
    )


def pattern(entry: LegendClass, height: int, width: int) -> NDArray[np.bool_]:
    """(height, width), True on the lines of a class's pattern; every eighth class has the same."""
    return _KINDS[entry.id % len(_KINDS)](np.arange(height)[:, None], np.arange(width)[None])


def line_colour(entry: LegendClass) -> tuple[int, int, int]:
    """Colour of the lines: the class's own, darker if it is bright, lighter if it is dark."""
    red, green, blue = (channel / 255 for channel in entry.rgb)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue  # of ITU-R BT.709; not linearised, as it only sorts
    end = 0 if luminance > _BRIGHT else 255
    mixed = [round(channel * (1 - _MIXED) + end * _MIXED) for channel in entry.rgb]
    return mixed[0], mixed[1], mixed[2]


def _drawn(ids: NDArray[np.uint8], doubtful: NDArray[np.bool_], present: list[LegendClass]) -> list[bytes]:
    """PNGs of the hatch, then of each class and its lines."""
    row, col = np.arange(ids.shape[0])[:, None], np.arange(ids.shape[1])[None]
    line = (row + col) % _HATCH
    hatch = np.where(line == 0, 1, np.where(line == 1, 2, 0)) * doubtful
    drawn = [_few_colours(hatch, [(0, 0, 0), (20, 20, 20), (255, 255, 255)])]
    for entry in present:
        member = ids == entry.id
        drawn.append(_few_colours(member, [(0, 0, 0), entry.rgb]))
        drawn.append(_few_colours(member & pattern(entry, *ids.shape), [(0, 0, 0), line_colour(entry)]))
    return drawn


def _few_colours(numbers: NDArray[np.integer] | NDArray[np.bool_], palette: list[tuple[int, int, int]]) -> bytes:
    """PNG of up to four colours; 0 is transparent."""
    picture = Image.fromarray(numbers.astype(np.uint8))
    picture.putpalette([channel for colour in palette for channel in colour])
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", transparency=0, bits=1 if len(palette) == 2 else 2, optimize=True)
    return buffer.getvalue()


def _swatch(entry: LegendClass) -> bytes:
    width, height = _SWATCH
    return _few_colours(1 + pattern(entry, height, width), [(0, 0, 0), entry.rgb, line_colour(entry)])


def _photo(path: Path, most: int) -> str:
    """The image as WebP of at most so many bytes, in the best quality that fits."""
    with Image.open(path) as opened:
        picture = opened.convert("RGBA" if opened.mode == "RGBA" else "RGB")
    while True:
        for quality in _QUALITIES:
            buffer = io.BytesIO()
            picture.save(buffer, "WEBP", quality=quality, method=4)
            if buffer.tell() <= most:
                return _uri(buffer.getvalue(), "webp")
        picture = picture.resize((max(1, picture.width // 2), max(1, picture.height // 2)))


def _uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{b64encode(data).decode()}"


def _north(run: FinishedMap) -> float | None:
    """Direction of north in the middle of the map, degrees clockwise from up; None where a pixel has no area."""
    sides = run.georeference.pixel_sides((run.width - 1) / 2, (run.height - 1) / 2)
    if sides is None or not np.linalg.det(sides[0]):
        return None
    (along_row, along_column) = sides[0]
    across, down = np.linalg.solve(np.stack([along_row, along_column], axis=1), [0.0, 1.0])
    return float(np.degrees(np.arctan2(across, -down)))


def _position(run: FinishedMap) -> GroundPosition:
    where = run.georeference
    transform = tuple(where.transform)[:6]
    if where.crs is None:
        return GroundPosition(transform, None)
    name = ":".join(where.crs.to_authority() or ()) or where.crs.to_wkt().split('"')[1]
    nodes = _nodes(where, run.width, run.height)
    axes = () if nodes is None else (tuple(map(tuple, axis)) for axis in nodes.round(9).tolist())
    return GroundPosition(transform, name, *axes)


def _nodes(where: Georeference, width: int, height: int) -> NDArray[np.float64] | None:
    """(2, n, n) degrees at the nodes of a square grid; None if the CRS cannot be transformed to them.

    There are as few nodes as place each pixel within half a pixel by bilinear interpolation.
    """
    for count in _NODES:
        fine = np.linspace(0, 1, 2 * count - 1)
        lonlat = where.lonlat(*(where.transform @ np.meshgrid(fine * width, fine * height)))
        if lonlat is None or not np.isfinite(lonlat).all():
            return None
        nodes = lonlat[:, ::2, ::2]
        even = np.array([np.cos(np.radians(lonlat[1].mean())), 1.0])[:, None, None]  # degrees of one length
        across = even * np.diff(lonlat, axis=2)
        pixel = np.hypot(*across).max() * 2 * (count - 1) / width
        between = zoom(nodes, (1, len(fine) / count, len(fine) / count), order=1)
        if np.hypot(*(even * (lonlat - between))).max() <= pixel / 2:
            break
    return nodes
