"""A training from its configuration to the model card: data set, first weights, loop, evaluation, card."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from agriseg import files
from agriseg.errors import DataError, UsageError
from agriseg.evaluation.calibrate import CalibrationSampler
from agriseg.evaluation.evaluate import save_evaluation
from agriseg.evaluation.scores import Evaluation, largest_share, score
from agriseg.figures.charts import CurvePoint, save_curves
from agriseg.json_text import from_json, json_document
from agriseg.model import SegmentationModel, load_model
from agriseg.networks import downsampling_factor
from agriseg.samples.augment import TrainingSamples
from agriseg.samples.sampling import index_labels
from agriseg.training.config import Recipe, TrainConfig
from agriseg.training.dataset import load_dataset
from agriseg.training.decoder import decoder_of
from agriseg.training.distributed import Ranks, ranks, world_size
from agriseg.training.loop import TrainingRun, fit
from agriseg.training.model_card import describe_training, write_card
from agriseg.training.progress import DataWarning, FoldStarted, Note, Report
from agriseg.training.validation import Validator
from agriseg.training_facts import GsdCurve


@dataclass(frozen=True)
class TrainOptions:
    """How a training runs, beside its configuration.

    Args:
        device: as in `agriseg run`.
        skip_bad: leave out images that cannot be read.
        report: called with each step, each validation, and notes and warnings about the data.
        stopped: called before each step; True saves the state and stops.
        since: instant from which the recipe's minutes count, as `time.monotonic` gives it; None: the first step. The
            scores with larger pixels, which would take longer than that, are then left out.
    """

    device: str = "auto"
    skip_bad: bool = False
    report: Report = lambda _progress: None
    stopped: Callable[[], bool] = lambda: False
    since: float | None = None


@dataclass(frozen=True)
class Trained:
    """The outcome of a training.

    Args:
        model: file of the best model; its card is beside it.
        evaluation: of that model on the held-back labels.
        pictures: curves, confusion matrix, and the map of a held-back image beside its labels.
        skipped: one message for each image that could not be read.
    """

    model: Path
    evaluation: Evaluation
    pictures: tuple[Path, ...]
    skipped: tuple[str, ...]


def train(config: TrainConfig, folder: Path, options: TrainOptions = TrainOptions()) -> Trained:
    """Train a model into a folder; resume if the folder has a state.

    Raises:
        AgrisegError: labels that do not fit, all at once; a loss that is not finite; a state of another training;
            another process that trains in the folder.
    """
    files.make_folder(folder)
    with files.locked(folder / ".agriseg.lock"), ranks(options.device) as group:
        validator, skipped = _fit(config, folder, group, options)
        return _finish(folder, validator, skipped, config.recipe, options)


def train_rank(config: TrainConfig, folder: Path, options: TrainOptions) -> None:
    """Train in a process that torchrun started beside the first, which calls `train` with the same arguments."""
    with ranks(options.device) as group:
        _fit(config, folder, group, replace(options, report=TrainOptions.report))


def _fit(config: TrainConfig, folder: Path, group: Ranks, options: TrainOptions) -> tuple[Validator, Sequence[str]]:
    """Load the data, check them and train; returns the validator and the images left out."""
    data = group.first_before_others(lambda: load_dataset(config, folder, skip_bad=options.skip_bad))
    recipe = config.recipe
    _check_fits(recipe, data.model, group)
    for text in data.remarks:
        options.report(DataWarning(text))
    for text in [*data.division.notes(config.classes), *([data.start.note] if data.start.note else [])]:
        options.report(Note(text))
    class_index = index_labels(
        data.training, len(config.classes), recipe.seed, images_alike=recipe.sample_by == "image"
    )
    model = replace(data.model, about=describe_training(config, data, class_index))
    normalizations = [model.normalization_of(scene.mean) for scene in data.training]
    samples = TrainingSamples(
        data.training, class_index, normalizations, recipe.chip, recipe.rare_class_share, recipe.augmentation,
        recipe.seed, downsampling_factor(model.network),
    )  # fmt: skip
    reading = replace(config.reading, device=options.device)
    validator = Validator(data.held, data.learnt_share, folder / "maps", reading)
    training = TrainingRun(
        model,
        samples,
        recipe,
        validator.scores,
        folder,
        data.identity,
        group,
        options.report,
        options.stopped,
        options.since,
    )
    fit(training)
    return validator, data.skipped


def _check_fits(recipe: Recipe, model: SegmentationModel, group: Ranks) -> None:
    if recipe.frozen_steps:
        decoder_of(model.network, model.architecture or "this network")
        if group.world > 1:
            raise UsageError(f"frozen_steps in {group.world} processes, expected one; leave it out, or start one")
    if recipe.chip % model.step:
        raise UsageError(f"chip {recipe.chip}, expected a multiple of {model.step}, the step of {model.architecture}")
    if group.local_batch(recipe.batch) * group.world == 1 and model.halo is None:
        raise UsageError(f"batch 1, but {model.architecture} pools over the whole chip; give 2 or more")


def cross_validate(
    config: TrainConfig, folder: Path, folds: int, options: TrainOptions = TrainOptions()
) -> tuple[list[Trained], Evaluation]:
    """Train once for each of `folds` parts of the ground, each time with that part held back; see `train`.

    Returns:
        The outcome of each training, in the folders `fold1`, `fold2`, ..., and one evaluation over all parts: every
        labelled pixel is mapped by a model that was not trained on it. `folds.json` also has the mean IoU of each part
        with their mean and standard deviation.
    """
    if world_size() > 1:
        raise UsageError(f"{folds} folds in {world_size()} processes; train the folds in one process each, or without")
    if config.held_back is not None:
        raise UsageError(f"{folds} folds, but validation has images of its own; leave one out")
    trained = []
    for fold in range(folds):
        options.report(FoldStarted(fold + 1, folds))
        trained.append(train(config.of_fold(fold, folds), folder / f"fold{fold + 1}", options))
    pooled = score([each.evaluation.counts for each in trained], trained[0].evaluation.legend)
    pooled = replace(pooled, learnt=largest_share([each.evaluation.learnt for each in trained]))
    scores = [each.evaluation.miou for each in trained]
    record = {
        "miou": scores, "miou_classes": [len(pooled.legend) - len(each.evaluation.absent) for each in trained],
        "mean": float(np.mean(scores)), "deviation": float(np.std(scores, ddof=1)), "pooled": asdict(pooled.scores()),
    }  # fmt: skip
    files.write_text(folder / "folds.json", json_document(record))
    return trained, pooled


def _finish(
    folder: Path, validator: Validator, skipped: Sequence[str], recipe: Recipe, options: TrainOptions
) -> Trained:
    """Calibrate and evaluate the best model; write its card, its scores and the pictures."""
    best = folder / "best.safetensors"
    if not best.exists():
        raise DataError("no validation gave a score; is anything labelled in the part that is held back?")
    raw = replace(load_model(best), temperature=1.0)  # an earlier session may have calibrated it
    evaluation = validator.evaluate(raw, CalibrationSampler())
    scores, fitted = evaluation.scores(), evaluation.calibration
    model = replace(raw, temperature=fitted.temperature if fitted else 1.0)
    curve = None if options.since else _gsd_curve(validator, model, evaluation, recipe, options.report)
    model = replace(model, about={**raw.about, "evaluation": asdict(scores), "gsd_curve": curve and asdict(curve)})
    model.save(best)
    write_card(model, scores, best)
    log = folder / "metrics.jsonl"
    points = [
        from_json(CurvePoint, json.loads(line), f"{log}: damaged", "start anew in another folder")
        for line in log.read_text().splitlines()
    ]
    pictures = tuple(folder / name for name in ("curves.png", "confusion.png", "predictions.png"))
    save_curves(pictures[0], points, model.legend)
    save_evaluation(folder, evaluation)
    validator.draw(pictures[2], model)
    return Trained(best, evaluation, pictures, tuple(skipped))


def _gsd_curve(
    validator: Validator, model: SegmentationModel, evaluation: Evaluation, recipe: Recipe, report: Report
) -> GsdCurve | None:
    """The curve over GSD; None, with a warning, if the held-back images cannot be mapped with larger pixels."""
    try:
        curve = validator.gsd_curve(model, evaluation, recipe)
    except DataError as error:
        report(DataWarning(f"the model has no scores with larger pixels: {error}"))
        return None
    report(Note(curve.text))
    return curve
