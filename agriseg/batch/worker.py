"""Mapping one raster of a batch in a worker process."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from agriseg.batch.task import MapFacts, MapTask
from agriseg.figures.quicklook import thumbnail
from agriseg.files import file_hash
from agriseg.mapping.known_runtime import known_runtime
from agriseg.mapping.outputs import Outputs
from agriseg.mapping.prepare import MappingJob, cached_model, prepare
from agriseg.mapping.record import identity_of
from agriseg.mapping.run import Execution, run
from agriseg.maps.record import RunRecord
from agriseg.raster.identity import InputIdentity
from agriseg.workflow import derived_files


def map_raster(task: MapTask) -> MapFacts:
    """Map a raster, unless a batch that was killed has finished its map, and make the layers and exports.

    Raises:
        AgrisegError: the raster cannot be mapped, or a layer or an export cannot be made of its map.
    """
    if task.cpu_threads:
        torch.set_num_threads(task.cpu_threads)
    request = task.request
    outputs = Outputs(task.folder, task.image.stem, request.run.probabilities, task.own)
    outputs.check(task.image)
    model = cached_model(task.model)
    known = known_runtime(request.run, model, outputs.places(request.policy), Execution().place(outputs))
    prepared = prepare(task.image, model, request.run, known)
    name = identity_of(prepared, request.policy).key
    done = [each for each in outputs.places(request.policy) if task.own and _is_done(prepared, each, name)]
    if not done or outputs.working.exists():  # a finished map may only need its working folder deleted
        done = [replace(outputs, folder=run(prepared, outputs, policy=request.policy).record.parent)]
    outputs = done[0]
    layers, (report, *exports) = derived_files(outputs.record, request, overwrite=True)
    files = [*(layers.files if layers else ()), *exports, *outputs.files]
    return _facts(outputs, task.out, report, files, layers.warnings if layers else [])


def _is_done(prepared: MappingJob, outputs: Outputs, name: str) -> bool:
    """Whether a whole map of just this run is there, and of this very content of the raster."""
    if not outputs.holds(name):
        return False
    return RunRecord.read(outputs.record).input.identity == InputIdentity.of(prepared.info.path)


def _facts(outputs: Outputs, out: Path, report: Path, files: Sequence[Path], layer_warnings: Sequence[str]) -> MapFacts:
    record = RunRecord.read(outputs.record)
    picture = b64encode(thumbnail(outputs.named("image.png"), outputs.named("classes.png"))).decode()
    return MapFacts(
        record=file_hash(outputs.record),
        sha256=record.input.sha256,
        identity=record.input.identity.digest,
        pixels=record.pixels,
        tiles_run=record.tiles_run,
        hectares={entry.name: entry.hectares for entry in record.classes},
        share={entry.name: entry.pixels / max(1, record.pixels.predicted) for entry in record.classes},
        seconds=round(record.seconds.total, 3),
        warnings=(*record.warnings, *layer_warnings),
        verdict=record.verdict,
        files=tuple(path.relative_to(out).as_posix() for path in files),
        report=report.relative_to(out).as_posix(),
        thumbnail=f"data:image/png;base64,{picture}",
    )
