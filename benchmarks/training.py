"""Bar: training takes in 0.90 or more of the images per second of a bare loop over data already in memory.

Both use the same network, loss, optimiser, batch, precision and threads, in turn, in this process. The bare loop
has its batches made; the other reads, turns and lights each sample, averages the weights and keeps its accounts.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
import torch
from common import field, machine

from agriseg.backends.choose_backend import choose_precision
from agriseg.samples.augment import TrainingSamples, stacked
from agriseg.samples.sampling import index_labels
from agriseg.training import loop as loop
from agriseg.training.config import TrainConfig
from agriseg.training.dataset import load_dataset
from agriseg.training.distributed import Ranks
from agriseg.training.losses import build_loss
from agriseg.training.progress import Progress, StepDone, ValidationScores

_WARM = 2  # steps that are not counted


def labelled_field(folder: Path, side: int) -> None:
    """A raster and labels by its brightness."""
    with rasterio.open(field(folder / "field.tif", side, side)) as dataset:
        ids = np.digitize(dataset.read().mean(0), [100, 180]).astype(np.uint8)
        profile = {**dataset.profile, "count": 1, "nodata": 255, "photometric": "MINISBLACK"}
    with rasterio.open(folder / "labels.tif", "w", **profile) as dataset:
        dataset.write(ids, 1)


def training_seconds(run: loop.TrainingRun, steps: int) -> float:
    """Of `steps` steps of the real loop, after some to warm up."""
    marks: list[float] = []

    def report(progress: Progress) -> None:
        if isinstance(progress, StepDone):
            marks.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        loop.fit(loop.TrainingRun(**{**vars(run), "folder": Path(folder), "report": report}))
    return marks[_WARM + steps - 1] - marks[_WARM - 1]


def bare_seconds(run: loop.TrainingRun, steps: int) -> float:
    """Of `steps` steps over batches that are already made."""
    network, recipe = run.model.network.train(), run.recipe
    numbers = [range(first * recipe.batch, (first + 1) * recipe.batch) for first in range(4)]
    made = [stacked([run.samples[number] for number in each]) for each in numbers]
    optimiser = torch.optim.AdamW(network.parameters(), recipe.lr, weight_decay=recipe.weight_decay)
    loss_of = build_loss(recipe.loss)
    precision = choose_precision(recipe.precision, run.ranks.device, run.model)
    began = 0.0
    for step in range(_WARM + steps):
        if step == _WARM:
            began = time.perf_counter()
        x, ids = made[step % len(made)]
        with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16"):
            logits = network(x)
        full = torch.nn.functional.interpolate(logits.float(), size=ids.shape[1:], mode="bilinear")
        loss = loss_of(full, ids)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        loss.item()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", default="fcn8s_resnet18")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=6)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        labelled_field(folder, 2048)
        tables = {
            "classes": ["dark", "dim", "light"], "arch": args.arch,
            "data": {"images": "field.tif", "labels": "labels.tif"},
            "recipe": {"steps": _WARM + args.steps, "validate_every": 10_000},
        }  # fmt: skip
        config = TrainConfig.of(tables, folder)
        found = load_dataset(config, folder)
        scenes, model = found.training, found.model
        recipe = config.recipe
        samples = TrainingSamples(
            scenes,
            index_labels(scenes, 3, 0),
            [model.normalization_of(scene.mean) for scene in scenes],
            recipe.chip,
            recipe.rare_class_share,
            recipe.augmentation,
            0,
        )
        run = loop.TrainingRun(
            model, samples, recipe, lambda _: ValidationScores(0.0, {}), folder, "bench", Ranks(torch.device("cpu")),
            lambda _: None, lambda: False,
        )  # fmt: skip
        seconds: dict[str, list[float]] = {"bare loop": [], "agriseg": []}
        turns = {"bare loop": bare_seconds, "agriseg": training_seconds}
        for round_ in range(args.rounds):
            for label in sorted(turns, reverse=round_ % 2 == 1):  # who goes first alternates: machines drift
                seconds[label].append(turns[label](run, args.steps))
    print(machine())
    print(f"{args.arch}, batch {recipe.batch} of {recipe.chip} px")
    for label, spent in seconds.items():
        print(
            f"{label:10} {args.steps * recipe.batch / statistics.median(spent):7.2f} images/s (median of {args.rounds})"
        )
    bare, ours = seconds.values()
    ratios = sorted(b / o for b, o in zip(bare, ours, strict=True))
    print(f"agriseg / bare: median {statistics.median(ratios):.3f}, {ratios[0]:.3f} to {ratios[-1]:.3f}; bar 0.90")


if __name__ == "__main__":
    main()
