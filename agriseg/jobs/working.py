"""The working folder of one run: block store, journal and answers. What a kill leaves, the next run takes up."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agriseg.engine.answers import Answers
from agriseg.engine.plan import Band
from agriseg.engine.sweep import Decided
from agriseg.files import write_bytes
from agriseg.grid import Window
from agriseg.jobs.account import Account, windows
from agriseg.jobs.outputs import PUBLISHING, Outputs
from agriseg.jobs.prepare import Prepared
from agriseg.jobs.record import describe_model, describe_plan
from agriseg.jobs.verdict import DOUBTFUL
from agriseg.layers.area import Area
from agriseg.legend import CONFIDENCE_STEP
from agriseg.raster.journal import Journal
from agriseg.raster.store import BlockStore

_PACKAGES = ("agriseg", "torch", "rasterio", "numpy", "zarr")
_DAMAGED = (OSError, ValueError, KeyError, TypeError)  # what zarr lets out over a folder that a kill or a disk spoilt


class Working:
    """What a run keeps while it lasts.

    Args:
        prepared: the run.
        outputs: where it works, and where the record will be.
        resume: take up what an earlier run of the same input, model and parameters left.

    `finished` is whether that run was through with everything but its cleaning up.
    """

    def __init__(self, prepared: Prepared, outputs: Outputs, *, resume: bool) -> None:
        plan = self._plan = prepared.plan
        folder = self._folder = outputs.working
        self._bands = plan.bands()
        self._index = {band.tiles.stop: index for index, band in enumerate(self._bands)}
        self._classes = len(prepared.model.legend)
        self._key = _key(prepared)
        self._journal = Journal(folder / "journal", self._key)
        self._lock = Lock()
        self._where = prepared.georeference
        self._done: dict[int, Account] = {}
        self.first = 0  # band that is not done
        self.finished = resume and self.is_publishing and outputs.record.exists()  # the record comes last
        if self.finished:
            return
        if not (resume and self._take_up()):
            self.store = BlockStore.create(
                folder, plan.layers, plan.roi.height, plan.roi.width, block_rows=plan.block_rows, lead=plan.lead
            )
            self._journal.start()
        rows, cols, stride = plan.grid.rows, plan.grid.cols, plan.grid.stride
        self.answers = Answers(folder, (self._classes, rows.length // stride, cols.length // stride))

    def bands(self) -> list[Band]:
        """The bands that are to do; the first starts without the sums of the one above."""
        left = self._bands[self.first :]
        return [self._plan.afresh(left[0]), *left[1:]] if self.first and left else left

    def account(self) -> Account:
        """What the map came to, when all bands are done."""
        first, *others = (self._done[index] for index in range(len(self._bands)))
        return sum(others, first)

    def write(self, decided: Decided) -> None:
        """Store a band and record it; answers that no band leans on any more are dropped.

        Raises:
            StorageError: the disk did not take it.
        """
        index, row_off = self._index[decided.band.tiles.stop], decided.band.rows[0] - self._plan.roi.row_off
        for name, rows in decided.layers.items():
            if rows.shape[1]:
                self.store.write(name, row_off, rows)
        checks = {name: _checksum(rows) for name, rows in decided.layers.items()}
        done = Account(
            self._area(decided.band, decided.class_pixels), decided.tiles, _doubtful(decided.layers),
            self._on_map(decided.lost),
        )  # fmt: skip
        with self._lock:
            self._journal.add({"band": index, "tiles": done.tiles, "lost": done.lost_windows, "blake2b": checks})
            self._done[index] = done
            self._advance()
            if self.first < len(self._bands):
                self.answers.forget(self._plan.afresh(self._bands[self.first]).tiles.start)

    def publishing(self) -> None:
        """Say that outputs get their names from now on, so that the next run does not take them for another's."""
        write_bytes(self._folder / PUBLISHING, self._key.encode())

    def remove(self) -> None:
        """Delete it all; last the word that outputs got their names, or a kill now would make them another's."""
        for path in self._folder.glob("*"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != PUBLISHING:
                path.unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def is_publishing(self) -> bool:
        """Whether this run, or an earlier one of just this, has begun to give its outputs their names."""
        try:
            return (self._folder / PUBLISHING).read_bytes() == self._key.encode()
        except OSError:
            return False

    def _take_up(self) -> bool:
        """Go on with what lies in the folder, if it is of this run; bands that do not check are done again."""
        entries = self._journal.entries()
        if entries is None:
            return False
        try:
            self.store = BlockStore(self._folder, self._plan.layers, self._plan.lead)
            for entry in entries:
                if "band" in entry and (found := self._checked(entry)) is not None:
                    self._done[int(entry["band"])] = found
        except _DAMAGED:
            self._done = {}
            return False
        self._advance()
        return True

    def _advance(self) -> None:
        while self.first in self._done:
            self.first += 1

    def _checked(self, entry: dict[str, Any]) -> Account | None:
        """What a recorded band shows, counted anew; None if its rows are not what was written."""
        band = self._bands[entry["band"]]
        start, stop = (row - self._plan.roi.row_off for row in band.rows)
        layers = {name: self.store.read(name, start, stop) for name in self._plan.layers}
        if {name: _checksum(rows) for name, rows in layers.items()} != entry["blake2b"]:
            return None
        counts = [np.count_nonzero(layers["classes"][0] == k, axis=1) for k in range(self._classes)]
        area = self._area(band, np.stack(counts, axis=1).astype(np.int64))
        return Account(area, int(entry["tiles"]), _doubtful(layers), windows(entry["lost"]))

    def _on_map(self, lost: tuple[Window, ...]) -> tuple[Window, ...]:
        """Windows of the working grid as windows of the map."""
        roi = self._plan.roi
        return tuple(replace(w, col_off=w.col_off - roi.col_off, row_off=w.row_off - roi.row_off) for w in lost)

    def _area(self, band: Band, class_pixels: NDArray[np.int64]) -> Area:
        roi = self._plan.roi
        return Area.of_rows(self._where, roi.width, band.rows[0] - roi.row_off, class_pixels)


def _key(prepared: Prepared) -> str:
    """Input, model, parameters and versions: what decides every byte of the map."""
    stamp = prepared.info.stamp
    key = {
        "input": [prepared.info.path.name, stamp.size, stamp.mtime_ns],
        "model": prepared.model.fingerprint, "legend": describe_model(prepared), "plan": describe_plan(prepared),
        "threads": torch.get_num_threads(),  # sums are made in as many parts
        "versions": {name: version(name) for name in _PACKAGES},
    }  # fmt: skip
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


def _doubtful(layers: Mapping[str, NDArray[np.uint8]]) -> int:
    """Pixels with little confidence; no data has the highest number of all."""
    return int(np.count_nonzero(layers["confidence"] < round(DOUBTFUL / CONFIDENCE_STEP)))


def _checksum(rows: NDArray[np.uint8]) -> str:
    return hashlib.blake2b(np.ascontiguousarray(rows).tobytes(), digest_size=16).hexdigest()
