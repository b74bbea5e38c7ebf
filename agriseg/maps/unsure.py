"""Finished maps with pixels that have no class for lack of confidence: the class `unsure` of --min-confidence."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from agriseg.errors import DataError
from agriseg.legend import NODATA, UNSURE, UNSURE_TAG, Legend
from agriseg.maps.reader import ROWS, FinishedMap, MapStrip, SameGrid
from agriseg.raster.safe_open import open_raster
from agriseg.units import HECTARE, human_area


class DecidedMap(SameGrid):
    """A map in which pixels of the class `unsure` are nodata, as its confidence there; a `MaskSource`."""

    def strips(self, rows: int = ROWS) -> Iterator[MapStrip]:
        """From top to bottom, `rows` at a time."""
        return map(self._decided, self.source.strips(rows))

    def read(self, start: int, stop: int) -> MapStrip:
        """Rows `[start, stop)`."""
        return self._decided(self.source.read(start, stop))

    def _decided(self, strip: MapStrip) -> MapStrip:
        if self.legend.unsure is None:
            return strip
        nodata = np.uint8(NODATA)
        mask, confidence = (
            np.where(strip.mask == self.legend.unsure, nodata, each) for each in (strip.mask, strip.confidence)
        )
        return replace(strip, mask=mask, confidence=confidence)


def unsure_id(mask: Path) -> int | None:
    """Id of the class `unsure` by the tags of a mask; None without it.

    Raises:
        AgrisegError: it is no raster that can be opened.
    """
    with open_raster(mask) as dataset:
        text = dataset.tags(1).get(UNSURE_TAG)
    return None if text is None else int(text)


def mask_legend(mask: Path, names: Sequence[str]) -> Legend:
    """The classes of a mask by their names in order, with or without `unsure`, which the legend does not have.

    Raises:
        DataError: the mask has another number of classes.
    """
    unsure = unsure_id(mask) if mask.exists() else None  # who counts the mask says that it is missing
    if unsure is not None and list(names[unsure:]) == [UNSURE]:
        names = names[:unsure]
    if unsure is not None and len(names) != unsure:
        raise DataError(
            f"{mask}: has {unsure} classes besides {UNSURE!r}, but {len(names)} are named; name these in order"
        )
    return Legend.from_names(names)


def unsure_area(map_: FinishedMap) -> str | None:
    """What of a map is unsure, as `1.2 ha of class unsure (--min-confidence 0.7)`; None in a map without the class."""
    if map_.legend.unsure is None:
        return None
    count = map_.record.classes[map_.legend.unsure]
    size = f"{count.pixels:,} px" if count.hectares is None else human_area(count.hectares * HECTARE)
    return f"{size} of class {count.name} (--min-confidence {map_.record.min_confidence:g})"
