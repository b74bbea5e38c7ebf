"""The model of a worker: loaded once in each process."""

from functools import lru_cache
from pathlib import Path

from agriseg.model import SegmentationModel, load_model
from agriseg.raster.identity import FileStamp


def cached_model(path: Path) -> SegmentationModel:
    """A model, for a task: a process loads it once, unless the file changes."""
    return _loaded(path, FileStamp.of_files([path]))


@lru_cache(maxsize=1)
def _loaded(path: Path, _stamp: FileStamp) -> SegmentationModel:
    return load_model(path)
