"""The task of a worker, one raster of a batch, and its result. `worker.py` carries it out, and loads torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name

from agriseg.maps.record import PixelTotals
from agriseg.options.request import MappingRequest
from agriseg.verdict import Verdict


@dataclass(frozen=True)
class MapTask:
    """What a worker needs to map a raster.

    Args:
        out: folder of all outputs of the batch.
        folder: of the outputs of this raster.
        own: whether existing files with the names of the outputs are of this batch or an earlier one.
        cpu_threads: of the network; None for as many as the process was started with.
    """

    image: Path
    out: Path
    folder: Path
    model: Path
    request: MappingRequest
    own: bool
    cpu_threads: int | None


@dataclass(frozen=True)
class MapFacts:
    """What a worker reports of a finished map.

    Args:
        record: SHA-256 of the run's record.
        sha256: of the raster.
        identity: digest of the content of the raster and the files beside it.
        hectares: by class; None where the ground is unknown.
        share: of the predicted pixels, by class.
        seconds: that mapping took.
        warnings: of the map and its layers.
        files: of the map, its layers and exports, relative to the folder of the outputs; the run's record last.
        report: page of the map, relative to the folder of the outputs.
        thumbnail: of the map, a data URI.
    """

    record: str
    sha256: str
    identity: str
    pixels: PixelTotals
    tiles_run: int
    hectares: Mapping[str, float | None]
    share: Mapping[str, float]
    seconds: float
    warnings: tuple[str, ...]
    verdict: Verdict
    files: tuple[str, ...]
    report: str
    thumbnail: str


def run_task(task: MapTask) -> MapFacts:
    """Carry out a task, in a worker.

    Raises:
        AgrisegError: the raster cannot be mapped.
    """
    # By name: the worker loads torch, and the dispatcher does not.
    facts: MapFacts = resolve_name("agriseg.batch.worker:map_raster")(task)
    return facts
