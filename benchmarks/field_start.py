"""How few labelled tiles a new field needs: weights of ImageNet against weights of other fields.

    python benchmarks/field_start.py ../shared/data OTHER_FIELDS.safetensors [--tiles 2 8] [--seeds 2] [--steps 120]

OTHER_FIELDS is a `unet_lite0` for soil and vegetation, trained on other fields than the potatoes. Both start a training
of soil, potato and weed on some tiles of the potato field, with equal steps; the 30 tiles that were held out score it.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from agriseg import load_model
from agriseg.training.config import TrainConfig
from agriseg.training.run import TrainOptions, train

FIELD = "potato_weed_uav"


def configuration(data: Path, folder: Path, start: str, steps: int, seed: int) -> TrainConfig:
    held_out = {name: str((data / FIELD / name / "val").resolve()) for name in ("images", "masks")}
    tables = {
        "classes": ["soil", "potato", "weed"],
        "arch": "unet_lite0",
        "init": start,
        "normalize_by": "raster",
        "data": {"images": "images", "labels": "labels"},
        "validation": {"images": held_out["images"], "labels": held_out["masks"]},
        "recipe": {"steps": steps, "validate_every": steps, "lr": 2e-3, "backbone_lr": 0.3, "seed": seed},
    }  # fmt: skip
    return TrainConfig.of(tables, folder)


def take(data: Path, folder: Path, tiles: int, seed: int) -> None:
    """Copy some training tiles with their labels: every n-th, from a place that depends on the seed."""
    images = sorted((data / FIELD / "images/train").iterdir())
    chosen = [images[(seed * 7 + k * len(images) // tiles) % len(images)] for k in range(tiles)]
    for name in ("images", "labels"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()
    for image in chosen:
        shutil.copy(image, folder / "images")
        shutil.copy(data / FIELD / "masks/train" / f"{image.stem}.png", folder / "labels")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("other_fields", type=Path)
    parser.add_argument("--tiles", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=120)
    asked = parser.parse_args()
    print("| tiles | seed | start | mIoU | soil | potato | weed |\n|---|---|---|---|---|---|---|", flush=True)
    starts = {"ImageNet": "imagenet", "other fields": str(asked.other_fields.resolve())}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for tiles in asked.tiles:
            for seed in range(asked.seeds):
                take(asked.data, folder, tiles, seed)
                for title, start in starts.items():
                    config = configuration(asked.data, folder, start, asked.steps, seed)
                    out = folder / f"{tiles}_{seed}_{title.replace(' ', '_')}"
                    scores = load_model(train(config, out, TrainOptions()).model).about["evaluation"]
                    iou = {entry["name"]: entry["iou"] for entry in scores["classes"]}
                    row = [scores["miou"], *(iou[each] for each in config.classes)]
                    print(f"| {tiles} | {seed} | {title} | {' | '.join(f'{each:.3f}' for each in row)} |", flush=True)


if __name__ == "__main__":
    main()
