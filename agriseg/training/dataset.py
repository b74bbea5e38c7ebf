"""From a training configuration to scenes: which images, their labels, what is held back."""

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
from agriseg.evaluation.learnt_share import LearntShare
from agriseg.grid import Window
from agriseg.json_text import json_line
from agriseg.labels.label_set import LabelledImage, LabelOptions, LabelRequest, LabelSet
from agriseg.labels.learnt_images import LearntImages
from agriseg.labels.loading import load_labels
from agriseg.labels.pairs import Pair
from agriseg.labels.scene import Scene
from agriseg.legend import Legend
from agriseg.mapping.compatibility import check_compatibility
from agriseg.model import SegmentationModel
from agriseg.networks import Architecture, architecture
from agriseg.raster.header import RasterInfo
from agriseg.raster.identity import FileStamp
from agriseg.training.config import Data, TrainConfig
from agriseg.training.holdout import Counted, Division, divide
from agriseg.training.initial_weights import InitialWeights, initial_network
from agriseg.training.leakage import learnt_by_training
from agriseg.units import human_metres
from agriseg.vectors.identity import vector_stamp
from agriseg.vectors.read import is_vector, layered

_HELD_BYTES = 2 * 10**9  # of scenes kept decoded in memory
_DEAR = 8.0  # decoded pixels per pixel of a chip from which a cache on disk pays
_WINDOWS, _WINDOW = 16, 256  # per scene, and their side (px), for mean and deviation
_FEW = 4096  # valid pixels in these, below which all of a scene is read
_SPREAD = 1.25  # of the coarsest GSD to the finest that one model is trained on; a chip's zoom varies as much
_SHOWN = 4  # resolutions in a message
_ROUNDING = 1e-6  # of the mean: a deviation below it is the rounding of sums

Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Dataset:
    """What a run trains on.

    Args:
        model: untrained; bands, scale, ground resolution and statistics come from the training images.
        training, held: scenes to train on, and scenes to score the model on.
        correlation: of the training pixels between bands, (C, C) floats.
        identity: fingerprint of configuration and files; only the same run may go on from its state.
        skipped: images that could not be read, and why; empty unless that was allowed.
        remarks: what a person should look at in the images and labels.
        start: where the first weights come from.
        division: how the labelled pixels are divided.
        learnt: what the trained model will have learnt.
        learnt_share: of what is held back.
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
    """Open everything that a run needs, and check it before the first step.

    Args:
        config: names images, labels and the split.
        folder: of the run; gets label rasters made of polygons, and a cache of images that are dear to decode.
        skip_bad: leave out images that cannot be read instead of stopping.

    Raises:
        DataError: labels that do not lie on their image, or numbers that are no class, all of them at once; an
            image that cannot be read.
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
    training = readable_only(
        parts.training, _SceneCache(parts.training, config.recipe.chip, folder / "cache", identity)
    )
    mean, std, correlation = _statistics(training, model.scale, config.bands)
    model = replace(model, mean=mean, std=std)
    remarks = [*(text for found in sets for text in found.remarks), *_said(hints)]
    remarks += [*parts.remarks(config.classes), *_without_gsd(infos), *([learnt[1].doubt] if learnt[1].doubt else [])]
    return Dataset(
        model, training, parts.held, correlation, identity, readable_only.bad, remarks, began, parts, *learnt
    )  # fmt: skip


class _SkipUnreadable:
    """Does something with each of many images; those that cannot be read stop it, or are left out."""

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
        """The same set, where that is allowed without the images that cannot be read."""
        if not self._skip_bad:
            return found
        self.bad += found.bad_images
        if found.bad_images and not found.images:
            raise DataError(f"no image can be read; {'; '.join(self.bad)}")
        return replace(found, bad_images=())


def _labelled(
    config: TrainConfig, data: Data, folder: Path, readable_only: _SkipUnreadable, least: int = 2
) -> LabelSet:
    """Images with label rasters that can be trained on."""
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
    """Scenes of images with their labels; the bands are those of the model. `hints` gets what to say of which image."""

    def opened(each: LabelledImage) -> Scene:
        contract = check_compatibility(each.info, model, config.reading)
        empty = [f"{text} (in a configuration, under [data])" for text in contract.empty]
        for text in (*contract.hints, *empty):
            hints.setdefault(text, []).append(each.info.path.name)
        return Scene(contract.source, each.labels)

    return readable_only(found.images, opened)


def _said(hints: Mapping[str, Sequence[str]]) -> list[str]:
    """Each hint once, with the image that it is of, or the first of many."""
    return [
        f"{names[0]}: {text}" if len(names) == 1 else f"{len(names)} images, such as {names[0]}: {text}"
        for text, names in hints.items()
    ]


def _divided(config: TrainConfig, sets: Sequence[Sequence[Scene]], readable_only: _SkipUnreadable) -> Division:
    """Read every scene once, which shows that it can be, and divide them."""
    counted = [readable_only(scenes, lambda scene: Counted.of(scene, config)) for scenes in sets]
    for task, scenes in zip(("train", "validate"), counted, strict=False):
        if not scenes:
            raise DataError(f"no image left to {task} on; {'; '.join(readable_only.bad)}")
    return divide(config, *counted)


class _SceneCache:
    """Keeps each scene: in memory if all fit, into a cache if its chips are dear to decode."""

    def __init__(self, scenes: Sequence[Scene], side: int, cache: Path, identity: str) -> None:
        self._all_fit = sum(scene.bytes for scene in scenes) <= _HELD_BYTES
        self._side = side
        self._cache = cache
        self._identity = identity
        self._number = 0

    def __call__(self, scene: Scene) -> Scene:
        self._number += 1
        if self._all_fit:
            scene.load_into_memory()
        elif scene.decode_cost(self._side) > _DEAR:
            scene.cache_on_disk(self._cache / str(self._number), self._identity)
        return scene


def _blank(
    config: TrainConfig, design: Architecture, network: nn.Module, infos: Sequence[RasterInfo]
) -> SegmentationModel:
    """The model before training: its bands, scale and ground resolution come from the images."""
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
    """Metres per pixel, of an image in the middle of the order; None where an image does not tell its own."""
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
    """What to say where some images tell their ground resolution and others do not."""
    unknown = sum(info.gsd is None for info in infos)
    if unknown in (0, len(infos)):
        return []
    return [f"{unknown} of {len(infos)} images do not tell their ground resolution, so the model does not know its own"]


def _statistics(
    scenes: Sequence[Scene], scale: float, roles: Sequence[str]
) -> tuple[tuple[float, ...], tuple[float, ...], list[list[float]]]:
    """Mean and deviation of each band, scaled, and the correlation between bands.

    Of valid pixels that are not held back, in some windows of a scene.
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
    """Some windows of a scene, anywhere."""
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
    """Fingerprint of what a state belongs to: configuration, first weights, and the files that were given."""
    given = [path for pair in pairs for path in (pair.image, pair.given)]
    given += [config.data.area] if config.data.area else []
    stamps = [
        [path.name, vector_stamp(layered(path)[0]) if is_vector(path) else FileStamp.of(path).text] for path in given
    ]
    parts = {"images", "labels", "area"}
    plain = config.model_dump(mode="json", exclude={"data": parts, "validation": {"images", "labels"}, "init": True})
    text = json_line([plain, origin, config.split, stamps])
    return hashlib.sha256(text.encode()).hexdigest()
