"""Networks whose map is known without tiling, to test tilings with."""

import torch

from agriseg.legend import Legend
from agriseg.model import SegmentationModel
from agriseg.networks import architecture

LEVELS = (30.0, 90.0, 150.0, 210.0)


class NearestLevel(torch.nn.Module):
    """Each pixel's nearest of four grey levels. It sees no neighbour, so any tiling must give the same map."""

    levels: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("levels", torch.tensor(LEVELS).view(1, -1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, h, w) -> (N, 4, h, w): minus the distance to each level."""
        return -(x.mean(1, keepdim=True) - self.levels).abs()


def nearest_level() -> SegmentationModel:
    """The pixelwise oracle for red, green, blue."""
    legend = Legend.from_names(["dark", "dim", "light", "bright"])
    return SegmentationModel(NearestLevel(), legend=legend, bands=("red", "green", "blue"), name="oracle")


def random_network(name: str, classes: int = 4, seed: int = 0) -> SegmentationModel:
    """A named architecture with random weights whose classes all occur.

    Its last convolution is shifted so that no class wins everywhere: a map of one class would hide errors.
    """
    design = architecture(name)
    network = design.build(3, classes, seed).eval()
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(seed)
        patches = 4 * torch.rand(1, 3, 48, 48) - 2  # of 8 px, in the range that normalised uint8 has
        middle = network(patches.repeat_interleave(8, 2).repeat_interleave(8, 3)).median(3).values.median(2).values[0]
    convs = [
        layer for path, layer in network.named_modules() if isinstance(layer, torch.nn.Conv2d) and "aux" not in path
    ]
    last = next(layer.bias for layer in reversed(convs) if layer.bias is not None)
    with torch.no_grad():
        last -= middle
    return SegmentationModel(
        network, legend=Legend.from_names([f"class {k}" for k in range(classes)]), bands=("red", "green", "blue"),
        scale=1 / 255, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), stride=design.stride, align=design.align,
        halo=design.halo, architecture=name, name=name,
    )  # fmt: skip
