"""A set of files that get their names together, and a record that vouches for them."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agriseg import files
from agriseg.errors import OutputError
from agriseg.jobs.record import file_hash
from agriseg.jobs.versions import versions
from agriseg.json_text import json_document


@dataclass(frozen=True)
class Made:
    """What was made of finished maps.

    Args:
        facts: what the record holds of it; `warnings` among them.
        files: all that was written, the record last.
    """

    facts: Mapping[str, Any]
    files: tuple[Path, ...]

    @property
    def warnings(self) -> list[str]:
        """What a reader should know before trusting it."""
        return list(self.facts["warnings"])

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {**self.facts, "files": [str(path) for path in self.files]}


def publish(record: Path, lock: Path, make: Callable[[Path], Mapping[str, Any]], *, overwrite: bool) -> Made:
    """Make files in a folder of their own, then give them their names, the record last.

    Args:
        record: its final name, in the folder of the outputs.
        lock: file that is held meanwhile.
        make: writes files into the folder that it is given, under the names that they will have; returns the facts.
        overwrite: replace what exists.

    Raises:
        OutputError: something exists, and may not be replaced.
        BusyError: somebody else holds the lock.
    """
    if record.exists() and not overwrite:
        raise exists(record)
    out = record.parent
    files.make_folder(out)
    with files.locked(lock), _folder(out / f".{record.stem}") as folder:
        facts = make(folder)
        drafts = sorted(path for path in folder.iterdir() if path.is_file())
        outputs = [out / draft.name for draft in drafts]
        taken = [path for path in outputs if path.exists()]
        if taken and not overwrite:
            raise exists(taken[0])
        record.unlink(missing_ok=True)  # it vouches for files that are about to go
        for draft, path in zip(drafts, outputs, strict=True):
            files.commit(draft, path)
        hashes = {path.name: file_hash(path) for path in outputs}
        told = {"format": 1, **facts, "outputs": hashes, "versions": versions()}
        files.write_text(record, json_document(told))
    return Made(facts, (*outputs, record))


@contextmanager
def _folder(folder: Path) -> Iterator[Path]:
    """Where drafts are made; it goes with what is left in it."""
    shutil.rmtree(folder, ignore_errors=True)
    files.make_folder(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def exists(path: Path) -> OutputError:
    """What to say of an output that is there already."""
    return OutputError(f"{path}: exists and is not overwritten; add --overwrite or choose another place")
