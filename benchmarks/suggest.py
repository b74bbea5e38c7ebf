"""Labels for the same mIoU: boxes that `agriseg suggest` would pick against boxes picked at random.

    python benchmarks/suggest.py potato_weed_uav [--side 320] [--seeds 5] [--draws 2] [--rules all]
    python benchmarks/suggest.py coffee_leaf_stress

The pool are the training images of the data set, cut into boxes (coffee: whole photographs, at half their resolution).
The model is a small head on the frozen encoder of `unet_lite0` with ImageNet's weights. It starts with a few labelled
boxes at random; each round picks as many again, is labelled and trained anew. `--draws` random orders begin with the
same boxes. The mIoU is of a uniform sample of pixels of the images held out. "Plants" are connected components of the
labelled classes that are drawn (potato and weed; symptoms of coffee leaves) in the boxes. One rule takes about five
minutes of an idle core for each data set.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from common import machine
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import nn
from torch.nn import functional

from agriseg.networks import ARCHITECTURES
from agriseg.networks.efficientnet_lite0 import EfficientNetLite0, efficientnet_state
from agriseg.networks.pretrained import packaged_weights, read_torchvision_state
from agriseg.suggest.boxes import BoxStatistics
from agriseg.suggest.ranking import RULE, Candidates, Exponents, rank

RULES = {
    "suggest": RULE,
    "entropy": Exponents(work=0, distance=0),
    "distance": Exponents(entropy=0, work=0),
    "entropy, distance": Exponents(work=0),
    "entropy, distance, rarity": Exponents(work=0, rarity=1),
    "suggest, rarity": Exponents(rarity=0.5),
    "suggest, work in full": Exponents(work=-1),
}
ROUNDS, RANDOM = (1, 2, 3, 4, 5, 6), (1, 2, 3, 4, 6, 8, 11, 13)
"""Boxes that are labelled, in multiples of those at the start."""
TARGETS = (8, 11, 13)
"""Of these random multiples the mIoU is looked for."""
SCORED, TRAINED, HELD = 1024, 1200, 4096
"""Pixels: of a box that are scored, of a class and box that are trained on, of an image held out."""


@dataclass(frozen=True)
class DataSet:
    """Where the images and labels are, and the classes that are drawn, whose components count as plants."""

    images: str
    labels: str
    suffix: str
    drawn: tuple[int, ...]
    factor: int
    start: int


SETS = {
    "potato_weed_uav": DataSet("images", "masks", "", (1, 2), 1, 3),
    "coffee_leaf_stress": DataSet("images", "annotations", "_mask", (2,), 2, 3),
}


@dataclass
class Box:
    """What is kept of a box: features and labels of some pixels, how many each stands for, its plants, its cell."""

    scored: NDArray[np.float16]
    trained: NDArray[np.float16]
    classes: NDArray[np.int64]
    weights: NDArray[np.float32]
    plants: int
    image: int
    cell: tuple[int, int]


def encoder() -> EfficientNetLite0:
    network = EfficientNetLite0(3)
    weights = ARCHITECTURES["unet_lite0"].pretrained["imagenet"]
    assert not isinstance(weights, str)
    network.load_state_dict(efficientnet_state(read_torchvision_state(packaged_weights(weights))), strict=False)
    return network.eval()


def pictures(folder: Path, kind: DataSet, part: str) -> Iterator[tuple[str, NDArray[np.uint8], NDArray[np.uint8]]]:
    """Name, pixels (h, w, 3) and class ids (h, w)."""
    for path in sorted((folder / kind.images / part).iterdir()):
        with (
            Image.open(path) as image,
            Image.open(folder / kind.labels / part / f"{path.stem}{kind.suffix}.png") as mask,
        ):
            pixels = np.asarray(image.convert("RGB").reduce(kind.factor))
            ids = np.asarray(mask)[:: kind.factor, :: kind.factor]
        if ids.ndim == 3:  # red is a symptom, green a leaf
            ids = np.where(ids[..., 0] > 127, 2, np.where(ids[..., 1] > 90, 1, 0)).astype(np.uint8)
        yield path.stem, pixels, ids


class Features:
    """Numbers of single pixels: its colours, and the features of all strides of the encoder around it."""

    def __init__(self, network: EfficientNetLite0, pixels: NDArray[np.uint8]) -> None:
        x = torch.from_numpy((pixels.astype(np.float32) - 127) / 128).permute(2, 0, 1)[None]
        with torch.inference_mode():
            self._maps = [x, *network(x)]
        self._size = pixels.shape[:2]

    def at(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> NDArray[np.float16]:
        y, x = (
            torch.from_numpy((each + 0.5) / size * 2 - 1) for each, size in zip((rows, cols), self._size, strict=True)
        )
        points = torch.stack([x, y], -1)[None, None].float()
        found = [
            functional.grid_sample(each, points, align_corners=False, padding_mode="border")[0, :, 0].T
            for each in self._maps
        ]
        return torch.cat(found, 1).half().numpy()


def boxes_of(folder: Path, kind: DataSet, side: int | None) -> list[Box]:
    network, rng, boxes = encoder(), np.random.default_rng(0), []
    for number, (name, pixels, ids) in enumerate(pictures(folder, kind, "train")):
        features = Features(network, pixels)
        height, width = (side or ids.shape[0]), (side or ids.shape[1])
        corner = tuple(map(int, name.split("_")[:0:-1])) if name.startswith("tile_") else None  # tile_<col>_<row>
        for row, col in np.ndindex(ids.shape[0] // height, ids.shape[1] // width):
            part = ids[row * height : (row + 1) * height, col * width : (col + 1) * width]
            cell = (
                (row, col)
                if corner is None
                else tuple(
                    place * (ids.shape[0] // height) + own for place, own in zip(corner, (row, col), strict=True)
                )
            )
            boxes.append(
                box_of(features, part, (row * height, col * width), kind, rng, number if corner is None else 0, cell)
            )
    return boxes


def box_of(
    features: Features,
    ids: NDArray[np.uint8],
    corner: tuple[int, int],
    kind: DataSet,
    rng: np.random.Generator,
    image: int,
    cell: tuple[int, ...],
) -> Box:
    flat = ids.ravel()
    counts = np.bincount(flat, minlength=3)
    drawn = [rng.permutation(np.flatnonzero(flat == k))[:TRAINED] for k in range(3)]
    weights = counts / np.maximum(1, [len(each) for each in drawn])
    chosen = np.concatenate(drawn)

    def at(places: NDArray[np.int64]) -> NDArray[np.float16]:
        rows, cols = np.divmod(places, ids.shape[1])
        return features.at(rows + corner[0], cols + corner[1])

    plants = sum(ndimage.label(ids == k, np.ones((3, 3)))[1] for k in kind.drawn)
    return Box(
        at(rng.permutation(flat.size)[:SCORED]), at(chosen), flat[chosen].astype(np.int64),
        weights[flat[chosen]].astype(np.float32), plants, image, (cell[0], cell[1]),
    )  # fmt: skip


class Experiment:
    """Trains heads on some of the boxes of a pool, and scores them on what is held out."""

    def __init__(self, folder: Path, kind: DataSet, side: int | None) -> None:
        self.boxes = boxes_of(folder, kind, side)
        sample = np.concatenate([box.scored[::8] for box in self.boxes]).astype(np.float32)
        self._mean, self._deviation = sample.mean(0), sample.std(0) + 1e-3
        self._pool = np.stack([self._scaled(box.scored) for box in self.boxes]).astype(np.float16)
        network, rng, held, truth = encoder(), np.random.default_rng(1), [], []
        for _, pixels, ids in pictures(folder, kind, "val"):
            places = rng.permutation(ids.size)[:HELD]
            held.append(self._scaled(Features(network, pixels).at(*np.divmod(places, ids.shape[1]))))
            truth.append(ids.ravel()[places])
        self._held, self._truth = torch.from_numpy(np.concatenate(held)), np.concatenate(truth).astype(np.int64)

    def _scaled(self, features: NDArray[np.float16]) -> NDArray[np.float32]:
        return (features.astype(np.float32) - self._mean) / self._deviation

    def head(self, labelled: Sequence[int], seed: int, steps: int = 300, batch: int = 512) -> nn.Module:
        torch.manual_seed(seed)
        boxes = [self.boxes[number] for number in labelled]
        x = torch.from_numpy(np.concatenate([self._scaled(box.trained) for box in boxes]))
        y = torch.from_numpy(np.concatenate([box.classes for box in boxes]))
        weights = torch.from_numpy(np.concatenate([box.weights for box in boxes]))
        network = nn.Sequential(nn.Linear(x.shape[1], 64), nn.ReLU(), nn.Linear(64, 3))
        optimizer = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=steps)
        for _ in range(steps):
            some = torch.randint(len(x), (batch,))
            losses = functional.cross_entropy(network(x[some]), y[some], reduction="none")
            loss = (losses * weights[some]).sum() / weights[some].sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        return network

    @torch.inference_mode()
    def miou(self, head: nn.Module) -> float:
        guess = head(self._held).argmax(1).numpy()
        counts = np.bincount(self._truth * 3 + guess, minlength=9).reshape(3, 3)
        hits = np.diag(counts)
        return float((hits / (counts.sum(0) + counts.sum(1) - hits)).mean())

    @torch.inference_mode()
    def candidates(self, head: nn.Module, labelled: Sequence[int]) -> Candidates:
        p = np.stack([torch.softmax(head(torch.from_numpy(each).float()), 1).double().numpy() for each in self._pool])
        known = np.isin(np.arange(len(self.boxes)), labelled)
        statistics = BoxStatistics.of_probabilities(p, np.ones(p.shape[:2], bool))
        image, cell = np.array([box.image for box in self.boxes]), np.array([box.cell for box in self.boxes])
        return Candidates(statistics, image, cell, known, np.ones(len(known), bool))

    def plants(self, labelled: Sequence[int]) -> int:
        return sum(self.boxes[number].plants for number in labelled)


def picked(experiment: Experiment, start: Sequence[int], rule: Exponents, seed: int) -> list[tuple[float, int]]:
    """The mIoU and the plants after each round."""
    labelled, curve = list(start), []
    for times in ROUNDS:
        head = experiment.head(labelled, seed)
        curve.append((experiment.miou(head), experiment.plants(labelled)))
        if times < ROUNDS[-1]:
            labelled += [each.box for each in rank(experiment.candidates(head, labelled), len(start), rule)]
    return curve


def at_random(experiment: Experiment, start: Sequence[int], seed: int, draw: int) -> list[tuple[float, int]]:
    order = np.random.default_rng([seed, draw]).permutation(len(experiment.boxes)).tolist()
    labelled = [*start, *(each for each in order if each not in start)]
    sizes = [len(start) * times for times in RANDOM]
    return [
        (experiment.miou(experiment.head(labelled[:size], seed)), experiment.plants(labelled[:size])) for size in sizes
    ]


def needed(curve: NDArray[np.float64], boxes: NDArray[np.int64], miou: float) -> tuple[float, float] | None:
    """Boxes and plants at which a curve of mIoU and plants reaches a mIoU, between its points; None if it does not."""
    above = np.flatnonzero(curve[:, 0] >= miou)
    if not len(above) or above[0] == 0:
        return None
    low, high = above[0] - 1, above[0]
    share = (miou - curve[low, 0]) / (curve[high, 0] - curve[low, 0])
    return tuple(float(each[low] + share * (each[high] - each[low])) for each in (boxes, curve[:, 1]))  # type: ignore[return-value]


def shown(boxes: NDArray[np.int64], curve: NDArray[np.float64]) -> str:
    return ", ".join(f"{count}: {miou:.3f} ({plants:.0f})" for count, (miou, plants) in zip(boxes, curve, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of potato_weed_uav or coffee_leaf_stress")
    parser.add_argument("--side", type=int, help="of a box (px); whole images without")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--rules", default="suggest", help=f"'all', or some of: {'; '.join(RULES)}; separated by ';'")
    asked = parser.parse_args()
    kind = SETS[asked.data.resolve().name]
    experiment = Experiment(asked.data, kind, asked.side)
    rules = list(RULES) if asked.rules == "all" else asked.rules.split(";")
    images = len({*(path.stem for path in (asked.data / kind.images / "train").iterdir())})
    start = kind.start * len(experiment.boxes) // images
    random, by_rule = [], {name: [] for name in rules}
    print(f"{machine()}; {len(experiment.boxes)} boxes; boxes: mIoU (plants)", flush=True)
    for seed in range(asked.seeds):
        first = np.random.default_rng(seed).permutation(len(experiment.boxes))[:start].tolist()
        random.append(np.mean([at_random(experiment, first, seed, draw) for draw in range(asked.draws)], 0))
        print(f"seed {seed}, random: {shown(start * np.array(RANDOM), random[-1])}", flush=True)
        for name in rules:
            by_rule[name].append(np.array(picked(experiment, first, RULES[name], seed)))
            print(f"seed {seed}, {name}: {shown(start * np.array(ROUNDS), by_rule[name][-1])}", flush=True)
    report(start, random, by_rule)


def report(start: int, random: list[NDArray[np.float64]], by_rule: dict[str, list[NDArray[np.float64]]]) -> None:
    """Mean curves, and the share of random's boxes and plants that each rule needs for the same mIoU."""
    sizes, usual = start * np.array(RANDOM), np.mean(random, 0)
    print(f"mean, random: {shown(sizes, usual)}")
    for name, curves in by_rule.items():
        print(f"mean, {name}: {shown(start * np.array(ROUNDS), np.mean(curves, 0))}")
        for times in TARGETS:
            miou, plants = usual[RANDOM.index(times)]
            found = needed(np.mean(curves, 0), start * np.array(ROUNDS), miou)
            shares = (
                "not reached"
                if found is None
                else (f"{found[0] / (start * times):.2f} of the boxes, {found[1] / plants:.2f} of the plants")
            )
            print(f"  {name}, mIoU {miou:.3f} of {start * times} random boxes: {shares}")


if __name__ == "__main__":
    main()
