"""Ten labelled images with ImageNet's weights against forty with random ones, equal minutes.

    python benchmarks/few_labels.py examples/potato_weed.toml [--seeds 3] [--device auto]

Five minutes on two cores are 428 steps of `unet_lite0` and 882 of `unet_small`; these are the steps here, so a GPU may
do them. The images are drawn at random for each seed. All that is held back scores.
"""

import argparse
import random
import tempfile
import tomllib
from pathlib import Path

from agriseg import TrainConfig, TrainOptions, train
from agriseg.training.config import Data

TRAININGS = (("unet_lite0", "imagenet", 10, 428), ("unet_lite0", "random", 40, 428), ("unet_small", "random", 40, 882))
"""Network, first weights, labelled images and steps."""


def some(data: Data, count: int, seed: int, folder: Path) -> Data:
    """So many of the labelled images, as links in a folder."""
    names = sorted(each.name for each in data.images.iterdir())
    for part in ("images", "labels"):
        (folder / part).mkdir()
    for name in random.Random(1000 * count + seed).sample(names, count):
        label = next(data.labels.glob(f"{Path(name).stem}{data.label_suffix}.*"))
        (folder / "images" / name).symlink_to((data.images / name).resolve())
        (folder / "labels" / label.name).symlink_to(label.resolve())
    return data.model_copy(update={"images": folder / "images", "labels": folder / "labels"})


def configuration(path: Path, arch: str, init: str, steps: int, seed: int) -> TrainConfig:
    tables = tomllib.loads(path.read_text("utf-8"))
    factor = tables.get("arch", "").partition("/")[2]
    share = {"backbone_lr": 0.3} if init == "imagenet" else {}
    recipe = {**tables["recipe"], "steps": steps, "validate_every": steps, "seed": seed, "lr": 2e-3, **share}
    name = f"{arch}/{factor}" if factor else arch
    return TrainConfig.of({**tables, "arch": name, "init": init, "recipe": recipe}, path.parent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    asked = parser.parse_args()
    print("| network | first weights | images | seed | mIoU | IoU |\n|---|---|---|---|---|---|", flush=True)
    for seed in range(asked.seeds):
        for arch, init, count, steps in TRAININGS:
            with tempfile.TemporaryDirectory() as name:
                config = configuration(asked.config, arch, init, steps, seed)
                config = config.model_copy(update={"data": some(config.data, count, seed, Path(name))})
                scores = train(config, Path(name) / "out", TrainOptions(asked.device)).evaluation
            iou = ", ".join(f"{key} {value or 0:.3f}" for key, value in scores.iou.items())
            print(f"| `{arch}` | {init} | {count} | {seed} | {scores.miou:.3f} | {iou} |", flush=True)


if __name__ == "__main__":
    main()
