"""The record of a map's layers, `<stem>_layers.json`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field

from agriseg.errors import DataError
from agriseg.files import file_hash
from agriseg.json_text import from_json
from agriseg.maps.stem import LAYERS, Stem
from agriseg.options.layers import LayerOptions

T = TypeVar("T")

ClassName = Annotated[str, Field(alias="class")]
"""Type of the field `class_name` of a fact, which is `class` in files."""


@dataclass(frozen=True)
class LayersRecord:
    """What the record holds.

    Args:
        run_sha256: of the run's record that the layers were made of.
        options: of the layers, JSON values by name.
        facts: entries of the layers, JSON values by name: areas, severity, zones and so on; see `fact`.
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

    def fact(self, name: str, kind: type[T]) -> T | None:
        """An entry, as the dataclass or the tuple of dataclasses that its layer has written; None without it.

        Raises:
            DataError: it is damaged.
        """
        if self.facts.get(name) is None:
            return None
        return from_json(kind, self.facts[name], f"the record of the layers: {name}", "make them again with --layers")


def record_values(
    run_record: Path, options: LayerOptions, facts: Mapping[str, object], warnings: Sequence[str]
) -> dict[str, Any]:
    """Content of the record, but for the names of the files."""
    return {
        "run": {"record": run_record.name, "sha256": file_hash(run_record)},
        "options": {key: str(value) if isinstance(value, Path) else value for key, value in asdict(options).items()},
        **{name: json_values(fact) for name, fact in facts.items()},
        "warnings": list(warnings),
    }


def json_values(fact: object) -> Any:
    """Dataclasses as objects, tuples as lists; also the names and values of a table's row."""
    if is_dataclass(fact):
        named = [("class" if each.name == "class_name" else each.name, each.name) for each in fields(fact)]
        return {key: json_values(getattr(fact, name)) for key, name in named}
    return [json_values(each) for each in fact] if isinstance(fact, tuple) else fact
