"""The identity of a run: everything that decides the bytes of its map."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

import rasterio

from agriseg.json_text import json_line
from agriseg.maps.record import NetworkRecord, RunParameters, RunRecord, options_json
from agriseg.options.run import RunOptions
from agriseg.options.verdict import PublishPolicy

HARMLESS: Mapping[str, str] = {
    "tile": "the parameters hold the tile that the plan chose",
    "overlap": "the parameters hold the overlap that the plan chose",
    "margin": "the parameters hold the margin that the plan chose",
    "tolerance": "the parameters hold the tile, overlap and margin that it led to",
    "batch": "the parameters hold the batch that the plan chose",
    "device": "the parameters hold the device and its precision",
    "backend": "the parameters hold the runtime and its version, in the precision",
    "max_memory": "it only bounds the choices of the plan, which the parameters hold",
    "threads": "one Dask thread runs the network, whatever their number; the others read and write",
    "require_crs": "it refuses rasters and changes no map",
}
"""Options that leave the map of planned parameters as it is, and the reason."""
_ESTIMATES = ("expected_memory_bytes",)
_OF_THE_MACHINE = ("device", "batch")
_PACKAGES = ("agriseg", "torch", "torchvision", "rasterio", "numpy", "dask", "zarr")


_version = cache(version)  # it parses files of the package, in milliseconds


def versions() -> dict[str, str]:
    """Versions of the packages that make a map, by name; none of them is imported for it but rasterio."""
    return {name: _version(name) for name in _PACKAGES} | {"gdal": rasterio.__gdal_version__}


@dataclass(frozen=True)
class RunIdentity:
    """Two runs with the same identity write the same bytes.

    Args:
        model: fingerprint of the model; before it is loaded, SHA-256 of its file.
        threads: of torch, since the number of partial sums depends on it; None for the default of the machine.
        input: name and stamp of the raster with the files beside it; empty before a raster is opened.
        network: the other settings of the model, such as its legend; None before it is loaded.
        parameters: what the plan chose; None before a raster is planned, when all options count.
        policy: which maps may be published; None where the place of the map does not count.
    """

    model: str
    options: RunOptions
    threads: int | None
    versions: Mapping[str, str]
    input: tuple[str, ...] = ()
    network: NetworkRecord | None = None
    parameters: RunParameters | None = None
    policy: PublishPolicy | None = None

    @classmethod
    def of_record(cls, record: RunRecord) -> "RunIdentity":
        """The identity of a finished run, but for the input, which the record has by content."""
        return cls(
            record.model.fingerprint, record.run_options, record.machine.torch_threads, record.versions,
            parameters=record.parameters,
        )  # fmt: skip

    @property
    def key(self) -> str:
        """SHA-256 of all of it."""
        values = {
            "model": self.model,
            "options": self._options,
            "threads": self.threads,
            "versions": self.versions,
            "input": self.input,
            "network": self.network and asdict(self.network),
            "parameters": self._parameters,
            "policy": self.policy and [self.policy.limits.all, self.policy.fail_on],
        }
        return hashlib.sha256(json_line(values, sort_keys=True).encode()).hexdigest()

    def difference(self, other: "RunIdentity") -> str | None:
        """Name of the first option or parameter that differs, but for those that depend on the machine; None if none.

        The raster, the packages and the number of threads are not compared.
        """
        parts = [{**each._options, **each._parameters} for each in (self, other)]
        names = [name for name in parts[0] if name not in _OF_THE_MACHINE]
        return next((name for name in names if parts[0][name] != parts[1][name]), None)

    def is_same_machine(self, other: "RunIdentity") -> bool:
        """Whether packages, threads and device are the same."""
        devices = [each._parameters.get("device") for each in (self, other)]
        return (self.versions, self.threads, devices[0]) == (other.versions, other.threads, devices[1])

    @property
    def _options(self) -> dict[str, Any]:
        left_out = HARMLESS if self.parameters else ()
        return {name: value for name, value in options_json(self.options).items() if name not in left_out}

    @property
    def _parameters(self) -> dict[str, Any]:
        values = asdict(self.parameters) if self.parameters else {}
        return {name: value for name, value in values.items() if name not in _ESTIMATES}
