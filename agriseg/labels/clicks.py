"""Clicks: the points among the shapes of an image, what they become, and what to say about them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray

from agriseg import units
from agriseg.errors import DataError, UsageError
from agriseg.grid import Window
from agriseg.growth.clicked import Outlined, Points
from agriseg.growth.grown_clicks import ClickGrowth, GrownClicks
from agriseg.growth.plant_growth import NEAR, Mask
from agriseg.legend import NODATA
from agriseg.options.labels import LabelOptions
from agriseg.raster.header import RasterInfo
from agriseg.raster.reader import Reader, Source
from agriseg.raster.valid_mask import ValidityRule
from agriseg.vectors.read import Polygon

LARGEST_REACH = 1000
"""Largest reach of a click (px); memory grows with its square."""
_SHOWN = 5  # features in a message
_SQUARE = 1024  # side of the squares whose clicks are looked up together (px)


@dataclass(frozen=True)
class Clicks:
    """Points of an image, and what became of them.

    Args:
        xy: (N, 2) in pixels: x to the right, y down, (0, 0) the outer corner of the first pixel.
        ids: (N,) uint8 class; 255 for unlabelled.
        pixels: (N,) int64 size of the plant that each grew to; 0 where it counts as drawn.
    """

    xy: NDArray[np.float64]
    ids: NDArray[np.uint8]
    pixels: NDArray[np.int64]

    @classmethod
    def none(cls) -> "Clicks":
        """No clicks."""
        return cls(np.zeros((0, 2)), np.zeros(0, np.uint8), np.zeros(0, np.int64))


@dataclass(frozen=True)
class ClickCount:
    """Clicks of a class, how many grew to plants, and the median size of these (px); None without any."""

    clicks: int
    grown: int
    median_px: int | None

    @property
    def text(self) -> str:
        """`12 clicks, 11 grew to plants of 430 px (median)`."""
        grew = "" if self.median_px is None else f", {self.grown:,} grew to plants of {self.median_px:,} px (median)"
        return f"{self.clicks:,} clicks{grew}"


def click_counts(images: Sequence[Clicks], classes: Sequence[str]) -> dict[str, ClickCount]:
    """Those of all images, by the name of each class that has clicks."""
    everything = [Clicks.none(), *images]
    ids, pixels = (np.concatenate([getattr(each, name) for each in everything]) for name in ("ids", "pixels"))
    counts = {}
    for class_id, name in enumerate(classes):
        sizes = pixels[ids == class_id]
        grown = sizes[sizes > 0]
        if len(sizes):
            counts[name] = ClickCount(len(sizes), len(grown), int(np.median(grown)) if len(grown) else None)
    return counts


@dataclass(frozen=True)
class ClickedShapes:
    """The shapes of an image after clicks have grown.

    Args:
        grown: what clicks grew to; below all other shapes.
        grown_ids: (M,) uint8 class of each.
        drawn: indices of the shapes of the file that count as drawn.
        remarks: warnings about clicks.
    """

    grown: tuple[Polygon, ...]
    grown_ids: NDArray[np.uint8]
    drawn: NDArray[np.int64]
    clicks: Clicks
    remarks: tuple[str, ...]


def single_points(shapes: Sequence[Polygon]) -> list[Polygon]:
    """The shapes, with each point of a multipoint as one of its own."""
    return [
        replace(each, shape=part)
        for each in shapes
        for part in (each.shape.geoms if each.shape.geom_type == "MultiPoint" else (each.shape,))
    ]


def grown_shapes(
    info: RasterInfo, shapes: Sequence[Polygon], ids: NDArray[np.uint8], classes: Sequence[str], options: LabelOptions,
    growth: ClickGrowth | None = None,
) -> ClickedShapes:  # fmt: skip
    """Grow the points among the shapes of an image, if `options.grow` says so; ids are (N,) classes of the shapes.

    Where ground is labelled at all, it is also labelled around clicks and outlined plants. A `growth` of the same reach
    may be given, which keeps what it has grown before.

    Raises:
        UsageError: a reach in metres on an image without GSD, or one that is too long.
        DataError: the image cannot be read or has no bands of a vegetation index, or most clicks on ground lie on
            vegetation.
    """
    at = np.array([i for i, each in enumerate(shapes) if _is_point(each.shape)], np.int64)
    named = _Named.of([shapes[i] for i in at], ids[at], classes)
    on_data, remarks = named.on_data(info)
    pixels, twice, grown, grown_ids = np.zeros(len(at), np.int64), np.zeros(len(at), bool), [], ids[:0]
    ground = 0 if options.rest is None else list(classes).index(options.rest)
    outlined = _outlined_plants(shapes, ids, ground)
    if options.grow is not None and (on_data.any() or len(outlined.shapes)):
        twice, more = named.of_two_classes()
        plants = np.flatnonzero(on_data & ~twice & (ids[at] != ground))
        bare = np.flatnonzero(on_data & ~twice & (ids[at] == ground))
        some, others = named.points.some(plants), named.points.some(bare)
        growth = growth or ClickGrowth(info, _reach(info, options.grow))
        clicks = growth.grown(some, others, outlined, ground if (ids == ground).any() else None)
        remarks += [*more, *named.on_vegetation(info, bare[clicks.green], bare), *named.remarks(plants, clicks)]
        pixels[plants], grown_ids = clicks.pixels, clicks.ids
        grown = [Polygon(0, shape, None) for shape in clicks.shapes]
    drawn = np.setdiff1d(np.arange(len(shapes)), at[(pixels > 0) | twice])
    return ClickedShapes(
        tuple(grown), grown_ids, drawn, Clicks(named.points.xy, named.points.ids, pixels), tuple(remarks)
    )


def radii(info: RasterInfo, flag: str, length: str) -> tuple[float, float]:
    """A length in columns and rows (px).

    Raises:
        UsageError: it is in metres, and the pixel size of the image is unknown.
    """
    number, in_pixels = units.pixels_or_metres(length)
    if in_pixels:
        return number, number
    if info.gsd is None:
        raise UsageError(f"{flag} {length}, but the pixel size of {info.path} is unknown; write it as 8px")
    return number / info.gsd[0], number / info.gsd[1]


def _reach(info: RasterInfo, length: str) -> float:
    """The reach of a click (px); the shorter one where pixels are not square."""
    reach = min(radii(info, "--grow", length))
    if reach > LARGEST_REACH:
        raise UsageError(
            f"--grow {length} is {reach:,.0f} px on {info.path.name}, expected at most {LARGEST_REACH:,} px: give the "
            f"radius of the largest plant, such as {LARGEST_REACH}px"
        )
    return reach


def _outlined_plants(shapes: Sequence[Polygon], ids: NDArray[np.uint8], ground: int) -> Outlined:
    plants = [
        each.shape
        for each, class_id in zip(shapes, ids.tolist(), strict=True)
        if "Polygon" in each.shape.geom_type and not each.shape.is_empty and class_id not in (ground, NODATA)
    ]
    return Outlined(np.array(plants, object))


def _is_point(shape: shapely.Geometry) -> bool:
    return shape.geom_type == "Point" and not shape.is_empty


@dataclass(frozen=True)
class _Named:
    """Clicks with the (N,) numbers of their features, and the names of the classes."""

    points: Points
    numbers: NDArray[np.int64]
    classes: Sequence[str]

    @classmethod
    def of(cls, shapes: Sequence[Polygon], ids: NDArray[np.uint8], classes: Sequence[str]) -> "_Named":
        """Those of points."""
        xy = shapely.get_coordinates([each.shape for each in shapes]).reshape(-1, 2)
        return cls(Points(xy, ids), np.array([each.number for each in shapes], np.int64), classes)

    def on_data(self, info: RasterInfo) -> tuple[Mask, list[str]]:
        """(N,) bool: clicks on pixels with data; and remarks on the others."""
        inside = np.asarray(((self._cells >= 0) & (self._cells < (info.width, info.height))).all(1), bool)
        on_data = inside.copy()
        if inside.any():
            on_data[inside] = _valid(info, self._cells[inside])
        outside, empty = np.flatnonzero(~inside), np.flatnonzero(inside & ~on_data)
        remarks = [f"{self._listed(outside)} outside the image and count nowhere"] if len(outside) else []
        if len(empty):
            remarks.append(f"{self._listed(empty)} on pixels without data and count nowhere")
        return on_data, remarks

    def of_two_classes(self) -> tuple[Mask, list[str]]:
        """(N,) bool: clicks on one pixel with a click of another class; and a remark on them."""
        _, pixel = np.unique(self._cells, axis=0, return_inverse=True)
        low, high = (np.full(pixel.max(initial=0) + 1, start, np.int64) for start in (255, 0))
        np.minimum.at(low, pixel, self.points.ids)
        np.maximum.at(high, pixel, self.points.ids)
        twice = (low < high)[pixel]
        remark = (
            f"{self._listed(np.flatnonzero(twice))} on one pixel with a click of another class, so they count nowhere"
        )
        return twice, [f"{remark}; delete the wrong ones"] if twice.any() else []

    def on_vegetation(self, info: RasterInfo, green: NDArray[np.int64], bare: NDArray[np.int64]) -> list[str]:
        """A remark on clicks on ground that lie on vegetation; DataError if most do: then the class is no ground."""
        if not len(green):
            return []
        name = self.classes[int(self.points.ids[green[0]])]
        fault = f"{len(green)} of {len(bare)} clicks of {name}, which --grow takes for ground, lie on vegetation"
        if 2 * len(green) > len(bare):
            raise DataError(
                f"{info.path.name}: {fault}; put the class of bare ground first in --classes, and click on bare ground"
            )
        return [f"{fault}: {self._listed(green)} there"]

    def remarks(self, plants: NDArray[np.int64], grown: GrownClicks) -> list[str]:
        """Remarks on clicks without a plant, and on plants of two classes."""
        alone = plants[grown.pixels == 0]
        remarks = []
        if len(alone):
            remarks.append(
                f"{len(alone)} of {len(plants)} clicks on plants have no vegetation within {NEAR:g} px and count as "
                f"drawn: {self._listed(alone)} there; click a leaf, or draw these plants as polygons"
            )
        if grown.shared:
            one, other = plants[list(grown.shared[0])]
            remarks.append(
                f"plants that are divided between clicks of two classes: {len(grown.shared)}, such as that of features "
                f"{self.numbers[one]} ({self._name(one)}) and {self.numbers[other]} ({self._name(other)}); "
                "delete a wrong click"
            )
        return remarks

    @property
    def _cells(self) -> NDArray[np.int64]:
        """(N, 2) column and row of the pixels under the clicks."""
        return np.floor(self.points.xy).astype(np.int64)

    def _name(self, number: int) -> str:
        class_id = int(self.points.ids[number])
        return self.classes[class_id] if class_id < len(self.classes) else "unlabelled"

    def _listed(self, chosen: NDArray[np.int64]) -> str:
        """`feature 3 lies`, `features 3, 4 and 9 more lie`."""
        numbers = self.numbers[chosen].tolist()
        shown = ", ".join(map(str, numbers[:_SHOWN]))
        more = f" and {len(numbers) - _SHOWN:,} more" if len(numbers) > _SHOWN else ""
        return f"feature {shown} lies" if len(numbers) == 1 else f"features {shown}{more} lie"


def _valid(info: RasterInfo, cells: NDArray[np.int64]) -> Mask:
    """(N,) bool: whether pixels (column, row) have data, read square by square."""
    bands = tuple(band for band in range(1, info.count + 1) if band not in info.alpha)
    valid = np.zeros(len(cells), bool)
    squares, member = np.unique(cells // _SQUARE, axis=0, return_inverse=True)
    with Reader(Source(info, bands, ValidityRule.of(info), info.width, info.height)) as reader:
        for number in range(len(squares)):
            some = np.flatnonzero(member == number)
            (left, top), (right, bottom) = cells[some].min(0).tolist(), cells[some].max(0).tolist()
            strip = reader.read(Window(left, top, right - left + 1, bottom - top + 1))
            valid[some] = strip.valid[cells[some, 1] - top, cells[some, 0] - left]
    return valid
