"""Bands that one process runs, one after the other, into the archive of the run."""

from collections.abc import Callable, Sequence
from threading import Lock

from agriseg.inference.pipeline import run_bands
from agriseg.inference.plan import TileRowGroup
from agriseg.inference.predict import ClassifiedRows, LogitsObserver, Sweep
from agriseg.mapping.checkpoint import RunCheckpoint
from agriseg.mapping.pixel_counts import PixelCounts
from agriseg.mapping.prepare import MappingJob
from agriseg.raster.reader import PixelStrip, Reader
from agriseg.storage.logits_cache import LogitsCache


def run_local(
    prepared: MappingJob, archive: RunCheckpoint, indices: Sequence[int], settle: Callable[[int, PixelCounts], None],
    tell: Callable[[int], None], who: str, watch: LogitsObserver | None = None,
) -> int:  # fmt: skip
    """Run bands, and drop the answers that nothing leans on any more.

    Args:
        prepared: the run.
        archive: where they go.
        indices: numbers of the bands, ascending.
        settle: told of each band that is done, and what it shows.
        tell: told of each number of tiles that is done.
        who: works here, in a word.
        watch: shown the logits, or None.

    Returns:
        Tiles per forward: fewer than planned when the device's memory did not hold as many.
    """
    answers = archive.answers(who)
    trail = _Trail(archive, answers, indices)
    sweep = Sweep(prepared.plan, prepared.model, prepared.forward, tell, answers, watch)
    numbers = {archive.bands[index].tiles.stop: index for index in indices}

    def write(decided: ClassifiedRows) -> None:
        index = numbers[decided.band.tiles.stop]
        settle(index, archive.write(index, decided))
        trail.passed(index)

    with Reader(prepared.contract.source) as reader:

        def read(band: TileRowGroup) -> PixelStrip:
            return reader.read(prepared.plan.read_window(band))

        for _ in run_bands(_bands(prepared, archive, indices), read, sweep.run, write, prepared.options.threads):
            pass
    return sweep.batch


def _bands(prepared: MappingJob, archive: RunCheckpoint, indices: Sequence[int]) -> list[TileRowGroup]:
    """The bands, those afresh whose neighbour above is not among them."""
    mine = set(indices)
    return [
        band if index == 0 or index - 1 in mine else prepared.plan.without_carry(band)
        for index, band in ((index, archive.bands[index]) for index in indices)
    ]


class _Trail:
    """Answers behind the bands that are written; these may end in another order than they began."""

    def __init__(self, archive: RunCheckpoint, answers: LogitsCache, indices: Sequence[int]) -> None:
        self._archive, self._answers = archive, answers
        self._left = list(indices)
        self._next = indices[-1] + 1 if indices else 0  # a neighbour below may lean on the last of them
        self._kept = archive.bands[indices[0]].tiles.start if indices else 0
        self._lock = Lock()

    def passed(self, index: int) -> None:
        """Drop what no band that is left leans on."""
        with self._lock:
            self._left.remove(index)
            following = self._left[0] if self._left else self._next
            bands = self._archive.bands
            start = self._archive.rows_of(following).start if following < len(bands) else bands[-1].tiles.stop
            self._answers.discard(range(self._kept, start))
            self._kept = max(self._kept, start)
