"""What agriseg has made of one raster in one folder: the names, who vouches for them, and how they go together.

A file of ours is one that a record vouches for under a name that agriseg makes. Files go first and their record last,
so that a kill between leaves word of what is still to go.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agriseg.files import file_hash, remove
from agriseg.maps.record import RECORD
from agriseg.raster.identity import InputIdentity
from agriseg.run_layers import RUN_LAYERS
from agriseg.vectors.geopackage import has_layer
from agriseg.vegetation.formulas import INDICES

LAYERS = "_layers.json"
"""End of the name of the layers' record."""
CHANGE = "_change.json"
"""End of the name of the record of a change since an earlier map."""
INDEX = "_index.json"
"""End of the name of the indices' record."""

_RUN = (
    *(f"_{name}" for layer in RUN_LAYERS for name in (layer.raster, *layer.sidecars)),
    "_image.png", "_classes.png", "_confidence.png",
)  # fmt: skip
_MADE_OF_A_MAP = (
    ".gpkg", "_area.csv", "_plots.csv", "_classes.geojson", "_classes.fgb", "_classes.parquet", "_severity.tif",
    "_severity.qml", "_scout.gpx", "_scout.kml", "_scout.geojson", "_clean.tif", "_clean.tif.aux.xml", "_clean.qml",
    "_change.tif", "_change.tif.aux.xml", "_change.qml", "_change.csv",
)  # fmt: skip
_OF_INDICES = tuple(f"_{index.name.lower()}{end}" for index in INDICES.values() for end in (".tif", ".qml"))
_RECORDS = (RECORD, LAYERS, CHANGE, INDEX)
_ENDS = frozenset((*_RUN, *_MADE_OF_A_MAP, *_OF_INDICES, *_RECORDS))
_BESIDE = {".tif": (".aux.xml", ".ovr", ".msk"), ".gpkg": ("-wal", "-shm", "-journal")}
"""What viewers lay beside a file, by its suffix."""


@dataclass(frozen=True)
class Stem:
    """The files of one raster.

    Args:
        folder: they lie in.
        name: that they begin with.
    """

    folder: Path
    name: str

    @classmethod
    def of(cls, record: Path) -> "Stem":
        """Of a record's file."""
        end = next(end for end in _RECORDS if record.name.endswith(end))
        return cls(record.parent, record.name.removesuffix(end))

    def path(self, end: str) -> Path:
        """The file whose name ends so."""
        return self.folder / f"{self.name}{end}"

    @property
    def lock(self) -> Path:
        """Held by the run or command that writes these files."""
        return self.folder / f".{self.name}.agriseg.lock"

    def told(self, end: str) -> dict[str, Any]:
        """A record; empty if it is not there, or damaged."""
        try:
            told = json.loads(self.path(end).read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return told if isinstance(told, dict) else {}

    def vouched(self, end: str) -> list[Path]:
        """The files that a record vouches for: under known names, or with the very content that it names."""
        outputs = self.told(end).get("outputs")
        hashes = outputs if isinstance(outputs, dict) else {}
        known = [self.path(each) for each in sorted(_ENDS) if f"{self.name}{each}" in hashes]
        other = [
            self.folder / name for name in sorted(hashes) if self._is_layer(name) and self.folder / name not in known
        ]
        return known + [path for path in other if path.is_file() and file_hash(path) == hashes[path.name]]

    def _is_layer(self, name: str) -> bool:
        """Whether a file may be one of a layer that `_ENDS` does not list."""
        return name.startswith(f"{self.name}_") and Path(name).name == name

    def strays(self) -> list[Path]:
        """Files with names that are made here, for which no record vouches."""
        known = {path for end in _RECORDS for path in (self.path(end), *self.vouched(end))}
        return [path for end in sorted(_ENDS) if (path := self.path(end)) not in known and _is_ours(path, end)]

    def drop(self, end: str, keep: Collection[Path] = ()) -> None:
        """Delete what a record vouches for, with what viewers laid beside it, and at last the record.

        Args:
            end: of the record.
            keep: files that stay.

        Raises:
            StorageError: one of them cannot be deleted.
        """
        if end == LAYERS and self.path(end).exists():
            self.drop_pages()
        for path in self.vouched(end):
            remove(each for each in (*_beside(path), path) if each not in keep)
        remove([self.path(end)])

    def drop_pages(self) -> None:
        """Delete what tells of the layers and of the map: the report and the STAC item."""
        remove([self.path("_report.html"), self.path("_stac.json")])

    def drop_map(self, image: Path, keep: Collection[Path] = ()) -> None:
        """Delete a map and all that was made of it, if there is one; and indices of another state of the raster.

        Args:
            image: the raster as it is now.
            keep: files of the map that stay, since they are about to be replaced.

        Raises:
            StorageError: one of them cannot be deleted.
        """
        self.drop(LAYERS)
        self.drop(CHANGE)
        if self.path(INDEX).exists() and not self.has_indices_of(image):
            self.drop(INDEX)
        if self.path(RECORD).exists():  # else what lies there was not made of a map of ours
            self.drop_pages()
            if (self.path(".zarr") / "class" / ".zarray").is_file():
                remove([self.path(".zarr")])
            self.drop(RECORD, keep)

    def has_indices_of(self, image: Path) -> bool:
        """Whether the indices are those of a raster as it is now."""
        return bool(self.told(INDEX).get("input", {}).get("files") == InputIdentity.of(image).as_list())


def _beside(path: Path) -> list[Path]:
    """Files that viewers write beside a file."""
    return [path.with_name(f"{path.name}{end}") for end in _BESIDE.get(path.suffix, ())]


def _is_ours(path: Path, end: str) -> bool:
    """Whether a file is there, and no other program's: names such as field.gpkg or field_ndvi.tif are common ones."""
    if not path.is_file():
        return False
    if end == ".gpkg":
        return has_layer(path, "classes")
    if end in _OF_INDICES:
        return path.suffix == ".tif" and b"AGRISEG_INDEX" in path.read_bytes()[:65536]
    return True
