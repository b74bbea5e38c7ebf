"""`agriseg run`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agriseg.cli.common.errors import end_on_signals, one_line, resume_hint, warn, warn_about
from agriseg.cli.common.options import chosen_model, open_option, open_page, option_flags, parse, requested, run_options
from agriseg.cli.common.progress import Progress
from agriseg.errors import UsageError
from agriseg.json_text import json_line
from agriseg.options.exports import ExportOptions
from agriseg.options.layers import LayerOptions
from agriseg.options.request import MappingRequest
from agriseg.options.verdict import PublishPolicy
from agriseg.options.workers import WorkerOptions

if TYPE_CHECKING:
    from agriseg.inference.workers import WorkerPool
    from agriseg.mapping.run import RunReport

_WORK = "Keep the working data of the run in a bucket, for workers without a common disk."


@click.command("run", short_help="Map rasters: classes and confidence as GeoTIFFs.")
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option("-o", "--out", metavar="FOLDER", help="Folder of the outputs; default <stem>_agriseg.")
@run_options
@option_flags(WorkerOptions)
@click.option("--work", metavar="s3://BUCKET/PREFIX", help=_WORK)
@click.option("--overwrite", is_flag=True, help="Replace existing outputs.")
@click.option("--no-resume", is_flag=True, help="Start over, and discard the progress of an earlier run.")
@click.option("--allow-remote", is_flag=True, help="Download an IMAGE that is an http, https or s3 address first.")
@click.option("--layers", is_flag=True, help="Then make the layers of each map, as 'agriseg layers' does.")
@option_flags(LayerOptions, ExportOptions, PublishPolicy)
@open_option
@click.option("--dry-run", is_flag=True, help="Check everything, print the plan, write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--profile", is_flag=True, help="Print where the time went, in seconds by stage, on stderr.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no warnings.")
def command(
    images: tuple[str, ...], out: str | None, model: str | None, *, overwrite: bool, no_resume: bool, work: str | None,
    allow_remote: bool, layers: bool, open_: bool, dry_run: bool, as_json: bool, profile: bool, quiet: bool,
    **flags: Any,
) -> None:  # fmt: skip
    """Map rasters: class map and confidence as GeoTIFFs, with legend, record and report.

    Exits with 0; 3 if pixels could not be read, or a map has a verdict of --fail-on.

    \b
    Example:
      agriseg run field.tif -m weeds.safetensors -o maps
      agriseg run a.tif b.tif -o maps --blend exact --bands red=3,green=2,blue=1
      agriseg run huge.tif -o maps --workers 4
      agriseg run huge.tif -o maps --tile auto --tolerance 0.1%
      agriseg run field.tif -o maps --layers --affected weed --fields farm.gpkg
    """
    end_on_signals()
    paths = [_local(image, out) if allow_remote else Path(image) for image in images]
    _refuse_clashes(images, paths, out)
    from agriseg.cli.common.format import show_prepared, show_seconds
    from agriseg.mapping.known_runtime import known_runtime
    from agriseg.mapping.outputs import Outputs, default_folder
    from agriseg.mapping.prepare import prepare
    from agriseg.mapping.run import Execution, run
    from agriseg.model import load_model
    from agriseg.workflow import checked, with_derived_files

    request = requested(flags, layers=layers).with_report()
    folders = [default_folder(path) if out is None else Path(out) for path in paths]
    outputs = [
        Outputs(folder, path.stem, request.run.probabilities, overwrite or dry_run)
        for folder, path in zip(folders, paths, strict=True)
    ]
    requests = [checked(request, path, files) for path, files in zip(paths, outputs, strict=True)]
    if allow_remote:
        _download(images, paths, quiet=quiet)
    file, warning = chosen_model(model)
    loaded = load_model(file)
    if warning and not quiet:
        warn(warning)
    failed = False
    with _workers(parse(WorkerOptions, flags), request.run.device, dry_run=dry_run) as pool:
        execution = Execution(pool, work, resume=not no_resume, more_follows=True)
        for path, files, request in zip(paths, outputs, requests, strict=True):
            known = known_runtime(request.run, loaded, files.places(request.policy), execution.place(files))
            job = prepare(path, loaded, request.run, known)
            warn_about(path, job.warnings, quiet=quiet)
            if dry_run:
                show_prepared(job, as_json=as_json)
                continue
            replaces = overwrite or files.incomplete
            for text in job.choices if not quiet else ():
                click.echo(one_line(f"agriseg: {path.name}: {text}"), err=True)
            with Progress(path.name, quiet=quiet) as progress, resume_hint(path):
                report = run(job, files, progress, execution, policy=request.policy)
            warn_about(path, [text for text in report.warnings if text not in job.warnings], quiet=quiet)
            what = "layers" if request.layers else "report"
            with resume_hint(report.record, f"the map is finished; make its {what} with 'agriseg {what}'"):
                report = with_derived_files(report, request, files, overwrite=replaces)
            warn_about(report.record, report.layers.warnings if report.layers else (), quiet=quiet)
            _show(report, as_json=as_json, open_=open_)
            if profile:
                click.echo(show_seconds(report.seconds), err=True)
            failed |= _complain(path, report, request) or report.pixels.failed > 0
    if failed:
        click.get_current_context().exit(3)


def _complain(path: Path, report: "RunReport", request: MappingRequest) -> bool:
    """Print the verdict on a map that may not be published; whether this is such a map."""
    if not request.policy.refuses(report.verdict.colour):
        return False
    reasons = "; ".join(report.verdict.reasons)
    text = f"agriseg: failed: {path}: {report.verdict.colour}: {reasons}; the map is in {report.record.parent}"
    click.echo(one_line(text), err=True)
    return True


def _show(report: "RunReport", *, as_json: bool, open_: bool) -> None:
    from agriseg.cli.common.format import show_layers, show_report

    if as_json:
        click.echo(json_line(report.as_dict()))
    else:
        layers = [] if report.layers is None else [show_layers(report.layers)]
        click.echo("\n".join([show_report(report), *layers, *map(str, report.exports)]))
    if open_:
        open_page(report.exports[0])


@contextmanager
def _workers(options: WorkerOptions, device: str, *, dry_run: bool) -> "Iterator[WorkerPool | None]":
    """The worker processes; None if this process does everything."""
    import torch

    from agriseg.inference.workers import WorkerPool, gpu_count
    from agriseg.maps.run_identity import versions

    gpus = gpu_count() if device in ("auto", "cuda") else 0
    workers = gpus if options.workers is None else options.workers
    if threads := options.cpu_threads or (workers and max(1, torch.get_num_threads() // workers)):
        torch.set_num_threads(threads)  # as in each worker: the order of sums depends on it
    if dry_run or not (options.scheduler_address or workers):
        yield None
        return
    with WorkerPool(workers, options.scheduler_address, gpus) as pool:
        pool.check_versions(versions)
        yield pool


def _local(image: str, out: str | None) -> Path:
    """The path of the file on this machine; an address is downloaded into the folder of the outputs."""
    from agriseg.mapping.outputs import default_folder
    from agriseg.storage.download import is_address, local_name

    if not is_address(image):
        return Path(image)
    name = local_name(image)
    return (Path(out) if out else default_folder(Path(name))) / name


def _download(images: Sequence[str], paths: Sequence[Path], *, quiet: bool) -> None:
    """Download the images that are addresses."""
    from agriseg.storage.download import download, is_address

    for image, path in [pair for pair in zip(images, paths, strict=True) if is_address(pair[0])]:
        with Progress(image, quiet=quiet, unit="MB") as progress:

            def show(done: int, total: int, progress: Progress = progress) -> None:
                progress(done // 10**6, max(1, total // 10**6))

            download(image, path, show)


def _refuse_clashes(images: Sequence[str], paths: Sequence[Path], out: str | None) -> None:
    """Refuse inputs that would have the same outputs."""
    stems: dict[str, str] = {}
    for image, path in zip(images, paths, strict=True):
        if path.stem in stems:
            where = f"folder {out}" if out else f"folder {path.stem}_agriseg"
            raise UsageError(f"{stems[path.stem]} and {image} would both write to {where}; run them with different -o")
        stems[path.stem] = image
