"""The checkpoint of a run: finished rows in the block store, an entry per band in the progress log, cached logits.

A checkpoint has a storage and a key. The run itself, the next run after a kill, and workers of a cluster open it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from agriseg.errors import BusyError
from agriseg.grid import Window
from agriseg.inference.predict import ClassifiedRows
from agriseg.json_text import json_line
from agriseg.legend import CONFIDENCE_STEP, DOUBTFUL, NODATA
from agriseg.mapping.image_means import IMAGE_MEANS, ImageMeans
from agriseg.mapping.known_runtime import RUNTIME, store_runtime
from agriseg.mapping.prepare import MappingJob
from agriseg.mapping.record import identity_of
from agriseg.maps.pixel_counts import Area, PixelCounts, windows_from_json
from agriseg.metrics import value_counts
from agriseg.storage.base import UNDER_WAY, Storage
from agriseg.storage.blocks import BlockStore
from agriseg.storage.logits_cache import LogitsCache, discard_other_rows
from agriseg.storage.progress_log import ProgressLog


class RunCheckpoint:
    """Finished bands of one run.

    Raises:
        one of `corruption_errors`: there is no checkpoint of this run, or it is damaged.
    """

    def __init__(self, prepared: MappingJob, place: Storage) -> None:
        plan = self._plan = prepared.plan
        self.place = place
        self.bands = plan.bands()
        self._job = prepared
        self._where = prepared.georeference
        self._key = identity_of(prepared).key
        self._log = ProgressLog(place, self._key)
        if not self._log.is_mine:
            raise ValueError("the checkpoint is of another run")
        self.store = BlockStore(place, plan.layers, plan.block_offset)

    @classmethod
    def create(cls, prepared: MappingJob, place: Storage) -> "RunCheckpoint":
        """An empty checkpoint; replaces one that is there.

        Raises:
            StorageError: the storage cannot be written.
        """
        plan = prepared.plan
        delete_checkpoint(place)
        try:
            BlockStore.create(
                place,
                plan.layers,
                plan.roi.height,
                plan.roi.width,
                block_rows=plan.block_rows,
                block_offset=plan.block_offset,
            )
        except place.errors as error:
            raise place.to_error(error) from error
        if prepared.runtime:
            store_runtime(prepared.runtime, place)
        ProgressLog(place, identity_of(prepared).key).start()
        return cls(prepared, place)

    def logits_cache(self, worker_id: str) -> LogitsCache:
        """The cache of logits, for a worker."""
        rows, cols = self._plan.grid.rows, self._plan.grid.cols
        shape = (len(self._job.model.legend), rows.length // rows.stride, cols.length // cols.stride)
        return LogitsCache(self.place, shape, self._key, worker_id)

    @property
    def image_means(self) -> ImageMeans:
        """Means of the image for its quick look."""
        return ImageMeans(self._job, self.bands, self.place, self._key)

    def rows_of(self, band: int) -> range:
        """Tile rows that contribute to a band, also from above it."""
        return self._plan.without_carry(self.bands[band]).tiles

    def discard_logits(self, missing: list[int]) -> None:
        """Delete the cached logits that no missing band needs."""
        if missing:
            discard_other_rows(self.place, range(self.rows_of(missing[0]).start, self._plan.tile_rows.stop))

    def write(self, index: int, decided: ClassifiedRows) -> PixelCounts:
        """Store a band and record it.

        Raises:
            StorageError: the storage cannot be written.
            BusyError: another run uses the storage.
        """
        if not self._log.is_mine:  # the run was stopped, and this worker was not
            raise BusyError(f"{self.place.address}: another run works there by now")
        row_off = decided.band.rows[0] - self._plan.roi.row_off
        for name, rows in decided.layers.items():
            if rows.shape[1]:
                self.store.write(name, row_off, rows)
        checks = {name: _checksum(rows) for name, rows in decided.layers.items()}
        done = self._counts(index, decided.layers, decided.tiles, self._on_map(decided.lost))
        self._log.add(index, json_line({"tiles": done.tiles, "lost": done.lost_windows, "blake2b": checks}))
        return done

    @property
    def recorded(self) -> list[int]:
        """Bands that have an entry, valid or not."""
        return [index for index in self._log.numbers if index < len(self.bands)]

    def read_counts(self, index: int) -> PixelCounts | None:
        """Counts of a recorded band, from its rows; None if it has no entry, or its rows have another checksum."""
        text = self._log.find(index)
        if text is None:
            return None
        entry = json.loads(text)
        start, stop = (row - self._plan.roi.row_off for row in self.bands[index].rows)
        layers = {name: self.store.read(name, start, stop) for name in self._plan.layers}
        if {name: _checksum(rows) for name, rows in layers.items()} != entry["blake2b"]:
            return None
        return self._counts(index, layers, int(entry["tiles"]), windows_from_json(entry["lost"]))

    def _counts(
        self, index: int, layers: Mapping[str, NDArray[np.uint8]], tiles: int, lost: tuple[Window, ...]
    ) -> PixelCounts:
        """Counts of the rows of a band; its layers are as the network has them."""
        classes, confidence = layers["classes"][0], layers["confidence"][0]
        mapped, roi, size = self._job.mapped(classes, confidence), self._plan.roi, len(self._job.model.legend)
        by_row = np.stack([np.count_nonzero(mapped == each.id, axis=1) for each in self._job.legend], axis=1)
        area = Area.of_rows(self._where, roi.width, self.bands[index].rows[0] - roi.row_off, by_row.astype(np.int64))
        doubtful = classes[confidence < round(DOUBTFUL / CONFIDENCE_STEP)]  # nodata is the highest value
        of_network, of_doubtful = value_counts(classes)[:size], np.bincount(doubtful, minlength=NODATA + 1)[:size]
        return PixelCounts(area, of_network, tiles, of_doubtful, lost)

    def _on_map(self, lost: tuple[Window, ...]) -> tuple[Window, ...]:
        """Windows of the working grid as windows of the map."""
        roi = self._plan.roi
        return tuple(replace(w, col_off=w.col_off - roi.col_off, row_off=w.row_off - roi.row_off) for w in lost)


def delete_checkpoint(place: Storage) -> None:
    """Delete a checkpoint; its progress log first, without which it is none."""
    for name in ("journal", "blocks", "answers", IMAGE_MEANS, UNDER_WAY, RUNTIME):
        place.delete(name)


def corruption_errors(place: Storage) -> tuple[type[BaseException], ...]:
    """Errors that zarr and JSON raise on a checkpoint that a kill or a disk has damaged."""
    return (*place.errors, RuntimeError, ValueError, KeyError, TypeError)  # RuntimeError: a cut block, by numcodecs


def _checksum(rows: NDArray[np.uint8]) -> str:
    return hashlib.blake2b(np.ascontiguousarray(rows).tobytes(), digest_size=16).hexdigest()
