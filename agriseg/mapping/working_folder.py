"""The working folder of one run. What a kill leaves, the next run takes up."""

import shutil
from collections.abc import Sequence
from threading import Lock

from agriseg.files import make_folder, write_bytes
from agriseg.mapping.checkpoint import RunCheckpoint, corruption_errors, delete_checkpoint
from agriseg.mapping.outputs import PUBLISHING, Outputs
from agriseg.mapping.pixel_counts import PixelCounts
from agriseg.mapping.prepare import MappingJob
from agriseg.storage.base import Storage


class WorkingFolder:
    """What a run keeps while it lasts.

    Args:
        prepared: the run.
        places: where the record may be; drafts of the outputs are made in the first.
        name: of this very run.
        place: where finished bands are kept.
        resume: take up what an earlier run of the same input, model and parameters left.

    `folder` is where drafts of the outputs are made; `finished` is where this very run has left its outputs, if it was
    through with everything but its cleaning up, else None.
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
        taken_up = resume and self._take_up(prepared)
        if not taken_up:
            shutil.rmtree(self.folder, ignore_errors=True)
        make_folder(self.folder)
        if not taken_up:
            self.archive = RunCheckpoint.create(prepared, place)

    @property
    def missing(self) -> list[int]:
        """Numbers of the bands that are to do."""
        return [index for index in range(len(self.archive.bands)) if index not in self._done]

    @property
    def account(self) -> PixelCounts:
        """What the map came to, when all bands are done."""
        first, *others = (self._done[index] for index in range(len(self.archive.bands)))
        return sum(others, first)

    def settle(self, index: int, account: PixelCounts) -> None:
        """Take note that a band is done."""
        with self._lock:
            self._done[index] = account

    def look(self, indices: range) -> list[int]:
        """Which of these bands, on which a worker has died, are still to do."""
        for index in indices:
            if (found := self.archive.find(index)) is not None:
                self.settle(index, found)
        return [index for index in indices if index not in self._done]

    def publishing(self) -> None:
        """Say that outputs get their names from now on, so that the next run does not take them for another's."""
        write_bytes(self.folder / PUBLISHING, self._name.encode())

    def remove(self) -> None:
        """Delete it all; last the word that outputs got their names, or a kill now would make them another's."""
        delete_checkpoint(self._place)
        for path in self.folder.glob("*"):
            if path.name != PUBLISHING:
                path.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def is_publishing(self) -> bool:
        """Whether this run, or an earlier one of just this, has begun to give its outputs their names."""
        try:
            return (self.folder / PUBLISHING).read_bytes() == self._name.encode()
        except OSError:
            return False

    def _take_up(self, prepared: MappingJob) -> bool:
        """Go on with what is kept, if it is of this run; bands that do not check are done again."""
        try:
            self.archive = RunCheckpoint(prepared, self._place)
            for index in self.archive.recorded:
                if (found := self.archive.find(index)) is not None:
                    self._done[index] = found
        except corruption_errors(self._place):
            self._done = {}
            return False
        self.archive.forget(self.missing)
        return True
