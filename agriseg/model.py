"""A network together with everything a map needs: legend, bands, normalisation, ground resolution.

The file is safetensors, never pickle. Its metadata holds one JSON object under the key `agriseg`, described by
`ModelMetadata`; loading checks all of it. An ONNX file of `agriseg export` holds the same metadata.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from operator import add
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors import torch as safetensors_torch
from torch import nn

from agriseg import files
from agriseg.bundled_models import model_file
from agriseg.errors import ModelError
from agriseg.json_text import json_line
from agriseg.legend import Legend, LegendClass
from agriseg.networks import architecture, averaged_pixels
from agriseg.networks.exported import ExportedNetwork
from agriseg.networks.normalization import Normalization, NormalizeBy, relative_to
from agriseg.networks.onnx_file import OnnxFile, read_onnx

_KEY = "agriseg"
_HARMLESS = ("format", "name", "architecture", "weights_sha256", "about")
"""Metadata that do not decide a map, and the hash of the weights."""


@dataclass(frozen=True, eq=False)
class SegmentationModel:
    """A network and what it was made for.

    Args:
        network: torch module, float32 (N, C, h, w) -> logits (N, K, h/stride, w/stride).
        legend: the K classes in channel order.
        bands: roles of the C input bands: red, green, blue, nir, red_edge, or free words; `b3` is band 3.
        scale, mean, std: network input = (stored * scale - mean) / std, per band.
        normalize_by: `training` takes these three as they are. `raster` first makes the numbers of each raster
            relative to its own mean colour, see `relative_to`; `scale` then means nothing.
        stride: input pixels per logit.
        align: coarsest step of the network in input pixels; `stride` if None.
        halo: receptive half-width in pixels; None for a network that sees the whole input.
        gsd: metres per pixel of the training images; None if unknown.
        name: shown in records and tags.
        architecture: name of the network in `agriseg.networks`; None for a network of one's own.
        temperature: divides the logits before the softmax of the confidence layer.
        about: metrics with their split, provenance, licence of the training data: JSON values.
        path: the file that it was loaded from, or None.
        raster_mean: stored numbers, mean per band of the raster that it maps; None if it does not map any yet.

    Raises:
        ModelError: an argument contradicts another or makes no sense.
    """

    network: nn.Module = field(repr=False)
    legend: Legend
    bands: tuple[str, ...]
    scale: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    normalize_by: NormalizeBy = "training"
    stride: int = 1
    align: int | None = None
    halo: int | None = 0
    gsd: float | None = None
    name: str = "model"
    architecture: str | None = None
    temperature: float = 1.0
    about: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None
    raster_mean: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        filled = {
            "bands": tuple(self.bands),
            "mean": tuple(self.mean) or (0.0,) * len(self.bands),
            "std": tuple(self.std) or (1.0,) * len(self.bands),
            "align": self.stride if self.align is None else self.align,
        }
        for name, value in filled.items():
            object.__setattr__(self, name, value)
        for problem in _problems(self):
            raise ModelError(f"model {self.name!r}: {problem}")

    @property
    def normalization(self) -> Normalization:
        """Stored numbers to network input, for the raster that it maps."""
        return self.normalization_of(self.raster_mean)

    def normalization_of(self, raster_mean: tuple[float, ...] | None) -> Normalization:
        """Stored numbers to network input, for a raster with this mean per band; None without valid pixels."""
        if self.normalize_by == "training" or raster_mean is None:
            return Normalization(self.scale, self.mean, self.std)
        scale, offsets = relative_to(raster_mean)
        return Normalization(scale, tuple(map(add, offsets, self.mean)), self.std)

    @property
    def step(self) -> int:
        """`align` as a number."""
        return self.align or self.stride

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the weights and everything that decides the map."""
        metadata = _metadata(self)
        decisive = metadata.model_dump(exclude=set(_HARMLESS), exclude_defaults=True)
        values = {"weights": metadata.weights_sha256, **decisive}
        return hashlib.sha256(json_line(values, sort_keys=True).encode()).hexdigest()

    @property
    def metadata_text(self) -> str:
        """`ModelMetadata` as JSON, as a file of the model holds it."""
        return _metadata(self).model_dump_json()

    def save(self, path: Path | str) -> None:
        """Write the model file; the name appears when the file is complete.

        Raises:
            ModelError: the network is none of agriseg's architectures, so no file could rebuild it.
        """
        if self.architecture is None:
            raise ModelError(f"model {self.name!r}: a network of your own cannot be saved; use a named architecture")
        state = {key: value.detach().cpu().contiguous() for key, value in self.network.state_dict().items()}
        # one metadata key: safetensors does not keep the order of several, and the bytes would differ
        files.write_bytes(Path(path), safetensors_torch.save(state, {_KEY: self.metadata_text}))


class ModelMetadata(BaseModel):
    """The metadata of a model file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)

    format: Literal[1]
    name: str
    architecture: str
    legend: list[tuple[str, str]]
    bands: list[str]
    scale: float
    mean: list[float]
    std: list[float]
    normalize_by: NormalizeBy = "training"
    stride: int
    align: int
    halo: int | None
    gsd: float | None
    temperature: float
    weights_sha256: str
    about: dict[str, Any]


def load_model(path: Path | str) -> SegmentationModel:
    """Read a model file, or a bundled model by its name.

    Raises:
        ModelError: missing, damaged, pickled, of a newer format, or weights that do not fit or are not finite.
    """
    path = model_file(path)
    if path.suffix.lower() == ".onnx":
        return _exported(read_onnx(path), path)
    metadata, state = _read(path)
    if weights_hash(state) != metadata.weights_sha256:
        raise ModelError(f"{path}: the weights are not those that were saved; copy the file again")
    design = architecture(metadata.architecture)
    network = design.build(len(metadata.bands), len(metadata.legend))
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(
            f"{path}: the weights do not fit {design.name}: {str(error).splitlines()[1].strip()}"
        ) from error
    return _model(network, metadata, path, metadata.architecture)


def _exported(file: OnnxFile, path: Path) -> SegmentationModel:
    """The model in an ONNX file: the metadata of its source, and no network that torch could run."""
    metadata = _parsed(file.metadata, path)
    factor = averaged_pixels(metadata.architecture)
    facts = file.facts
    network = ExportedNetwork(file.content, factor, facts.memory_per_pixel, int8=facts.int8 is not None)
    return _model(network, metadata, path, None)


def _model(network: nn.Module, metadata: ModelMetadata, path: Path, named: str | None) -> SegmentationModel:
    legend = Legend(tuple(LegendClass(i, name, colour) for i, (name, colour) in enumerate(metadata.legend)))
    values = metadata.model_dump(exclude={"format", "legend", "weights_sha256", "architecture"})
    return SegmentationModel(network, legend, path=path, architecture=named, **values)


def _parsed(text: str, path: Path) -> ModelMetadata:
    """The metadata in a file."""
    try:
        return ModelMetadata.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"{path}: {where or 'the text'} in the metadata is wrong: {first['msg']}") from error


def is_model_file(path: Path) -> bool:
    """Whether a file has agriseg's metadata, whatever is wrong with the rest."""
    try:
        with safe_open(path, framework="pt") as file:
            return _KEY in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def weights_hash(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, types, shapes and values of a state, in the order of the names."""
    digest = hashlib.sha256()
    for key in sorted(state):
        value = state[key].detach().cpu().contiguous()
        digest.update(f"{key} {value.dtype} {tuple(value.shape)} ".encode())
        digest.update(value.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read(path: Path) -> tuple[ModelMetadata, dict[str, torch.Tensor]]:
    """The metadata and the weights of a model file."""
    if not path.is_file():
        raise ModelError(f"{path}: no such model file; check the name")
    with path.open("rb") as file:
        head = file.read(4)
    if head[:2] in (b"PK", b"\x80\x02", b"\x80\x04"):
        raise ModelError(
            f"{path}: a pickled checkpoint, which may run code when opened; expected .safetensors: "
            "agriseg model init --init takes its weights safely"
        )
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
        if text is None:
            raise ModelError(f"{path}: safetensors without agriseg's metadata; make the file with 'agriseg model init'")
        return _parsed(text, path), safetensors_torch.load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path}: no model file, or damaged ({error}); expected agriseg's .safetensors or .onnx"
        ) from error


def _metadata(model: SegmentationModel) -> ModelMetadata:
    return ModelMetadata(
        format=1,
        name=model.name,
        architecture=model.architecture or "",
        legend=[(c.name, c.colour) for c in model.legend],
        bands=list(model.bands),
        scale=float(model.scale),
        mean=[float(m) for m in model.mean],
        std=[float(s) for s in model.std],
        normalize_by=model.normalize_by,
        stride=model.stride,
        align=model.step,
        halo=model.halo,
        gsd=model.gsd,
        temperature=float(model.temperature),
        weights_sha256=weights_hash(model.network.state_dict()),
        about=dict(model.about),
    )


def _problems(model: SegmentationModel) -> Iterator[str]:
    """What is wrong with a model's arguments."""
    numbers = (model.scale, model.temperature, *model.mean, *model.std, *([model.gsd] if model.gsd else []))
    if not model.bands or len(set(model.bands)) < len(model.bands):
        yield f"bands {model.bands} must be one or more different roles"
    if not len(model.bands) == len(model.mean) == len(model.std):
        yield f"{len(model.bands)} bands, {len(model.mean)} means, {len(model.std)} stds; give one of each a band"
    if not all(map(math.isfinite, numbers)):
        yield "scale, mean, std, gsd and temperature must be finite"
    if any(std <= 0 for std in model.std):
        yield f"std {model.std} must be above 0 in every band"
    if model.scale == 0 or model.temperature <= 0:
        yield "scale must not be 0 and temperature must be above 0"
    if model.gsd is not None and model.gsd <= 0:
        yield f"gsd {model.gsd} must be metres above 0, or None"
    if model.stride < 1 or model.step < 1 or model.step % model.stride != 0:
        yield f"align {model.align} must be a multiple of stride {model.stride}"
    if model.halo is not None and model.halo < 0:
        yield f"halo {model.halo} must be 0 or more, or None"
    if not all(torch.isfinite(value).all() for value in model.network.state_dict().values()):
        yield "its weights hold NaN or infinity; train it again"
