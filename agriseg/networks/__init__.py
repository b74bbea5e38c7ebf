"""Networks by name: plain torch modules (N, C, h, w) -> logits (N, K, h/stride, w/stride)."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from agriseg.errors import ModelError
from agriseg.networks import fcn, fcn8s, small, unet_small
from agriseg.networks.receptive import Reach
from agriseg.networks.stem import widen

__all__ = ["ARCHITECTURES", "Architecture", "architecture", "last_bias", "load_torchvision_state", "widen"]


@dataclass(frozen=True)
class Architecture:
    """A network that agriseg can build.

    Args:
        name: as in the model file.
        make: (bands, classes) to a module with random weights.
        reach: what one logit sees.
        align: coarsest step in input pixels; tiles sit on its multiples.
    """

    name: str
    make: Callable[[int, int], nn.Module]
    reach: Reach
    align: int

    @property
    def stride(self) -> int:
        """Input pixels per logit."""
        return self.reach.jump

    @property
    def halo(self) -> int:
        """Receptive half-width in pixels."""
        return self.reach.halo

    def build(self, bands: int, classes: int, seed: int = 0) -> nn.Module:
        """The network with random weights of a seed; the global random state is left alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.make(bands, classes)


_ALL = (
    Architecture("fcn_resnet50", partial(fcn.FCNResNet, 50), fcn.reach(50), align=8),
    Architecture("fcn_resnet101", partial(fcn.FCNResNet, 101), fcn.reach(101), align=8),
    Architecture("fcn8s_resnet18", partial(fcn8s.FCN8s, 18), fcn8s.reach(18), align=32),
    Architecture("fcn8s_resnet34", partial(fcn8s.FCN8s, 34), fcn8s.reach(34), align=32),
    Architecture("unet_small", unet_small.UNetSmall, unet_small.reach(), align=16),
    Architecture("fcn_small", small.FCNSmall, small.reach(), align=2),
)
ARCHITECTURES: Mapping[str, Architecture] = {each.name: each for each in _ALL}


def architecture(name: str) -> Architecture:
    """Look an architecture up.

    Raises:
        ModelError: no such name; the nearest ones are given.
    """
    if name not in ARCHITECTURES:
        near = difflib.get_close_matches(name, ARCHITECTURES, 1) or list(ARCHITECTURES)
        raise ModelError(f"no architecture {name!r}; use {' or '.join(near)}")
    return ARCHITECTURES[name]


def last_bias(network: nn.Module) -> torch.Tensor:
    """The bias of the layer that a network of `ARCHITECTURES` ends with, (K,): what is added to it, all logits gain.

    Raises:
        ModelError: a network without such a layer under the name `last`.
    """
    last = getattr(network, "last", None)
    if not isinstance(last, nn.Conv2d) or last.bias is None:
        raise ModelError(f"{type(network).__name__} has no last convolution with a bias; train with balance = false")
    return last.bias


def load_torchvision_state(network: nn.Module, state: Mapping[str, torch.Tensor], bands: tuple[str, ...]) -> list[str]:
    """Start a network from torchvision's weights, of the whole network or of its ResNet alone.

    The first convolution is widened from RGB (see `widen`). A head of another number of classes keeps its
    random weights.

    Args:
        network: built by an `Architecture` with a `backbone`.
        state: a torchvision `state_dict`.
        bands: roles of the network's input.

    Returns:
        Names of the tensors that keep their random weights.

    Raises:
        ModelError: a tensor is missing, unknown or of another shape; the first is named.
    """
    own = network.state_dict()
    whole = any(key.startswith("backbone.") for key in state)
    given = (
        dict(state)
        if whole
        else {f"backbone.{key}": value for key, value in state.items() if not key.startswith("fc.")}
    )
    first = "backbone.conv1.weight"
    if first in given and given[first].shape[1] == 3:
        given[first] = widen(given[first], bands)
    heads = [key for key in own if not key.startswith("backbone.")]
    fresh = [key for key in heads if key not in given or given[key].shape != own[key].shape]
    expected = [key for key in own if key not in fresh]
    for key in expected:
        if key not in given:
            raise ModelError(f"the state lacks {key}; it is not of this architecture")
        if given[key].shape != own[key].shape:
            raise ModelError(
                f"the state has {key} of shape {tuple(given[key].shape)}, expected {tuple(own[key].shape)}"
            )
    extra = next((key for key in given if key not in own), None)
    if extra is not None:
        raise ModelError(f"the state has {extra}, unknown to this architecture")
    network.load_state_dict({key: given[key] if key in expected else own[key] for key in own})
    return fresh
