"""What each part of the training recipe is worth: the recipe with one part changed, equal steps, several seeds.

    python benchmarks/ablations.py examples/potato_weed.toml [--seeds 3] [--steps 214] [--only NAME...]

All train `unet_lite0` from ImageNet's weights; 214 steps take two and a half minutes on two cores. The images are read
once. What is in the file already is not done again.
"""

import argparse
import json
import statistics
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from agriseg import TrainConfig
from agriseg.networks import architecture, downsampling_factor
from agriseg.samples.augment import TrainingSamples
from agriseg.samples.sampling import index_labels
from agriseg.training.config import Recipe
from agriseg.training.dataset import Dataset, load_dataset
from agriseg.training.distributed import ranks
from agriseg.training.initial_weights import initial_network
from agriseg.training.loop import TrainingRun, fit
from agriseg.training.validation import Validator

PARTS: dict[str, dict[str, Any]] = {
    "the recipe": {},
    "without logit adjustment": {"logit_adjustment": False},
    "without moving average of the weights": {"ema_decay": 0.0},
    "without more samples of rare classes": {"rare_class_share": 0.0},
    "cross-entropy alone": {"loss": {"ce": 1.0}},
    "without zoom": {"augmentation": {"zoom": 1.0}},
    "without brightness": {"augmentation": {"brightness": 0.0}},
    "without channel jitter": {"augmentation": {"channel_jitter": 0.0}},
    "without turning and mirroring": {"augmentation": {"rotate": "none", "mirror": False}},
    "with copy and paste": {"augmentation": {"copy_paste": 0.5}},
    "with class weights": {"class_weights": True},
    "learning rate 1e-3": {"lr": 1e-3},
    "learning rate 3e-3": {"lr": 3e-3},
    "learning rate 2e-3, of the encoder 6e-4": {"lr": 2e-3, "backbone_lr": 0.3},
}


def recipe_with(base: dict[str, Any], changes: dict[str, Any], steps: int, seed: int) -> Recipe:
    own = {"steps": steps, "minutes": None, "validate_every": steps, "seed": seed, "lr": 2e-3}
    return Recipe.model_validate({**base, **own, **changes})


def scored(config: TrainConfig, data: Dataset, recipe: Recipe) -> dict[str, Any]:
    """Train once; mIoU and IoU of what is held back."""
    start = initial_network(architecture(config.arch), config.bands, config.classes, recipe.seed, config.init)
    model = replace(data.model, network=start.network)
    class_index = index_labels(data.training, len(config.classes), recipe.seed, images_alike=False)
    samples = TrainingSamples(
        data.training, class_index, [model.normalization_of(scene.mean) for scene in data.training], recipe.chip,
        recipe.rare_class_share, recipe.augmentation, recipe.seed, downsampling_factor(model.network),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as name, ranks("cpu") as group:
        folder = Path(name)
        validator = Validator(data.held, data.learnt_share, folder / "maps", replace(config.reading, device="cpu"))
        fit(TrainingRun(
            model, samples, recipe, validator.scores, folder, data.identity, group, lambda _progress: None,
            lambda: False,
        ))  # fmt: skip
        last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    return {"miou": last["miou"], "iou": last["iou"]}


def measured(path: Path, steps: int, seeds: int, only: list[str], out: Path) -> Iterator[dict[str, Any]]:
    """The score of each part and seed, read from the file or made."""
    tables = tomllib.loads(path.read_text("utf-8"))
    factor = tables.get("arch", "").partition("/")[2]
    network = f"unet_lite0/{factor}" if factor else "unet_lite0"
    config = TrainConfig.of({**tables, "arch": network, "init": "imagenet"}, path.parent)
    known = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    with tempfile.TemporaryDirectory() as name:
        data = None
        for seed in range(seeds):
            for part in only:
                key = {"set": path.stem, "steps": steps, "seed": seed, "part": part}
                found = next((each for each in known if key.items() <= each.items()), None)
                if found is None:
                    data = data or load_dataset(config, Path(name))
                    found = key | scored(config, data, recipe_with(tables["recipe"], PARTS[part], steps, seed))
                    with out.open("a") as file:
                        file.write(json.dumps(found) + "\n")
                yield found


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: mean and range over the seeds, and the difference to the recipe by seed."""
    scores: dict[str, dict[int, float]] = {}
    for each in results:
        scores.setdefault(each["part"], {})[each["seed"]] = each["miou"]
    whole = scores["the recipe"]
    lines = ["| | mIoU | range | difference, mean and range |", "|---|---|---|---|"]
    for part, found in scores.items():
        gains = [found[seed] - whole[seed] for seed in found]
        low, high, mean = min(found.values()), max(found.values()), statistics.mean(found.values())
        change = f"{statistics.mean(gains):+.3f} ({min(gains):+.3f} to {max(gains):+.3f})" if any(gains) else ""
        lines.append(f"| {part} | {mean:.3f} | {low:.3f} to {high:.3f} | {change} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=214)
    parser.add_argument("--out", type=Path, default=Path("ablations.jsonl"))
    parser.add_argument("--only", nargs="+", default=list(PARTS), choices=list(PARTS))
    asked = parser.parse_args()
    results = []
    for each in measured(asked.config, asked.steps, asked.seeds, asked.only, asked.out):
        print(each["part"], each["seed"], f"{each['miou']:.3f}", flush=True)
        results.append(each)
    print(f"\n{asked.config.stem}, {asked.steps} steps\n\n{table(results)}")


if __name__ == "__main__":
    main()
