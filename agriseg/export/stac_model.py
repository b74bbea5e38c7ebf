"""The STAC Item of a model, in the words of the machine learning model extension (MLM 1.4), and what all Items share.

A model's Item is made from the record of a run alone.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import pystac

from agriseg import files
from agriseg.export.zarr import machine_names
from agriseg.json_text import json_document
from agriseg.maps.record import ModelRecord, RunParameters, RunRecord

MODEL_ITEM = "_mlm.json"
"""End of the name of a model's Item."""
_TASKS = ["semantic-segmentation"]
_ROLES = ["mlm:model", "mlm:weights", "data"]
_ARTIFACTS = {"PyTorch": "safetensors.torch.save_file", "ONNX": "torch.onnx.export"}
_METRICS = ("miou", "miou_classes", "absent", "pixels", "expected_calibration_error")


def write_model_item(record: Path) -> Path:
    """Write `<name>-<fingerprint>_mlm.json` beside the files of a run: an Item of the model that made the map.

    Nobody knows where and when the model's training images were taken, so it has no place, and a time without limits.

    Raises:
        DataError: the record is damaged, or not that of a run.
        StorageError: the disk did not take it.
    """
    run = RunRecord.read(record)
    model = run.model
    properties = {
        "title": model.name, "start_datetime": "1900-01-01T00:00:00Z", "end_datetime": "9999-12-31T23:59:59Z"
    }  # fmt: skip
    extensions = schemas("mlm/v1.4.0", "classification/v2.0.0")
    item = pystac.Item(model_id(model), None, None, None, properties, stac_extensions=extensions)
    if model.path is not None:  # an Item may have bands only if one of its assets does
        bands = [{"name": name} for name in model.bands]
        kind, roles = f"application/octet-stream; framework={_framework(model).lower()}", _ROLES
        fields = {"mlm:artifact_type": _ARTIFACTS[_framework(model)], "bands": bands}
        item.add_asset("model", pystac.Asset(escaped(model.path), None, None, kind, roles, fields))
        item.properties["bands"] = bands
    _add_network(item, model, run.parameters)
    if scores := model.evaluation:
        iou = {entry["name"]: entry["iou"] for entry in scores["classes"]}
        metrics = {name: scores[name] for name in _METRICS if name in scores}
        item.properties["agriseg:metrics"] = {**metrics, "iou": iou}
    return write_stac(record.with_name(item.id + MODEL_ITEM), item)


def _add_network(item: pystac.Item, model: ModelRecord, plan: RunParameters) -> None:
    """What the network takes and gives, and how it is run.

    (stored * scale - mean) / std is MLM's z-score with mean and std over the scale.
    """
    axes, side = ["batch", "channel", "height", "width"], plan.tile_px // model.stride_px
    scaling = [
        {"type": "z-score", "mean": mean / model.scale, "stddev": std / model.scale}
        for mean, std in zip(model.mean, model.std, strict=True)
    ]
    shape_in, shape_out = [-1, len(model.bands), plan.tile_px, plan.tile_px], [-1, len(model.classes), side, side]
    item.properties |= {
        "mlm:name": item.id,
        "mlm:architecture": model.architecture or "unknown",
        "mlm:tasks": _TASKS,
        "mlm:framework": _framework(model),
        "mlm:input": [{
            "name": "tile",
            "description": f"Bands in this order: {', '.join(model.bands)}",
            "bands": [] if model.path is None else list(model.bands),
            "input": {"shape": shape_in, "dim_order": axes, "data_type": "float32"},
            "value_scaling": scaling,
            "resize_type": None,
        }],
        "mlm:output": [{
            "name": "logits",
            "tasks": _TASKS,
            "result": {"shape": shape_out, "dim_order": ["batch", "class", *axes[2:]], "data_type": "float32"},
            "classification:classes": class_objects(model.classes),
        }],
        "mlm:hyperparameters": {
            **{name: getattr(model, name) for name in ("temperature", "stride_px", "align_px", "halo_px")},
            **{name: getattr(plan, name) for name in ("blend", "tile_px", "overlap_px", "margin_px")},
        },
        "agriseg:fingerprint": model.fingerprint,
    }  # fmt: skip


def _framework(model: ModelRecord) -> str:
    """The framework of a model's file."""
    return "ONNX" if model.path is not None and model.path.lower().endswith(".onnx") else "PyTorch"


def model_id(model: ModelRecord) -> str:
    """Name and first eight digits of the fingerprint; a word that begins with a letter, as MLM asks."""
    (word,) = machine_names([f"{model.name}-{model.fingerprint[:8]}"])
    return word if word[0].isalpha() else f"model-{word}"


def class_objects(names: Sequence[str]) -> list[dict[str, str | int]]:
    """Classes for `classification:classes`: `name` is a word for machines, the true one is title and description."""
    words = enumerate(zip(machine_names(names), names, strict=True))
    return [{"value": k, "name": word, "title": name, "description": name} for k, (word, name) in words]


def escaped(path: str) -> str:
    """A path as a reference: as it is, but for characters that begin something else in one."""
    return re.sub(r"[%?#]", lambda match: f"%{ord(match[0]):02X}", path)


def schemas(*names: str) -> list[str]:
    """Addresses of STAC extensions, which say what the fields of an object mean."""
    return [f"https://stac-extensions.github.io/{name}/schema.json" for name in names]


def write_stac(path: Path, thing: pystac.Item | pystac.Collection) -> Path:
    """Write an object whole or not at all."""
    files.write_text(path, json_document(thing.to_dict(include_self_link=False, transform_hrefs=False)))
    return path
