"""Evaluate a model: map labelled rasters and score the maps."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path

from agriseg import files
from agriseg.errors import UsageError
from agriseg.evaluation.calibrate import CalibrationSampler
from agriseg.evaluation.common_grid import on_grid
from agriseg.evaluation.counts import EvaluationCounts, count_pixels
from agriseg.evaluation.scores import Evaluation, LearntShare, score
from agriseg.figures.charts import save_confusion
from agriseg.json_text import json_document
from agriseg.labels.label_set import LabelledImage, LabelRequest, LabelSet
from agriseg.labels.learnt_images import LearntImages, learnt_share, pixel_digest
from agriseg.labels.loading import load_labels
from agriseg.labels.raster import LabelRaster
from agriseg.labels.scene import Scene
from agriseg.mapping.compatibility import check_compatibility, working_size
from agriseg.mapping.outputs import Outputs
from agriseg.mapping.prepare import prepare
from agriseg.mapping.run import Execution, run
from agriseg.model import SegmentationModel, load_model
from agriseg.options.labels import LabelOptions
from agriseg.options.run import RunOptions
from agriseg.units import human_metres

_LABEL_DEFAULTS, _RUN_DEFAULTS = LabelOptions(), RunOptions()


def evaluate(
    model: SegmentationModel | Path | str, images: Path | str, labels: Path | str,
    label_options: LabelOptions = _LABEL_DEFAULTS, options: RunOptions = _RUN_DEFAULTS, folder: Path | None = None,
) -> Evaluation:  # fmt: skip
    """Map rasters with a model and score the maps against labels.

    The images are a raster or a folder of rasters, the labels a label raster, polygons or annotations, or the folder of
    them. The maps are those of `agriseg run`; `folder` is for the maps, None for a temporary folder.

    Raises:
        AgrisegError: labels on another grid, numbers that are no class, a least confidence among the options, or any
            error of a run.
    """
    if not isinstance(model, SegmentationModel):
        model = load_model(model)
    request = LabelRequest(Path(images), Path(labels), model.legend.names, label_options, least=1)
    with tempfile.TemporaryDirectory(prefix="agriseg-") as temporary:
        place = folder or Path(temporary)
        label_set = load_labels(request, place)
        label_set.refuse()
        return evaluate_labelled(model, label_set, place, options)


def evaluate_labelled(model: SegmentationModel, label_set: LabelSet, folder: Path, options: RunOptions) -> Evaluation:
    """As `evaluate`, with labels that are loaded and have no problems."""
    if options.min_confidence is not None:
        raise UsageError(
            "--min-confidence with -m: scores are of every class of the network; leave it out, and see the accuracy of "
            "the surest pixels below the table, or score a finished map with --mask"
        )
    sampler = CalibrationSampler()
    counts = [count_model(model, each.pair.image, each.labels, folder, options, sampler) for each in label_set.images]
    learnt = learnt_by_model(model, label_set.images, options)
    resampled = _resampled(model, label_set.images, options)
    return replace(score(counts, model.legend, sampler), learnt=learnt, resampled=resampled)


def _resampled(model: SegmentationModel, images: Sequence[LabelledImage], options: RunOptions) -> str | None:
    """A remark if the network does not see the rasters' own pixels."""
    sizes = [working_size(each.info, model, options)[:2] for each in images]
    count = sum(size != (each.info.width, each.info.height) for size, each in zip(sizes, images, strict=True))
    if not count:
        return None
    wanted = human_metres(float((model.gsd if options.gsd == "auto" else options.gsd) or 0))
    return (
        f"{count} of {len(images)} rasters are resampled to {wanted} per pixel, as by agriseg run; --gsd native scores "
        "maps of their own pixels"
    )


def learnt_by_model(model: SegmentationModel, images: Sequence[LabelledImage], options: RunOptions) -> LearntShare:
    """Share of the labels of images that lies inside a model's training data."""
    learnt = LearntImages.of_card(model.about)
    plain = RunOptions(gsd="native", bands=options.bands, nodata=options.nodata)
    scenes = [
        Scene(check_compatibility(each.info, model, plain).source, each.labels) for each in images if learnt.images
    ]
    share = learnt_share(learnt.images, [(scene, cache(partial(pixel_digest, scene.source))) for scene in scenes])
    return LearntShare.of(share, learnt)


def save_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Write `evaluation.json` and `confusion.png`."""
    files.write_text(folder / "evaluation.json", json_document(asdict(evaluation.scores())))
    save_confusion(folder / "confusion.png", evaluation.matrix, evaluation.legend)


def count_model(
    model: SegmentationModel, image: Path, labels: LabelRaster, folder: Path, options: RunOptions,
    sampler: CalibrationSampler | None = None,
) -> EvaluationCounts:  # fmt: skip
    """Map a raster with a model, as `agriseg run` does, and count the map against labels of the raster's ground.

    The map in the folder replaces that of an earlier call. The sampler collects logits for a calibration. The labels
    may have another resolution than the raster.
    """
    outputs = Outputs(folder, image.stem, with_probabilities=False, overwrite=True, with_pictures=False)
    job = prepare(image, model, replace(options, probabilities=False))
    source, roi, own = job.model_input.source, job.plan.roi, (labels.info.width, labels.info.height)
    working = source.width, source.height
    observer = sampler.observer(on_grid(labels.read, own, working)) if sampler else None
    report = run(job, outputs, execution=Execution(observer=observer))
    origin = roi.col_off, roi.row_off
    return count_pixels(report.classes, report.confidence, labels, len(model.legend), origin, working)
