"""What a worker is told of a raster; what it does then is in `worker.py`, which loads torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from agriseg.options.run import PublishPolicy


@dataclass(frozen=True)
class MapTask:
    """What a worker needs to know.

    Args:
        image: the raster.
        folder: of the outputs.
        model: its file.
        flags: fields of `RunOptions`.
        own: whether what lies in the folder under the outputs' names is this night's, or an earlier one's.
        cpu_threads: of the network; None for as many as the process was started with.
        standard: which maps may be published, and where the others go.
        lang: of the report.
    """

    image: Path
    folder: Path
    model: Path
    flags: Mapping[str, Any]
    own: bool
    cpu_threads: int | None
    standard: PublishPolicy
    lang: str = "en"


def run_task(turn: MapTask) -> dict[str, Any]:
    """Map a raster, in a worker.

    Returns:
        Its part of the summary, JSON values.

    Raises:
        AgrisegError: why there is none.
    """
    # By name: the worker loads torch, and the dispatcher does not.
    outcome: dict[str, Any] = resolve_name("agriseg.batch.worker:map_raster")(turn)
    return outcome
