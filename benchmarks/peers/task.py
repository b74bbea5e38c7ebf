"""What a process that maps the raster is told, and what it answers: JSON files."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

Setting = str | int | float


@dataclass(frozen=True)
class Mapped:
    """How an engine has cut the raster.

    Args:
        network_pixels: pixels that went through the network, those of padding included.
        col_seams, row_seams: first column and row of the pixels that another tile decides.
        precision: number format of the network's computation.
    """

    network_pixels: int
    col_seams: tuple[int, ...] = ()
    row_seams: tuple[int, ...] = ()
    precision: str = "fp32"


@dataclass(frozen=True)
class Measurement:
    """One run, from the file to the file, with the network already loaded.

    Args:
        seconds: wall clock.
        processor_seconds: of all threads and child processes.
        peak_bytes: resident memory of the process with its children, the program and the weights included.
    """

    seconds: float
    processor_seconds: float
    peak_bytes: int
    mapped: Mapped

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self)), "utf-8")

    @classmethod
    def read(cls, path: Path) -> "Measurement":
        """Read what `write` wrote."""
        values = json.loads(path.read_text("utf-8"))
        cut = values.pop("mapped")
        lines = {name: tuple(cut.pop(name)) for name in ("col_seams", "row_seams")}
        return cls(mapped=Mapped(**cut, **lines), **values)


@dataclass(frozen=True)
class Task:
    """A raster to map.

    Args:
        image: 8-bit red, green, blue.
        model: file of an agriseg model.
        exports: folder with the same network as `network.pt` (TorchScript) and `network.onnx`.
        classes: the GeoTIFF to write: class ids, 255 where there is none.
        measurement: the file for the `Measurement`.
        tile: side of a tile (px).
        settings: of the adapter.
    """

    image: str
    model: str
    exports: str
    classes: str
    measurement: str
    tile: int
    settings: Mapping[str, Setting] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self)), "utf-8")

    @classmethod
    def read(cls, path: Path) -> "Task":
        """Read what `write` wrote."""
        return cls(**json.loads(path.read_text("utf-8")))
