"""A model in the words of STAC's machine learning model extension (MLM 1.4), from the record of a run alone."""

from collections.abc import Sequence
from typing import Any

from agriseg.export.zarr import machine_names
from agriseg.maps.record import ModelRecord, RunParameters

_TASKS = ["semantic-segmentation"]
_AXES = ["batch", "channel", "height", "width"]


def class_objects(names: Sequence[str]) -> list[dict[str, Any]]:
    """Classes for `classification:classes`: `name` is a word for machines, the true one is title and description."""
    words = enumerate(zip(machine_names(names), names, strict=True))
    return [{"value": k, "name": word, "title": name, "description": name} for k, (word, name) in words]


def model_id(model: ModelRecord) -> str:
    """Name of a model and the first eight digits of its fingerprint; a word that begins with a letter, as MLM asks.

    Args:
        model: as the record has it.
    """
    (word,) = machine_names([f"{model.name}-{model.fingerprint[:8]}"])
    return word if word[0].isalpha() else f"model-{word}"


def model_properties(model: ModelRecord, plan: RunParameters) -> dict[str, Any]:
    """Properties of a model's Item; nobody knows where and when its training pictures were taken.

    Args:
        model: as the record has it.
        plan: the record's parameters.
    """
    has_file = model.path is not None
    return {
        "title": model.name,
        "start_datetime": "1900-01-01T00:00:00Z",
        "end_datetime": "9999-12-31T23:59:59Z",
        **({"bands": bands(model)} if has_file else {}),
        "mlm:name": model_id(model),
        "mlm:architecture": model.architecture or "unknown",
        "mlm:tasks": _TASKS,
        "mlm:framework": "PyTorch",
        "mlm:input": [_input(model, plan.tile_px, names=model.bands if has_file else [])],
        "mlm:output": [_output(model, plan.tile_px)],
        "mlm:hyperparameters": {
            **{name: getattr(model, name) for name in ("temperature", "stride_px", "align_px", "halo_px")},
            **{name: getattr(plan, name) for name in ("blend", "tile_px", "overlap_px", "margin_px")},
        },
        "agriseg:fingerprint": model.fingerprint,
        **_metrics(model),
    }


def bands(model: ModelRecord) -> list[dict[str, str]]:
    """Band objects of STAC 1.1; an Item may have them only if one of its assets does."""
    return [{"name": name} for name in model.bands]


def _input(model: ModelRecord, tile: int, names: Sequence[str]) -> dict[str, Any]:
    """What the network takes: (stored * scale - mean) / std is the z-score with both over the scale."""
    scale = model.scale
    return {
        "name": "tile",
        "description": f"Bands in this order: {', '.join(model.bands)}",
        "bands": list(names),
        "input": {"shape": [-1, len(model.bands), tile, tile], "dim_order": _AXES, "data_type": "float32"},
        "value_scaling": [
            {"type": "z-score", "mean": mean / scale, "stddev": std / scale}
            for mean, std in zip(model.mean, model.std, strict=True)
        ],
        "resize_type": None,
    }


def _output(model: ModelRecord, tile: int) -> dict[str, Any]:
    side = tile // model.stride_px
    dimensions = ["class" if axis == "channel" else axis for axis in _AXES]
    return {
        "name": "logits",
        "tasks": _TASKS,
        "result": {
            "shape": [-1, len(model.classes), side, side], "dim_order": dimensions, "data_type": "float32"
        },
        "classification:classes": class_objects(model.classes),
    }  # fmt: skip


def _metrics(model: ModelRecord) -> dict[str, Any]:
    """Of the evaluation that the model's card has, if any: intersection over union, and how far confidence is off."""
    scores = model.evaluation
    if not scores:
        return {}
    iou = {entry["name"]: entry["iou"] for entry in scores["classes"]}
    names = ("miou", "miou_classes", "absent", "pixels", "expected_calibration_error")
    return {"agriseg:metrics": {**{name: scores[name] for name in names if name in scores}, "iou": iou}}
