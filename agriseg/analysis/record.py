"""The record of a map's layers, `<stem>_layers.json`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agriseg.errors import DataError
from agriseg.maps.stem import LAYERS, Stem


@dataclass(frozen=True)
class LayersRecord:
    """What the record holds; the module of a layer reads its own facts.

    Args:
        run_sha256: of the run's record that the layers were made of.
        options: of the layers, JSON values by name.
        facts: entries of the layers, JSON values by name: areas, severity, zones and so on.
        warnings: for readers of the map.
        outputs: names of the files.
    """

    run_sha256: str
    options: Mapping[str, Any]
    facts: Mapping[str, Any]
    warnings: tuple[str, ...]
    outputs: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> "LayersRecord":
        """Read a record.

        Raises:
            DataError: it is damaged.
        """
        try:
            values = json.loads(path.read_text("utf-8"))
            return cls(
                values["run"]["sha256"], dict(values["options"]), values, tuple(values["warnings"]),
                tuple(values["outputs"]),
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: no record of layers, or damaged; make them again with --layers") from error

    @classmethod
    def beside(cls, run_record: Path) -> "LayersRecord | None":
        """The record of the layers of a run; None if it has no layers.

        Raises:
            DataError: it is damaged.
        """
        path = Stem.of(run_record).path(LAYERS)
        return cls.read(path) if path.is_file() else None

    @property
    def affected(self) -> tuple[str, ...]:
        """Names of the affected classes."""
        return tuple(self.options["affected"] or ())
