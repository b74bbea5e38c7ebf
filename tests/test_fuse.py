"""A network with folded normalisation computes what it did before, and a backend uses all bits of fp32."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import read
from torch import nn
from torch.nn import functional

from agriseg import load_model
from agriseg.backends.fuse import fused
from agriseg.backends.torch_backend import TorchBackend
from agriseg.bundled_models import BUNDLED
from agriseg.networks import ARCHITECTURES, architecture
from agriseg.training.distributed import _synced

MOSAIC = Path(__file__).parent / "data" / "drone_rgba" / "orthomosaic.tif"


def with_statistics(network: nn.Module) -> nn.Module:
    """The network with random statistics and weights in its normalisations: those of a fresh one do nothing."""
    generator = torch.Generator().manual_seed(1)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None and layer.running_var is not None:
            layer.running_mean.normal_(generator=generator)
            layer.running_var.uniform_(0.5, 2, generator=generator)
            if layer.affine:
                layer.weight.data.uniform_(0.5, 1.5, generator=generator)
                layer.bias.data.normal_(generator=generator)
    return network.eval()


def norms(network: nn.Module) -> int:
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())


@torch.inference_mode()
def error(network: nn.Module, other: nn.Module, shape: tuple[int, ...]) -> float:
    """Largest difference of their outputs, as a share of the largest number."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    expected = network(x)
    return float((other(x) - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", [*ARCHITECTURES, "unet_small/2"])
def test_every_architecture_keeps_its_logits(name: str) -> None:
    """At an input whose sides differ; the normalisations are gone, and the network itself is as it was."""
    design = architecture(name)
    network = with_statistics(design.build(4, 3))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    quick = fused(network)
    side = max(64, 2 * design.align)
    assert error(network, quick, (2, 4, side, side + design.align)) < 1e-5
    assert norms(quick) == 0
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_network_of_a_training_in_several_processes_keeps_its_logits(name: str) -> None:
    """Its normalisations are of another class, and ask whether they train; validation runs it in a backend."""
    design = architecture(name)
    network = with_statistics(_synced(design.build(3, 2)))
    side = max(64, 2 * design.align)
    quick = fused(network)
    assert error(network, quick, (1, 3, side, side)) < 1e-5
    assert norms(quick) == 0


class Odd(nn.Module):
    """Normalisations that cannot be folded, and activations that may not overwrite what they read."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.shared, self.plain = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))
        self.norm, self.twice, self.bare = nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Each line has another reader of what the activation or the normalisation reads."""
        first = self.conv(x)
        x = self.norm(first) + first
        x = self.relu(self.twice(x)) + self.twice(self.plain(x))
        y = self.shared(x)
        x = functional.relu(y) - y + self.relu(x)
        x = self.bare(self.shared(x)) + functional.relu(x + y)
        return x + torch.relu(x[:, :, ::1])


def test_what_is_read_twice_stays() -> None:
    network = with_statistics(Odd())
    assert error(network, fused(network), (1, 4, 9, 8)) < 1e-5
    assert norms(fused(network)) == 3


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("kind", ["zeros", "reflect", "circular"])
def test_any_convolution_takes_its_normalisation(kind: str, affine: bool, bias: bool) -> None:
    conv = nn.Conv2d(6, 4, 3, stride=2, padding=2, dilation=2, groups=2, bias=bias, padding_mode=kind)
    network = with_statistics(nn.Sequential(conv, nn.BatchNorm2d(4, affine=affine)))
    assert error(network, fused(network), (1, 6, 20, 16)) < 1e-5
    assert norms(fused(network)) == 0


def test_a_normalisation_by_the_batch_stays() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)).eval()
    assert norms(fused(network)) == 1


@pytest.mark.parametrize("name", BUNDLED)
@torch.inference_mode()
def test_labels_of_bundled_models_differ_in_ties_alone(name: str) -> None:
    """On a piece of an orthomosaic. A tie is a difference of the two best logits within their rounding."""
    model = load_model(name)
    side = 256 // model.step * model.step
    pixels = torch.from_numpy(np.ascontiguousarray(read(MOSAIC)[:3, :side, :side]))
    x = model.normalization_of(tuple(pixels.float().mean((1, 2)).tolist()))(pixels, torch.ones(side, side, dtype=bool))
    expected = deepcopy(model.network).eval()(x[None])[0]
    logits = TorchBackend(model, torch.device("cpu"), "fp32").logits(x[None])[0]
    best, second = expected.topk(2, dim=0).values
    differs = logits.argmax(0) != expected.argmax(0)
    assert float((logits - expected).abs().max() / expected.abs().max()) < 1e-5
    assert not (differs & (best - second > 1e-4)).any()
    assert len(expected.argmax(0).unique()) > 1, "the tile has more than one class"


def test_a_gpu_computes_fp32_with_all_bits() -> None:
    """Within a forward pass alone: the settings are those of the whole process."""
    seen: list[str] = []
    kernels = torch.backends.cudnn.conv, torch.backends.cuda.matmul  # type: ignore[attr-defined]
    model = load_model(next(iter(BUNDLED)))
    backend = TorchBackend(model, torch.device("cpu"), "fp32")
    backend._network.register_forward_hook(lambda *_: seen.extend(each.fp32_precision for each in kernels))
    before = [each.fp32_precision for each in kernels]
    backend.logits(torch.zeros(1, len(model.bands), model.step * 2, model.step * 2))
    assert seen == ["ieee", "ieee"]
    assert [each.fp32_precision for each in kernels] == before != seen
