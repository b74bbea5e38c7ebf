"""The data set of a training: images, their labels, the part held back, band statistics."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from agriseg.errors import DataError
from agriseg.evaluation.scores import LearntShare
from agriseg.grid import Window
from agriseg.json_text import json_line
from agriseg.labels.label_set import LabelledImage, LabelRequest, LabelSet
from agriseg.labels.learnt_images import LearntImages
from agriseg.labels.loading import load_labels
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
_DEAR = 8.0  # decoded pixels per pixel of a chip above which a cache on disk pays off
_WINDOWS, _WINDOW = 16, 256  # per scene, and their side (px), for mean and deviation
_FEW = 4096  # valid pixels; with fewer in these windows the whole scene is read
_SPREAD = 1.25  # largest ratio of the coarsest to the finest GSD; the zoom of a chip varies as much
_SHOWN = 4  # resolutions in a message
_ROUNDING = 1e-6  # of the mean: a deviation below it is the rounding of sums

Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Dataset:
    """Everything a training learns from.

    Args:
        model: untrained; bands, scale, GSD and statistics come from the training images.
        training: scenes to train on.
        held: scenes to score the model on.
        correlation: (C, C) correlation between bands of the training pixels.
        identity: fingerprint of configuration and files; a state is resumed only with the same one.
        skipped: images that could not be read, and why; empty unless `skip_bad`.
        remarks: warnings about images and labels.
        start: the initial weights.
        division: training and held-back parts of the labelled pixels.
        learnt: ground that the trained model will have learnt.
        learnt_share: share of the held-back labels on that ground.
    """

    model: SegmentationModel
    training: Sequence[Scene]
    held: Sequence[Scene]
    correlation: list[list[float]]
    identity: str
    skipped: Sequence[str]
    remarks: Sequence[str]
    start: InitialWeights
    division: Division
    learnt: LearntImages
    learnt_share: LearntShare


def load_dataset(config: TrainConfig, folder: Path, *, skip_bad: bool = False) -> Dataset:
    """Open and check all data before the first step.

    Args:
        config: images, labels and split.
        folder: of the training; for label rasters made of polygons, and a cache of images that are slow to decode.
        skip_bad: skip images that cannot be read.

    Raises:
        DataError: labels on another grid, or numbers that are no class, all at once; an image that cannot be read.
    """
    readable_only = _SkipUnreadable(skip_bad)
    own = _labelled(config, config.data, folder, readable_only)
    design = architecture(config.arch)
    began = initial_network(design, config.bands, config.classes, config.recipe.seed, config.init)
    sets = [own]
    if config.held_back is not None:
        sets.append(_labelled(config, config.held_back, folder / "held_back", readable_only, least=1))
    infos = [each.info for found in sets for each in found.images]
    model = _blank(config, design, began.network, infos)
    hints: dict[str, list[str]] = {}
    parts = _divided(config, [_opened(config, model, found, readable_only, hints) for found in sets], readable_only)
    learnt = learnt_by_training(parts, began, allowed=config.validation.allow_learnt)
    identity = _identity(config, began.origin, [each.pair for found in sets for each in found.images])
    training = _kept(config, parts.training, readable_only, folder / "cache", identity)
    mean, std, correlation = _statistics(training, model.scale, config.bands)
    model = replace(model, mean=mean, std=std)
    remarks = [*(text for found in sets for text in found.remarks), *_said(hints)]
    remarks += [*parts.remarks(config.classes), *_without_gsd(infos), *([learnt[1].doubt] if learnt[1].doubt else [])]
    skipped = readable_only.bad
    return Dataset(model, training, parts.held, correlation, identity, skipped, remarks, began, parts, *learnt)


class _SkipUnreadable:
    """Applies a function to each image; an unreadable one is an error, or is skipped."""

    def __init__(self, skip_bad: bool) -> None:
        self._skip_bad = skip_bad
        self.bad: list[str] = []

    def __call__(self, items: Sequence[Item], take: Callable[[Item], Made]) -> list[Made]:
        good = []
        for item in items:
            try:
                good.append(take(item))
            except DataError as error:
                if not self._skip_bad:
                    raise
                self.bad.append(str(error))
        return good

    def readable(self, found: LabelSet) -> LabelSet:
        """The label set without unreadable images, if these may be skipped."""
        if not self._skip_bad:
            return found
        self.bad += found.bad_images
        if found.bad_images and not found.images:
            raise DataError(f"no image can be read; {'; '.join(self.bad)}")
        return replace(found, bad_images=())


def _labelled(
    config: TrainConfig, data: Data, folder: Path, readable_only: _SkipUnreadable, least: int = 2
) -> LabelSet:
    """Images with checked label rasters."""
    options = LabelOptions(
        data.label_suffix, None if config.values is None else tuple(config.values), tuple(data.unlabelled),
        data.column, data.area, data.rest, tuple(data.rename.items()), data.point_radius, data.reproject_labels,
    )  # fmt: skip
    request = LabelRequest(data.images, data.labels, tuple(config.classes), options, least)
    found = readable_only.readable(load_labels(request, folder))
    found.refuse()
    return found


def _opened(
    config: TrainConfig,
    model: SegmentationModel,
    found: LabelSet,
    readable_only: _SkipUnreadable,
    hints: dict[str, list[str]],
) -> list[Scene]:
    """Scenes with the bands of the model; `hints` gets each warning with the names of its images."""

    def opened(each: LabelledImage) -> Scene:
        model_input = check_compatibility(each.info, model, config.reading)
        empty = [f"{text} (in a configuration, under [data])" for text in model_input.empty]
        for text in (*model_input.hints, *empty):
            hints.setdefault(text, []).append(each.info.path.name)
        return Scene(model_input.source, each.labels)

    return readable_only(found.images, opened)


def _said(hints: Mapping[str, Sequence[str]]) -> list[str]:
    """Each warning once, with its image, or the first of its images."""
    return [
        f"{names[0]}: {text}" if len(names) == 1 else f"{len(names)} images, such as {names[0]}: {text}"
        for text, names in hints.items()
    ]


def _divided(config: TrainConfig, sets: Sequence[Sequence[Scene]], readable_only: _SkipUnreadable) -> Division:
    """Read every scene once, so that damage shows before the first step, and divide them."""
    counted = [readable_only(scenes, lambda scene: Counted.of(scene, config)) for scenes in sets]
    for task, scenes in zip(("train", "validate"), counted, strict=False):
        if not scenes:
            raise DataError(f"no image left to {task} on; {'; '.join(readable_only.bad)}")
    return divide(config, *counted)


def _kept(
    config: TrainConfig, scenes: Sequence[Scene], readable_only: _SkipUnreadable, cache: Path, identity: str
) -> list[Scene]:
    """Load all scenes into memory if they fit; else cache on disk those that are slow to decode."""
    all_fit = sum(scene.bytes for scene in scenes) <= _HELD_BYTES

    def kept(numbered: tuple[int, Scene]) -> Scene:
        number, scene = numbered
        if all_fit:
            scene.load_into_memory()
        elif scene.decode_cost(config.recipe.chip) > _DEAR:
            scene.cache_on_disk(cache / str(number), identity)
        return scene

    return readable_only(list(enumerate(scenes, 1)), kept)


def _blank(
    config: TrainConfig, design: Architecture, network: nn.Module, infos: Sequence[RasterInfo]
) -> SegmentationModel:
    """The model before training; its bands, scale and GSD come from the images."""
    kinds = sorted({info.dtype for info in infos})
    if len(kinds) > 1:
        raise DataError(f"images of {' and '.join(kinds)}; one model needs one kind of numbers")
    legend = Legend.from_names(config.classes, config.colours)
    return SegmentationModel(
        network, legend=legend, bands=tuple(config.bands),
        scale=1 / 255 if kinds == ["uint8"] else 1.0, stride=design.stride, align=design.align, halo=design.halo,
        gsd=_gsd(infos), name=config.name, architecture=design.name,
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
    """A warning where some images have a GSD and others do not."""
    unknown = sum(info.gsd is None for info in infos)
    if unknown in (0, len(infos)):
        return []
    return [f"{unknown} of {len(infos)} images do not tell their ground resolution, so the model does not know its own"]


def _statistics(
    scenes: Sequence[Scene], scale: float, roles: Sequence[str]
) -> tuple[tuple[float, ...], tuple[float, ...], list[list[float]]]:
    """Mean and standard deviation of each scaled band, and the correlation between bands.

    Over valid pixels that are not held back, in random windows of each scene.
    """
    bands = len(roles)
    count, sums, products = 0, np.zeros(bands), np.zeros((bands, bands))
    for number, scene in enumerate(scenes):
        parts: Iterable[NDArray[np.generic]] = [_training_pixels(scene, window) for window in _draw(scene, number)]
        if sum(part.shape[1] for part in parts) < _FEW:  # the field lies elsewhere in it
            parts = (_training_pixels(scene, window) for window in scene.windows())
        for part in parts:
            values = part.astype(np.float64) * scale
            count, sums, products = count + values.shape[1], sums + values.sum(1), products + values @ values.T
    if not count:
        raise DataError("no valid pixel in the images")
    mean = sums / count
    covariance = products / count - np.outer(mean, mean)
    std = np.sqrt(np.maximum(np.diag(covariance), 0))
    for role, value, deviation in zip(roles, mean, std, strict=True):
        if deviation <= _ROUNDING * abs(value):
            raise DataError(f"band {role} is {value:g} everywhere in the images to train on; leave it out of bands")
    correlation = covariance / np.outer(std, std)
    return tuple(mean.tolist()), tuple(std.tolist()), correlation.round(6).tolist()


def _draw(scene: Scene, seed: int) -> list[Window]:
    """Random windows of a scene."""
    rng, source = np.random.default_rng(seed), scene.source
    height, width = min(_WINDOW, source.height), min(_WINDOW, source.width)
    corners = [
        (int(rng.integers(0, source.height - height + 1)), int(rng.integers(0, source.width - width + 1)))
        for _ in range(_WINDOWS)
    ]
    return [Window(left, top, width, height) for top, left in corners]


def _training_pixels(scene: Scene, window: Window) -> NDArray[np.generic]:
    """Valid pixels of a window that are not held back, (C, n) as stored."""
    chip = scene.read(window.row_off, window.col_off, window.height, window.width)
    return chip.pixels[:, chip.valid if (keep := scene.labels.keep) is None else chip.valid & keep(window)]


def _identity(config: TrainConfig, origin: str, pairs: Sequence[Pair]) -> str:
    """Fingerprint of a training: configuration, initial weights and input files."""
    given = [path for pair in pairs for path in (pair.image, pair.source)]
    given += [config.data.area] if config.data.area else []
    stamps = [
        [path.name, vector_stamp(layered(path)[0]) if is_vector(path) else FileStamp.of(path).text] for path in given
    ]
    parts = {"images", "labels", "area"}
    plain = config.model_dump(mode="json", exclude={"data": parts, "validation": {"images", "labels"}, "init": True})
    text = json_line([plain, origin, config.split, stamps])
    return hashlib.sha256(text.encode()).hexdigest()
