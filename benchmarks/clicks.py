"""Clicks against full masks of the same tiles: mIoU of held-out images, equal steps.

    python benchmarks/clicks.py ../shared/data [--set potato peanut] [--seeds 3] [--images 20] [--steps 200]
        [--frozen-steps 0]

Clicks are made of the masks: one a plant (a connected component of a class, of 20 px and more) at the point farthest
from its edge, moved by up to 3 px in any direction, and 20 on soil a tile. `--labels` stops before the training and
prints how well the grown clicks match the masks.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import machine
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from agriseg import TrainConfig, TrainOptions, train
from agriseg.labels.label_set import LabelRequest
from agriseg.labels.loading import load_labels
from agriseg.options.labels import LabelOptions
from agriseg.raster.safe_open import open_raster

LEAST, ON_SOIL, JITTER = 20, 20, 3.0  # px of a plant, clicks a tile, px


@dataclass(frozen=True)
class Field:
    """A data set, its classes, and the reach of a click in it."""

    folder: str
    classes: tuple[str, ...]
    reach: str


FIELDS = {
    "potato": Field("potato_weed_uav", ("soil", "potato", "weed"), "100px"),
    "peanut": Field("peanut_weed_handheld", ("soil", "peanut", "weed"), "250px"),
}


def clicks(mask: NDArray[np.uint8], seed: int) -> Iterator[tuple[int, float, float]]:
    """Class, x and y (px) of clicks on a mask (h, w)."""
    rng = np.random.default_rng(seed)
    for class_id in range(1, int(mask.max()) + 1):
        labels, count = ndimage.label(mask == class_id, np.ones((3, 3)))
        for number in np.flatnonzero(np.bincount(labels.ravel(), minlength=count + 1)[1:] >= LEAST) + 1:
            depth = ndimage.distance_transform_edt(np.pad(labels == number, 1))[1:-1, 1:-1]
            row, col = np.unravel_index(depth.argmax(), depth.shape)
            angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(0, JITTER)
            x, y = col + 0.5 + length * np.cos(angle), row + 0.5 + length * np.sin(angle)
            yield class_id, min(max(x, 0.0), mask.shape[1] - 0.01), min(max(y, 0.0), mask.shape[0] - 0.01)
    rows, cols = np.nonzero(mask == 0)
    for number in rng.choice(len(rows), min(ON_SOIL, len(rows)), replace=False):
        yield 0, cols[number] + 0.5, rows[number] + 0.5


def write_clicks(path: Path, image: Path, mask: NDArray[np.uint8], classes: tuple[str, ...], seed: int) -> None:
    """Write clicks as a LabelMe file."""
    shapes = [
        {"label": classes[k], "points": [[x, y]], "shape_type": "point", "flags": {}} for k, x, y in clicks(mask, seed)
    ]
    tree = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": image.name, "imageData": None}
    path.write_text(json.dumps(tree | {"imageHeight": mask.shape[0], "imageWidth": mask.shape[1]}), "utf-8")


def tiles(data: Path, field: Field, count: int, seed: int, folder: Path) -> None:
    """So many tiles as links in a folder, with their masks and clicks."""
    for part in ("images", "masks", "clicks"):
        (folder / part).mkdir()
    root = data / field.folder
    images = sorted((root / "images" / "train").iterdir())
    for number, image in enumerate(random.Random(1000 * count + seed).sample(images, count)):
        mask = next((root / "masks" / "train").glob(f"{image.stem}.*"))
        (folder / "images" / image.name).symlink_to(image.resolve())
        (folder / "masks" / mask.name).symlink_to(mask.resolve())
        ids = np.asarray(Image.open(mask))
        write_clicks(folder / "clicks" / f"{image.stem}.json", image, ids, field.classes, 1000 * seed + number)


def trained(data: Path, field: Field, labels: str, folder: Path, asked: argparse.Namespace, seed: int) -> float:
    """MIoU of the held-out images after a training on masks or clicks."""
    root = (data / field.folder).resolve()
    growth = {"grow": field.reach} if labels == "clicks" else {}
    tables = {
        "classes": field.classes, "arch": "unet_lite0", "init": "imagenet", "name": labels, "licence": "see SOURCE.md",
        "data": {"images": "images", "labels": labels, **growth},
        "validation": {"images": str(root / "images" / "val"), "labels": str(root / "masks" / "val")},
        "recipe": {
            "frozen_steps": asked.frozen_steps, "steps": asked.steps, "validate_every": asked.steps, "seed": seed,
            "lr": 2e-3, "backbone_lr": 0.3,
        },
    }  # fmt: skip
    scores = train(TrainConfig.of(tables, folder), folder / f"{labels}_out", TrainOptions(asked.device)).evaluation
    iou = ", ".join(f"{name} {value or 0:.3f}" for name, value in scores.iou.items())
    print(f"  {field.folder}, seed {seed}, {labels}: mIoU {scores.miou:.3f} ({iou})", flush=True)
    return scores.miou


def compare_labels(field: Field, folder: Path, seed: int) -> None:
    """Print what the grown clicks of the tiles have in common with their masks."""
    options, start = LabelOptions(grow=field.reach), time.perf_counter()
    label_set = load_labels(LabelRequest(folder / "images", folder / "clicks", field.classes, options), folder / "new")
    took = time.perf_counter() - start
    counts = np.zeros((len(field.classes), len(field.classes) + 1), np.int64)
    for each in label_set.images:
        truth = np.asarray(Image.open(next((folder / "masks").glob(f"{each.info.path.stem}.*"))))
        with open_raster(each.pair.labels) as dataset:
            grown = np.minimum(dataset.read(1), len(field.classes))
        counts += np.bincount(truth.ravel() * counts.shape[1] + grown.ravel(), minlength=counts.size).reshape(
            counts.shape
        )
    plants = [(each.clicks.ids > 0, each.clicks.pixels > 0) for each in label_set.images]
    missed = sum(int((on & ~grew).sum()) for on, grew in plants)
    total = sum(int(on.sum()) for on, _ in plants)
    print(f"{field.folder}, seed {seed}: {missed} of {total} plants not found, {took:.0f} s")
    for k, name in enumerate(field.classes):
        right = counts[k, k]
        print(
            f"  {name}: {right / counts[k].sum():.1%} of the class has its label, {right / counts[:, k].sum():.1%} of "
            f"the label is right, {counts[k, 0] / counts[k].sum():.1%} of the class is labelled {field.classes[0]}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--set", nargs="+", choices=FIELDS, default=list(FIELDS), dest="sets")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--frozen-steps", type=int, default=0, help="First steps, of the decoder alone.")
    parser.add_argument("--labels", action="store_true", help="Compare labels, without training.")
    parser.add_argument("--only", choices=("masks", "clicks"), help="One of the two trainings.")
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    print(machine(), flush=True)
    for name in asked.sets:
        field = FIELDS[name]
        for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place)
                tiles(asked.data, field, asked.images, seed, folder)
                if asked.labels:
                    compare_labels(field, folder, seed)
                    continue
                kinds = (asked.only,) if asked.only else ("masks", "clicks")
                scores = [trained(asked.data, field, kind, folder, asked, seed) for kind in kinds]
                if len(scores) > 1:
                    print(f"{name}, seed {seed}: clicks / masks = {scores[1] / scores[0]:.3f}", flush=True)


if __name__ == "__main__":
    main()
