"""agriseg: crop-health maps from field rasters of any size.

The public names are loaded when they are first used, so that `agriseg --help` loads none of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agriseg.errors import AgrisegError
    from agriseg.grid import TileGrid, Window
    from agriseg.jobs.segment import Report, segment
    from agriseg.legend import Legend
    from agriseg.model import SegmentationModel, load_model

__all__ = ["AgrisegError", "Legend", "Report", "SegmentationModel", "TileGrid", "Window", "load_model", "segment"]

_HOME = {
    "AgrisegError": "agriseg.errors",
    "Legend": "agriseg.legend",
    "Report": "agriseg.jobs.segment",
    "SegmentationModel": "agriseg.model",
    "TileGrid": "agriseg.grid",
    "Window": "agriseg.grid",
    "load_model": "agriseg.model",
    "segment": "agriseg.jobs.segment",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'agriseg' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
