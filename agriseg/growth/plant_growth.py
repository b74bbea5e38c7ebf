"""Growth of clicks to plants on an array of a vegetation index.

A click becomes the connected pixels around it that are greener than a threshold between the ground and the click
itself. One threshold for an image misses pale weeds beside bright crops, so each click has its own.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float32]
Distances = NDArray[np.float64]
Mask = NDArray[np.bool_]

NEAR = 4.0
"""Distance (px) from a click within which its plant is looked for: the jitter of a hand, rounded up."""

# Chosen on train tiles of two fields, see benchmarks/clicks.py:
_SHARE = 0.4  # of the way from the ground's index to the plant's, where a plant begins
_NOISE = 2.0  # deviations of the ground's index, by which a plant is greener at least
_SURE = 1.0  # the same, below which a pixel is ground for certain
_SPECK = 1.5  # the same, which a plant's level must exceed: single pixels of soil are as green as pale weeds
_FAR = 4.0  # the same, above which a click on ground is surely on a plant
_BRIGHT = 80  # percentile of the index near a click that stands for its plant
_WIDER, _AND = 2.0, 3.0  # a plant's half-width is at most so many times that at its click, and so many pixels more
_HOLE = 100  # px of a hole in a plant that counts as plant for its width: shade between leaves
_BESIDE = 8.0  # px around an outlined plant, which its outline tells apart from the ground
_GAP = 3.0  # px between vegetation and what is labelled as ground
_BINS = 256
_MAD = 1.4826  # of a normal distribution: deviation per median absolute deviation
_EIGHT = np.ones((3, 3), bool)


@dataclass(frozen=True)
class GroundLevel:
    """Median and robust standard deviation of the index of ground."""

    median: float
    deviation: float

    @classmethod
    def of(cls, index: Floats) -> "GroundLevel":
        """Those of the values (N,) up to Otsu's threshold (1979, doi 10.1109/TSMC.1979.4310076)."""
        counts, edges = np.histogram(index, _BINS)
        centres = (edges[1:] + edges[:-1]) / 2
        below, sums = counts.cumsum(), (counts * centres).cumsum()
        apart = (sums[-1] * below - below[-1] * sums) ** 2 / np.maximum(below * (below[-1] - below), 1.0)
        ground = index[index <= edges[1:][apart[:-1].argmax()]]
        median = float(np.median(ground))
        return cls(median, _MAD * float(np.median(np.abs(ground - median))))

    def above(self, deviations: float) -> float:
        """The index so many deviations above the median."""
        return self.median + deviations * self.deviation


@dataclass(frozen=True)
class Growth:
    """Pixels that clicks became.

    Args:
        owner: (H, W) int32 number of the click that has the pixel, -1 for none.
        found: (N,) bool whether the click's plant was found.
        shared: pairs of clicks of different classes on one plant.
    """

    owner: NDArray[np.int32]
    found: Mask
    shared: frozenset[tuple[int, int]]


def grow(index: Floats, xy: NDArray[np.float64], ids: NDArray[np.uint8], reach: float, ground: GroundLevel) -> Growth:
    """Grow clicks to their plants; a pixel of two plants belongs to the nearer click, the pixel under a click to it.

    Args:
        index: (H, W), larger is greener; NaN without data.
        xy: (N, 2) clicks in pixels: x to the right, y down, (0, 0) the outer corner of the first pixel. A click may
            lie outside the array, and is then not found.
        ids: (N,) class of each click.
        reach: largest distance of a pixel's centre from its click (px).
    """
    owner = np.full(index.shape, -1, np.int32)
    nearest = np.full(index.shape, np.inf)
    found, shared = np.zeros(len(xy), bool), set()
    for number, (x, y) in enumerate(xy.tolist()):
        place = _disc_box(index.shape, x, y, reach)
        distance = _distances(place, x, y)
        plant = _plant(index[place], distance, reach, ground)
        found[number] = plant is not None
        if plant is not None:
            others = np.unique(owner[place][plant])
            shared |= {(int(other), number) for other in others[others >= 0] if ids[other] != ids[number]}
            wins = plant & (distance < nearest[place])
            owner[place][wins], nearest[place][wins] = number, distance[wins]
    _keep_off_clicks(owner, xy, ids)
    return Growth(owner, found, frozenset(shared))


def _keep_off_clicks(owner: NDArray[np.int32], xy: NDArray[np.float64], ids: NDArray[np.uint8]) -> None:
    """Take the pixels under clicks from plants of another class."""
    cells = np.floor(xy).astype(np.int64)
    inside = ((cells >= 0) & (cells < owner.shape[::-1])).all(1)
    cols, rows = cells[inside].T
    has = owner[rows, cols]
    wrong = (has >= 0) & (ids[has] != ids[inside])
    owner[rows[wrong], cols[wrong]] = -1


def sure_ground(index: Floats, plants: Mask, around: Mask, ground: GroundLevel) -> Mask:
    """Pixels `around` that are no vegetation for certain: of the ground's index, and not beside vegetation.

    Args:
        index, plants, around: (H, W); `plants` are those of clicks.
    """
    with np.errstate(invalid="ignore"):
        green = ndimage.binary_opening(index > ground.above(_NOISE)) | plants
        bare = around & (index <= ground.above(_SURE))
    return bare if not green.any() else bare & (ndimage.distance_transform_edt(~green) > _GAP)


def beside_outlines(index: Floats, outlined: Mask, ground: GroundLevel) -> Mask:
    """Pixels close to outlined plants that are no vegetation: an outline says to a pixel where its plant ends.

    Args:
        index, outlined: (H, W); some pixel is outlined.
    """
    distance = ndimage.distance_transform_edt(~outlined)
    with np.errstate(invalid="ignore"):
        bare = index <= ground.above(_NOISE)
    return np.asarray(bare & (distance > 1) & (distance <= _BESIDE), bool)


def discs(shape: tuple[int, int], xy: NDArray[np.float64], radius: float) -> Mask:
    """(H, W) bool: pixels whose centre is within a radius (px) of one of some points (N, 2)."""
    covered = np.zeros(shape, bool)
    for x, y in xy.tolist():
        place = _disc_box(shape, x, y, radius)
        covered[place] |= _distances(place, x, y) <= radius
    return covered


def on_green(index: Floats, xy: NDArray[np.float64], ground: GroundLevel) -> Mask:
    """(N,) bool: points (N, 2) on a pixel far greener than ground; not those outside the array or without data."""
    cells = np.floor(xy).astype(np.int64)
    green = np.asarray(((cells >= 0) & (cells < index.shape[::-1])).all(1), bool)
    with np.errstate(invalid="ignore"):
        green[green] = index[cells[green, 1], cells[green, 0]] > ground.above(_FAR)
    return green


def _plant(index: Floats, distance: Distances, reach: float, ground: GroundLevel) -> Mask | None:
    """The plant (h, w) of the click that has these distances; None if there is no vegetation near it."""
    near = (distance <= NEAR) & np.isfinite(index)
    if not near.any():
        return None
    level = float(np.percentile(index[near], _BRIGHT))
    if level <= ground.above(_SPECK):
        return None
    least = max(ground.median + _SHARE * (level - ground.median), ground.above(_NOISE))
    with np.errstate(invalid="ignore"):
        green = (index > least) & (distance <= reach)
    labels, _ = ndimage.label(green)
    component = _commonest(labels[near])
    return None if component is None else _no_wider(labels == component, distance)


def _no_wider(plant: Mask, distance: Distances) -> Mask | None:
    """The plant without parts far wider than where it was clicked: a broad leaf behind a thin weed is another's."""
    rows, cols = ndimage.find_objects(plant.astype(np.int8))[0]
    inner, near = plant[rows, cols], distance[rows, cols] <= NEAR
    depth = _depth(_without_holes(plant), rows, cols)
    widest = _WIDER * float(depth[near & inner].max()) + _AND
    core = inner & (depth > widest)
    if not core.any():
        return plant
    labels, _ = ndimage.label(inner & (ndimage.distance_transform_edt(~core) > widest), _EIGHT)
    component = _commonest(labels[near])
    if component is None:
        return None
    narrow = np.zeros_like(plant)
    narrow[rows, cols] = labels == component
    return narrow


def _without_holes(plant: Mask) -> Mask:
    """The plant with its small holes."""
    labels, _ = ndimage.label(ndimage.binary_fill_holes(plant) & ~plant)
    small = np.bincount(labels.ravel()) <= _HOLE
    small[0] = False
    return np.asarray(plant | small[labels], bool)


def _depth(plant: Mask, rows: slice, cols: slice) -> NDArray[np.float64]:
    """Distance (px) of each pixel in a box to the plant's edge; the edge of the array is none."""
    top, left = min(1, rows.start), min(1, cols.start)
    inner = plant[rows.start - top : rows.stop + 1, cols.start - left : cols.stop + 1]
    if inner.all():
        return np.full((rows.stop - rows.start, cols.stop - cols.start), np.inf)
    depth = ndimage.distance_transform_edt(inner)
    return np.asarray(depth[top : top + rows.stop - rows.start, left : left + cols.stop - cols.start])


def _commonest(labels: NDArray[np.int32]) -> int | None:
    """The commonest label above 0; None without one."""
    counts = np.bincount(labels)
    return int(counts[1:].argmax()) + 1 if counts[1:].any() else None


def _disc_box(shape: tuple[int, int], x: float, y: float, radius: float) -> tuple[slice, slice]:
    """Rows and columns that a disc touches, within the array."""
    spans = ((y, shape[0]), (x, shape[1]))
    ends = [(int(np.clip(at - radius, 0, size)), int(np.clip(at + radius + 1, 0, size))) for at, size in spans]
    return slice(*ends[0]), slice(*ends[1])


def _distances(place: tuple[slice, slice], x: float, y: float) -> Distances:
    """(h, w) distance of pixel centres from a point (px): the same for any origin, as float32 would not be."""
    rows, cols = (np.arange(each.start, each.stop) + 0.5 for each in place)
    return np.hypot(rows[:, None] - y, cols - x)
