"""Maps bands in this process, one after the other, into the checkpoint of the run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock

from agriseg.inference.pipeline import run_bands
from agriseg.inference.plan import TileRowGroup
from agriseg.inference.predict import ClassifiedRows, LogitsObserver, Observers, TilePredictor
from agriseg.mapping.checkpoint import RunCheckpoint
from agriseg.mapping.prepare import MappingJob
from agriseg.maps.pixel_counts import PixelCounts
from agriseg.raster.reader import PixelStrip, Reader
from agriseg.storage.logits_cache import LogitsCache
from agriseg.timing.stages import Stage, StageClock


@dataclass(frozen=True)
class MappedBands:
    """Bands that are in the checkpoint.

    Args:
        counts: pixel counts by number of the band.
        batch: tiles per forward; fewer than planned if the memory of the device did not hold as many.
        seconds: wall-clock time by stage, of the process that mapped them.
    """

    counts: dict[int, PixelCounts]
    batch: int
    seconds: dict[Stage, float]


def run_local(
    job: MappingJob, checkpoint: RunCheckpoint, indices: Sequence[int], worker_id: str,
    progress: Callable[[int], None], observer: LogitsObserver | None = None,
) -> MappedBands:  # fmt: skip
    """Map the bands with these ascending numbers, and delete cached logits that no band needs any more."""
    cache = checkpoint.logits_cache(worker_id)
    cleaner = _CacheCleaner(checkpoint, cache, indices)
    clock = StageClock()
    image_means = checkpoint.image_means
    predictor = TilePredictor(job.plan, job.model, job.backend, Observers(progress, observer, clock), cache)
    numbers = {checkpoint.bands[index].tiles.stop: index for index in indices}

    def write(rows: ClassifiedRows) -> tuple[int, PixelCounts]:
        index = numbers[rows.band.tiles.stop]
        with clock(Stage.STORE):
            counts = checkpoint.write(index, rows)
            cleaner.written(index)
        return index, counts

    with Reader(job.model_input.source) as reader:

        def read(band: TileRowGroup) -> PixelStrip:
            with clock(Stage.READ):
                strip = reader.read(job.plan.read_window(band))
                image_means.gather(numbers[band.tiles.stop], strip)
                return strip

        bands = _bands(job, checkpoint, indices)
        counts = dict(run_bands(bands, read, predictor.run, write, job.options.threads, clock))
    return MappedBands(counts, predictor.batch, clock.seconds)


def _bands(job: MappingJob, checkpoint: RunCheckpoint, indices: Sequence[int]) -> list[TileRowGroup]:
    """The bands; without carry where the band above is not among them."""
    mine = set(indices)
    return [
        band if index == 0 or index - 1 in mine else job.plan.without_carry(band)
        for index, band in ((index, checkpoint.bands[index]) for index in indices)
    ]


class _CacheCleaner:
    """Deletes the cached logits of bands that are written; bands may be written in another order than they began."""

    def __init__(self, checkpoint: RunCheckpoint, cache: LogitsCache, indices: Sequence[int]) -> None:
        self._checkpoint, self._cache = checkpoint, cache
        self._left = list(indices)
        self._next = indices[-1] + 1 if indices else 0  # the band below may need the last tile row
        self._kept = checkpoint.bands[indices[0]].tiles.start if indices else 0
        self._lock = Lock()

    def written(self, index: int) -> None:
        with self._lock:
            self._left.remove(index)
            following = self._left[0] if self._left else self._next
            bands = self._checkpoint.bands
            start = self._checkpoint.rows_of(following).start if following < len(bands) else bands[-1].tiles.stop
            self._cache.discard(range(self._kept, start))
            self._kept = max(self._kept, start)
