"""Make the bundled demonstration model: `python examples/train_demo_model.py agriseg/data/demo.safetensors`.

It trains the small FCN on synthetic fields (agriseg/demo/synthetic.py) of other seeds than the demonstration's,
from seed 0, on the CPU, in some minutes. The model knows these pictures and nothing else. The loop
below is a plain one, to be read; for a field of your own use `agriseg train`.
"""

import sys
import time

import numpy as np
import torch

from agriseg import SegmentationModel
from agriseg.demo.synthetic import LEGEND, grow_field
from agriseg.networks import architecture

STEPS, BATCH, CHIP = 900, 8, 160
SEEDS = range(1000, 1008)
MEAN, STD = (0.40, 0.42, 0.28), (0.20, 0.20, 0.20)


def main(path: str) -> None:
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)
    rng = np.random.default_rng(0)
    design = architecture("fcn_small")
    network = design.build(3, len(LEGEND), seed=0)
    model = SegmentationModel(
        network, legend=LEGEND, bands=("red", "green", "blue"), scale=1 / 255, mean=MEAN, std=STD,
        stride=design.stride, align=design.align, halo=design.halo, name="demo", architecture=design.name,
        about={
            "provenance": f"examples/train_demo_model.py: {STEPS} steps on synthetic fields of seeds "
            f"{SEEDS.start} to {SEEDS.stop - 1}",
            "licence": "Apache-2.0; no real picture was used",
            "purpose": "demonstration; on a real field its classes mean nothing",
        },
    )  # fmt: skip
    fields = [grow_field(1024, 1024, seed) for seed in SEEDS]
    weights = torch.tensor([1.0, 1.0, 1.5, 3.0])  # weeds are rare
    criterion = torch.nn.CrossEntropyLoss(weights, ignore_index=255)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    network.train()
    began = time.monotonic()
    for step in range(STEPS):
        images, labels = zip(*(chip(model, fields, rng) for _ in range(BATCH)), strict=True)
        logits = torch.nn.functional.interpolate(
            network(torch.stack(images)), scale_factor=design.stride, mode="bilinear"
        )
        loss = criterion(logits, torch.stack(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1}: loss {loss.item():.3f}, {time.monotonic() - began:.0f} s")
    network.eval()
    model.save(path)


def chip(model: SegmentationModel, fields: list, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """A normalised chip (3, CHIP, CHIP) and its labels (CHIP, CHIP) from a random place, flipped at random."""
    field = fields[rng.integers(len(fields))]
    row, col = rng.integers(0, 1024 - CHIP, 2)
    part = np.s_[..., row : row + CHIP, col : col + CHIP]
    image, truth = torch.from_numpy(field.image[part]), torch.from_numpy(field.truth[part].astype(np.int64))
    pixels = model.normalization(image[:3], image[3] > 0)
    for axis in (-1, -2):
        if rng.random() < 0.5:
            pixels, truth = pixels.flip(axis), truth.flip(axis)
    return pixels, truth


if __name__ == "__main__":
    main(sys.argv[1])
