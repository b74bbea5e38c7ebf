"""From a configuration to a trained model: gather the scenes, fit, evaluate, calibrate, tell."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agriseg import files
from agriseg.errors import DataError, UsageError
from agriseg.evaluation.calibrate import CalibrationSampler
from agriseg.evaluation.evaluate import count_model
from agriseg.evaluation.learnt_share import LearntShare, most_learnt
from agriseg.evaluation.scores import Evaluation, score
from agriseg.figures.panels import save_picture
from agriseg.figures.training_charts import save_confusion, save_curves
from agriseg.inference.device import choose_device
from agriseg.json_text import json_document
from agriseg.labels.scene import Scene
from agriseg.mapping.outputs import Outputs
from agriseg.model import SegmentationModel, load_model
from agriseg.networks import downsampling_factor
from agriseg.options.run import RunOptions
from agriseg.training.augment import TrainingSamples
from agriseg.training.config import TrainConfig
from agriseg.training.dataset import Dataset, load_dataset
from agriseg.training.distributed import Ranks, ranks, world_size
from agriseg.training.loop import Tell, TrainingRun, fit
from agriseg.training.model_card import write_card
from agriseg.training.recipe import Recipe
from agriseg.training.sampling import ClassIndex, index_labels

_PICTURE = 640  # longest side of the labels in the picture (px)


@dataclass(frozen=True)
class Trained:
    """What training made.

    Args:
        model: the best model's file; its card lies beside it.
        evaluation: of that model on what was held back.
        pictures: curves, confusion, and the map of a held-back image beside its labels.
        skipped: images that could not be read.
    """

    model: Path
    evaluation: Evaluation
    pictures: tuple[Path, ...]
    skipped: tuple[str, ...]


def train(
    config: TrainConfig, folder: Path, *, device: str = "auto", skip_bad: bool = False, tell: Tell | None = None,
    stopped: Callable[[], bool] | None = None,
) -> Trained:  # fmt: skip
    """Train, going on from the folder's state if there is one.

    Args:
        config: what to train on what.
        folder: gets `best.safetensors` with its card, `metrics.jsonl`, `evaluation.json`, pictures and the state.
        device: as in `agriseg run`.
        skip_bad: leave out images that cannot be read.
        tell: told of steps and validations; None tells nobody.
        stopped: asked before each step whether to save and leave; None goes on to the end.

    Raises:
        AgrisegError: labels that do not fit, all at once; a loss that is no number; a state of another run; another
            training in the folder.
    """
    files.make_folder(folder)
    with files.locked(folder / ".agriseg.lock"), ranks(choose_device, device) as group:
        judge, skipped = _fit(config, folder, group, device, skip_bad, tell or _nobody, stopped or _never)
        return _finish(folder, judge, skipped)


def train_rank(
    config: TrainConfig, folder: Path, *, device: str = "auto", skip_bad: bool = False,
    stopped: Callable[[], bool] | None = None,
) -> None:  # fmt: skip
    """Train in a process that torchrun started beside the first, which calls `train` with the same arguments."""
    with ranks(choose_device, device) as group:
        _fit(config, folder, group, device, skip_bad, _nobody, stopped or _never)


def _fit(
    config: TrainConfig, folder: Path, group: Ranks, device: str, skip_bad: bool, tell: Tell,
    stopped: Callable[[], bool],
) -> tuple["_Validator", Sequence[str]]:  # fmt: skip
    """Gather, check and train; returns what scores a model, and what was left out."""
    found = group.first_before_others(lambda: load_dataset(config, folder, skip_bad=skip_bad))
    recipe = config.recipe
    _check_fits(recipe, found.model, group)
    for text in found.remarks:
        tell({"remark": text})
    for text in [*found.division.notes(config.classes), *([found.start.note] if found.start.note else [])]:
        tell({"note": text})
    class_index = index_labels(found.training, len(config.classes), recipe.seed)
    model = replace(found.model, about=_about(config, found, class_index))
    samples = TrainingSamples(
        found.training, class_index, model.normalization, recipe.chip, recipe.rare_class_share, recipe.augmentation,
        recipe.seed, downsampling_factor(model.network),
    )  # fmt: skip
    judge = _Validator(found.held, found.learnt_share, folder / "maps", replace(config.reading, device=device))
    fit(TrainingRun(model, samples, recipe, judge.scores, folder, found.identity, group, tell, stopped))
    return judge, found.skipped


def _check_fits(recipe: Recipe, model: SegmentationModel, group: Ranks) -> None:
    """Chips and batches that the network can take."""
    if recipe.chip % model.step:
        raise UsageError(f"chip {recipe.chip}, expected a multiple of {model.step}, the step of {model.architecture}")
    if group.local_batch(recipe.batch) * group.world == 1 and model.halo is None:
        raise UsageError(f"batch 1, but {model.architecture} pools over the whole chip; give 2 or more")


def cross_validate(
    config: TrainConfig, folder: Path, folds: int, *, device: str = "auto", skip_bad: bool = False, tell: Tell,
    stopped: Callable[[], bool],
) -> tuple[list[Trained], Evaluation]:  # fmt: skip
    """Train once for each of `folds` parts of the ground, each time with that part held back; see `train`.

    Returns:
        What each training made, under `fold1`, `fold2`, ..., and one evaluation over all parts: every labelled pixel
        mapped by a model that has not seen it. `folds.json` holds it with the mean and deviation over the parts.
    """
    if world_size() > 1:
        raise UsageError(f"{folds} folds in {world_size()} processes; train the folds in one process each, or without")
    if config.held_back is not None:
        raise UsageError(f"{folds} folds, but validation has images of its own; leave one out")
    trained = []
    for fold in range(folds):
        tell({"fold": fold + 1, "folds": folds})
        part = config.of_fold(fold, folds)
        trained.append(
            train(part, folder / f"fold{fold + 1}", device=device, skip_bad=skip_bad, tell=tell, stopped=stopped)
        )
    pooled = score([each.evaluation.counts for each in trained], trained[0].evaluation.legend)
    pooled = replace(pooled, learnt=most_learnt([each.evaluation.learnt for each in trained]))
    scores = [each.evaluation.miou for each in trained]
    told = {
        "miou": scores, "miou_classes": [len(pooled.legend) - len(each.evaluation.absent) for each in trained],
        "mean": float(np.mean(scores)), "deviation": float(np.std(scores, ddof=1)),
    }  # fmt: skip
    files.write_text(folder / "folds.json", json_document({**told, "pooled": pooled.as_dict()}))
    return trained, pooled


@dataclass(frozen=True)
class _Validator:
    """Scores models on what is held back, by maps as `agriseg run` makes them."""

    held: Sequence[Scene]
    learnt: LearntShare
    maps: Path
    options: RunOptions

    def __call__(self, model: SegmentationModel, sampler: CalibrationSampler | None = None) -> Evaluation:
        counted = [
            count_model(model, scene.source.info.path, scene.labels, self.maps, self.options, sampler)
            for scene in self.held
        ]
        return replace(score(counted, model.legend, sampler), learnt=self.learnt)

    def scores(self, model: SegmentationModel) -> dict[str, Any]:
        """Mean IoU, and IoU by class name."""
        done = self(model).as_dict()
        return {"miou": done["miou"], "iou": {entry["name"]: entry["iou"] for entry in done["classes"]}}


def _finish(folder: Path, judge: _Validator, skipped: Sequence[str]) -> Trained:
    """Calibrate the best model, write what there is to know about it, draw."""
    best = folder / "best.safetensors"
    if not best.exists():
        raise DataError("no validation gave a score; is anything labelled in the part that is held back?")
    raw = replace(load_model(best), temperature=1.0)  # a sitting before this one may have calibrated it
    evaluation = judge(raw, CalibrationSampler())
    scores, fitted = evaluation.as_dict(), evaluation.calibration
    model = replace(raw, temperature=fitted.temperature if fitted else 1.0, about={**raw.about, "evaluation": scores})
    model.save(best)
    write_card(model, best)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    pictures = tuple(folder / name for name in ("curves.png", "confusion.png", "predictions.png"))
    save_curves(pictures[0], lines, model.legend)
    save_evaluation(folder, evaluation)
    _draw(pictures[2], judge, model)
    return Trained(best, evaluation, pictures, tuple(skipped))


def save_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Write `evaluation.json` and `confusion.png`."""
    files.write_text(folder / "evaluation.json", json_document(evaluation.as_dict()))
    save_confusion(folder / "confusion.png", evaluation.matrix, evaluation.legend)


def _draw(path: Path, judge: _Validator, model: SegmentationModel) -> None:
    """Draw the held-back scene whose labels are the most varied: the largest share outside the commonest class."""

    def variety(scene: Scene) -> float:
        counts = np.bincount(_small(scene).ravel(), minlength=256)[: len(model.legend)]
        return float(1 - counts.max() / counts.sum()) if counts.sum() else 0.0

    scene = max(judge.held, key=variety)
    count_model(model, scene.source.info.path, scene.labels, judge.maps, judge.options)
    made = Outputs(judge.maps, scene.source.info.path.stem, with_probabilities=False)
    layers = made.layer("classes"), made.layer("confidence")
    save_picture(path, scene.source, *layers, model.legend, _small(scene))


def _small(scene: Scene) -> NDArray[np.uint8]:
    """Class ids of every n-th row and column, so that the longest side fits the picture."""
    step = -(-max(scene.source.width, scene.source.height) // _PICTURE)
    strips = []
    for window in scene.windows():
        ids = scene.read(window.row_off, window.col_off, window.height, window.width).ids
        strips.append(ids[-window.row_off % step :: step, ::step])
    return np.concatenate(strips)


def _nobody(_news: Mapping[str, Any]) -> None:
    pass


def _never() -> bool:
    return False


def _about(config: TrainConfig, found: Dataset, class_index: ClassIndex) -> dict[str, Any]:
    """What the model file tells of its making."""
    held = config.validation.model_dump(
        mode="json", exclude={"images", "labels", "by", "allow_learnt"}, exclude_none=True
    )
    made_with = f"agriseg {version('agriseg')} train, torch {torch.__version__}"
    return {
        "provenance": f"{made_with}, {config.arch} from {found.start.origin}",
        "licence": config.licence,
        "split": {"by": config.split, **({**held, "draws": found.division.draws} if config.split != "list" else {})},
        "class_shares": dict(zip(config.classes, class_index.shares.tolist(), strict=True)),
        "data": {
            "images": len(found.training), "held_back": len(found.held), "skipped": list(found.skipped),
            "pixels": dict(zip(config.classes, class_index.counts.sum(0).tolist(), strict=True)),
            "held_back_pixels": dict(zip(config.classes, found.division.pixels[1].tolist(), strict=True)),
            **config.data.model_dump(include={"nodata", "alpha"}, exclude_none=True),
        },
        "recipe": config.recipe.model_dump(mode="json"),
        "correlation": found.correlation,
        "ground": found.learnt.as_dict(),
    }  # fmt: skip
