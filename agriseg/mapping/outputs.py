"""The files of one run: their names, and whether they may be written."""

import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from agriseg.errors import DataError, OutputError, UsageError
from agriseg.files import exists_error
from agriseg.maps.record import RunRecord
from agriseg.options.verdict import PublishPolicy
from agriseg.run_layers import run_layers
from agriseg.storage.base import UNDER_WAY
from agriseg.units import human_bytes

PUBLISHING = "publishing"
"""File in the working folder that says: what has an output's name was put there by the run that was stopped."""
QUARANTINE = "quarantine"
"""Folder, in that of the outputs, for maps that may not be published."""
_PICTURES = ("image.png", "classes.png", "confidence.png")
ALONE = "alone"
"""Who works on a raster that is not spread over workers."""


@dataclass(frozen=True)
class Outputs:
    """Where the map of one raster goes.

    Args:
        stem: first part of each name: the raster's name without its suffix.
        overwrite: whether what lies there already may be replaced.
    """

    folder: Path
    stem: str
    with_probabilities: bool
    overwrite: bool = False
    with_pictures: bool = True

    def named(self, name: str) -> Path:
        """The output that is called so but for the stem, such as `classes.tif`."""
        return self.folder / f"{self.stem}_{name}"

    def places(self, policy: PublishPolicy) -> "list[Outputs]":
        """Where the map may come to lie: here, or in the quarantine."""
        elsewhere = [] if policy.quarantine is None else [replace(self, folder=policy.quarantine)]
        return [self, *elsewhere]

    @property
    def record(self) -> Path:
        """The record of the run."""
        return self.named("run.json")

    @property
    def working(self) -> Path:
        """Folder of the block store while the run lasts."""
        return self.folder / f".{self.stem}.agriseg"

    @property
    def died_in(self) -> str | None:
        """The window that was in the network when the run died; None if it ended, or died elsewhere."""
        try:
            return (self.working / UNDER_WAY / ALONE).read_text("utf-8") or None
        except OSError:
            return None

    @property
    def lock(self) -> Path:
        """Held by the run that writes these files."""
        return self.folder / f".{self.stem}.agriseg.lock"

    @property
    def files(self) -> list[Path]:
        """All files of the run, the record last."""
        layers = run_layers(probabilities=self.with_probabilities)
        names = [*(layer.raster for layer in layers), *(name for layer in layers for name in layer.sidecars)]
        return [*map(self.named, (*names, *(_PICTURES if self.with_pictures else ()))), self.record]

    def holds(self, name: str) -> bool:
        """Whether a complete map of the run with this key is there."""
        try:
            return RunRecord.read(self.record).run == name and all(path.is_file() for path in self.files)
        except DataError:
            return False

    def check(self, image: Path) -> None:
        """Refuse, before any work, what would overwrite something.

        Raises:
            UsageError: an output is the input.
            OutputError: an output exists and may not be replaced, or the folder is a file.
        """
        for path in (self.folder, *self.files):
            if path.exists() and image.exists() and path.samefile(image):
                raise UsageError(f"{path}: the output is the input itself; choose another folder with -o")
        if self.folder.exists() and not self.folder.is_dir():
            raise OutputError(f"{self.folder}: a file stands where the output folder should be; choose another with -o")
        if self.working.is_symlink():
            raise OutputError(f"{self.working}: a link where the run works; remove it, or choose another -o")
        present = [path for path in self.files if path.exists()]
        if any(path.is_dir() for path in present):
            raise OutputError(f"{self.folder}: a folder has the name of an output; choose another with -o")
        if present and not self.overwrite and not self.incomplete:
            raise exists_error(present[0])

    @property
    def incomplete(self) -> bool:
        """Whether a run was killed while it published its outputs or what is made of them."""
        return (self.working / PUBLISHING).exists()

    def complete(self) -> None:
        """Delete what makes the outputs `incomplete`, but not the working folder of a run that has begun since."""
        (self.working / PUBLISHING).unlink(missing_ok=True)
        with suppress(OSError):  # it is not empty: another run works in it
            self.working.rmdir()

    def require_space(self, needed: int) -> None:
        """Refuse to begin what cannot fit on the disk.

        Raises:
            OutputError: fewer are free.
        """
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise OutputError(
                f"{self.folder}: the run needs at least {human_bytes(needed)} there and {human_bytes(free)} are free; "
                "make room, or choose another disk with -o"
            )


def default_folder(image: Path) -> Path:
    """`<stem>_agriseg` in the current folder."""
    return Path(f"{image.stem}_agriseg")
