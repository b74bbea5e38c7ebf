"""Verdict and confidence of the vegetation model on fields that it was not trained on.

    python examples/train_vegetation_model.py DATA MODELS/FIELD_SEED --leave-out FIELD --seed SEED   # for each field
    python benchmarks/left_out_fields.py DATA MODELS [--images 24]

Some images of the left-out field get the GSD that their source states, and are mapped as `agriseg run` maps them. The
verdict of each map is compared with its IoU of vegetation, and the confidence with the share of correct pixels.
"""

import argparse
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image

from agriseg import load_model, segment
from agriseg.legend import CONFIDENCE_STEP

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from train_vegetation_model import FIELDS, UNKNOWN

GSD = {"wheat": 0.0005, "peanut": 0.0005, "soy": 0.002, "sugar_beet": 0.001, "potato": 0.003}
"""Metres, as the source states or guesses them; for "well under 1 mm" half a millimetre."""
BINS = np.linspace(0.5, 1.0, 11)
COVERAGE = 0.9


@dataclass(frozen=True)
class Map:
    """A map of one image: its IoU, its verdict, and of each labelled pixel the confidence and whether it is right."""

    iou: float
    colour: str
    distance: float
    confidence: NDArray[np.float32]
    right: NDArray[np.bool_]


def mapped(image: Path, mask: Path, gsd: float, model: object, folder: Path) -> Map:
    pixels, ids = np.asarray(Image.open(image).convert("RGB")), np.asarray(Image.open(mask))
    raster = folder / "field.tif"
    place = rasterio.Affine(gsd, 0, 500_000, 0, -gsd, 5_000_000)
    size = {"height": pixels.shape[0], "width": pixels.shape[1], "count": 3, "dtype": "uint8"}
    with rasterio.open(raster, "w", driver="GTiff", crs="EPSG:32632", transform=place, photometric="RGB", **size) as to:
        to.write(pixels.transpose(2, 0, 1))
    verdict = segment(raster, model, folder / "maps", overwrite=True).verdict
    with (
        rasterio.open(folder / "maps/field_classes.tif") as classes,
        rasterio.open(folder / "maps/field_confidence.tif") as confidence,
    ):
        found, sure = classes.read(1), confidence.read(1) * np.float32(CONFIDENCE_STEP)
    known = ids != UNKNOWN
    plants, truth = found[known] == 1, ids[known] > 0
    iou = (plants & truth).sum() / max(1, (plants | truth).sum())
    return Map(float(iou), verdict.colour, verdict.distance or np.nan, sure[known], plants == truth)


def calibration(maps: list[Map]) -> tuple[float, float, float]:
    """Expected calibration error, accuracy, and accuracy of the most confident pixels."""
    sure, right = np.concatenate([each.confidence for each in maps]), np.concatenate([each.right for each in maps])
    places = np.clip(np.digitize(sure, BINS) - 1, 0, len(BINS) - 2)
    count = np.bincount(places, minlength=len(BINS) - 1)
    off = np.abs(np.bincount(places, sure, len(BINS) - 1) - np.bincount(places, right, len(BINS) - 1))
    return (
        float(off.sum() / count.sum()),
        float(right.mean()),
        float(right[sure >= np.quantile(sure, 1 - COVERAGE)].mean()),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("models", type=Path)
    parser.add_argument("--images", type=int, default=24, help="largest number of images of a field")
    asked = parser.parse_args()
    print("| field | seed | images | median IoU | green, amber, red | distance | calibration error | accuracy "
          f"| of the surest {COVERAGE:.0%} |\n|---|---|---|---|---|---|---|---|---|")  # fmt: skip
    every: list[Map] = []
    for file in sorted(asked.models.glob("*/model/best.safetensors")):
        field, seed = file.parents[1].name.rsplit("_", 1)
        model, source = load_model(file), asked.data / FIELDS[field]
        images = sorted((source / "images").glob("*/*"))
        chosen = images[:: -(-len(images) // asked.images)]
        with tempfile.TemporaryDirectory() as name:
            maps = [
                mapped(image, source / "masks" / image.parent.name / f"{image.stem}.png", GSD[field], model, Path(name))
                for image in chosen
            ]
        every += maps
        colours = Counter(each.colour for each in maps)
        error, accuracy, surest = calibration(maps)
        print(f"| {field} | {seed} | {len(maps)} | {np.median([each.iou for each in maps]):.3f} | "
              f"{', '.join(str(colours[each]) for each in ('green', 'amber', 'red'))} | "
              f"{np.median([each.distance for each in maps]):.1f} | {error:.3f} | {accuracy:.3f} | {surest:.3f} |",
              flush=True)  # fmt: skip
    for low, high in ((0.8, 1.01), (0.5, 0.8), (0.0, 0.5)):
        there = Counter(each.colour for each in every if low <= each.iou < high)
        print(f"IoU from {low} to {min(1.0, high)}: {sum(there.values())} maps, {dict(there)}")


if __name__ == "__main__":
    main()
