"""`agriseg run`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agriseg.cli.common.export_options import handover, handover_options, open_page
from agriseg.cli.common.layer_options import layer_flags, layer_options, refuse_without_layers
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
from agriseg.errors import UsageError
from agriseg.json_text import json_line

if TYPE_CHECKING:
    from agriseg.inference.workers import WorkerPool
    from agriseg.mapping.run import RunReport
    from agriseg.maps.publish import PublishedFiles
    from agriseg.options.layers import LayerOptions

_WORK = "Keep what the run needs while it lasts in a bucket, for workers without a common disk."


@click.command("run", short_help="Map rasters: classes and confidence as GeoTIFFs.")
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option(
    "-o", "--out", metavar="FOLDER", help="Folder of the outputs; <stem>_agriseg in the current one if not given."
)
@run_options
@worker_options(None)
@click.option("--work", metavar="s3://BUCKET/PREFIX", help=_WORK)
@click.option("--overwrite", is_flag=True, help="Replace outputs that exist.")
@click.option("--no-resume", is_flag=True, help="Start over, whatever a run that was stopped has left.")
@click.option("--allow-remote", is_flag=True, help="Fetch an IMAGE that is an http, https or s3 address first.")
@click.option("--layers", is_flag=True, help="Then make the layers that a grower reads, as 'agriseg layers' does.")
@layer_options
@handover_options
@click.option("--dry-run", is_flag=True, help="Check everything, print the plan, write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no warnings.")
@config_option
def command(
    images: tuple[str, ...], out: str | None, model: str | None, *, overwrite: bool, no_resume: bool, work: str | None,
    allow_remote: bool, layers: bool, open_: bool, dry_run: bool, as_json: bool, quiet: bool, **flags: Any,
) -> None:  # fmt: skip
    """Map rasters: a mask of classes and a confidence layer as GeoTIFFs, with legend, record and report.

    \b
    Example:
      agriseg run field.tif -m weeds.safetensors -o maps
      agriseg run a.tif b.tif -o maps --blend exact --bands red=3,green=2,blue=1
      agriseg run huge.tif -o maps --workers 4
      agriseg run field.tif -o maps --layers --affected weed --fields farm.gpkg
    """
    end_on_signals()
    paths = [_local(image, out) if allow_remote else Path(image) for image in images]
    _refuse_clashes(images, paths, out)
    from agriseg.cli.common.format import show_prepared
    from agriseg.mapping.outputs import Outputs, default_folder
    from agriseg.mapping.prepare import prepare
    from agriseg.mapping.run import Execution, run
    from agriseg.model import load_model
    from agriseg.options.run import RunOptions

    options = RunOptions.of(**run_flags(flags))
    wanted, page = _layers(layer_flags(flags), wanted=layers), handover(flags)
    folders = [default_folder(path) if out is None else Path(out) for path in paths]
    places = zip(folders, paths, strict=True)
    outputs = [Outputs(folder, path.stem, options.probabilities, overwrite or dry_run) for folder, path in places]
    for path, files in zip(paths, outputs, strict=True):
        files.check(path)
    if allow_remote:
        _fetch(images, paths, quiet=quiet)
    file, said = chosen_model(model)
    loaded = load_model(file)
    if said and not quiet:
        warn(said)
    failed = 0
    with _crew(flags, options.device, dry_run=dry_run) as crew:
        manner = Execution(crew, work, resume=not no_resume)
        for path, files in zip(paths, outputs, strict=True):
            prepared = prepare(path, loaded, options)
            for text in [] if quiet else prepared.warnings:
                warn(f"{path}: {text}")
            if dry_run:
                show_prepared(prepared, as_json=as_json)
                continue
            with Progress(path.name, quiet=quiet) as progress, resume_hint(path):
                report = run(prepared, files, progress, manner)
            for text in [] if quiet else report.warnings:
                if text not in prepared.warnings:
                    warn(f"{path}: {text}")
            made = None if wanted is None else _made(report, wanted, overwrite=overwrite, quiet=quiet)
            _show(report, made, page.make(report.record), as_json=as_json, open_=open_)
            failed += report.pixels.failed
    if failed:
        click.get_current_context().exit(3)


def _layers(chosen: dict[str, Any], *, wanted: bool) -> "LayerOptions | None":
    """Which layers to make; None for none."""
    if not wanted:
        refuse_without_layers(chosen, wanted=False)
        return None
    from agriseg.options.layers import LayerOptions

    return LayerOptions.of(**chosen)


def _made(report: "RunReport", options: "LayerOptions", *, overwrite: bool, quiet: bool) -> "PublishedFiles":
    """The layers of a map that has just been finished."""
    from agriseg.analysis.build import make_layers

    with resume_hint(report.record, "the map is finished; make its layers with 'agriseg layers'"):
        made = make_layers(report.record, options, overwrite=overwrite)
    for text in [] if quiet else made.warnings:
        warn(f"{report.record}: {text}")
    return made


def _show(report: "RunReport", made: "PublishedFiles | None", pages: list[Path], *, as_json: bool, open_: bool) -> None:
    from agriseg.cli.common.format import show_layers, show_report

    if as_json:
        layers = {} if made is None else {"layers": made.as_dict()}
        click.echo(json_line(report.as_dict() | layers | {"report": [str(path) for path in pages]}))
    else:
        parts = [show_report(report), *([] if made is None else [show_layers(made)]), *map(str, pages)]
        click.echo("\n".join(parts))
    if open_:
        open_page(pages[0])


@contextmanager
def _crew(flags: dict[str, Any], device: str, *, dry_run: bool) -> "Iterator[WorkerPool | None]":
    """The workers that the user wants, checked; None for this process alone."""
    import torch

    from agriseg.inference.workers import WorkerPool, gpu_count
    from agriseg.maps.run_identity import versions

    scheduler = scheduler_of(flags["scheduler"], flags["scheduler_file"])
    gpus = gpu_count() if device in ("auto", "cuda") else 0
    workers = gpus if flags["workers"] is None else flags["workers"]
    if threads := flags["cpu_threads"] or (workers and max(1, torch.get_num_threads() // workers)):
        torch.set_num_threads(threads)  # and in each worker, since sums are made in as many parts
    if dry_run or not (scheduler or workers):
        yield None
        return
    with WorkerPool(workers, scheduler, gpus) as crew:
        crew.check_versions(versions)
        yield crew


def _local(image: str, out: str | None) -> Path:
    """The name of the file on this machine; what is behind an address is fetched into the folder of the outputs."""
    from agriseg.mapping.outputs import default_folder
    from agriseg.storage.download import is_address, local_name

    if not is_address(image):
        return Path(image)
    name = local_name(image)
    return (Path(out) if out else default_folder(Path(name))) / name


def _fetch(images: Sequence[str], paths: Sequence[Path], *, quiet: bool) -> None:
    """Fetch the images that are addresses."""
    from agriseg.storage.download import download, is_address

    for image, path in zip(images, paths, strict=True):
        if not is_address(image):
            continue
        with Progress(image, quiet=quiet, unit="MB") as progress:

            def tell(done: int, total: int, progress: Progress = progress) -> None:
                progress(done // 10**6, max(1, total // 10**6))

            download(image, path, tell)


def _refuse_clashes(images: Sequence[str], paths: Sequence[Path], out: str | None) -> None:
    """Two inputs must not share an output, and none may be named twice."""
    stems: dict[str, str] = {}
    for image, path in zip(images, paths, strict=True):
        if path.stem in stems:
            where = f"folder {out}" if out else f"folder {path.stem}_agriseg"
            raise UsageError(f"{stems[path.stem]} and {image} would both write to {where}; run them with different -o")
        stems[path.stem] = image
