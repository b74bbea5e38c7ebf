"""How a network is trained: every number of the loop, with defaults that suit few labels and two cores."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from agriseg.training.augment import Augmentation


class Recipe(BaseModel):
    """The loop's numbers.

    Args:
        steps: optimiser steps; None when `minutes` is given.
        minutes: how long to train instead; such a run depends on the machine's speed.
        chip: side of a sample (px); a multiple of the network's step.
        batch: samples per forward.
        accumulation_steps: batches per optimiser step.
        optimiser: adamw, adam or sgd (momentum 0.9).
        lr: largest learning rate, reached after warm-up; a cosine schedule lowers it to 0.
        warmup: share of the training in which the learning rate rises, 0 to 1.
        weight_decay: of the optimiser.
        loss: names of losses and their weights, see `losses.build_loss`.
        class_weights: weigh the cross-entropy by 1 / sqrt(class share).
        aux_loss_weight: weight of the auxiliary head's loss, where the network has one.
        rare_class_share: share of samples drawn by class (all but the commonest alike) instead of by pixel.
        logit_adjustment: add an offset to the logits of each class, fitted on training pixels for the mean IoU.
        ema_decay: decay of the exponential moving average of the weights, which is saved; 0 saves the last weights.
        validate_every: steps from one validation to the next.
        patience: validations without a better one after which it ends; 0 never.
        precision: auto, fp32 or bf16.
        seed: of everything random.
        augmentation: how samples vary.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int | None = Field(default=None, ge=1)
    minutes: float | None = Field(default=None, gt=0)
    chip: int = Field(default=256, ge=32)
    batch: int = Field(default=8, ge=1)
    accumulation_steps: int = Field(default=1, ge=1)
    optimiser: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = Field(default=3e-3, gt=0)
    warmup: float = Field(default=0.05, ge=0, lt=1)
    weight_decay: float = Field(default=1e-2, ge=0)
    loss: dict[str, float] = {"ce": 1.0, "dice": 1.0}
    class_weights: bool = False
    aux_loss_weight: float = Field(default=0.4, ge=0)
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
