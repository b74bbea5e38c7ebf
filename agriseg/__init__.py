"""agriseg: crop-health maps from field rasters of any size.

The public names are loaded when they are first used, so that `agriseg --help` loads none of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agriseg.errors import AgrisegError
    from agriseg.evaluation.evaluate import evaluate
    from agriseg.evaluation.scores import Evaluation
    from agriseg.grid import TileGrid, Window
    from agriseg.legend import Legend
    from agriseg.mapping.run import RunReport
    from agriseg.model import SegmentationModel, load_model
    from agriseg.options.labels import LabelOptions
    from agriseg.options.run import RunOptions
    from agriseg.training.config import TrainConfig
    from agriseg.training.run import Trained, TrainOptions, train
    from agriseg.workflow import segment

__all__ = [
    "AgrisegError", "Evaluation", "LabelOptions", "Legend", "RunOptions", "RunReport", "SegmentationModel", "TileGrid",
    "TrainConfig", "TrainOptions", "Trained", "Window", "evaluate", "load_model", "segment", "train",
]  # fmt: skip

_HOME = {
    "AgrisegError": "agriseg.errors",
    "Evaluation": "agriseg.evaluation.scores",
    "LabelOptions": "agriseg.options.labels",
    "Legend": "agriseg.legend",
    "RunOptions": "agriseg.options.run",
    "RunReport": "agriseg.mapping.run",
    "SegmentationModel": "agriseg.model",
    "TileGrid": "agriseg.grid",
    "TrainConfig": "agriseg.training.config",
    "TrainOptions": "agriseg.training.run",
    "Trained": "agriseg.training.run",
    "Window": "agriseg.grid",
    "evaluate": "agriseg.evaluation.evaluate",
    "load_model": "agriseg.model",
    "segment": "agriseg.workflow",
    "train": "agriseg.training.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'agriseg' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
