"""The data set of a training: images, their labels, the held-back part, band statistics."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from torch import nn

from agriseg.errors import DataError
from agriseg.evaluation.scores import LearntShare
from agriseg.json_text import json_line
from agriseg.labels.band_statistics import BandStatistics, colour_statistics, pixel_statistics
from agriseg.labels.label_set import LabelledImage, LabelRequest, LabelSet
from agriseg.labels.learnt_images import LearntImages
from agriseg.labels.loading import are_rasters, load_labels
from agriseg.labels.pairs import Pair
from agriseg.labels.scene import Scene
from agriseg.legend import Legend
from agriseg.mapping.compatibility import check_compatibility
from agriseg.model import SegmentationModel
from agriseg.networks import Architecture, architecture
from agriseg.options.labels import LabelOptions
from agriseg.raster.header import RasterInfo
from agriseg.raster.identity import FileStamp
from agriseg.training.config import Data, TrainConfig
from agriseg.training.holdout import Counted, Division, divide, learnt_by_training
from agriseg.training.initial_weights import InitialWeights, initial_network
from agriseg.units import human_metres
from agriseg.vectors.identity import vector_stamp
from agriseg.vectors.read import is_vector, layered

_HELD_BYTES = 2 * 10**9  # of decoded scenes in memory at most
_CACHE_ABOVE = 8.0  # decoded pixels per pixel of a chip, above which a cache on disk pays off
_SPREAD = 1.25  # largest ratio of the coarsest to the finest GSD; the zoom of a chip varies as much
_SHOWN = 4  # resolutions in a message

Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Dataset:
    """Everything a training learns from.

    Args:
        model: untrained; bands, scale, GSD and statistics come from the training images.
        correlation: (C, C) correlation between bands of the training pixels.
        colours: see `colour_statistics`; also None if the model does not normalize by the raster.
        identity: fingerprint of configuration and files; a state is resumed only with the same one.
        skipped: one message for each image that could not be read; empty unless `skip_bad`.
        remarks: warnings about images and labels.
        learnt: all training data of the model, those of its initial model included.
        learnt_share: share of the held-back labels inside them.
    """

    model: SegmentationModel
    training: Sequence[Scene]
    held: Sequence[Scene]
    correlation: list[list[float]]
    colours: BandStatistics | None
    identity: str
    skipped: Sequence[str]
    remarks: Sequence[str]
    start: InitialWeights
    division: Division
    learnt: LearntImages
    learnt_share: LearntShare


def load_dataset(config: TrainConfig, folder: Path, *, skip_bad: bool = False) -> Dataset:
    """Open and check all data before the first step.

    The folder gets label rasters made of polygons, and a cache of images that are slow to decode.

    Raises:
        DataError: labels on another grid, or numbers that are no class, all at once; an image that cannot be read.
    """
    images = _Images(skip_bad)
    sets = [images.labelled(config, config.data, folder)]
    design = architecture(config.arch)
    start = initial_network(design, config.bands, config.classes, config.recipe.seed, config.first_weights)
    if config.held_back is not None:
        held = config.held_back
        held = _of_rasters(held) if are_rasters(held.images, held.labels, held.label_suffix) else held
        sets.append(images.labelled(config, held, folder / "held_back", least=1))
    labelled = [each for label_set in sets for each in label_set.images]
    infos = [each.info for each in labelled]
    model = untrained_model(config, design, start.network, infos)
    parts = _divided(config, [images.opened(config, model, label_set) for label_set in sets], images)
    learnt, learnt_share = learnt_by_training(parts, start, allowed=config.validation.allow_learnt)
    identity = _identity(config, start.origin, [each.pair for each in labelled])
    training = _cached(config, parts.training, images, folder / "cache", identity)
    pixels = pixel_statistics(training, model)
    colours = colour_statistics(training, model) if config.normalize_by == "raster" else None
    remarks = [*(text for label_set in sets for text in label_set.remarks), *images.warnings()]
    remarks += [
        *parts.remarks(config.classes),
        *([] if config.gsd_range else _without_gsd(infos)),
        *filter(None, [learnt_share.doubt]),
    ]
    return Dataset(
        replace(model, mean=pixels.mean, std=pixels.std), training, parts.held, pixels.correlation, colours, identity,
        images.bad, remarks, start, parts, learnt, learnt_share,
    )  # fmt: skip


def _of_rasters(data: Data) -> Data:
    """The same without what only shapes need: training on clicks may be scored by full masks."""
    shapes = ("column", "area", "rest", "rename", "point_radius", "grow")
    return data.model_copy(update={name: Data.model_fields[name].default for name in shapes})


class _Images:
    """Reads images; an unreadable one is an error, or is skipped with a message in `bad`."""

    def __init__(self, skip_bad: bool) -> None:
        self._skip_bad = skip_bad
        self.bad: list[str] = []
        self._hints: dict[str, list[str]] = {}  # names of the images with each warning

    def each(self, items: Iterable[Item], read: Callable[[Item], Made]) -> list[Made]:
        """The results of a function for each readable image."""
        good = []
        for item in items:
            try:
                good.append(read(item))
            except DataError as error:
                if not self._skip_bad:
                    raise
                self.bad.append(str(error))
        return good

    def labelled(self, config: TrainConfig, data: Data, folder: Path, least: int = 2) -> LabelSet:
        """At least so many images with checked label rasters."""
        options = LabelOptions(
            data.label_suffix, None if config.values is None else tuple(config.values), tuple(data.unlabelled),
            data.column, data.area, data.rest, tuple(data.rename.items()), data.point_radius, data.grow,
            data.reproject_labels,
        )  # fmt: skip
        request = LabelRequest(data.images, data.labels, tuple(config.classes), options, least)
        label_set = load_labels(request, folder)
        if self._skip_bad:
            self.bad += label_set.bad_images
            if label_set.bad_images and not label_set.images:
                raise DataError(f"no image can be read; {'; '.join(self.bad)}")
            label_set = replace(label_set, bad_images=())
        label_set.refuse()
        return label_set

    def opened(self, config: TrainConfig, model: SegmentationModel, label_set: LabelSet) -> list[Scene]:
        """Scenes with the bands of the model."""

        def scene(image: LabelledImage) -> Scene:
            model_input = check_compatibility(image.info, model, config.reading)
            empty = [f"{text} (in a configuration, under [data])" for text in model_input.empty]
            for text in (*model_input.hints, *empty):
                self._hints.setdefault(text, []).append(image.info.path.name)
            return Scene(model_input.source, image.labels, model_input.raster_mean)

        return self.each(label_set.images, scene)

    def warnings(self) -> list[str]:
        """Each warning about opened images once, with its image, or the first of its images."""
        return [
            f"{names[0]}: {text}" if len(names) == 1 else f"{len(names)} images, such as {names[0]}: {text}"
            for text, names in self._hints.items()
        ]


def _divided(config: TrainConfig, sets: Sequence[Sequence[Scene]], images: _Images) -> Division:
    """Read every scene once, so that damage shows before the first step, and divide them."""
    counted = [images.each(scenes, lambda scene: Counted.of(scene, config)) for scenes in sets]
    for task, scenes in zip(("train", "validate"), counted, strict=False):
        if not scenes:
            raise DataError(f"no image left to {task} on; {'; '.join(images.bad)}")
    return divide(config, *counted)


def _cached(config: TrainConfig, scenes: Sequence[Scene], images: _Images, cache: Path, identity: str) -> list[Scene]:
    """Load all scenes into memory if they fit; else cache on disk those that are slow to decode."""
    all_fit = sum(scene.bytes for scene in scenes) <= _HELD_BYTES

    def cached(numbered: tuple[int, Scene]) -> Scene:
        number, scene = numbered
        if all_fit:
            scene.load_into_memory()
        elif scene.decode_cost(config.recipe.chip) > _CACHE_ABOVE:
            scene.cache_on_disk(cache / str(number), identity)
        return scene

    return images.each(enumerate(scenes, 1), cached)


def untrained_model(
    config: TrainConfig, design: Architecture, network: nn.Module, infos: Sequence[RasterInfo]
) -> SegmentationModel:
    """The model before training; its bands, scale and GSD come from the images."""
    kinds = sorted({info.dtype for info in infos})
    if len(kinds) > 1 and config.normalize_by == "training":
        raise DataError(f"images of {' and '.join(kinds)}; one model needs one kind of numbers")
    legend = Legend.from_names(config.classes, config.colours)
    return SegmentationModel(
        network, legend=legend, bands=tuple(config.bands),
        scale=1 / 255 if kinds == ["uint8"] else 1.0, normalize_by=config.normalize_by, stride=design.stride,
        align=design.align, halo=design.halo, gsd=None if config.gsd_range else _gsd(infos), name=config.name,
        architecture=design.name,
    )  # fmt: skip


def _gsd(infos: Sequence[RasterInfo]) -> float | None:
    """Median GSD of the images (m); None where an image has none."""
    known = sorted(float(np.mean(info.gsd)) for info in infos if info.gsd is not None)
    if known and known[-1] > _SPREAD * known[0]:
        counts = Counter(human_metres(each) for each in known).most_common()
        listed = ", ".join(f"{count} of {length}" for length, count in counts[:_SHOWN])
        raise DataError(
            f"images of several resolutions: {listed}{', ...' if counts[_SHOWN:] else ''} per pixel, but a model has "
            "one; bring them to the coarsest (gdalwarp -tr X Y -r average) with reproject_labels for their labels, or "
            "train a model for each"
        )
    return known[(len(known) - 1) // 2] if len(known) == len(infos) else None


def _without_gsd(infos: Sequence[RasterInfo]) -> list[str]:
    unknown, images = sum(info.gsd is None for info in infos), len(infos)
    text = f"{unknown} of {images} images have no record of their ground resolution, so the model has none"
    return [text] if 0 < unknown < images else []


def _identity(config: TrainConfig, origin: str, pairs: Sequence[Pair]) -> str:
    """Fingerprint of a training: configuration, initial weights and input files."""
    paths = [path for pair in pairs for path in (pair.image, pair.source)]
    paths += [config.data.area] if config.data.area else []
    stamps = [
        [path.name, vector_stamp(layered(path)[0]) if is_vector(path) else FileStamp.of(path).text] for path in paths
    ]
    parts = {"images", "labels", "area"}
    plain = config.model_dump(mode="json", exclude={"data": parts, "validation": {"images", "labels"}, "init": True})
    text = json_line([plain, origin, config.split, stamps])
    return hashlib.sha256(text.encode()).hexdigest()
