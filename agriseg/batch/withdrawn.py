"""What earlier nights have left: maps of rasters that have gone, and maps that are not of their rasters any more."""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from agriseg import files
from agriseg.batch.state_db import StateDatabase
from agriseg.mapping.outputs import Outputs
from agriseg.maps.record import RECORD
from agriseg.maps.stem import CHANGE, INDEX, LAYERS, Stem

WITHDRAWN = "withdrawn"
"""Folder, in that of the outputs, for maps of rasters that have changed since and could not be mapped again."""
_PAGES = ("_report.html", "_stac.json")


def is_there(out: Path, outcome: Mapping[str, Any]) -> bool:
    """Whether the map that a row tells of, if it tells of one, lies there still: its record, and all its files.

    Args:
        out: folder of the outputs.
        outcome: the row.
    """
    paths = [out / path for path in outcome.get("files", ())]
    if not all(path.is_file() for path in paths):
        return False
    return not paths or hashlib.sha256(paths[-1].read_bytes()).hexdigest() == outcome["record"]


def rows_of_gone(ledger: StateDatabase, names: Collection[str]) -> Iterator[dict[str, Any]]:
    """Rows of maps whose rasters are not where they were mapped.

    Args:
        ledger: of the nights before.
        names: of the rasters that are there.
    """
    for entry in ledger.entries():
        told = entry.outcome
        if entry.name not in names and told.get("files") and not Path(told["image"]).exists():
            reason = "the raster has gone; its map is of an earlier night"
            yield {**told, "status": "gone", "code": 0, "reason": reason, "unchanged": True}


def withdraw(outputs: Outputs, to: Path) -> bool:
    """Move a map, and what was made of it, away from where maps are published; the record that vouches for it last.

    Args:
        outputs: of the raster.
        to: folder, on the same disk; what lies there under the same names is replaced.

    Returns:
        Whether there was a map.

    Raises:
        StorageError: the system does not let a file go.
    """
    stem = Stem(outputs.folder, outputs.stem)
    if not outputs.record.exists():
        return False
    files.make_folder(to)
    made = [path for end in (INDEX, LAYERS, CHANGE, RECORD) for path in (*stem.vouched(end), stem.path(end))]
    for path in [*map(stem.path, _PAGES), *made]:
        try:
            if path.exists():
                path.replace(to / path.name)
        except OSError as error:
            raise files.storage_error(path, error) from error
    return True
