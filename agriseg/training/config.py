"""The configuration of a training, read from a TOML file and checked."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from agriseg.bundled_models import BUNDLED
from agriseg.errors import ModelError, UsageError
from agriseg.networks import NAMED_STARTS, PackagedWeights, architecture
from agriseg.networks.normalization import NormalizeBy
from agriseg.options.labels import Value
from agriseg.options.run import RunOptions
from agriseg.options.verdict import VerdictLimits
from agriseg.samples.augment import Augmentation

Split = Literal["block", "file", "random", "list"]

_RANDOM = "random"  # the name of no weights
_NAMED_WEIGHTS = (*NAMED_STARTS, _RANDOM, *BUNDLED)

RENAMED_KEYS = {
    "recipe.rate": "lr",
    "recipe.decay": "weight_decay",
    "recipe.average": "ema_decay",
    "recipe.rare": "rare_class_share",
    "recipe.accumulate": "accumulation_steps",
    "recipe.balance": "logit_adjustment",
    "recipe.auxiliary": "aux_loss_weight",
    "recipe.warm_up": "warmup",
    "recipe.augmentation.light": "brightness",
    "recipe.augmentation.colour": "channel_jitter",
    "recipe.augmentation.paste": "copy_paste",
}
"""Former names of keys, which are refused, with the present name of each."""


class Data(BaseModel):
    """Images and their labels.

    Args:
        images: a raster, or a folder of them.
        labels: the label raster, the folder of them, polygons (GeoJSON, KML, GeoPackage, Shapefile) on one raster, or
            annotations (COCO, LabelMe, Label Studio, CVAT), also of many images.
        label_suffix: what a label's name adds to its image's.
        unlabelled: numbers or colours of label rasters that mean unlabelled, beside 255.
        column: of the polygons, with the class.
        area: polygons within which everything is labelled; the rest there is `rest`, or the first class.
        rest: class of the ground under no shape where everything is labelled: within `area`, or on whole images.
        rename: classes of names in annotations or polygons; an empty class means unlabelled.
        point_radius: radius of the discs that points become, such as `8px` or `5cm`.
        grow: how far from a point the plant under it may reach, which the point becomes, such as `60px` or `20cm`.
        reproject_labels: resample label rasters to the grid and CRS of their image, nearest neighbour.
        nodata: value of the images, beside the declared one.
        alpha: number of the band of the images whose 0 means nodata, if its tag does not say so.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: Path
    labels: Path
    label_suffix: str = ""
    unlabelled: list[int | tuple[int, int, int]] = []
    column: str | None = None
    area: Path | None = None
    rest: str | None = None
    rename: dict[str, str] = {}
    point_radius: str | None = None
    grow: str | None = None
    reproject_labels: bool = False
    nodata: float | None = None
    alpha: int | None = Field(default=None, ge=1)

    def under(self, folder: Path) -> "Data":
        """The same with paths inside a folder, unless they are absolute."""
        area = None if self.area is None else folder / self.area
        return self.model_copy(update={"images": folder / self.images, "labels": folder / self.labels, "area": area})


class Validation(BaseModel):
    """The held-back labels that score the model.

    They are those of other images; else of a random share of the images (`by = "file"`), or of square blocks of each
    image, with an unused buffer around them. `by = "random"` holds back squares of the size of a chip without a
    buffer, as tools do that cut chips first: it overstates the scores, which is recorded.

    Args:
        block, buffer: side of a block, and width of its buffer (px).
        folds, fold: number of parts to hold back in turn, instead of one share, and the held-back one, from 0.
        allow_learnt: also hold back training data of the initial model, which is recorded.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: Path | None = None
    labels: Path | None = None
    by: Literal["block", "file", "random"] = "block"
    block: int = Field(default=512, ge=32)
    buffer: int = Field(default=64, ge=0)
    share: float = Field(default=0.2, gt=0, lt=1)
    folds: int | None = Field(default=None, ge=2)
    fold: int = Field(default=0, ge=0)
    allow_learnt: bool = False


class Recipe(BaseModel):
    """Settings of the training loop.

    Args:
        frozen_steps: first steps, of the decoder alone on features of the frozen encoder, whose batch normalization
            then keeps its means and variances; for few labels.
        steps: optimiser steps; None when `minutes` is given.
        minutes: how long to train instead; such a run depends on the machine's speed.
        chip: side of a sample (px); a multiple of the network's step.
        batch: samples per forward.
        accumulation_steps: batches per optimiser step.
        optimiser: sgd has a momentum of 0.9.
        lr: largest learning rate, reached after warm-up; a cosine schedule lowers it to 0.
        backbone_lr: learning rate of the backbone, as a share of lr; below 1 its initial weights change less.
        warmup: share of the training in which the learning rate rises, 0 to 1.
        loss: names of losses and their weights, see `losses.build_loss`.
        class_weights: weigh the cross-entropy by 1 / sqrt(class share).
        sample_by: what is drawn alike: `pixel` draws from large images as often as they are large, `image` from all
            images as often, which suits photographs of several fields.
        rare_class_share: share of samples drawn by class (all but the commonest alike) instead of by pixel.
        logit_adjustment: add an offset to the logits of each class, fitted on training pixels for the mean IoU.
        ema_decay: decay of the exponential moving average of the weights, which is saved; 0 saves the last weights.
        validate_every: steps from one validation to the next.
        patience: validations without a better score after which the training ends; 0 for no limit.
        seed: of the initial weights, the held-back part, the samples and dropout.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    frozen_steps: int = Field(default=0, ge=0)
    steps: int | None = Field(default=None, ge=1)
    minutes: float | None = Field(default=None, gt=0)
    chip: int = Field(default=256, ge=32)
    batch: int = Field(default=8, ge=1)
    accumulation_steps: int = Field(default=1, ge=1)
    optimiser: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = Field(default=3e-3, gt=0)
    backbone_lr: float = Field(default=1.0, gt=0, le=1)
    warmup: float = Field(default=0.05, ge=0, lt=1)
    weight_decay: float = Field(default=1e-2, ge=0)
    loss: dict[str, float] = {"ce": 1.0, "dice": 1.0}
    class_weights: bool = False
    aux_loss_weight: float = Field(default=0.4, ge=0)
    sample_by: Literal["pixel", "image"] = "pixel"
    rare_class_share: float = Field(default=0.6, ge=0, le=1)
    logit_adjustment: bool = True
    ema_decay: float = Field(default=0.99, ge=0, lt=1)
    validate_every: int = Field(default=200, ge=1)
    patience: int = Field(default=0, ge=0)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: int = Field(default=0, ge=0)
    augmentation: Augmentation = Augmentation()

    @model_validator(mode="after")
    def _one_end(self) -> "Recipe":
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give either steps or minutes")
        return self


class TrainConfig(BaseModel):
    """A training; paths are relative to its TOML file.

    Args:
        values: for each class its number in the label rasters, or its red, green and blue; None for 0, 1, 2, ...
        colours: of the classes on the map, `#rrggbb`.
        bands, band_numbers: roles of the bands to use, and their numbers in files that do not name them.
        arch: network; `/2` to `/8` at its end means that it sees means of 2 to 8 pixels a side.
        normalize_by: `training` scales all images by constants of the training data; `raster` scales each raster by
            its own mean colour, so that the model takes other cameras and other light.
        gsd_range: finest and coarsest GSD of the images, metres, if they have several or do not say theirs; the model
            then takes rasters at their own resolution.
        purpose: what the model is for and what not, one sentence; its card and each report show it.
        limits: of the verdict on the model's maps, as `agriseg run --limit` takes them, if others suit it better.
        init: weights to start from: imagenet, coco, random, an http(s) address, or a file of torchvision's or timm's
            weights or of a model of agriseg, also a bundled one by its name; None for ImageNet's if they are installed
            with agriseg, else random ones.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    classes: list[str] = Field(min_length=2)
    values: list[int | tuple[int, int, int]] | None = None
    colours: list[str] | None = None
    bands: list[str] = ["red", "green", "blue"]
    band_numbers: list[int] | None = None
    arch: str = "unet_lite0"
    normalize_by: NormalizeBy = "training"
    gsd_range: tuple[float, float] | None = None
    init: str | None = None
    name: str = "model"
    purpose: str | None = None
    limits: list[str] = []
    licence: str = "not stated"
    data: Data
    validation: Validation = Validation()
    recipe: Recipe

    @field_validator("limits")
    @classmethod
    def _that_can_be_exceeded(cls, texts: list[str]) -> list[str]:
        try:
            VerdictLimits.of(texts)
        except UsageError as error:
            raise ValueError(str(error)) from error
        return texts

    @classmethod
    def of(cls, tables: dict[str, Any], folder: Path) -> "TrainConfig":
        """Check the tables of a TOML file.

        Raises:
            ModelError: an unknown, renamed or missing key, or one of the wrong type; the first is named.
        """
        try:
            config = cls.model_validate(tables)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = ".".join(str(part) for part in first["loc"]) or "configuration"
            problem = f"this key is now {RENAMED_KEYS[key]}" if key in RENAMED_KEYS else first["msg"]
            raise ModelError(f"training configuration: {key}: {problem}") from error
        for problem in _contradictions(config):
            raise ModelError(problem)
        held = config.validation
        if held.images is not None and held.labels is not None:
            held = held.model_copy(update={"images": folder / held.images, "labels": folder / held.labels})
        init = config.init
        if init is not None and init not in _NAMED_WEIGHTS and not init.startswith(("http://", "https://")):
            init = str(folder / init)
        return config.model_copy(update={"data": config.data.under(folder), "init": init, "validation": held})

    @property
    def first_weights(self) -> str | None:
        """Source of the weights to start from, see `initial_network`; None for random ones."""
        if self.init is None and isinstance(architecture(self.arch).pretrained.get("imagenet"), PackagedWeights):
            return "imagenet"
        return None if self.init == _RANDOM else self.init

    @property
    def stored(self) -> list[Value]:
        """Label value of each class."""
        return list(range(len(self.classes))) if self.values is None else list(self.values)

    @property
    def reading(self) -> RunOptions:
        """Options to read images for training and validation: at their own resolution."""
        numbers = tuple(self.band_numbers or ())
        if self.data.alpha is None:
            return RunOptions(gsd="native", bands=numbers or None, nodata=self.data.nodata)
        bands = {**dict(zip(self.bands, numbers, strict=False)), "alpha": self.data.alpha}
        return RunOptions(gsd="native", bands=bands, nodata=self.data.nodata)

    @property
    def split(self) -> Split:
        """How the validation part is chosen."""
        return self.validation.by if self.validation.images is None else "list"

    @property
    def held_back(self) -> Data | None:
        """Other images to validate on; None when a part of the training images is held back."""
        held = self.validation
        if held.images is None or held.labels is None:
            return None
        return self.data.model_copy(update={"images": held.images, "labels": held.labels})

    def of_fold(self, fold: int, folds: int) -> "TrainConfig":
        """The same run with another part held back."""
        held = self.validation.model_copy(update={"fold": fold, "folds": folds})
        return self.model_copy(update={"validation": held})


def _contradictions(config: TrainConfig) -> Iterator[str]:
    bands, numbers, held = config.bands, config.band_numbers or config.bands, config.validation
    if config.gsd_range is not None and not 0 < config.gsd_range[0] <= config.gsd_range[1]:
        yield f"gsd_range {list(config.gsd_range)}, expected the finest and the coarsest, such as [0.001, 0.01]"
    if len(set(bands)) < len(bands):
        yield f"bands {', '.join(bands)}: each role once"
    if len(numbers) != len(bands):
        yield f"{len(numbers)} band_numbers for {len(bands)} bands; one each"
    if len(set(numbers)) < len(numbers):
        yield f"band_numbers {numbers}: one band in two roles; each has its own"
    if len(config.stored) != len(config.classes):
        yield f"{len(config.stored)} values for {len(config.classes)} classes; give one a class"
    if (held.images is None) != (held.labels is None):
        yield "validation: images without labels, or labels without images; give both or neither"
    if held.images is not None and "by" in held.model_fields_set:
        yield f"validation: split by {held.by}, but also images of its own; leave one out"
    if held.images is not None and held.folds is not None:
        yield "validation: folds, but also images of its own; leave one out"
    if held.folds is not None and held.fold >= held.folds:
        yield f"fold {held.fold}, expected 0 to {held.folds} less 1"
