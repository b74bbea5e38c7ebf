"""The layers of a finished map: areas, polygons, plots, severity, zones, places to walk to."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agriseg.analysis.build import Making
from agriseg.errors import DataError
from agriseg.files import file_hash
from agriseg.maps.publish import PublishedFiles, publish
from agriseg.maps.reader import FinishedMap
from agriseg.maps.record import RECORD
from agriseg.maps.stem import LAYERS, Stem
from agriseg.options.layers import LayerOptions


def options_of(record: Path) -> LayerOptions:
    """The options that the layers of a map were made with, or those of a map that has none.

    Raises:
        DataError: the layers' record is damaged.
    """
    path = record.with_name(f"{record.name.removesuffix(RECORD)}{LAYERS}")
    if not path.exists():
        return LayerOptions()
    try:
        told = json.loads(path.read_text("utf-8"))["options"]
        return LayerOptions.of(**{name: value for name, value in told.items() if value not in (None, [], "")})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: no record of layers, or damaged; say the layers' flags anew") from error


def make_layers(record: Path, options: LayerOptions, *, overwrite: bool = False) -> PublishedFiles:
    """Make the layers of a map that a run has finished.

    Args:
        record: of the run.
        options: which layers, and how.
        overwrite: replace those that exist.

    Raises:
        AgrisegError: its children say what went wrong; no layer has its name then.
    """
    run = FinishedMap.of(record)

    def make(folder: Path) -> Mapping[str, Any]:
        source = {"record": record.name, "sha256": file_hash(record)}
        return {"run": source, "options": _as_json(asdict(options)), **Making(run, options, folder).make()}

    return publish(Stem.of(record), LAYERS, make, overwrite=overwrite)


def _as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
