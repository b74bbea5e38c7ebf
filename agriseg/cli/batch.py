"""`agriseg batch`."""

import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agriseg.cli.common.errors import end_on_signals, one_line, resume_hint, warn
from agriseg.cli.common.options import chosen, chosen_model, option_flags, parse, requested, run_options
from agriseg.cli.common.progress import Progress
from agriseg.errors import ModelError, UsageError
from agriseg.json_text import json_line
from agriseg.options.batch import BatchOptions
from agriseg.options.exports import ExportOptions
from agriseg.options.layers import LayerOptions
from agriseg.options.request import MappingRequest
from agriseg.options.run import RunOptions
from agriseg.options.verdict import PublishPolicy

if TYPE_CHECKING:
    from agriseg.batch.queue import BatchJob
    from agriseg.batch.run import BatchRun
    from agriseg.batch.summary import BatchLog

_PATTERN = r"Regular expression on the path below FOLDER: (?P<field>[^/]+)/(?P<date>\d{8})."


@click.command("batch", short_help="Map a folder of rasters in worker processes, with a summary.")
@click.argument("source", metavar="FOLDER|JOBS.toml")
@click.option("-o", "--out", metavar="FOLDER", required=True, help="Folder of maps, state database, log and summary.")
@run_options
@click.option("--glob", "globs", multiple=True, metavar="GLOB", help="Rasters to map; default *.tif and *.tiff.")
@click.option("--pattern", metavar="REGEX", help=_PATTERN)
@option_flags(BatchOptions)
@click.option("--layers", is_flag=True, help="Also make the layers of each map, as 'agriseg layers' does.")
@option_flags(LayerOptions, ExportOptions, PublishPolicy)
@click.option("--on-done", metavar="COMMAND", help="Run at the end, with AGRISEG_SUMMARY and AGRISEG_EXIT_CODE set.")
@click.option("--dry-run", is_flag=True, help="Print what would be mapped, write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
def command(
    source: str, out: str, model: str | None, globs: tuple[str, ...], pattern: str | None, *, layers: bool,
    dry_run: bool, on_done: str | None, as_json: bool, quiet: bool, **flags: Any,
) -> None:  # fmt: skip
    """Map every raster of a folder in worker processes; one that is bad, hangs or crashes stops no other.

    Run the same command again to map rasters that are new, changed or failed.

    Exits with 0; 3 if some rasters failed; 65 if all are bad; 75 if files were still growing, or another batch writes
    into the folder.

    \b
    Example:
      agriseg batch flights -m weeds.safetensors -o maps
      agriseg batch flights -o maps --pattern '(?P<field>[^/]+)/(?P<date>[0-9-]+)' --workers 2 --timeout 1h
      agriseg batch jobs.toml -o maps --shard 1/4
      agriseg batch flights -o maps --layers --affected weed --fail-on red
    """
    end_on_signals()
    from agriseg.batch.run import BatchRun

    path, folder = Path(source), Path(out)
    options, exports = parse(BatchOptions, flags), parse(ExportOptions, flags)
    if exports.previous or exports.stac:
        from agriseg.export.exports import check_exports  # loads torch, which an unchanged batch does not need

        check_exports(exports)
    request = replace(requested(flags, layers=layers), exports=replace(exports, stac=False))
    if path.suffix.lower() == ".toml":
        if model or globs or pattern or layers or chosen(RunOptions, flags):
            raise UsageError(f"{path} and flags that say what to map, or how; write them into the file")
        from agriseg.batch.job_file import read_jobs

        jobs = read_jobs(path, folder, request)
    else:
        jobs = [_job_of_folder(path, folder, request, model, globs, pattern, quiet=quiet)]
    if dry_run:
        _show_plan(BatchRun(jobs, folder, options), as_json=as_json)
        return
    with Progress("rasters", quiet=quiet or not sys.stderr.isatty(), unit="rasters") as progress, resume_hint(path):
        log = BatchRun(jobs, folder, options, progress, _complain).run()
    if exports.stac:
        _write_collection(folder)  # not in the workers: rasters share the item of their model
    if as_json:
        click.echo(json_line(log.as_json()))
    elif sys.stdout.isatty():
        click.echo(", ".join(f"{number} {status}" for status, number in log.counts.items()) or "0 files")
    _run_on_done(on_done, log)
    click.get_current_context().exit(log.exit_code)


def _job_of_folder(
    path: Path, out: Path, request: MappingRequest, model: str | None, globs: tuple[str, ...], pattern: str | None, *,
    quiet: bool,
) -> "BatchJob":  # fmt: skip
    from agriseg.batch.queue import BatchJob
    from agriseg.maps.discover import GLOBS, discover

    file, warning = chosen_model(model)
    if warning and not quiet:
        warn(warning)
    return BatchJob("", discover(path, globs or GLOBS, pattern, out), file, request)


def _write_collection(folder: Path) -> None:
    """STAC items of the published maps, and their collection."""
    from agriseg.batch.withdrawn import WITHDRAWN
    from agriseg.export.stac import write_collection, write_item
    from agriseg.export.stac_model import write_model_item
    from agriseg.mapping.outputs import QUARANTINE
    from agriseg.maps.reader import find_records
    from agriseg.maps.record import RECORD

    if not any(folder.rglob(f"*{RECORD}")):
        return
    left_out = (QUARANTINE, WITHDRAWN)
    records = [path for path in find_records(folder) if path.relative_to(folder).parts[0] not in left_out]
    for record in records:
        write_model_item(record)
    write_collection(folder, [write_item(record) for record in records])


def _complain(name: str, reason: str) -> None:
    click.echo(one_line(f"agriseg: failed: {reason if name in reason else f'{name}: {reason}'}"), err=True)


def _show_plan(batch: "BatchRun", *, as_json: bool) -> None:
    plan = batch.plan()
    if as_json:
        click.echo(json_line(dict(plan)))
        return
    for name, what in plan:
        click.echo(f"{what:>10}  {one_line(name)}")


def _run_on_done(text: str | None, log: "BatchLog") -> None:
    """Run the command of the user without a shell; a warning names its exit code if it is not 0."""
    if text is None:
        return
    variables = {"AGRISEG_SUMMARY": str(log.page.resolve()), "AGRISEG_EXIT_CODE": str(log.exit_code)}
    try:
        code = subprocess.run(shlex.split(text), env={**os.environ, **variables}, check=False).returncode  # noqa: S603
    except (OSError, ValueError) as error:
        raise ModelError(f"--on-done {text}: cannot be run ({error}); the maps are made") from error
    if code:
        warn(f"--on-done {text}: ended with {code}; the maps are made")
