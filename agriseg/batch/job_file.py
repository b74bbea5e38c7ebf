"""A night's jobs from a TOML file: rasters of different cameras, each with its model and its flags."""

import difflib
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from agriseg.batch.queue import BatchJob
from agriseg.errors import ModelError
from agriseg.maps.discover import GLOBS, discover
from agriseg.options.run import RunOptions

_KEYS = ("title", "images", "glob", "pattern", "model", "run")


def read_jobs(path: Path, out: Path) -> list[BatchJob]:
    """The tables `[[job]]` of a file; paths are relative to it.

    Args:
        path: of the file.
        out: folder of the outputs, in which no raster is looked for.

    Raises:
        ModelError: no TOML, a key that is unknown or missing, a title that is there twice.
        UsageError, InputMissing: as `RunOptions.of` and `discover`.
    """
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as TOML: {error}") from error
    _check(path, "", tables, ("job",))
    listed = tables.get("job")
    if not isinstance(listed, list) or not listed:
        raise ModelError(f"{path}: no [[job]]; each names images and a model")
    jobs = [_job(path, table, out) for table in listed]
    titles = [job.title for job in jobs]
    if len(set(titles)) < len(titles) or (len(titles) > 1 and "" in titles):
        raise ModelError(f"{path}: every [[job]] needs a title of its own; it names a folder of the outputs")
    return jobs


def _job(path: Path, table: Mapping[str, Any], out: Path) -> BatchJob:
    _check(path, "[[job]]: ", table, _KEYS)
    for key in ("images", "model"):
        if not isinstance(table.get(key), str):
            raise ModelError(f'{path}: a [[job]] needs {key} = "..."')
    title, flags, globs = table.get("title", ""), table.get("run", {}), table.get("glob", GLOBS)
    if not isinstance(title, str) or title.startswith(".") or "/" in title:
        raise ModelError(f"{path}: title {title!r} names a folder of the outputs; write one word")
    RunOptions.of(**flags)  # a wrong flag is said before the first raster
    found = discover(
        path.parent / table["images"], [globs] if isinstance(globs, str) else globs, table.get("pattern"), out
    )
    return BatchJob(title, found, path.parent / table["model"], flags)


def _check(path: Path, where: str, table: Mapping[str, Any], known: Collection[str]) -> None:
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, list(known), 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise ModelError(f"{path}: {where}unknown key {key!r}; {hint}")
