"""How far a threshold goes: the best interval of one colour index for each class, fitted on the training images.

Each class gets the interval that maximises its IoU on the training images, on its own: a stronger opponent than one
rule for all classes, which would have to share the pixels out. Prints IoU on the validation images.

    python benchmarks/threshold_rules.py examples/potato_weed.toml
    python benchmarks/threshold_rules.py examples/coffee_leaf.toml
"""

import argparse
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from common import machine

from agriseg.labels.scene import Scene
from agriseg.training.config import TrainConfig
from agriseg.training.dataset import load_dataset

_BINS = 400
_SPAN = 2.0  # indices are told apart between -2 and 2

Index = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def share(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.zeros_like(above), where=below != 0)


# of r, g, b as shares of full scale
INDICES: dict[str, Index] = {
    # Woebbecke et al. 1995, doi 10.13031/2013.27838: of chromatic coordinates
    "excess green": lambda r, g, b: share(2 * g - r - b, r + g + b),
    # Meyer et al. 1998, doi 10.1117/12.336896
    "excess red": lambda r, g, b: share(1.4 * r - g, r + g + b),
    # Tucker 1979, doi 10.1016/0034-4257(79)90013-0
    "normalised green-red": lambda r, g, b: share(g - r, g + r),
    # Louhaichi et al. 2001, doi 10.1080/10106040108542184
    "green leaf": lambda r, g, b: share(2 * g - r - b, 2 * g + r + b),
    "normalised red-blue": lambda r, g, b: share(r - b, r + b),
    "red": lambda r, g, b: r,
    "green": lambda r, g, b: g,
    "blue": lambda r, g, b: b,
    "brightness": lambda r, g, b: (r + g + b) / 3,
    "saturation": lambda r, g, b: share(np.maximum(np.maximum(r, g), b) - np.minimum(np.minimum(r, g), b), r + g + b),
}


def histograms(scenes: Sequence[Scene], classes: int) -> dict[str, np.ndarray]:
    """Per index (K, bins) labelled pixels of each class."""
    found = {name: np.zeros((classes, _BINS), np.int64) for name in INDICES}
    for scene in scenes:
        for window in scene.windows():
            chip = scene.read(window.row_off, window.col_off, window.height, window.width)
            known = chip.ids != 255
            bands = chip.pixels[:, known].astype(np.float32) / 255
            for name, index in INDICES.items():
                place = np.clip((index(*bands) + _SPAN) / (2 * _SPAN) * _BINS, 0, _BINS - 1).astype(np.int64)
                both = chip.ids[known].astype(np.int64) * _BINS + place
                found[name] += np.bincount(both, minlength=classes * _BINS).reshape(classes, _BINS)
    return found


def interval_iou(counts: np.ndarray, k: int) -> np.ndarray:
    """(bins, bins + 1) IoU of class k if the bins [first, stop) are taken for it; 0 where stop <= first."""
    hits, all_pixels = (np.concatenate([[0], np.cumsum(each)]) for each in (counts[k], counts.sum(0)))
    taken_hits, taken = (each[None, :] - each[:-1, None] for each in (hits, all_pixels))
    return np.where(taken > 0, taken_hits / np.maximum(taken + hits[-1] - taken_hits, 1), 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    args = parser.parse_args()
    config = TrainConfig.of(tomllib.loads(args.config.read_text()), args.config.parent)
    found = load_dataset(config, Path())
    fitted_on, scored_on = (histograms(scenes, len(config.classes)) for scenes in (found.training, found.held))
    print(machine())
    for k, name in enumerate(config.classes):
        rules = []
        for index, counts in fitted_on.items():
            fitted = interval_iou(counts, k)
            first, stop = np.unravel_index(fitted.argmax(), fitted.shape)
            ends = tuple(place / _BINS * 2 * _SPAN - _SPAN for place in (first, stop))
            rules.append((fitted.max(), interval_iou(scored_on[index], k)[first, stop], index, ends))
        for train, held, index, (low, high) in sorted(rules, reverse=True)[:3]:
            print(f"{name:12} {low:6.2f} <= {index:22} < {high:5.2f}: IoU {train:.3f} fitted, {held:.3f} held back")


if __name__ == "__main__":
    main()
