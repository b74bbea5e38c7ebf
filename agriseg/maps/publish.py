"""Sets of files that are published together, with a record of their hashes."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agriseg import files
from agriseg.files import exists_error, file_hash
from agriseg.json_text import json_document, json_line
from agriseg.maps.run_identity import versions
from agriseg.maps.stem import Stem
from agriseg.vectors.identity import content_hashes

_NAMES = ".names"  # in the folder of drafts: the outputs, written before the first of them is committed


@dataclass(frozen=True)
class PublishedFiles:
    """Files made of finished maps, the record last; `facts` is the content of the record, with `warnings`."""

    facts: Mapping[str, Any]
    files: tuple[Path, ...]

    @property
    def warnings(self) -> list[str]:
        """Remarks for a reader of the files."""
        return list(self.facts["warnings"])

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {**self.facts, "files": [str(path) for path in self.files]}


def publish(stem: Stem, end: str, make: Callable[[Path], Mapping[str, Any]], *, overwrite: bool) -> PublishedFiles:
    """Make a set of files and publish it; see `commit_drafts`. No run replaces the map meanwhile.

    Args:
        end: of the record's name.
        make: writes drafts into the folder that it is given, under their final names; returns the facts.

    Raises:
        OutputError: an output exists and may not be replaced.
        BusyError: another run or command holds the lock.
    """
    record = stem.path(end)
    if record.exists() and not overwrite:
        raise exists_error(record)
    with draft_folder(stem, end, stem.lock) as folder:
        facts = make(folder)
        taken = [path for draft in _drafts(folder) if (path := stem.folder / draft.name).exists()]
        if taken and not overwrite:
            raise exists_error(taken[0])
        outputs = commit_drafts(stem, end, folder, facts)
    return PublishedFiles(facts, (*outputs, record))


@contextmanager
def draft_folder(stem: Stem, end: str, lock: Path) -> Iterator[Path]:
    """A folder for drafts on the disk of the outputs, locked by `lock`; deleted at the end with what is left in it.

    Raises:
        BusyError: another run or command holds the lock.
    """
    record = stem.path(end)
    folder = record.with_name(f".{record.stem}")
    with files.output_folder(stem.folder), files.locked(lock):
        _clear(folder, record)
        files.make_folder(folder)
        try:
            yield folder
        finally:
            _clear(folder, record)


def commit_drafts(
    stem: Stem, end: str, folder: Path, facts: Mapping[str, Any], kept: Mapping[str, str] | None = None
) -> list[Path]:
    """Give all files of a folder of drafts their names, then write the record with their hashes; returns the new files.

    They replace all files of the record that is there, and the pages made of them. A kill leaves the old set, or a list
    of the files that the next call deletes. `kept` are the hashes of files of the former record that stay, by name.
    """
    kept = kept or {}
    drafts = _drafts(folder)
    outputs = [stem.folder / draft.name for draft in drafts]
    files.write_text(folder / _NAMES, json_line([path.name for path in outputs]))
    stem.drop(end, [*outputs, *(stem.folder / name for name in kept)])
    for draft, path in zip(drafts, outputs, strict=True):
        files.commit(draft, path)
    hashes = {**kept, **{path.name: file_hash(path) for path in outputs}}
    contents = content_hashes(stem.folder / name for name in hashes)
    record = {"format": 1, **facts, "outputs": hashes, "contents": contents, "versions": versions()}
    files.write_text(stem.path(end), json_document(record))
    return outputs


def _drafts(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def _clear(folder: Path, record: Path) -> None:
    """Delete a folder of drafts; without a record, also the outputs that a killed command has committed."""
    if not record.exists():
        files.remove(record.parent / Path(name).name for name in _committed(folder / _NAMES))
    shutil.rmtree(folder, ignore_errors=True)


def _committed(names: Path) -> list[str]:
    """Names of the files that a killed command was committing."""
    try:
        return list(map(str, json.loads(names.read_text("utf-8"))))
    except (OSError, ValueError):
        return []
