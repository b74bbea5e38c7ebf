"""The layers of a finished map: areas, polygons, plots, severity, zones, places to walk to."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agriseg import files
from agriseg.errors import OutputError
from agriseg.jobs.making import Making
from agriseg.jobs.record import file_hash
from agriseg.jobs.versions import versions
from agriseg.layers.finished import FinishedMap
from agriseg.layers.options import LayerOptions

LAYERS = "_layers.json"
"""End of the name of the layers' record."""


@dataclass(frozen=True)
class LayersMade:
    """What was made of a map.

    Args:
        facts: areas, severity, zones, points: what is in the record.
        files: all that was written, the record last.
    """

    facts: Mapping[str, Any]
    files: tuple[Path, ...]

    @property
    def warnings(self) -> list[str]:
        """What a reader should know before trusting the layers."""
        return list(self.facts["warnings"])

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {**self.facts, "files": [str(path) for path in self.files]}


def make_layers(record: Path, options: LayerOptions, *, overwrite: bool = False) -> LayersMade:
    """Make the layers of a map that a run has finished.

    Args:
        record: of the run.
        options: which layers, and how.
        overwrite: replace those that exist.

    Raises:
        AgrisegError: its children say what went wrong; no layer has its name then.
    """
    run = FinishedMap.of(record)
    final = run.folder / f"{run.stem}{LAYERS}"
    if not overwrite and final.exists():
        raise OutputError(f"{final}: exists and is not overwritten; add --overwrite")
    with files.locked(run.folder / f".{run.stem}.agriseg.lock"), _folder(run) as folder:
        making = Making(run, options, folder)
        facts = making.make()
        drafts = sorted(path for path in folder.iterdir() if path.is_file())
        taken = [run.folder / path.name for path in drafts if (run.folder / path.name).exists()]
        if taken and not overwrite:
            raise OutputError(f"{taken[0]}: exists and is not overwritten; add --overwrite")
        final.unlink(missing_ok=True)  # it vouches for files that are about to go
        for path in drafts:
            files.commit(path, run.folder / path.name)
        outputs = [run.folder / path.name for path in drafts]
        told = {
            "format": 1, "run": {"record": record.name, "sha256": file_hash(record)},
            "options": _as_json(asdict(options)), **facts,
            "outputs": {path.name: file_hash(path) for path in outputs}, "versions": versions(),
        }  # fmt: skip
        files.write_text(final, json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    return LayersMade(facts, (*outputs, final))


@contextmanager
def _folder(run: FinishedMap) -> Iterator[Path]:
    """Where drafts are made; it goes with what is left in it."""
    folder = run.folder / f".{run.stem}.layers"
    shutil.rmtree(folder, ignore_errors=True)
    files.make_folder(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
