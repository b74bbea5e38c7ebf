"""Does a model's curve over GSD foretell its scores on coarser rasters, and does the verdict warn in time?

    python benchmarks/gsd_curve.py ../shared/data [--seeds 0 1 2] [--steps 200] [--frozen-steps 0] [--set potato]

Two sets: the potato field as rasters of 3 mm pixels, and photographs of peanuts without a GSD. Each is parted in three:
ground to train on, held-back ground that gives the curve, and ground that the model has never seen. GDAL averages the
rasters of the last two to pixels 1.5, 2 and 3 times as large (labels: nearest neighbour), and `agriseg evaluate` maps
and scores them with its defaults. Differences are the measured mean IoU less that of the curve, in all, and in the loss
since factor 1 alone, which other ground does not shift.
"""

import argparse
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rasterio
from common import machine
from rasterio.enums import Resampling
from rasterio.warp import reproject
from rasterio.windows import Window

from agriseg import SegmentationModel, load_model
from agriseg.evaluation.evaluate import evaluate
from agriseg.mapping.record import curve_of
from agriseg.training.config import TrainConfig
from agriseg.training.run import TrainOptions, train
from agriseg.training_facts import GsdCurve

FIELD = (("train", 0, 4480), ("held", 4480, 1280), ("unseen", 5760, 1280))
"""Part, first column and number of columns of the potato field."""
CLASSES = {"potato": ["soil", "potato", "weed"], "peanut": ["soil", "peanut", "weed"]}
PHOTOGRAPHS = (
    ("train", "train", slice(None)),
    ("held", "val", slice(0, None, 2)),
    ("unseen", "val", slice(1, None, 2)),
)
"""Part, folder and which of its photographs of peanuts."""


def potato_parts(data: Path, folder: Path) -> None:
    """The parts of the potato field, as rasters in folders of images and labels."""
    field = data / "potato_weed_uav/field/field_cols00-10"
    for kind, path in (("images", f"{field}.tif"), ("labels", f"{field}_labels.tif")):
        with rasterio.open(path) as source:
            for part, left, width in FIELD:
                window = Window(left, 0, width, source.height)
                pixels, transform = source.read(window=window), source.window_transform(window)
                write(folder / part / kind / f"{part}.tif", pixels, source, transform)


def peanut_parts(data: Path, folder: Path) -> None:
    """The photographs of peanuts: those to train on; of the others every second is held back."""
    peanut = data / "peanut_weed_handheld"
    for kind, name in (("images", "images"), ("labels", "masks")):
        for part, split, chosen in PHOTOGRAPHS:
            (folder / part / kind).mkdir(parents=True)
            for path in sorted((peanut / name / split).iterdir())[chosen]:
                shutil.copy(path, folder / part / kind)


def write(path: Path, pixels: np.ndarray, like: rasterio.DatasetReader, transform: rasterio.Affine) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "GTiff", "dtype": pixels.dtype, "count": len(pixels), "height": pixels.shape[1],
        "width": pixels.shape[2], "crs": like.crs, "transform": transform, "nodata": like.nodata, "tiled": True,
        "compress": "deflate", "photometric": "RGB" if len(pixels) == 3 else "MINISBLACK",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as target:
        target.write(pixels)


def coarse(part: Path, out: Path, factor: float) -> None:
    """The images and labels of a part with larger pixels, by GDAL."""
    for kind, how in (("images", Resampling.average), ("labels", Resampling.nearest)):
        for path in sorted((part / kind).iterdir()):
            with rasterio.open(path) as source:
                pixels, crs = source.read(), source.crs or "EPSG:32632"  # GDAL warps nothing without one
                height, width = round(source.height / factor), round(source.width / factor)
                transform = source.transform @ rasterio.Affine.scale(source.width / width, source.height / height)
                larger = np.zeros((len(pixels), height, width), pixels.dtype)
                reproject(
                    pixels, larger, src_transform=source.transform, src_crs=crs, dst_transform=transform, dst_crs=crs,
                    resampling=how,
                )  # fmt: skip
                write(out / kind / f"{path.stem}.tif", larger, source, transform)


SETS = {"potato": potato_parts, "peanut": peanut_parts}


def configuration(folder: Path, name: str, asked: argparse.Namespace, seed: int) -> TrainConfig:
    """A short training with other images held back."""
    tables = {
        "classes": CLASSES[name],
        "arch": asked.arch,
        "data": {"images": "train/images", "labels": "train/labels"},
        "validation": {"images": "held/images", "labels": "held/labels"},
        "recipe": {
            "frozen_steps": asked.frozen_steps, "steps": asked.steps, "validate_every": asked.steps, "lr": 2e-3,
            "backbone_lr": 0.3, "seed": seed,
        },
    }  # fmt: skip
    return TrainConfig.of(tables, folder)


def measured(model: SegmentationModel, part: Path, factor: float, folder: Path) -> tuple[float, Counter[str], set[str]]:
    """Mean IoU of the maps of a part with larger pixels, colours of their verdicts, and the criteria that gave them."""
    shutil.rmtree(folder, ignore_errors=True)
    coarse(part, folder, factor)
    miou = evaluate(model, folder / "images", folder / "labels", folder=folder / "maps").miou
    verdicts = [json.loads(path.read_text())["verdict"] for path in (folder / "maps").glob("*_run.json")]
    causes = {
        f"{cause['what']} {cause['value']:.2f}" for verdict in verdicts for cause in verdict["causes"] if cause["value"]
    }
    return miou, Counter(verdict["colour"] for verdict in verdicts), causes


def rows(model: SegmentationModel, curve: GsdCurve, folder: Path) -> Iterator[list[str]]:
    """A row for each part and factor."""
    for part in ("held", "unseen"):
        first = None
        for point in curve.points:
            miou, colours, causes = measured(model, folder / part, point.factor, folder / "coarse")
            first = miou if first is None else first
            loss, foretold = first - miou, curve.own_miou - point.miou
            shown = ", ".join(f"{count} {colour}" for colour, count in colours.most_common())
            why = ", ".join(sorted(causes)) if len(causes) <= 3 else f"{len(causes)} causes"
            yield [
                part, f"{point.factor:g}", f"{point.miou:.3f}", f"{miou:.3f}", f"{miou - point.miou:+.3f}",
                f"{loss:.3f}", f"{foretold - loss:+.3f}", shown, why,
            ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--frozen-steps", type=int, default=0, help="First steps, of the decoder alone.")
    parser.add_argument("--arch", default="unet_lite0")
    parser.add_argument("--set", choices=("potato", "peanut"), action="append")
    parser.add_argument("--device", default="auto")
    asked = parser.parse_args()
    print(f"{machine()}; {asked.arch}, {asked.frozen_steps} steps of the decoder alone, then {asked.steps}\n")
    print("| set | seed | part | factor | curve | measured | difference | loss | of the loss | verdicts | causes |")
    print("|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for name, parts in SETS.items():
        if asked.set and name not in asked.set:
            continue
        for seed in asked.seeds:
            with tempfile.TemporaryDirectory() as temporary:
                folder = Path(temporary)
                parts(asked.data, folder)
                trained = train(configuration(folder, name, asked, seed), folder / "out", TrainOptions(asked.device))
                model = load_model(trained.model)
                curve = curve_of(model)
                for row in rows(model, curve, folder) if curve else ():
                    print(f"| {name} | {seed} | {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
