"""Maps of earlier batches: those whose rasters are gone, and those that no longer match their rasters."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

from agriseg import files
from agriseg.batch.state_db import BatchRow, StateDatabase
from agriseg.mapping.outputs import Outputs
from agriseg.maps.record import RECORD
from agriseg.maps.stem import CHANGE, INDEX, LAYERS, Stem

WITHDRAWN = "withdrawn"
"""Folder, in that of the outputs, for maps of rasters that have changed since and could not be mapped again."""


def is_there(out: Path, row: BatchRow) -> bool:
    """Whether all files of a row are in the folder of the outputs, and the record of its map is unchanged."""
    paths = [out / path for path in row.map.files] if row.map else []
    return all(path.exists() for path in paths) and (not row.map or files.file_hash(paths[-1]) == row.map.record)


def rows_of_gone(database: StateDatabase, names: Collection[str]) -> Iterator[BatchRow]:
    """Rows of earlier maps whose rasters have been deleted; `names` are those of the rasters that exist."""
    for entry in database.entries():
        row = entry.row
        if entry.name not in names and row.map and row.image and not Path(row.image).exists():
            reason = "the raster has gone; its map is of an earlier batch"
            yield replace(row, status="gone", code=0, reason=reason, unchanged=True)


def withdraw(outputs: Outputs, to: Path) -> bool:
    """Move a map and its layers, exports and report out of the published folder; the record of the run last.

    Args:
        outputs: of the raster.
        to: folder on the same disk; files with the same names are replaced.

    Returns:
        Whether there was a map.

    Raises:
        StorageError: a file cannot be moved.
    """
    if not outputs.record.exists():
        return False
    stem = Stem(outputs.folder, outputs.stem)
    files.make_folder(to)
    made = [path for end in (INDEX, LAYERS, CHANGE, RECORD) for path in (*stem.vouched(end), stem.path(end))]
    for path in [*stem.exports, *made]:
        try:
            if path.exists():
                files.remove([to / path.name])  # a folder, such as a Zarr group, cannot replace another
                path.replace(to / path.name)
        except OSError as error:
            raise files.storage_error(path, error) from error
    return True
