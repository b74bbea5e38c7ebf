"""Vegetation by one colour index and Otsu's threshold, on the fields of examples/train_vegetation_model.py.

    python benchmarks/otsu_index.py ../shared/data

For each field the best of five indices is printed, with one threshold for each image and with one for all its images.
The choice of the index flatters it: a model that was not trained on the field knows no labels of it.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from train_vegetation_model import FIELDS, UNKNOWN

EVERY = 7  # pixels, along the flattened image


def indices(red: NDArray[np.float64], green: NDArray[np.float64], blue: NDArray[np.float64]) -> dict[str, NDArray]:
    """ExG, ExGR, VARI, NGRDI and CIVE; the larger, the greener."""
    total = red + green + blue + 1e-3
    r, g, b = red / total, green / total, blue / total
    return {
        "ExG": 2 * g - r - b, "ExGR": 3 * g - 2.4 * r - b,
        "VARI": np.clip((green - red) / (green + red - blue + 1e-3), -1, 1),
        "NGRDI": (green - red) / (green + red + 1e-3), "CIVE": -(0.441 * red - 0.811 * green + 0.385 * blue),
    }  # fmt: skip


def otsu(values: NDArray[np.float64]) -> float:
    """The threshold with the largest variance between the two parts (Otsu 1979, doi 10.1109/TSMC.1979.4310076)."""
    counts, edges = np.histogram(values, 256)
    centres = (edges[1:] + edges[:-1]) / 2
    below, sums = counts.cumsum(), (counts * centres).cumsum()
    apart = (sums[-1] * below - below[-1] * sums) ** 2 / np.maximum(below * (below[-1] - below), 1)
    return float(centres[apart[:-1].argmax()])


def iou(found: list[NDArray[np.bool_]], truth: list[NDArray[np.bool_]]) -> float:
    a, b = np.concatenate(found), np.concatenate(truth)
    return float((a & b).sum() / (a | b).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    asked = parser.parse_args()
    print("| field | a threshold for each image | one for all images |\n|---|---|---|")
    for field, folder in FIELDS.items():
        values: dict[str, list[NDArray]] = {}
        truth = []
        for image in sorted((asked.data / folder / "images").glob("*/*")):
            mask = asked.data / folder / "masks" / image.parent.name / f"{image.stem}.png"
            ids = np.asarray(Image.open(mask)).ravel()[::EVERY]
            bands = np.asarray(Image.open(image).convert("RGB")).reshape(-1, 3)[::EVERY][ids != UNKNOWN].T.astype(float)
            truth.append(ids[ids != UNKNOWN] > 0)
            for name, index in indices(*bands).items():
                values.setdefault(name, []).append(index)
        each = {name: iou([v > otsu(v) for v in some], truth) for name, some in values.items()}
        limits = {name: otsu(np.concatenate(some)) for name, some in values.items()}
        pooled = {name: iou([v > limits[name] for v in some], truth) for name, some in values.items()}
        best = [max(scores, key=scores.__getitem__) for scores in (each, pooled)]
        print(f"| {field} | {each[best[0]]:.3f} ({best[0]}) | {pooled[best[1]]:.3f} ({best[1]}) |", flush=True)


if __name__ == "__main__":
    main()
