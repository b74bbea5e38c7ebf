"""Make a model that tells plants from soil in any field, or judge it on a field that it has not seen.

    python examples/train_vegetation_model.py DATA OUT [--leave-out FIELD] [--steps 400] [--seed 0]

DATA holds the five data sets below, each with `images/PART` and `masks/PART` (0 soil, other numbers plants). Three are
CC BY-SA 4.0, and so is a model of them. With --leave-out, the model learns from the other four and is scored on all
images of that field, each mapped as `agriseg run` maps a raster.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from agriseg.evaluation.evaluate import evaluate
from agriseg.training.config import TrainConfig
from agriseg.training.progress import StepDone
from agriseg.training.run import TrainOptions, train

FIELDS = {
    "wheat": "wheat_ews",  # Zenkl et al. 2022, CC BY-SA 4.0
    "peanut": "peanut_weed_handheld",  # Tran and Phan 2023, CC BY-SA 4.0
    "soy": "soy_weed_boom",  # Steinmetz et al. 2023, MIT
    "sugar_beet": "sugarbeet_phenobench_sample",  # PhenoBench, Weyler et al. 2024, CC BY-SA 4.0
    "potato": "potato_weed_uav",  # PrecisionAg Lab 2025, MIT
}
PURPOSE = "It tells living plants from soil, in fields of any crop. It does not tell a crop from weeds."
LICENCE = (
    "CC BY-SA 4.0; trained on Eschikon Wheat Segmentation (Zenkl et al. 2022, CC BY-SA 4.0), Peanut-dataset (Tran and "
    "Phan 2023, CC BY-SA 4.0), PhenoBench (Weyler et al. 2024, CC BY-SA 4.0), GrowingSoy (Steinmetz et al. 2023, MIT), "
    "UAV-weed-detection-paper (PrecisionAg Lab 2025, MIT)"
)
SIDE = 1000  # larger pictures are cut in four: so few would be drawn too seldom
UNKNOWN = 255
GSD_RANGE = (0.0003, 0.01)
"""Metres: from the wheat and the peanuts, well under 1 mm, to potatoes of 3 mm made smaller by the augmentation."""


def collect(data: Path, out: Path, fields: list[str]) -> None:
    """Copy the images of some fields into `out/images`, and their masks, 0 soil and 1 plants, into `out/labels`."""
    for name in ("images", "labels"):
        shutil.rmtree(out / name, ignore_errors=True)
        (out / name).mkdir(parents=True)
    for field in fields:
        for image in sorted((data / FIELDS[field] / "images").glob("*/*")):
            mask = data / FIELDS[field] / "masks" / image.parent.name / f"{image.stem}.png"
            picture, ids = Image.open(image).convert("RGB"), np.asarray(Image.open(mask))
            plants = Image.fromarray(np.where(ids == UNKNOWN, UNKNOWN, ids > 0).astype(np.uint8))
            for number, box in enumerate(_boxes(*picture.size)):
                stem = f"{field}_{image.parent.name}_{image.stem}_{number}".replace(".", "_")
                picture.crop(box).save(out / "images" / f"{stem}.png", compress_level=1)
                plants.crop(box).save(out / "labels" / f"{stem}.png")


def _boxes(width: int, height: int) -> list[tuple[int, int, int, int]]:
    if min(width, height) < SIDE:
        return [(0, 0, width, height)]
    across, down = width // 2, height // 2
    return [(left, top, left + across, top + down) for left in (0, across) for top in (0, down)]


def configuration(folder: Path, steps: int, seed: int) -> TrainConfig:
    tables = {
        "classes": ["soil", "vegetation"],
        "colours": ["#b08d62", "#1a9850"],
        "name": "vegetation",
        "purpose": PURPOSE,
        "limits": ["distance=3:5"],
        "licence": LICENCE,
        "arch": "pixel_mlp",
        "normalize_by": "raster",
        "gsd_range": GSD_RANGE,
        "data": {"images": "images", "labels": "labels"},
        "validation": {"by": "file", "share": 0.05},
        "recipe": {
            "steps": steps, "validate_every": steps, "lr": 3e-3, "chip": 64, "batch": 64, "sample_by": "image",
            "seed": seed, "augmentation": {"zoom": 2.0, "brightness": 0.0, "channel_jitter": 0.0, "nodata_edge": 0.3},
        },
    }  # fmt: skip
    return TrainConfig.of(tables, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--leave-out", choices=FIELDS)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    collect(asked.data, asked.out, [field for field in FIELDS if field != asked.leave_out])
    config = configuration(asked.out, asked.steps, asked.seed)
    trained = train(config, asked.out / "model", TrainOptions(report=_say))
    if asked.leave_out:
        collect(asked.data, asked.out / "left_out", [asked.leave_out])
        scores = evaluate(trained.model, *(asked.out / "left_out" / name for name in ("images", "labels"))).scores()
        iou = {entry.name: entry.iou for entry in scores.classes}
        print(json.dumps({"left out": asked.leave_out, "seed": asked.seed, "steps": asked.steps, "iou": iou}))


def _say(progress: object) -> None:
    if isinstance(progress, StepDone) and progress.step % 50 == 0:
        print(f"step {progress.step}: loss {progress.loss:.3f}", flush=True)


if __name__ == "__main__":
    main()
