"""A map against labels by patches: how many labelled patches of a class it finds, and how many of its own are wrong.

A patch is a connected region of one class (`analysis.components`). A labelled patch is found if the map has at least
half of its pixels as the same class; a mapped patch is right if the labels have. Touching plants are one patch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from agriseg.analysis.components import Components
from agriseg.evaluation.common_grid import Read
from agriseg.grid import Window
from agriseg.legend import CONFIDENCE_STEP, NODATA, Legend
from agriseg.maps.reader import ROWS, MapStrip
from agriseg.raster.georeference import Georeference
from agriseg.units import human_metres

BLOCK = 256
"""Side of the blocks of ground within which errors are taken as alike when an interval is computed (px)."""

_HALF = 0.5
_LEAST_ACROSS = 3  # px across, below which a patch is smaller than the errors of an outline
_LEAST_PATCHES = 10  # of a larger size; fewer say little
_HIT = round(1 / CONFIDENCE_STEP)
_TAIL = 0.025
_LEAST_BLOCKS = 2  # one has no spread


@dataclass(frozen=True)
class Patches:
    """Patches of labels or of a map; arrays of equal length.

    Args:
        class_id: (N,) uint8.
        pixels: (N,) int64 counted pixels.
        square_metres: (N,) float64; NaN where the ground is unknown.
        hit: (N,) bool, whether at least half of the pixels have the same class in the other.
        block: (N,) int64 number of the block of ground that the first pixel is in.
    """

    class_id: NDArray[np.uint8]
    pixels: NDArray[np.int64]
    square_metres: NDArray[np.float64]
    hit: NDArray[np.bool_]
    block: NDArray[np.int64]

    @classmethod
    def none(cls) -> "Patches":
        """Without a patch."""
        return cls(np.empty(0, np.uint8), np.empty(0, np.int64), np.empty(0), np.empty(0, bool), np.empty(0, np.int64))

    def __add__(self, other: "Patches") -> "Patches":
        apart = replace(other, block=other.block + self.block.max(initial=-1) + 1)
        pairs = zip(vars(self).values(), vars(apart).values(), strict=True)
        return Patches(*(np.concatenate(pair) for pair in pairs))

    def across(self, *, metres: bool) -> NDArray[np.float64]:
        """(N,) diameter of the disc of the same area, in metres or pixels."""
        return np.sqrt((self.square_metres if metres else self.pixels) * 4 / np.pi)

    def chosen(self, which: NDArray[np.bool_]) -> "Patches":
        """Those where `which` (N,) is true."""
        return Patches(*(each[which] for each in vars(self).values()))


@dataclass(frozen=True)
class PatchCounts:
    """Labelled and mapped patches of rasters; those of several rasters can be added."""

    labelled: Patches
    mapped: Patches

    @classmethod
    def none(cls) -> "PatchCounts":
        """Without a patch."""
        return cls(Patches.none(), Patches.none())

    def __add__(self, other: "PatchCounts") -> "PatchCounts":
        return PatchCounts(self.labelled + other.labelled, self.mapped + other.mapped)


@dataclass(frozen=True)
class Share:
    """`part` of `whole` patches.

    Args:
        share: 0 to 1; None without a patch.
        share_95: ends of its 95 % interval; None in place of each from fewer than two blocks of ground.
    """

    whole: int
    part: int
    share: float | None
    share_95: list[float | None]

    @classmethod
    def of(cls, counted: NDArray[np.bool_], block: NDArray[np.int64]) -> "Share":
        """The share of the patches where `counted` (N,) is true; `block` (N,) is the block of ground of each."""
        whole, part = len(counted), int(counted.sum())
        return cls(whole, part, part / whole if whole else None, clustered_interval(counted, block))


@dataclass(frozen=True)
class PatchScores:
    """Scores of one class, of the patches of a size and more.

    Args:
        least, unit: smallest size, the diameter of the disc of the same area, in `m` or `px`.
        found: labelled patches that the map has.
        wrong: mapped patches that the labels do not have.
    """

    name: str
    least: float
    unit: str
    found: Share
    wrong: Share

    @property
    def size(self) -> str:
        """The smallest size as text."""
        return human_metres(self.least) if self.unit == "m" else f"{self.least:g} px"


@dataclass(frozen=True)
class _Compared:
    """Class ids of one raster, with those pixels as certain where another has the same; a `StripSource`."""

    own: Read
    other: Read
    georeference: Georeference
    width: int
    height: int

    def strips(self, rows: int = ROWS) -> Iterator[MapStrip]:
        for top in range(0, self.height, rows):
            window = Window(0, top, self.width, min(rows, self.height - top))
            own, other = self.own(window), self.other(window)
            counted = np.where(other == NODATA, NODATA, own).astype(np.uint8)
            yield MapStrip(top, counted, np.where(own == other, _HIT, 0).astype(np.uint8))

    def areas(self, rows: range) -> NDArray[np.float64] | None:
        return self.georeference.pixel_areas(self.width, rows)


def count_patches(labels: Read, mask: Read, georeference: Georeference, width: int, height: int) -> PatchCounts:
    """Patches of labels and of a mask on one grid; a pixel that is 255 in either is in none.

    Raises:
        DataError: too many patches, see `Components.of`.
    """
    grid = georeference, width, height
    return PatchCounts(_patches(_Compared(labels, mask, *grid)), _patches(_Compared(mask, labels, *grid)))


def _patches(source: _Compared) -> Patches:
    found = Components.of(source)
    blocks_across = -(-source.width // BLOCK)
    metres = np.full(len(found), np.nan) if found.square_metres is None else found.square_metres
    hits = np.round(found.confidence / CONFIDENCE_STEP * found.pixels / _HIT)  # exact: whole pixels
    return Patches(
        found.class_id, found.pixels, metres, hits >= _HALF * found.pixels,
        found.row // BLOCK * blocks_across + found.col // BLOCK,
    )  # fmt: skip


def score_patches(counts: PatchCounts, legend: Legend, support: Sequence[int]) -> list[PatchScores]:
    """Scores of each class but the commonest, which is the ground, for sizes in steps of 1, 2 and 5.

    The smallest size is at least three pixels across; each larger one has ten labelled patches or more. `support` are
    labelled pixels by class; classes without any are left out.
    """
    both = counts.labelled, counts.mapped
    metres = not any(np.isnan(each.square_metres).any() for each in both)
    ground = int(np.argmax(support))
    scores = []
    for k in (k for k in np.argsort(support, kind="stable").tolist() if k != ground and support[k]):
        labelled, mapped = (each.chosen(each.class_id == k) for each in both)
        sizes, of_mapped = labelled.across(metres=metres), mapped.across(metres=metres)
        pixel = float(np.max(sizes / labelled.across(metres=False), initial=0)) if metres else 1.0
        tenth = np.sort(sizes)[-_LEAST_PATCHES] if len(sizes) >= _LEAST_PATCHES else 0.0
        for least in _steps(_LEAST_ACROSS * pixel, float(sizes.max(initial=0)), float(tenth)):
            seen, made = labelled.chosen(sizes >= least), mapped.chosen(of_mapped >= least)
            scores.append(
                PatchScores(
                    legend.names[k], least, "m" if metres else "px",
                    Share.of(seen.hit, seen.block), Share.of(~made.hit, made.block),
                )
            )  # fmt: skip
    return scores


def _steps(low: float, first: float, rest: float) -> list[float]:
    """The numbers 1, 2 and 5 times a power of ten from `low` on: the first up to `first`, the others up to `rest`."""
    if not 0 < low <= first:
        return []
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(first))) + 1)
    steps = [each for power in powers for digit in (1, 2, 5) if low <= (each := float(f"{digit}e{power}")) <= first]
    return [*steps[:1], *(each for each in steps[1:] if each <= rest)]


def clustered_interval(hits: NDArray[np.bool_], block: NDArray[np.int64]) -> list[float | None]:
    """95 % interval of the share of hits among patches that are alike within blocks of ground.

    Wilson's interval with the effective number of patches. Where blocks vary more than independent patches would, the
    number is divided by that ratio of variances (the design effect) and by the squared ratio of the quantiles of
    Student's t and of the normal distribution (Korn and Graubard 1998, Survey Methodology 24, 193 to 201; Franco et
    al. 2019, Journal of Survey Statistics and Methodology 7, 334 to 364).
    """
    _, number, sizes = np.unique(block, return_inverse=True, return_counts=True)
    blocks, count = len(sizes), len(hits)
    if blocks < _LEAST_BLOCKS:
        return [None, None]
    share = float(hits.mean())
    simple = share * (1 - share) / count
    residuals = np.bincount(number, hits, blocks) - share * sizes
    between = blocks / (blocks - 1) * float(residuals @ residuals) / count**2
    z = float(norm.isf(_TAIL))
    effect = between / simple * (float(t.isf(_TAIL, blocks - 1)) / z) ** 2 if between > simple else 1.0
    effective = count / effect
    middle = (share + z**2 / (2 * effective)) / (1 + z**2 / effective)
    half = z / (1 + z**2 / effective) * np.sqrt(share * (1 - share) / effective + z**2 / (4 * effective**2))
    return [max(0.0, float(middle - half)), min(1.0, float(middle + half))]
