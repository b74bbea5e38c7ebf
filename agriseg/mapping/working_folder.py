"""The working folder of a run; the next run resumes from it after a kill."""

import shutil
from collections.abc import Sequence
from threading import Lock

from agriseg.files import make_folder, write_bytes
from agriseg.mapping.checkpoint import RunCheckpoint, corruption_errors, delete_checkpoint
from agriseg.mapping.outputs import PUBLISHING, Outputs
from agriseg.mapping.prepare import MappingJob
from agriseg.maps.pixel_counts import PixelCounts
from agriseg.storage.base import Storage


class WorkingFolder:
    """Checkpoint and drafts of a run.

    Args:
        places: folders where its record may be; drafts of the outputs are made in the first.
        name: key of the run, see `RunIdentity`.
        resume: continue from the checkpoint of an earlier run with the same key.

    `folder` holds the drafts. `finished` is the place of the outputs if an earlier run with the same key published
    them and was killed before it deleted its working folder; else None.
    """

    def __init__(
        self, prepared: MappingJob, places: Sequence[Outputs], name: str, place: Storage, *, resume: bool
    ) -> None:
        self.folder = places[0].working
        self._place = place
        self._name = name
        self._lock = Lock()
        self._done: dict[int, PixelCounts] = {}
        is_through = resume and self.is_publishing
        self.finished = next((each for each in places if is_through and each.holds(name)), None)
        if self.finished:
            return
        resumed = resume and self._resume(prepared)
        if not resumed:
            shutil.rmtree(self.folder, ignore_errors=True)
        make_folder(self.folder)
        if not resumed:
            self.checkpoint = RunCheckpoint.create(prepared, place)

    @property
    def missing(self) -> list[int]:
        """Numbers of the bands that are not done."""
        return [index for index in range(len(self.checkpoint.bands)) if index not in self._done]

    @property
    def counts(self) -> PixelCounts:
        """Pixels and areas of the map, when all bands are done."""
        first, *others = (self._done[index] for index in range(len(self.checkpoint.bands)))
        return sum(others, first)

    def mark_done(self, index: int, counts: PixelCounts) -> None:
        """Mark a band as done."""
        with self._lock:
            self._done[index] = counts

    def recover(self, indices: range) -> list[int]:
        """Read the checkpoint for these bands, whose worker has died; returns those that are not done."""
        for index in indices:
            if (found := self.checkpoint.read_counts(index)) is not None:
                self.mark_done(index, found)
        return [index for index in indices if index not in self._done]

    def mark_publishing(self) -> None:
        """Mark the outputs as being published, so that the next run with this key may replace them."""
        write_bytes(self.folder / PUBLISHING, self._name.encode())

    def remove(self, *, keep_mark: bool) -> None:
        """Delete the folder; the mark of `mark_publishing` last, so that a kill here does not block the next run.

        With `keep_mark` the mark stays, for `Outputs.complete` to delete.
        """
        delete_checkpoint(self._place)
        for path in self.folder.glob("*"):
            if path.name != PUBLISHING:
                path.unlink(missing_ok=True)
        if not keep_mark:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def is_publishing(self) -> bool:
        """Whether a run with this key has begun to publish its outputs."""
        try:
            return (self.folder / PUBLISHING).read_bytes() == self._name.encode()
        except OSError:
            return False

    def _resume(self, prepared: MappingJob) -> bool:
        """Resume from the checkpoint if it has the same key; bands with wrong checksums are done again."""
        try:
            self.checkpoint = RunCheckpoint(prepared, self._place)
            for index in self.checkpoint.recorded:
                if (found := self.checkpoint.read_counts(index)) is not None:
                    self._done[index] = found
        except corruption_errors(self._place):
            self._done = {}
            return False
        self.checkpoint.discard_logits(self.missing)
        return True
