"""Jobs of a batch from a TOML file: rasters of different cameras, each with its model, options and layers."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from agriseg.batch.queue import BatchJob
from agriseg.errors import ModelError
from agriseg.maps.discover import GLOBS, discover
from agriseg.options.layers import LayerOptions
from agriseg.options.request import MappingRequest
from agriseg.options.run import RunOptions
from agriseg.options.table import nearest, read_toml

_KEYS = ("title", "images", "glob", "pattern", "model", "run", "layers")


def read_jobs(path: Path, out: Path, request: MappingRequest) -> list[BatchJob]:
    """The tables `[[job]]` of a file; paths are relative to it.

    Args:
        path: of the file.
        out: folder of the outputs, which is not searched for rasters.
        request: of all jobs; `run` and `layers` of a job replace its options of the run and of the layers.

    Raises:
        ModelError: no TOML, an unknown or missing key, or a title that occurs twice.
        UsageError, InputMissing: as `RunOptions.of`, `LayerOptions.of` and `discover`.
    """
    tables = read_toml(path)
    _check(path, "", tables, ("job",))
    listed = tables.get("job")
    if not isinstance(listed, list) or not listed:
        raise ModelError(f"{path}: no [[job]]; each names images and a model")
    jobs = [_job(path, table, out, request) for table in listed]
    titles = [job.title for job in jobs]
    if len(set(titles)) < len(titles) or (len(titles) > 1 and "" in titles):
        raise ModelError(f"{path}: every [[job]] needs a title of its own; it names a folder of the outputs")
    return jobs


def _job(path: Path, table: Mapping[str, Any], out: Path, request: MappingRequest) -> BatchJob:
    _check(path, "[[job]]: ", table, _KEYS)
    for key in ("images", "model"):
        if not isinstance(table.get(key), str):
            raise ModelError(f'{path}: a [[job]] needs {key} = "..."')
    title, globs = table.get("title", ""), table.get("glob", GLOBS)
    if not isinstance(title, str) or title.startswith(".") or "/" in title:
        raise ModelError(f"{path}: title {title!r} names a folder of the outputs; write one word")
    layers = None
    if "layers" in table:  # files are relative to the job file
        files = ("fields", "plots", "zones_by")
        values = {name: path.parent / value if name in files else value for name, value in table["layers"].items()}
        layers = LayerOptions.of(**values)
    request = replace(request, run=RunOptions.of(**table.get("run", {})), layers=layers)
    rasters = discover(
        path.parent / table["images"], [globs] if isinstance(globs, str) else globs, table.get("pattern"), out
    )
    return BatchJob(title, rasters, path.parent / table["model"], request)


def _check(path: Path, where: str, table: Collection[str], known: Collection[str]) -> None:
    for key in table:
        if key not in known:
            raise ModelError(f"{path}: {where}unknown key {key!r}; {nearest(key, known)}")
