"""One raster's turn in a worker process: from a path to a row of the night's summary."""

from base64 import b64encode
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from agriseg.batch.task import MapTask
from agriseg.export.exports import Exports
from agriseg.figures.quicklook import thumbnail
from agriseg.files import file_hash
from agriseg.mapping.model_cache import cached_model
from agriseg.mapping.outputs import Outputs
from agriseg.mapping.prepare import MappingJob, prepare
from agriseg.mapping.record import identity_of
from agriseg.mapping.run import run
from agriseg.maps.record import RunRecord
from agriseg.options.run import RunOptions
from agriseg.raster.identity import InputIdentity


def map_raster(turn: MapTask) -> dict[str, Any]:
    """Map a raster, or find that a night that was killed has mapped it.

    Returns:
        Its part of the summary, JSON values.

    Raises:
        AgrisegError: why there is none.
    """
    if turn.cpu_threads:
        torch.set_num_threads(turn.cpu_threads)
    model, options = cached_model(turn.model), RunOptions.of(**turn.flags)
    outputs = Outputs(turn.folder, turn.image.stem, options.probabilities, turn.own)
    outputs.check(turn.image)
    prepared = prepare(turn.image, model, options)
    name = identity_of(prepared, turn.standard).key
    found = [each for each in outputs.places(turn.standard) if turn.own and _is_done(prepared, each, name)]
    if not found or outputs.working.exists():  # it may only have to be cleared away
        found = [replace(outputs, folder=run(prepared, outputs, standard=turn.standard).record.parent)]
    outputs = found[0]
    page, *_ = Exports(turn.lang).make(outputs.record)
    return _row(outputs, page)


def _is_done(prepared: MappingJob, outputs: Outputs, name: str) -> bool:
    """Whether a whole map of just this run is there, and of this very content of the raster."""
    if not outputs.holds(name):
        return False
    return RunRecord.read(outputs.record).input.identity == InputIdentity.of(prepared.info.path)


def _row(outputs: Outputs, page: Path) -> dict[str, Any]:
    record = RunRecord.read(outputs.record)
    picture = b64encode(thumbnail(outputs.named("image.png"), outputs.named("classes.png"))).decode()
    return {
        "record": file_hash(outputs.record),
        "sha256": record.input.sha256, "identity": record.input.identity.digest,
        "pixels": asdict(record.pixels), "tiles_run": record.tiles_run,
        "hectares": {entry.name: entry.hectares for entry in record.classes},
        "share": {entry.name: entry.pixels / max(1, record.pixels.predicted) for entry in record.classes},
        "seconds": round(record.seconds.total, 3), "warnings": list(record.warnings),
        "verdict": asdict(record.verdict),
        "files": [str(path) for path in outputs.files], "report": str(page),
        "thumbnail": f"data:image/png;base64,{picture}",
    }  # fmt: skip
