"""The model card: scores, training data and limits of a model, as Markdown.

Its chapters follow Mitchell et al. 2019, "Model Cards for Model Reporting", arXiv 1810.03993.
"""

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from agriseg import files
from agriseg.evaluation.scores import Scores
from agriseg.json_text import json_document
from agriseg.mapping.record import curve_of
from agriseg.model import SegmentationModel
from agriseg.samples.sampling import ClassIndex
from agriseg.training.config import TrainConfig
from agriseg.training.dataset import Dataset
from agriseg.units import human_metres

_SPLITS = {
    "block": "Whole blocks of ground were held back, with a belt around them that nobody used.",
    "file": "Whole images were held back.",
    "list": "Other images, named by the user, were held back.",
    "random": (
        "**Scattered squares beside the training data were held back, without a belt. Such scores flatter the model:** "
        "expect less on other ground."
    ),
}


def describe_training(config: TrainConfig, data: Dataset, class_index: ClassIndex) -> dict[str, Any]:
    """What the model file records of its training, as JSON values."""
    held = config.validation.model_dump(
        mode="json", exclude={"images", "labels", "by", "allow_learnt"}, exclude_none=True
    )
    made_with = f"agriseg {version('agriseg')} train, torch {torch.__version__}"
    return {
        "provenance": f"{made_with}, {config.arch} from {data.start.origin}",
        "licence": config.licence,
        **({"purpose": config.purpose} if config.purpose else {}),
        **({"limits": config.limits} if config.limits else {}),
        "split": {"by": config.split, **({**held, "draws": data.division.draws} if config.split != "list" else {})},
        "class_shares": dict(zip(config.classes, class_index.shares.tolist(), strict=True)),
        "data": {
            "images": len(data.training), "held_back": len(data.held), "skipped": list(data.skipped),
            "pixels": dict(zip(config.classes, class_index.counts.sum(0).tolist(), strict=True)),
            "held_back_pixels": dict(zip(config.classes, data.division.pixels[1].tolist(), strict=True)),
            **config.data.model_dump(include={"nodata", "alpha"}, exclude_none=True),
        },
        "recipe": config.recipe.model_dump(mode="json"),
        "correlation": data.correlation,
        **({"gsd_range": list(config.gsd_range)} if config.gsd_range else {}),
        **({"colours": asdict(data.colours)} if data.colours else {}),
        "ground": asdict(data.learnt),
    }  # fmt: skip


def write_card(model: SegmentationModel, scores: Scores, path: Path) -> None:
    """Write the card of a trained model beside its file at `path`, with the suffix `.md`."""
    parts = [
        f"# {_cell(model.name)}", _summary(model),
        "## How good it is", _scores(scores, _SPLITS[model.about["split"]["by"]]), *_larger_pixels(model),
        "## What it was trained on", _data(model),
        "## What to mind", _limits(model),
        "## How it was made", _making(model),
    ]  # fmt: skip
    files.write_text(path.with_suffix(".md"), "\n\n".join(parts) + "\n")


def _summary(model: SegmentationModel) -> str:
    gsd = "unknown" if model.gsd is None else human_metres(model.gsd)
    if "gsd_range" in model.about:
        gsd = " to ".join(map(human_metres, model.about["gsd_range"]))
    purpose = [("purpose", str(model.about["purpose"]))] if "purpose" in model.about else []
    rows = [
        *purpose,
        ("network", f"{model.architecture}, {sum(w.numel() for w in model.network.parameters()):,} parameters"),
        ("classes", ", ".join(f"{entry.name} ({entry.colour})" for entry in model.legend)),
        ("bands", ", ".join(model.bands)),
        ("pixel on the ground", gsd),
        ("licence of the training data", str(model.about["licence"])),
        ("fingerprint", model.fingerprint),
    ]
    return _table(("", ""), rows)


def _scores(scores: Scores, split: str) -> str:
    rows = [
        (
            entry.name, _number(entry.iou), _interval(entry.iou_95), _number(entry.precision), _number(entry.recall),
            _number(entry.f1), _number(entry.boundary_iou), f"{entry.support:,}",
        )
        for entry in scores.classes
    ]  # fmt: skip
    names, matrix = scores.confusion.classes, scores.confusion.rows_are_truth
    confusion = [(name, *(f"{count:,}" for count in row)) for name, row in zip(names, matrix, strict=True)]
    some = f" of {scores.miou_classes} of {len(rows)} classes" if scores.absent else ""
    lines = [
        *(f"**Mind:** {_cell(text)}." for text in scores.doubts),
        split,
        _table(("class", "IoU", "95 %", "precision", "recall", "F1", "boundary IoU", "pixels"), rows),
        f"Mean IoU{some} {_number(scores.miou)} ({_interval(scores.miou_95)}), over {scores.pixels:,} pixels "
        f"in {scores.blocks} blocks of {scores.block_px} px, on maps as `agriseg run` makes them. The intervals "
        "come from drawing blocks with replacement. The weights are those that scored best on this ground while they "
        "were trained, which flatters them a little.",
        *_patches(scores),
        "Rows are what was labelled, columns what was mapped (pixels):",
        _table(("", *names), confusion),
    ]
    if scores.fitted is not None:
        lines.append(
            f"Confidence: logits are divided by {scores.fitted.temperature:.3g}, fitted on what was held back; "
            f"confidence is then off by {_number(scores.fitted.error)} on average (expected calibration error)."
        )
    if scores.surest:
        surest = [(f"{each.coverage:.1%}", f"{each.confidence:.2f}", _number(each.accuracy)) for each in scores.surest]
        lines += ["If the unsure pixels are left out:", _table(("pixels left", "confidence from", "accuracy"), surest)]
    return "\n\n".join(lines)


def _larger_pixels(model: SegmentationModel) -> list[str]:
    """The curve over GSD; empty without one."""
    curve = curve_of(model)
    if curve is None:
        return []
    names = [entry.name for entry in model.legend]
    rows = [
        (f"{each.factor:g}", _number(each.miou), *(_number(each.iou.get(name)) for name in names))
        for each in curve.points
    ]
    how = "resampled to the GSD of the model" if curve.resampled else "mapped at their own resolution"
    return [
        f"With larger pixels: held-back images whose pixels were averaged, {how}, as `agriseg run` does. Scored on "
        f"{curve.labels_share:.0%} of the held-back labels.",
        _table(("times as large", "mean IoU", *names), rows),
    ]


def _patches(scores: Scores) -> list[str]:
    """How many connected regions of each class are found, by size; empty without any."""
    if not scores.patches:
        return []
    rows = [
        (
            each.name, each.size, f"{each.found.part:,} of {each.found.whole:,}", _interval(each.found.share_95),
            f"{each.wrong.part:,} of {each.wrong.whole:,}", _interval(each.wrong.share_95),
        )
        for each in scores.patches
    ]  # fmt: skip
    return [
        "By patches (connected regions; touching plants are one patch), of a diameter and more. A labelled patch is "
        "found if half of its pixels are mapped as its class. A mapped patch is wrong if less than half of its pixels "
        "are labelled as its class.",
        _table(("class", "from", "labelled patches found", "share, 95 %", "mapped patches wrong", "share, 95 %"), rows),
    ]


def _data(model: SegmentationModel) -> str:
    data, shares = model.about["data"], model.about["class_shares"]
    rows = [(name, f"{share:.2%}", f"{data['pixels'][name]:,}") for name, share in shares.items()]
    skipped = f" Left out because they could not be read: {len(data['skipped'])}." if data["skipped"] else ""
    return f"Images to train on: {data['images']}; to score it on: {data['held_back']}.{skipped}\n\n" + _table(
        ("class", "share of the labelled pixels", "pixels"), rows
    )


def _limits(model: SegmentationModel) -> str:
    name, share = min(model.about["class_shares"].items(), key=lambda item: item[1])
    return (
        "- It knows the fields, dates, cameras and weather of its training images; on others, evaluate it on a few "
        "labels before trusting it.\n"
        f"- Its rarest class, {_cell(name)}, was {share:.2%} of the training pixels.\n"
        "- Every pixel with data gets one of its classes, also where the ground shows something it has never seen."
    )


def _making(model: SegmentationModel) -> str:
    keys = ("provenance", "split", "recipe", "step", "offsets")
    return f"```json\n{json_document({key: model.about[key] for key in keys if key in model.about})}```"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    """Text on one line, with Markdown's characters escaped."""
    plain = " ".join(text.split())
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#~&!" else letter for letter in plain)


def _interval(ends: Sequence[float | None]) -> str:
    return "no interval" if None in ends else " to ".join(map(_number, ends))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
