"""From a configuration to a trained model: gather the scenes, split them, fit, evaluate, save."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agriseg import files
from agriseg.config import RunOptions
from agriseg.engine.device import choose_device
from agriseg.errors import DataError, ModelError, UsageError
from agriseg.jobs.contract import agree
from agriseg.jobs.evaluate import Evaluation, evaluate, tally_model
from agriseg.jobs.outputs import Outputs
from agriseg.layers.picture import save_picture
from agriseg.legend import Legend
from agriseg.model import SegmentationModel, load_model
from agriseg.networks import architecture
from agriseg.raster.info import RasterInfo
from agriseg.training.augment import Samples
from agriseg.training.blocks import BlockSplit
from agriseg.training.fit import Run, Tell, fit
from agriseg.training.labels import Labels, Value, misfit
from agriseg.training.pairs import Pair, find_pairs
from agriseg.training.recipe import Recipe
from agriseg.training.sampling import take_census
from agriseg.training.scenes import Scene

_HELD_BYTES = 2 * 10**9  # of scenes kept decoded
_WINDOWS, _WINDOW = 16, 256  # per scene, and their side (px), for mean and deviation


class Data(BaseModel):
    """Images and their labels: two files, or two folders whose names match up to `label_suffix`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: Path
    labels: Path
    label_suffix: str = ""


class Validation(BaseModel):
    """What is held back to score the model.

    Other images with their labels; else a seeded share of the images (`by = "file"`), or of square blocks of each
    image, with a belt around them that nobody uses (px).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: Path | None = None
    labels: Path | None = None
    by: Literal["block", "file"] = "block"
    block: int = Field(default=512, ge=32)
    buffer: int = Field(default=64, ge=0)
    share: float = Field(default=0.2, gt=0, lt=1)


class TrainConfig(BaseModel):
    """A training run, as its TOML file says it; paths are relative to that file.

    Args:
        classes: names in order.
        values: for each class its number in the label rasters, or its red, green and blue; 0, 1, 2, ... if not given.
        colours: of the classes on the map, `#rrggbb`.
        bands: roles of the bands to use.
        band_numbers: the bands' numbers in the files, where the files do not name them.
        arch: network.
        name: of the model.
        licence: of the training data.
        data, validation, recipe: see there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    classes: list[str] = Field(min_length=2)
    values: list[int | tuple[int, int, int]] | None = None
    colours: list[str] | None = None
    bands: list[str] = ["red", "green", "blue"]
    band_numbers: list[int] | None = None
    arch: str = "fcn8s_resnet18"
    name: str = "model"
    licence: str = "not stated"
    data: Data
    validation: Validation = Validation()
    recipe: Recipe

    @classmethod
    def of(cls, tables: dict[str, Any], folder: Path) -> "TrainConfig":
        """Check what a person wrote.

        Raises:
            ModelError: a key that is unknown, missing or of the wrong kind; the first is named.
        """
        try:
            config = cls.model_validate(tables)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "configuration"
            raise ModelError(f"training configuration: {where}: {first['msg']}") from error
        if config.values is not None and len(config.values) != len(config.classes):
            raise ModelError(f"{len(config.values)} values for {len(config.classes)} classes; give one a class")
        data, held = config.data, config.validation
        if (held.images is None) != (held.labels is None):
            raise ModelError("validation: images without labels, or labels without images; give both or neither")
        parts = {"data": data.model_copy(update={"images": folder / data.images, "labels": folder / data.labels})}
        if held.images is not None and held.labels is not None:
            moved = {"images": folder / held.images, "labels": folder / held.labels}
            return config.model_copy(update={**parts, "validation": held.model_copy(update=moved)})
        return config.model_copy(update=parts)

    @property
    def stored(self) -> list[Value]:
        """Label value of each class."""
        return list(range(len(self.classes))) if self.values is None else list(self.values)

    @property
    def split(self) -> Literal["block", "file", "list"]:
        """How validation is held back."""
        return self.validation.by if self.validation.images is None else "list"


@dataclass(frozen=True)
class Trained:
    """What training made.

    Args:
        model: the best model's file.
        evaluation: of that model on what was held back.
        picture: of the map of a held-back image beside its labels.
    """

    model: Path
    evaluation: Evaluation
    picture: Path


def train(
    config: TrainConfig, folder: Path, *, device: str = "auto", tell: Tell, stopped: Callable[[], bool]
) -> Trained:
    """Train, going on from the folder's state if there is one.

    Args:
        config: what to train on what.
        folder: gets `best.safetensors`, `metrics.jsonl`, `evaluation.json`, `predictions.png` and the state.
        device: as in `agriseg run`.
        tell: told of steps and validations.
        stopped: asked before each step.

    Raises:
        AgrisegError: labels that do not fit, all at once; a loss that is no number; a state of another run.
    """
    files.make_folder(folder)
    scenes, held = gather(config, blank := _blank(config))
    if sum(scene.bytes for scene in scenes) <= _HELD_BYTES:
        for scene in scenes:
            scene.hold()
    census = take_census(scenes, len(blank.legend), config.recipe.seed)
    if (census.counts.sum(0) > 0).sum() < 2:
        raise DataError("only one class is labelled in the training part; a network needs at least two")
    if config.recipe.chip % blank.step:
        raise UsageError(f"chip {config.recipe.chip}, expected a multiple of {blank.step}, the step of {config.arch}")
    mean, std = _statistics(scenes, blank.scale)
    model = replace(blank, mean=mean, std=std, about=_about(config, census.shares.tolist()))
    samples = Samples(
        scenes, census, model.normalization, config.recipe.chip, config.recipe.rare, config.recipe.augmentation,
        config.recipe.seed,
    )  # fmt: skip
    options = RunOptions(device=device, bands=tuple(config.band_numbers) if config.band_numbers else None)

    def validated(candidate: SegmentationModel) -> Evaluation:
        counted = [
            tally_model(candidate, scene.source.info.path, scene.labels, folder / "maps", options) for scene in held
        ]
        return evaluate(counted, candidate.legend)

    def scores(candidate: SegmentationModel) -> dict[str, Any]:
        done = validated(candidate).as_dict()
        return {"miou": done["miou"], "iou": {entry["name"]: entry["iou"] for entry in done["classes"]}}

    identity = _identity(config, [*scenes, *held])
    fit(Run(model, samples, config.recipe, scores, folder, identity, choose_device(device), tell, stopped))
    best = folder / "best.safetensors"
    if not best.exists():
        raise DataError("no validation gave a score; is anything labelled in the part that is held back?")
    evaluation = validated(load_model(best))
    files.write_text(folder / "evaluation.json", json.dumps(evaluation.as_dict(), indent=2) + "\n")
    picture = folder / "predictions.png"
    _draw(picture, held, folder / "maps", evaluation.legend)
    return Trained(best, evaluation, picture)


def gather(config: TrainConfig, model: SegmentationModel) -> tuple[list[Scene], list[Scene]]:
    """Scenes to train on and scenes that are held back.

    Args:
        config: names images, labels and the split.
        model: untrained; says which bands are read.

    Raises:
        DataError: labels that do not lie on their image, or numbers that are no class; all of them at once.
    """
    scenes = _opened(config, model, _pairs(config.data))
    held = config.validation
    if held.images is not None and held.labels is not None:
        return scenes, _opened(
            config, model, _pairs(config.data.model_copy(update={"images": held.images, "labels": held.labels}))
        )
    if config.split == "file":
        if len(scenes) < 2:
            raise UsageError("one image cannot be split by file; leave by out to split it by blocks")
        order = np.random.default_rng(config.recipe.seed).permutation(len(scenes))
        chosen = set(order[: min(max(1, round(held.share * len(scenes))), len(scenes) - 1)].tolist())
        parts = [[scene for i, scene in enumerate(scenes) if (i in chosen) == back] for back in (False, True)]
        return parts[0], parts[1]
    training, validation = [], []
    for number, scene in enumerate(scenes):
        split = BlockSplit.draw(
            scene.source.height, scene.source.width, side=held.block, buffer=held.buffer, share=held.share,
            seed=config.recipe.seed + number,
        )  # fmt: skip
        training.append(Scene(scene.source, replace(scene.labels, keep=split.training)))
        validation.append(Scene(scene.source, replace(scene.labels, keep=split.validation)))
    return training, validation


def _opened(config: TrainConfig, model: SegmentationModel, pairs: Sequence[Pair]) -> list[Scene]:
    """Images with their labels, checked."""
    options = RunOptions(gsd="native", bands=tuple(config.band_numbers) if config.band_numbers else None)
    scenes, problems = [], []
    for pair in pairs:
        source = agree(RasterInfo.read(pair.image), model, options).source
        labels = Labels.of(pair.labels, config.stored)
        strange = labels.unknown()
        problems += [problem] if (problem := misfit(source.info, labels.info)) else []
        if strange:
            listed = ", ".join(f"{value} ({count:,} px)" for value, count in strange.most_common(5))
            problems.append(f"{pair.labels}: no class has {listed}")
        scenes.append(Scene(source, labels))
    if problems:
        raise DataError("; ".join(problems))
    return scenes


def _pairs(data: Data) -> list[Pair]:
    return find_pairs(data.images, data.labels, data.label_suffix)


def _blank(config: TrainConfig) -> SegmentationModel:
    """The model before training: its bands, scale and ground resolution come from the images."""
    infos = [RasterInfo.read(pair.image) for pair in _pairs(config.data)]
    kinds = sorted({info.dtype for info in infos})
    if len(kinds) > 1:
        raise DataError(f"images of {' and '.join(kinds)}; one model needs one kind of numbers")
    design, legend = architecture(config.arch), Legend.from_names(config.classes, config.colours)
    resolutions = [float(np.mean(info.gsd)) for info in infos if info.gsd is not None]
    return SegmentationModel(
        design.build(len(config.bands), len(legend), config.recipe.seed), legend=legend, bands=tuple(config.bands),
        scale=1 / 255 if kinds == ["uint8"] else 1.0, stride=design.stride, align=design.align, halo=design.halo,
        gsd=float(np.median(resolutions)) if len(resolutions) == len(infos) else None, name=config.name,
        architecture=design.name,
    )  # fmt: skip


def _draw(path: Path, held: Sequence[Scene], maps: Path, legend: Legend) -> None:
    """Draw the held-back scene whose labels are the most varied: the largest share outside the commonest class."""

    def variety(scene: Scene) -> float:
        counts = np.bincount(scene.all().ids.ravel(), minlength=256)[: len(legend)]
        return float(1 - counts.max() / counts.sum()) if counts.sum() else 0.0

    scene = max(held, key=variety)
    made = Outputs(maps, scene.source.info.path.stem, with_probabilities=False)
    layers = made.layer("classes"), made.layer("confidence")
    save_picture(path, scene.source.info.path, scene.source.bands, *layers, legend, scene.all().ids)


def _statistics(scenes: Sequence[Scene], scale: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each band over valid pixels, scaled; of some windows of each scene."""
    bands = len(scenes[0].source.bands)
    count, sums, squares = 0, np.zeros(bands), np.zeros(bands)
    for number, scene in enumerate(scenes):
        rng = np.random.default_rng(number)
        for _ in range(_WINDOWS):
            height, width = min(_WINDOW, scene.source.height), min(_WINDOW, scene.source.width)
            top = int(rng.integers(0, scene.source.height - height + 1))
            left = int(rng.integers(0, scene.source.width - width + 1))
            chip = scene.read(top, left, height, width)
            values = chip.pixels[:, chip.valid].astype(np.float64) * scale
            count, sums, squares = count + values.shape[1], sums + values.sum(1), squares + (values**2).sum(1)
    if not count:
        raise DataError("no valid pixel in the images")
    mean = sums / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return tuple(mean.tolist()), tuple(np.where(std > 0, std, 1).tolist())


def _about(config: TrainConfig, shares: Sequence[float]) -> dict[str, Any]:
    """What the model file tells of its making."""
    return {
        "provenance": f"agriseg train, {config.arch}, seed {config.recipe.seed}",
        "licence": config.licence,
        "split": config.split,
        "class_shares": dict(zip(config.classes, shares, strict=True)),
        "recipe": config.recipe.model_dump(mode="json"),
    }


def _identity(config: TrainConfig, scenes: Sequence[Scene]) -> str:
    """Fingerprint of what a state belongs to: configuration and files."""
    stamps = [
        [str(info.path.name), info.stamp.size, info.stamp.mtime_ns]
        for scene in scenes
        for info in (scene.source.info, scene.labels.info)
    ]
    text = json.dumps([config.model_dump(mode="json", exclude={"data", "validation"}), config.split, stamps])
    return hashlib.sha256(text.encode()).hexdigest()
