"""The model of a worker, loaded once per process."""

from functools import lru_cache
from pathlib import Path

from agriseg.model import SegmentationModel, load_model
from agriseg.raster.identity import FileStamp


def cached_model(path: Path) -> SegmentationModel:
    """The model in a file; a process loads it again only if the file changes."""
    return _loaded(path, FileStamp.of_files([path]))


@lru_cache(maxsize=1)
def _loaded(path: Path, _stamp: FileStamp) -> SegmentationModel:
    return load_model(path)
