"""A training that ends in time for the map of its raster, the layers and the report: an estimate from one tile."""

import time
from dataclasses import replace
from pathlib import Path

from agriseg.backends.backend import empty_batch
from agriseg.errors import UsageError
from agriseg.mapping.prepare import prepare
from agriseg.networks import architecture
from agriseg.raster.header import RasterInfo
from agriseg.training.config import Recipe, TrainConfig, Validation
from agriseg.training.dataset import untrained_model
from agriseg.training.run import Trained, TrainOptions, train

_CHIP = 256  # side of a sample (px)
_FROZEN_STEPS = 80
FEW_LABEL_BLOCKS = Validation(block=256, buffer=32)
"""Smaller than those of a training: few labels lie in few blocks."""
_WHOLE = 2.0  # time of a map with its layers and report, by that of its tiles alone: 34 s by 17 s for 45 Mpx
_FIXED_S = 24.0  # of the scores and pictures of the model, and of the programs around all
_TRIALS = 3
_LEAST_S = 20.0  # for loading, and the steps of the decoder alone


def train_before_map(config: TrainConfig, image: Path, folder: Path, options: TrainOptions) -> Trained:
    """Train a model for few labels into a folder, and leave time for the map of the raster.

    The recipe's minutes, which count from `options.since`, are for both; its other settings and the held-back part are
    those for few labels. The decoder is trained in any case.

    Raises:
        UsageError: too few minutes.
        AgrisegError: as `train`.
    """
    whole = 60 * (config.recipe.minutes or 0)
    reserved = mapping_seconds(config, image, options.device) + _FIXED_S
    gone = time.monotonic() - (options.since or time.monotonic())
    if whole < gone + reserved + _LEAST_S:
        raise UsageError(
            f"--time {whole:.0f}s is too short: loading takes a while, and to map {image.name} some {reserved:.0f}s "
            f"here; give --time {1.5 * (gone + reserved + _LEAST_S) / 60:.1f}m or more"
        )
    recipe = few_label_recipe((whole - reserved) / 60)
    return train(config.model_copy(update={"recipe": recipe, "validation": FEW_LABEL_BLOCKS}), folder, options)


def few_label_recipe(minutes: float) -> Recipe:
    """A small learning rate, the least for the encoder, and one validation at the end."""
    return Recipe(
        frozen_steps=_FROZEN_STEPS, minutes=minutes, chip=_CHIP, lr=1e-3, backbone_lr=0.3, validate_every=10**6
    )


def mapping_seconds(config: TrainConfig, image: Path, device: str) -> float:
    """About how long the map of a raster takes here, with layers and report: from the time of one of its tiles."""
    design = architecture(config.arch)
    network = design.build(len(config.bands), len(config.classes))
    model = untrained_model(config, design, network, [RasterInfo.read(image)])
    job = prepare(image, model, replace(config.reading, device=device))
    rows, cols = job.plan.grid.rows, job.plan.grid.cols
    tile = empty_batch((1, len(model.bands), rows.length, cols.length), job.backend.device)
    job.backend.logits(tile)  # the first call also sets up the kernels
    began = time.monotonic()
    for _ in range(_TRIALS):
        job.backend.logits(tile).sum().item()
    return _WHOLE * job.plan.tiles * (time.monotonic() - began) / _TRIALS
