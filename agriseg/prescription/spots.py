"""Which pixels of a map are spots: certainly, perhaps, or not."""

from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray

from agriseg.analysis.area_table import class_id
from agriseg.errors import DataError, UsageError
from agriseg.legend import CONFIDENCE_STEP, DOUBTFUL, NODATA, Legend
from agriseg.maps.reader import FinishedMap, MapStrip, MaskSource
from agriseg.prescription.cells import STEP
from agriseg.raster.gdal_env import gdal_calls
from agriseg.raster.safe_open import open_raster
from agriseg.run_layers import PROBABILITIES

ROWS = 4 * STEP
"""Rows of a map that are read at once; any number gives the same cells."""
_COUNTS = round(1 / CONFIDENCE_STEP)  # that are a probability of 1

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class SpotRule:
    """When a pixel is a spot, and when a cell is treated for its spots.

    Args:
        spot: ids of the classes to treat.
        threshold: confidence from which a pixel is certain, above 0 and at most 1. With probabilities, a pixel is
            certainly a spot if those of the spot classes add up to it, and certainly none if those of the others do.
            Without, its class decides if its confidence reaches it; a pixel of class `unsure` is doubtful.
        treat_doubtful: whether a doubtful pixel counts as a spot.
        min_area: square metres of spots in a cell, below which they are dropped.
        margin: metres; a cell is treated if the centre of a spot that is not dropped is at most so far from it.
    """

    spot: frozenset[int]
    threshold: float = DOUBTFUL
    treat_doubtful: bool = True
    min_area: float = 0.0
    margin: float = 0.0

    def __post_init__(self) -> None:
        if not self.spot:
            raise UsageError("no class to treat; name one, such as --spot weed")
        if not 0 < self.threshold <= 1:
            raise UsageError(f"threshold {self.threshold:g}, expected more than 0 and at most 1, such as 0.7")


@dataclass(frozen=True)
class SpotStrip:
    """Whole rows of a map; each array is (h, width) bool.

    Args:
        rows: in the map.
        valid: has data.
        certain: is certainly a spot.
        doubtful: may or may not be one.
    """

    rows: range
    valid: Mask
    certain: Mask
    doubtful: Mask


def spot_ids(legend: Legend, names: Collection[str]) -> frozenset[int]:
    """Ids of the classes that `--spot` names.

    Raises:
        UsageError: there is none of that name, it is `unsure`, or nothing is left that is no spot.
    """
    ids = frozenset(class_id(legend, name, "--spot") for name in names)
    if len(ids) == len(legend.decided):
        raise UsageError(f"--spot {','.join(names)}: all classes of the map; leave out what is not to be treated")
    return ids


def probability_layer(source: MaskSource) -> Path | None:
    """The probabilities that the run of a map has written; None without any.

    Raises:
        DataError: the record of the run has them, but the file is gone.
    """
    if not isinstance(source, FinishedMap) or f"{source.stem}_{PROBABILITIES.raster}" not in source.record.outputs:
        return None
    path = source.folder / f"{source.stem}_{PROBABILITIES.raster}"
    if not path.is_file():
        raise DataError(f"{path}: is gone, the record of the run has it; run agriseg run again")
    return path


def spot_strips(source: MaskSource, rule: SpotRule, probabilities: Path | None = None) -> Iterator[SpotStrip]:
    """The spots of a map from its top to its bottom.

    Args:
        probabilities: GeoTIFF on the grid of the map with a band for each class; None uses classes and confidence.

    Raises:
        DataError: a block cannot be decoded, or the probabilities are not of this map.
    """
    with ExitStack() as files:
        opened = None if probabilities is None else files.enter_context(open_raster(probabilities))
        if opened is not None:
            _check_probabilities(opened, source)
        for strip in source.strips(ROWS):
            valid = strip.mask != NODATA
            if opened is None:
                certain, doubtful = _by_class(strip, rule, source.legend.unsure)
            else:
                certain, doubtful = _by_probability(_spot_counts(opened, strip, rule), rule)
            yield SpotStrip(strip.rows, valid, certain & valid, doubtful & valid)


def _by_class(strip: MapStrip, rule: SpotRule, unsure: int | None) -> tuple[Mask, Mask]:
    """Certain and doubtful pixels, by class and confidence."""
    is_spot = np.zeros(NODATA + 1, bool)
    is_spot[list(rule.spot)] = True
    sure = strip.confidence >= _least_counts(rule.threshold)
    if unsure is not None:
        sure &= strip.mask != unsure
    return is_spot[strip.mask] & sure, ~sure


def _by_probability(spot: NDArray[np.uint16], rule: SpotRule) -> tuple[Mask, Mask]:
    """Certain and doubtful pixels, by counts of the probability of the spot classes."""
    least = _least_counts(rule.threshold)
    certain = spot >= least
    return certain, ~certain & (spot > _COUNTS - least)


def _least_counts(threshold: float) -> int:
    """Least count of a layer of confidence that reaches a threshold."""
    return int(np.ceil(threshold / CONFIDENCE_STEP - 1e-6))


def _spot_counts(opened: rasterio.DatasetReader, strip: MapStrip, rule: SpotRule) -> NDArray[np.uint16]:
    """(h, width) counts of the probability of the spot classes together."""
    window = rasterio.windows.Window(0, strip.row_off, opened.width, len(strip.mask))
    counts = np.zeros(strip.mask.shape, np.uint16)
    with gdal_calls(f"{opened.name}: cannot be read; run agriseg run again"):
        for band in sorted(rule.spot):
            counts += opened.read(band + 1, window=window)
    return counts


def _check_probabilities(opened: rasterio.DatasetReader, source: MaskSource) -> None:
    classes = len(source.legend.decided)
    given, wanted = (opened.count, opened.width, opened.height), (classes, source.width, source.height)
    if given != wanted:
        raise DataError(
            f"{opened.name}: {given[0]} bands of {given[1]} x {given[2]} pixels, the map has {wanted[0]} classes and "
            f"{wanted[1]} x {wanted[2]}; run agriseg run again"
        )
