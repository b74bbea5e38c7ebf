"""One raster's turn in a worker process: from a path to a row of the night's summary."""

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from agriseg.config import RunOptions
from agriseg.errors import AgrisegError, told
from agriseg.jobs.outputs import Outputs
from agriseg.jobs.prepare import Prepared, prepare
from agriseg.jobs.record import describe_plan, file_hash, versions
from agriseg.jobs.segment import Standard, run
from agriseg.layers.picture import thumbnail
from agriseg.legend import Legend
from agriseg.model import SegmentationModel, load_model
from agriseg.raster.info import Stamp


@dataclass(frozen=True)
class Turn:
    """What a worker needs to know.

    Args:
        image: the raster.
        folder: of the outputs.
        model: its file.
        flags: fields of `RunOptions`.
        own: whether what lies in the folder under the outputs' names is this night's, or an earlier one's.
        cpu_threads: of the network; None leaves it to torch.
        standard: which maps may be published, and where the others go.
    """

    image: Path
    folder: Path
    model: Path
    flags: Mapping[str, Any]
    own: bool
    cpu_threads: int | None
    standard: Standard


@dataclass(frozen=True)
class Failure:
    """Why a raster is not mapped, for the journey back: an error and its causes may hold what does not travel."""

    code: int
    text: str


def take_turn(turn: Turn) -> dict[str, Any] | Failure:
    """Map a raster, or find that a night that was killed has mapped it.

    Returns:
        Its part of the summary, JSON values; or why there is none.
    """
    try:
        return _map(turn)
    except (AgrisegError, OSError, MemoryError, RuntimeError) as error:
        return Failure(*told(error))


def _map(turn: Turn) -> dict[str, Any]:
    if turn.cpu_threads:
        torch.set_num_threads(turn.cpu_threads)
    model, options = _model(turn.model, Stamp.of(turn.model)), RunOptions.of(**turn.flags)
    outputs = Outputs(turn.folder, turn.image.stem, options.probabilities, turn.own)
    outputs.check(turn.image)
    prepared = prepare(turn.image, model, options)
    if not (turn.own and _is_done(prepared, outputs)):
        outputs = replace(outputs, folder=run(prepared, outputs, standard=turn.standard).record.parent)
    return _row(outputs, model.legend)


@lru_cache(maxsize=1)
def _model(path: Path, _stamp: Stamp) -> SegmentationModel:
    """A process loads its model once, unless the file changes."""
    return load_model(path)


def _is_done(prepared: Prepared, outputs: Outputs) -> bool:
    """Whether a whole map of just this run is there."""
    if not all(path.is_file() for path in outputs.files):
        return False
    record = json.loads(outputs.record.read_text("utf-8"))
    recorded = [record["model"]["fingerprint"], record["parameters"], record["versions"], record["input"]["sha256"]]
    model, image = prepared.model, prepared.info.path
    expected = [model.fingerprint, json.loads(json.dumps(describe_plan(prepared))), versions(), file_hash(image)]
    return bool(recorded == expected)


def _row(outputs: Outputs, legend: Legend) -> dict[str, Any]:
    record = json.loads(outputs.record.read_text("utf-8"))
    picture = b64encode(thumbnail(outputs.layer("classes"), legend)).decode()
    return {
        "sha256": record["input"]["sha256"], "pixels": record["pixels"], "tiles_run": record["tiles_run"],
        "hectares": {entry["name"]: entry["hectares"] for entry in record["classes"]},
        "share": {
            entry["name"]: entry["pixels"] / max(1, record["pixels"]["predicted"]) for entry in record["classes"]
        },
        "seconds": round(sum(record["seconds"].values()), 3), "warnings": record["warnings"],
        "verdict": record["verdict"],
        "files": [str(path) for path in outputs.files], "thumbnail": f"data:image/png;base64,{picture}",
    }  # fmt: skip
