"""Networks by name: plain torch modules (N, C, h, w) -> logits (N, K, h/stride, w/stride)."""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import nn

from agriseg.errors import ModelError
from agriseg.networks import fcn8s, from_torchvision, segnet, small
from agriseg.networks.network_input import (
    DownsampledInput,
    downsampled_reach,
    downsampling_factor,
    expand_first_conv,
    without_downsampling,
)
from agriseg.networks.receptive_field import ReceptiveField

__all__ = [
    "ARCHITECTURES", "NAMED_STARTS", "Architecture", "architecture", "downsampling_factor", "expand_first_conv",
    "last_bias", "plain_name", "without_downsampling",
]  # fmt: skip

NAMED_STARTS = ("imagenet", "coco")
"""What torchvision's weights were trained on."""


@dataclass(frozen=True)
class Architecture:
    """A network that agriseg can build.

    Args:
        name: as in the model file.
        make: (bands, classes) to a module with random weights.
        reach: what one logit sees.
        align: coarsest step in input pixels; tiles sit on its multiples.
        heads: what the names of tensors begin with whose shape depends on the classes.
        pretrained: torchvision's names of weights to start from, by what they were trained on.
    """

    name: str
    make: Callable[[int, int], nn.Module]
    reach: ReceptiveField
    align: int
    heads: tuple[str, ...]
    pretrained: Mapping[str, str] = field(default_factory=dict)

    @property
    def stride(self) -> int:
        """Input pixels per logit."""
        return self.reach.stride

    @property
    def halo(self) -> int | None:
        """Receptive half-width in pixels; None for a network that sees everything."""
        return self.reach.halo

    def build(self, bands: int, classes: int, seed: int = 0) -> nn.Module:
        """The network with random weights of a seed; the global random state is left alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.make(bands, classes)

    def over(self, factor: int) -> "Architecture":
        """The same over means of `factor` x `factor` pixels, named with `/factor` at its end."""
        return replace(
            self, name=f"{self.name}/{factor}", make=lambda *shape: DownsampledInput(self.make(*shape), factor),
            reach=downsampled_reach(self.reach, factor), align=self.align * factor,
        )  # fmt: skip


_SIMPLE = ("classifier.4.", "aux_classifier.4.")
_FCN8S = ("score", "double")
_IMAGENET = {
    depth: {"imagenet": f"ResNet{depth}_Weights.IMAGENET1K_V1"} for depth in (18, 34, 50, 101)
}  # those that torchvision's own segmentation networks began from

_ALL = (
    Architecture(
        "fcn_resnet50", partial(from_torchvision.FCNResNet, 50), from_torchvision.fcn_reach(50), align=8, heads=_SIMPLE,
        pretrained={**_IMAGENET[50], "coco": "FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1"},
    ),
    Architecture(
        "fcn_resnet101", partial(from_torchvision.FCNResNet, 101), from_torchvision.fcn_reach(101), align=8,
        heads=_SIMPLE,
        pretrained={**_IMAGENET[101], "coco": "FCN_ResNet101_Weights.COCO_WITH_VOC_LABELS_V1"},
    ),
    Architecture(
        "fcn8s_resnet18", partial(fcn8s.FCN8s, 18), fcn8s.reach(18), align=32, heads=_FCN8S, pretrained=_IMAGENET[18]
    ),
    Architecture(
        "fcn8s_resnet34", partial(fcn8s.FCN8s, 34), fcn8s.reach(34), align=32, heads=_FCN8S, pretrained=_IMAGENET[34]
    ),
    Architecture(
        "fcn8s_resnet50", partial(fcn8s.FCN8s, 50), fcn8s.reach(50), align=32, heads=_FCN8S, pretrained=_IMAGENET[50]
    ),
    Architecture(
        "segnet", segnet.SegNet, segnet.reach(), align=32, heads=("score",),
        pretrained={"imagenet": "VGG16_BN_Weights.IMAGENET1K_V1"},
    ),
    Architecture(
        "deeplabv3_resnet50", from_torchvision.DeepLabV3, from_torchvision.deeplab_reach(), align=8, heads=_SIMPLE,
        pretrained={**_IMAGENET[50], "coco": "DeepLabV3_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1"},
    ),
    Architecture(
        "lraspp_mobilenet_v3_large", from_torchvision.LRASPP, from_torchvision.lraspp_reach(), align=16,
        heads=("classifier.low_classifier.", "classifier.high_classifier."),
        pretrained={
            "imagenet": "MobileNet_V3_Large_Weights.IMAGENET1K_V1",
            "coco": "LRASPP_MobileNet_V3_Large_Weights.COCO_WITH_VOC_LABELS_V1",
        },
    ),
    Architecture("unet_small", small.UNetSmall, small.unet_reach(), align=16, heads=("score",)),
    Architecture("fcn_small", small.FCNSmall, small.fcn_reach(), align=2, heads=(f"{small.LAST}.",)),
)  # fmt: skip
ARCHITECTURES: Mapping[str, Architecture] = {each.name: each for each in _ALL}


def architecture(name: str) -> Architecture:
    """Look an architecture up.

    Args:
        name: of `ARCHITECTURES`; with `/2` to `/8` at its end the network sees means of so many pixels a side.

    Raises:
        ModelError: no such name; the nearest ones are given.
    """
    base = plain_name(name)
    if base not in ARCHITECTURES:
        near = difflib.get_close_matches(base, ARCHITECTURES, 1) or list(ARCHITECTURES)
        raise ModelError(f"no architecture {name!r}; use {' or '.join(near)}")
    return ARCHITECTURES[base] if base == name else ARCHITECTURES[base].over(int(name[-1]))


def plain_name(name: str) -> str:
    """The name without the factor that it may end in."""
    return re.sub(r"/[2-8]\Z", "", name)


def last_bias(network: nn.Module) -> torch.Tensor:
    """The bias of the layer that a network of `ARCHITECTURES` ends with, (K,): what is added to it, all logits gain.

    Raises:
        ModelError: a network without such a layer under the name `last`.
    """
    last = getattr(network, "last", None)
    if not isinstance(last, nn.Conv2d) or last.bias is None:
        raise ModelError(
            f"{type(network).__name__} has no last convolution with a bias; train with logit_adjustment = false"
        )
    return last.bias
