"""A set of files that get their names together, and a record that vouches for them."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agriseg import files
from agriseg.errors import OutputError
from agriseg.files import file_hash
from agriseg.json_text import json_document, json_line
from agriseg.maps.stem import Stem
from agriseg.maps.versions import versions
from agriseg.vectors.identity import content_hashes

_NAMES = ".names"  # in the folder of the drafts: what gets its name, from before the first does


@dataclass(frozen=True)
class PublishedFiles:
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


def publish(
    stem: Stem, end: str, lock: Path, make: Callable[[Path], Mapping[str, Any]], *, overwrite: bool
) -> PublishedFiles:
    """Make files in a folder of their own, then give them their names, the record last.

    They replace all that the record there vouches for, and the pages that tell of it.

    Args:
        stem: of the outputs.
        end: of the record's name.
        lock: file that is held meanwhile.
        make: writes files into the folder that it is given, under the names that they will have; returns the facts.
        overwrite: replace what exists.

    Raises:
        OutputError: something exists, and may not be replaced.
        BusyError: somebody else holds the lock.
    """
    record, out = stem.path(end), stem.folder
    if record.exists() and not overwrite:
        raise exists(record)
    files.make_folder(out)
    with files.locked(lock), _folder(record) as folder:
        facts = make(folder)
        drafts = sorted(path for path in folder.iterdir() if path.is_file())
        outputs = [out / draft.name for draft in drafts]
        taken = [path for path in outputs if path.exists()]
        if taken and not overwrite:
            raise exists(taken[0])
        files.write_text(folder / _NAMES, json_line([path.name for path in outputs]))
        stem.drop(end, outputs)
        for draft, path in zip(drafts, outputs, strict=True):
            files.commit(draft, path)
        hashes = {path.name: file_hash(path) for path in outputs}
        told = {"format": 1, **facts, "outputs": hashes, "contents": content_hashes(outputs), "versions": versions()}
        files.write_text(record, json_document(told))
    return PublishedFiles(facts, (*outputs, record))


@contextmanager
def _folder(record: Path) -> Iterator[Path]:
    """Where drafts are made; it goes with what is left in it."""
    folder = record.with_name(f".{record.stem}")
    _clear(folder, record)
    files.make_folder(folder)
    try:
        yield folder
    finally:
        _clear(folder, record)


def _clear(folder: Path, record: Path) -> None:
    """Delete a folder of drafts, and what has its name by a maker that did not come to its record."""
    if not record.exists():
        files.remove(record.parent / Path(name).name for name in _begun(folder / _NAMES))
    shutil.rmtree(folder, ignore_errors=True)


def _begun(names: Path) -> list[str]:
    """The names that files were about to get when their maker was killed."""
    try:
        return list(map(str, json.loads(names.read_text("utf-8"))))
    except (OSError, ValueError):
        return []


def exists(path: Path) -> OutputError:
    """What to say of an output that is there already."""
    return OutputError(f"{path}: exists and is not overwritten; add --overwrite or choose another place")
