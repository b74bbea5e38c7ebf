"""The files of one raster in one folder: their names, their records, and how they are deleted together.

A file counts as agriseg's if a record lists it under one of the names below. A record is deleted after its files, so
that it still lists the remaining files after a kill.
"""

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
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
"""Ends of the names of files that viewers write beside a file, by its suffix."""


@dataclass(frozen=True)
class Stem:
    """The files of one raster; `name` is the first part of their names."""

    folder: Path
    name: str

    @classmethod
    def of(cls, record: Path) -> "Stem":
        """The files of a record."""
        end = next(end for end in _RECORDS if record.name.endswith(end))
        return cls(record.parent, record.name.removesuffix(end))

    def path(self, end: str) -> Path:
        """The file with this end of its name."""
        return self.folder / f"{self.name}{end}"

    @property
    def lock(self) -> Path:
        """Held by the run or command that writes these files."""
        return self.folder / f".{self.name}.agriseg.lock"

    def hashes(self, end: str) -> dict[str, str]:
        """SHA-256 of each file of a record, by name; empty without a record, or if it is damaged."""
        outputs = self._values(end).get("outputs")
        return outputs if isinstance(outputs, dict) else {}

    def _values(self, end: str) -> dict[str, Any]:
        """JSON values of a record; empty if it is missing or damaged."""
        try:
            values = json.loads(self.path(end).read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return values if isinstance(values, dict) else {}

    def vouched(self, end: str) -> list[Path]:
        """The files of a record: those with a known name, and others of the stem with the recorded hash."""
        hashes = self.hashes(end)
        known = [self.path(each) for each in sorted(_ENDS) if f"{self.name}{each}" in hashes]
        other = [
            self.folder / name for name in sorted(hashes) if self._is_layer(name) and self.folder / name not in known
        ]
        return known + [path for path in other if path.is_file() and file_hash(path) == hashes[path.name]]

    def _is_layer(self, name: str) -> bool:
        """Whether a file may be one of a layer that `_ENDS` does not list."""
        return name.startswith(f"{self.name}_") and Path(name).name == name

    def strays(self) -> list[Path]:
        """Files with one of the names of this module that are in no record."""
        known = {path for end in _RECORDS for path in (self.path(end), *self.vouched(end))}
        return [path for end in sorted(_ENDS) if (path := self.path(end)) not in known and _is_ours(path, end)]

    def drop(self, end: str, keep: Collection[Path] = ()) -> None:
        """Delete the files of a record, the files that viewers wrote beside them, and last the record.

        Raises:
            StorageError: one of them cannot be deleted.
        """
        if end == LAYERS and self.path(end).exists():
            remove(self.pages)
        for path in self.vouched(end):
            remove(each for each in (*_beside(path), path) if each not in keep)
        remove([self.path(end)])

    @property
    def pages(self) -> list[Path]:
        """The report and the STAC item, which are made from the map and its layers and are in no record."""
        return [self.path("_report.html"), self.path("_stac.json")]

    @property
    def exports(self) -> list[Path]:
        """All that is made from the map and is in no record: the pages, and the Zarr group if it is agriseg's."""
        zarr = self.path(".zarr")
        return [*self.pages, *([zarr] if (zarr / "class" / ".zarray").is_file() else [])]

    def drop_map(self, image: Path, keep: Collection[Path] = ()) -> None:
        """Delete a map and everything made from it, if there is one, and indices of an older state of the raster.

        `keep` are files of the map that stay, because they will be replaced.

        Raises:
            StorageError: one of them cannot be deleted.
        """
        self.drop(LAYERS)
        self.drop(CHANGE)
        if self.path(INDEX).exists() and not self.has_indices_of(image):
            self.drop(INDEX)
        if self.path(RECORD).exists():  # otherwise the files are not of a map of agriseg
            remove(self.exports)
            self.drop(RECORD, keep)

    def has_indices_of(self, image: Path) -> bool:
        """Whether the indices were made from the raster as it is now."""
        return bool(
            self._values(INDEX).get("input", {}).get("files")
            == [asdict(each) for each in InputIdentity.of(image).files]
        )


def _beside(path: Path) -> list[Path]:
    """Files that viewers write beside a file."""
    return [path.with_name(f"{path.name}{end}") for end in _BESIDE.get(path.suffix, ())]


def _is_ours(path: Path, end: str) -> bool:
    """Whether a file exists and is agriseg's; other programs also write names such as field.gpkg or field_ndvi.tif."""
    if not path.is_file():
        return False
    if end == ".gpkg":
        return has_layer(path, "classes")
    if end in _OF_INDICES:
        return path.suffix == ".tif" and b"AGRISEG_INDEX" in path.read_bytes()[:65536]
    return True
