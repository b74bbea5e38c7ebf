"""The first steps of a training with few labels: the decoder alone, on features that the frozen encoder gives once.

Gradients through random weights of a decoder spoil a pretrained encoder, most where labels are few: fit the decoder
first, then all (Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features", arXiv 2202.10054). A step on stored
features also takes a fraction of the time of a whole step.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from agriseg.errors import UsageError
from agriseg.networks import without_downsampling
from agriseg.networks.unet import UNet
from agriseg.samples.augment import Augmentation, TrainingSamples, stacked
from agriseg.training.losses import Loss

_CHIPS = 48  # with stored features: some 90 MB for chips of 256 px
_BATCH = 8
_RATE = 3e-3  # largest learning rate
_DECAY = 1e-2
_TURNED = Augmentation(zoom=1, brightness=0, channel_jitter=0)  # stored features cannot be augmented anew


@dataclass(frozen=True)
class StoredFeatures:
    """Chips as the encoder sees them.

    Args:
        features: of each stride (N, C, h, w) float32, the finest first.
        ids: (N, side, side) int64 class ids, 255 where unlabelled.
    """

    features: tuple[torch.Tensor, ...]
    ids: torch.Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, network: UNet, samples: TrainingSamples, device: torch.device, precision: str) -> "StoredFeatures":
        """Features of the first chips of the samples, turned and mirrored; the network is in evaluation mode."""
        turned = replace(samples, augmentation=_TURNED)
        features: list[list[torch.Tensor]] = []
        ids = []
        for start in range(0, _CHIPS, _BATCH):
            x, labels = stacked([turned[number] for number in range(start, start + _BATCH)])
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                seen = network.backbone(x.to(device, memory_format=torch.channels_last))
            features.append([each.float() for each in seen])
            ids.append(labels)
        return cls(tuple(torch.cat(each) for each in zip(*features, strict=True)), torch.cat(ids).to(device))

    def batches(self, steps: int, seed: int) -> Iterator[tuple[list[torch.Tensor], torch.Tensor]]:
        """A random batch for each step."""
        rng = np.random.default_rng(seed)
        for _ in range(steps):
            drawn = torch.from_numpy(rng.choice(_CHIPS, _BATCH, replace=False)).to(self.ids.device)
            yield [each[drawn] for each in self.features], self.ids[drawn]


def decoder_of(network: nn.Module, architecture: str) -> UNet:
    """The network, if its decoder can be trained alone.

    Raises:
        UsageError: it cannot.
    """
    plain = without_downsampling(network)
    if not isinstance(plain, UNet):
        raise UsageError(f"frozen_steps, but {architecture} has no decoder of its own; use unet_lite0, or leave it out")
    return plain


def keep_encoder_statistics(network: nn.Module) -> None:
    """Put the batch normalization of a network's backbone into evaluation mode; its weights still learn.

    The decoder has learnt from features that are normalized by the encoder's means and variances, and a few chips of
    one field have others.
    """
    for module in decoder_of(network, "this network").backbone.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def train_decoder(
    network: UNet, samples: TrainingSamples, steps: int, loss_of: Loss, device: torch.device, precision: str
) -> None:
    """Train all but the backbone in place for so many steps; a cosine lowers the learning rate to 0."""
    stored = StoredFeatures.of(network.eval(), samples, device, precision)
    weights = [weight for name, weight in network.named_parameters() if not name.startswith("backbone.")]
    optimiser = torch.optim.AdamW(weights, _RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, _RATE, total_steps=steps + 1, pct_start=0.1, cycle_momentum=False
    )
    network.train().backbone.eval()
    for features, ids in stored.batches(steps, samples.seed):
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            logits = network.decode(features)
        full = functional.interpolate(logits.float(), size=ids.shape[1:], mode="bilinear", align_corners=False)
        loss_of(full, ids).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
