"""agriseg: crop-health maps from field rasters of any size.

The public names are loaded when they are first used, so that `agriseg --help` loads none of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agriseg.errors import AgrisegError
    from agriseg.grid import TileGrid, Window
    from agriseg.jobs.evaluate import Evaluation, evaluate
    from agriseg.jobs.segment import Report, segment
    from agriseg.jobs.train import Trained, train
    from agriseg.legend import Legend
    from agriseg.model import SegmentationModel, load_model
    from agriseg.training.config import TrainConfig

__all__ = [
    "AgrisegError", "Evaluation", "Legend", "Report", "SegmentationModel", "TileGrid", "TrainConfig", "Trained",
    "Window", "evaluate", "load_model", "segment", "train",
]  # fmt: skip

_HOME = {
    "AgrisegError": "agriseg.errors",
    "Evaluation": "agriseg.jobs.evaluate",
    "Legend": "agriseg.legend",
    "Report": "agriseg.jobs.segment",
    "SegmentationModel": "agriseg.model",
    "TileGrid": "agriseg.grid",
    "TrainConfig": "agriseg.training.config",
    "Trained": "agriseg.jobs.train",
    "Window": "agriseg.grid",
    "evaluate": "agriseg.jobs.evaluate",
    "load_model": "agriseg.model",
    "segment": "agriseg.jobs.segment",
    "train": "agriseg.jobs.train",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'agriseg' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
