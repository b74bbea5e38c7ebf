"""Networks whose map is known without tiling, to test tilings."""

import torch

from agriseg.legend import Legend
from agriseg.model import SegmentationModel
from agriseg.networks import architecture

LEVELS = (30.0, 90.0, 150.0, 210.0)


class NearestLevel(torch.nn.Module):
    """The nearest of four grey levels, pixel by pixel: any tiling must give the same map."""

    levels: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("levels", torch.tensor(LEVELS).view(1, -1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, h, w) -> (N, 4, h, w): minus the distance to each level."""
        return -(x.mean(1, keepdim=True) - self.levels).abs()


def nearest_level() -> SegmentationModel:
    """A model of `NearestLevel` for red, green, blue."""
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
    layers = reversed([layer for path, layer in network.named_modules() if "aux" not in path])
    last = next(each.bias for each in layers if isinstance(each, torch.nn.Conv2d) and each.bias is not None)
    with torch.no_grad():
        last -= middle
    return SegmentationModel(
        network, legend=Legend.from_names([f"class {k}" for k in range(classes)]), bands=("red", "green", "blue"),
        scale=1 / 255, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), stride=design.stride, align=design.align,
        halo=design.halo, architecture=name, name=name,
    )  # fmt: skip
