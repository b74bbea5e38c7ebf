"""The task of a worker: one raster of a batch. `worker.py` carries it out, and loads torch."""

from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name

from agriseg.batch.row import MapFacts
from agriseg.options.request import MappingRequest


@dataclass(frozen=True)
class MapTask:
    """What a worker needs to map a raster.

    Args:
        image: the raster.
        out: folder of all outputs of the batch.
        folder: of this raster's outputs.
        model: its file.
        request: what to make.
        own: whether existing files with the outputs' names are of this batch or an earlier one.
        cpu_threads: of the network; None for as many as the process was started with.
    """

    image: Path
    out: Path
    folder: Path
    model: Path
    request: MappingRequest
    own: bool
    cpu_threads: int | None


def run_task(task: MapTask) -> MapFacts:
    """Carry out a task, in a worker.

    Raises:
        AgrisegError: the raster cannot be mapped.
    """
    # By name: the worker loads torch, and the dispatcher does not.
    facts: MapFacts = resolve_name("agriseg.batch.worker:map_raster")(task)
    return facts
