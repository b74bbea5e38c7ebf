"""Finished maps with labels of their ground: what a prescription of them would miss."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agriseg.errors import DataError, InputMissing, ModelError, UsageError
from agriseg.evaluation.common_grid import on_grid
from agriseg.evaluation.evaluate import learnt_by_model
from agriseg.grid import Window
from agriseg.labels.label_set import LabelledImage, LabelRequest
from agriseg.labels.loading import load_labels
from agriseg.labels.pairs import rasters_of
from agriseg.legend import NODATA
from agriseg.maps.reader import FinishedMap, find_records
from agriseg.model import load_model
from agriseg.options.labels import LabelOptions
from agriseg.options.run import RunOptions

MAX_PIXELS = 200_000_000
"""Pixels of one map that is compared with labels; they are held in memory."""


@dataclass(frozen=True)
class LabelledMap:
    """A finished map and the labels of its ground.

    Args:
        labels: (height, width) uint8 class ids on the grid of the map, 255 where it is unlabelled.
        doubt: why the labels may flatter the map; None if they do not.
    """

    map: FinishedMap
    labels: NDArray[np.uint8]
    doubt: str | None


def labelled_maps(
    like: FinishedMap, maps: Path, labels: Path, options: LabelOptions, folder: Path
) -> Iterator[LabelledMap]:  # fmt: skip
    """Finished maps of the model of `like`, each with its labels, in the order of their names.

    Args:
        maps: a record, or a folder of finished maps.
        labels: of the images of these maps: one file, or a folder of files with the images' names.
        folder: for labels that are drawn.

    Raises:
        InputMissing: a map, its image or its labels are not there.
        UsageError: a map of another model.
        DataError: labels on another grid, damaged, or of too large a raster.
    """
    for record in find_records(maps):
        map_ = FinishedMap.of(record)
        if map_.record.model.fingerprint != like.record.model.fingerprint:
            raise UsageError(
                f"--validation {record.name}: a map of model {map_.record.model.name}, but {like.stem} is of "
                f"{like.record.model.name}; map the labelled images with the same model"
            )
        if map_.width * map_.height > MAX_PIXELS:
            raise DataError(f"{record}: has more than {MAX_PIXELS:,} pixels; map its labelled part with --window")
        yield _labelled(map_, labels, options, folder)


def _labelled(map_: FinishedMap, labels: Path, options: LabelOptions, folder: Path) -> LabelledMap:
    image = Path(map_.record.input.path)
    if not image.is_file():
        raise InputMissing(f"{image}: is gone, the map {map_.stem} was made of it; put it back, labels are read on it")
    own = _labels_of(image, labels, options.label_suffix) if labels.is_dir() else labels
    request = LabelRequest(image, own, map_.record.model.classes, options, least=1)
    with tempfile.TemporaryDirectory(dir=folder) as drawn:
        label_set = load_labels(request, Path(drawn))
        label_set.refuse()
        (labelled,) = label_set.images
        working, (left, top, width, height) = map_.record.parameters.working_size, map_.record.parameters.window
        read = on_grid(labelled.labels.read, (labelled.info.width, labelled.info.height), working)
        return LabelledMap(map_, read(Window(left, top, width, height)), _doubt(map_, labelled))


def _labels_of(image: Path, labels: Path, suffix: str) -> Path:
    """The labels of an image in a folder, by its stem."""
    found = rasters_of(labels).get(image.stem + suffix)
    if found is None:
        raise InputMissing(f"{labels}: no labels of {image.name}; expected a raster named {image.stem}{suffix}.png")
    return found


def _doubt(map_: FinishedMap, labelled: LabelledImage) -> str | None:
    """Why the score may be too good: the model has learnt this ground, or nobody can say so."""
    model = map_.record.model
    try:
        loaded = load_model(model.path or model.name)
    except ModelError:
        return f"nobody could check whether {model.name} has learnt {map_.stem}: the file of the model is gone"
    learnt = learnt_by_model(loaded, [labelled], RunOptions(bands=map_.record.parameters.bands))
    return learnt.doubt


def counted_labels(labelled: LabelledMap, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The labels, 255 where the map has no class."""
    return np.where(mask == NODATA, NODATA, labelled.labels).astype(np.uint8)
