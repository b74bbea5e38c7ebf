"""`agriseg batch`."""

import os
import shlex
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agriseg.cli.common.errors import one_line
from agriseg.cli.common.options import (
    chosen_model,
    config_option,
    run_flags,
    run_options,
    scheduler_of,
    warn,
    worker_options,
)
from agriseg.cli.common.progress import Progress
from agriseg.cli.common.signals import end_on_signals, resume_hint
from agriseg.errors import ModelError, UsageError
from agriseg.json_text import json_line
from agriseg.units import seconds

if TYPE_CHECKING:
    from agriseg.batch.queue import BatchJob, BatchOptions
    from agriseg.batch.run import BatchRun
    from agriseg.batch.summary import BatchLog

_PATTERN = r"Regular expression on the path below FOLDER: (?P<field>[^/]+)/(?P<date>\d{8})."
_SETTLE = "A file changed less than this ago may still be growing and waits; 30s if not given."
_RETRY = "Try a raster again after a fault of disk or worker; once if not given."
_LIMIT = "When a map is amber, when red: distance=2:5, gsd_ratio, doubtful=10%:30%, nodata, failed."
_STAC = "Describe each map as a STAC item, and all of them as a collection (needs agriseg[stac])."
_FAIL_ON = "A map of this colour or worse counts as failed and goes to OUT/quarantine; never if not given."


@click.command("batch", short_help="Map a folder of rasters, each on its own, with a summary for the morning.")
@click.argument("source", metavar="FOLDER|JOBS.toml")
@click.option("-o", "--out", metavar="FOLDER", required=True, help="Gets the maps, the ledger, the log, the summaries.")
@run_options
@click.option("--glob", "globs", multiple=True, metavar="GLOB", help="Rasters to take; *.tif and *.tiff if not given.")
@click.option("--pattern", metavar="REGEX", help=_PATTERN)
@click.option("--since", metavar="DATE", help="Only flights of this day or later, such as 2026-05-01.")
@click.option("--settle", metavar="LENGTH", help=_SETTLE)
@worker_options(1)
@click.option("--timeout", metavar="LENGTH", help="Stop a raster that takes longer, such as 30m.")
@click.option("--retry", type=click.IntRange(0), default=1, metavar="N", help=_RETRY)
@click.option("--fail-fast/--keep-going", help="End after the first raster that fails, or go on (default).")
@click.option("--limit", "limits", multiple=True, metavar="NAME=AMBER:RED", help=_LIMIT)
@click.option("--fail-on", type=click.Choice(["never", "red", "amber"]), default="never", help=_FAIL_ON)
@click.option("--lang", type=click.Choice(("en", "zh")), default="en", help="Language of the reports; en if not given.")
@click.option("--stac", is_flag=True, help=_STAC)
@click.option("--shard", metavar="K/N", help="Only the K-th of N parts of the rasters: for N machines.")
@click.option("--on-done", metavar="COMMAND", help="Run at the end, with AGRISEG_SUMMARY and AGRISEG_EXIT_CODE set.")
@click.option("--dry-run", is_flag=True, help="Print what would be mapped, write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@config_option
def command(
    source: str, out: str, model: str | None, globs: tuple[str, ...], pattern: str | None, *, dry_run: bool,
    on_done: str | None, as_json: bool, quiet: bool, **given: Any,
) -> None:  # fmt: skip
    """Map every raster of a folder, each in a worker process: one that is bad, hangs or crashes stops no other.

    The same command again maps what is new, has changed or was not done.

    Leaves with 0; 3 if some failed, 65 if all are bad; 75 if files were still growing, or another night writes there.

    \b
    Example:
      agriseg batch flights -m weeds.safetensors -o maps
      agriseg batch flights -o maps --pattern '(?P<field>[^/]+)/(?P<date>[0-9-]+)' --workers 2 --timeout 1h
      agriseg batch jobs.toml -o maps --shard 1/4
    """
    end_on_signals()
    from agriseg.batch.run import BatchRun

    path, folder = Path(source), Path(out)
    jobs = _jobs(path, folder, model, globs, pattern, run_flags(given), quiet=quiet)
    if dry_run:
        _show_plan(BatchRun(jobs, folder, _rules(given)), as_json=as_json)
        return
    with Progress("rasters", quiet=quiet or not sys.stderr.isatty(), unit="rasters") as progress, resume_hint(path):
        diary = BatchRun(jobs, folder, _rules(given), progress, _complain).run()
    if given["stac"]:
        _write_collection(folder)
    if as_json:
        click.echo(json_line(diary.summary))
    elif sys.stdout.isatty():
        click.echo(", ".join(f"{number} {status}" for status, number in diary.counts.items()) or "0 files")
    _run_on_done(on_done, diary)
    click.get_current_context().exit(diary.exit_code)


def _jobs(
    source: Path, out: Path, model: str | None, globs: tuple[str, ...], pattern: str | None, flags: dict[str, Any], *,
    quiet: bool,
) -> "list[BatchJob]":  # fmt: skip
    """The jobs of a file, or the one of a folder."""
    from agriseg.batch.job_file import read_jobs
    from agriseg.batch.queue import BatchJob
    from agriseg.maps.discover import GLOBS, discover
    from agriseg.options.run import RunOptions

    if source.suffix.lower() == ".toml":
        if model or globs or pattern or flags:
            raise UsageError(f"{source} and flags that say what to map, or how; write them into the file")
        return read_jobs(source, out)
    RunOptions.of(**flags)  # a wrong flag is said before the first raster
    file, said = chosen_model(model)
    if said and not quiet:
        warn(said)
    return [BatchJob("", discover(source, globs or GLOBS, pattern, out), file, flags)]


def _rules(given: dict[str, Any]) -> "BatchOptions":
    from agriseg.batch.queue import BatchOptions
    from agriseg.options.run import VerdictLimits

    VerdictLimits.of(given["limits"])  # a wrong one is said before the first raster
    return BatchOptions(
        workers=given["workers"], scheduler=scheduler_of(given["scheduler"], given["scheduler_file"]),
        timeout=seconds(given["timeout"]) if given["timeout"] else None, retries=given["retry"],
        fail_fast=given["fail_fast"], settle=seconds(given["settle"] or "30s"), cpu_threads=given["cpu_threads"],
        shard=_shard(given["shard"]), since=_day(given["since"]), limits=given["limits"],
        refused={"never": (), "red": ("red",), "amber": ("amber", "red")}[given["fail_on"]],
        lang=given["lang"],
    )  # fmt: skip


def _shard(text: str | None) -> tuple[int, int]:
    if text is None:
        return 1, 1
    part, _, parts = text.partition("/")
    if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise UsageError(f"--shard {text}, expected K/N with K from 1 to N, such as 2/4")
    return int(part), int(parts)


def _day(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as error:
        raise UsageError(f"--since {text}, expected a day such as 2026-05-01") from error


def _write_collection(folder: Path) -> None:
    """Items of the maps that are published, and the collection; not by workers, who would share a model's item."""
    from agriseg.batch.queue import QUARANTINE
    from agriseg.batch.withdrawn import WITHDRAWN
    from agriseg.export.stac import write_collection, write_item, write_model_item
    from agriseg.maps.reader import find_records
    from agriseg.maps.record import RECORD

    if not any(folder.rglob(f"*{RECORD}")):
        return
    records = [
        path for path in find_records(folder) if path.relative_to(folder).parts[0] not in (QUARANTINE, WITHDRAWN)
    ]
    for record in records:
        write_model_item(record)
    write_collection(folder, [write_item(record) for record in records])


def _complain(name: str, why: str) -> None:
    click.echo(one_line(f"agriseg: failed: {why if name in why else f'{name}: {why}'}"), err=True)


def _show_plan(night: "BatchRun", *, as_json: bool) -> None:
    plan = night.plan()
    if as_json:
        click.echo(json_line(dict(plan)))
        return
    for name, what in plan:
        click.echo(f"{what:>10}  {one_line(name)}")


def _run_on_done(text: str | None, diary: "BatchLog") -> None:
    """The user's own command, without a shell; what it answers is said, and changes nothing."""
    if text is None:
        return
    told = {"AGRISEG_SUMMARY": str(diary.page.resolve()), "AGRISEG_EXIT_CODE": str(diary.exit_code)}
    try:
        code = subprocess.run(shlex.split(text), env={**os.environ, **told}, check=False).returncode  # noqa: S603
    except (OSError, ValueError) as error:
        raise ModelError(f"--on-done {text}: cannot be run ({error}); the maps are made") from error
    if code:
        warn(f"--on-done {text}: ended with {code}; the maps are made")
