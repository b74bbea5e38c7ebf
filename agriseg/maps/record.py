"""The record of a run, `*_run.json`: its parts as values, and the only code that reads and writes it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from agriseg import files
from agriseg.errors import DataError
from agriseg.json_text import from_json, json_document, nodata_value
from agriseg.maps.runtime_choice import RuntimeChoice
from agriseg.maps.tiling_certificate import TilingCertificate
from agriseg.options.run import RunOptions
from agriseg.raster.identity import InputFile, InputIdentity
from agriseg.timing.stages import Stage
from agriseg.verdict import Verdict

RECORD = "_run.json"
"""End of the name of a run's record."""
FORMAT = 1


@dataclass(frozen=True)
class RasterRecord:
    """Header of the input raster.

    Args:
        acquired: date of the flight, ISO 8601; None if no name contains one.
        crs: authority code or WKT; None without a CRS.
        transform: the six numbers of the affine transform.
        gsd_m: ground sample distance along a row and along a column, metres; None if unknown.
    """

    path: str
    bytes: int
    acquired: str | None
    width: int
    height: int
    bands: int
    dtype: str
    crs: str | None
    transform: tuple[float, ...]
    gsd_m: tuple[float, float] | None


@dataclass(frozen=True)
class InputRecord(RasterRecord):
    """The input raster: its header, SHA-256, and all files that GDAL opens with it."""

    sha256: str
    files: tuple[InputFile, ...]

    @property
    def identity(self) -> InputIdentity:
        """The content of the raster and of the files beside it."""
        return InputIdentity(self.files)


@dataclass(frozen=True)
class NetworkRecord:
    """The part of a model that decides the map; see `SegmentationModel` for the fields."""

    name: str
    fingerprint: str
    architecture: str | None
    classes: tuple[str, ...]
    bands: tuple[str, ...]
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    gsd_m: float | None
    stride_px: int
    align_px: int
    halo_px: int | None
    temperature: float


@dataclass(frozen=True)
class ModelRecord(NetworkRecord):
    """The model: also the path of its file, and of its model card the purpose, and the scores as JSON values.

    Each is None where there is none.
    """

    path: str | None
    purpose: str | None
    evaluation: Mapping[str, Any] | None


@dataclass(frozen=True)
class RunParameters:
    """The effective parameters: what the options and the plan came to.

    Args:
        alpha_bands: numbers of the validity bands.
        nodata: band number and value; `nan`, `inf` and `-inf` are words.
        working_size: width and height of the grid that the network sees, pixels.
        resampling_factor: raster pixels per pixel of that grid, along a row and along a column.
        window: column, row, width and height of the mapped part of that grid.
        exact: whether the map equals an untiled run.
        on_read_error: stop or nodata.
        batch: tiles per forward pass.
        band_rows: tile rows per Dask task.
        device: type, or product name of a GPU.
        precision: fp32 or bf16, with the runtime and its version unless that is torch.
        expected_memory_bytes: estimate of the plan.
    """

    bands: Mapping[str, int]
    alpha_bands: tuple[int, ...]
    nodata: tuple[tuple[int, float | str], ...]
    file_mask: bool
    working_size: tuple[int, int]
    resampling_factor: tuple[float, float]
    window: tuple[int, int, int, int]
    blend: str
    tile_px: int
    overlap_px: int
    margin_px: int
    exact: bool
    on_read_error: str
    tiles: int
    batch: int
    band_rows: int
    device: str
    precision: str
    expected_memory_bytes: int


@dataclass(frozen=True)
class PixelTotals:
    """Pixels of a map: total = predicted + nodata + failed."""

    total: int
    predicted: int
    nodata: int
    failed: int


@dataclass(frozen=True)
class ClassCount:
    """Pixels and hectares of one class. `hectares` is None where the ground area is unknown."""

    id: int
    name: str
    pixels: int
    hectares: float | None


@dataclass(frozen=True)
class ConfidenceHistogram:
    """Pixels by confidence, in bins of width `bin` from 0 to 1."""

    bin: float
    pixels: tuple[int, ...]


@dataclass(frozen=True)
class RunSeconds:
    """Wall-clock time of the two parts of a run, and of their stages.

    A run that goes on where another one stopped counts its own time only.

    Args:
        stages: seconds by name of the stage, see `Stage`.
        workers: worker processes over which the stages before publication are summed; 0 without any.
    """

    map: float
    publish: float
    stages: Mapping[str, float] = field(default_factory=dict)
    workers: int = 0

    @classmethod
    def of(cls, mapped: float, publish: float, stages: Mapping[Stage, float], workers: int) -> "RunSeconds":
        """Rounded to milliseconds."""
        rounded = {str(stage): round(seconds, 3) for stage, seconds in stages.items()}
        return cls(round(mapped, 3), round(publish, 3), rounded, workers)

    @property
    def total(self) -> float:
        """Both."""
        return self.map + self.publish


@dataclass(frozen=True)
class MachineRecord:
    """The computer that ran it."""

    system: str
    python: str
    processor: str
    torch_threads: int
    device: str
    peak_memory_bytes: int


@dataclass(frozen=True)
class RunRecord:
    """The record of a run: everything needed to trust the map, or to make it again.

    Args:
        finished: ISO 8601, UTC.
        options: the user's choices, as `RunOptions.of` takes them.
        run: key of the run, see `RunIdentity`.
        classes: counts of each class, in the order of the legend.
        lost_windows: column, row, width and height of what could not be read.
        tiles_run: tiles that went through the network; the others held no data.
        seam_ratio: how much more often the class changes where tiles meet; None without seams or changes.
        outputs: SHA-256 of each file, by name.
        contents: hash of the content of those files that viewers write to, by name.
        tiling: what is known of tiles that were chosen by measurement; None for others.
        runtime: why `--backend auto` chose the runtime; None without it.
    """

    finished: str
    input: InputRecord
    model: ModelRecord
    parameters: RunParameters
    options: Mapping[str, Any]
    run: str
    pixels: PixelTotals
    classes: tuple[ClassCount, ...]
    lost_windows: tuple[tuple[int, int, int, int], ...]
    tiles_run: int
    verdict: Verdict
    seam_ratio: float | None
    confidence: ConfidenceHistogram
    warnings: tuple[str, ...]
    seconds: RunSeconds
    outputs: Mapping[str, str]
    contents: Mapping[str, str]
    versions: Mapping[str, str]
    machine: MachineRecord
    tiling: TilingCertificate | None = None
    runtime: RuntimeChoice | None = None

    @classmethod
    def read(cls, path: Path) -> "RunRecord":
        """The record in a file.

        Raises:
            DataError: it is damaged, of another format, or no record of a run.
        """
        return from_json(cls, read_json(path), f"{path}: no record of a run", "run agriseg run again")

    def write(self, path: Path) -> None:
        """Write it whole or not at all.

        Raises:
            StorageError: the disk did not take it.
        """
        files.write_text(path, json_document({"format": FORMAT, **asdict(self)}))

    @property
    def run_options(self) -> RunOptions:
        """The user's choices."""
        return RunOptions.of(**self.options)

    @property
    def min_confidence(self) -> float | None:
        """Confidence below which pixels are of the class `unsure`, the last; None without it."""
        return RunOptions.of(min_confidence=self.options.get("min_confidence")).min_confidence


def options_json(options: RunOptions) -> dict[str, Any]:
    """Options as JSON values; `RunOptions.of` reads them back."""
    window = options.window
    corners = None if window is None else [window.col_off, window.row_off, window.width, window.height]
    return {**asdict(options), "window": corners, "bands": options.bands, "nodata": nodata_value(options.nodata)}


def read_json(path: Path) -> dict[str, Any]:
    """JSON values of a record of any kind.

    Raises:
        DataError: it is damaged, or of another format.
    """
    try:
        values: dict[str, Any] = json.loads(path.read_text("utf-8"))
        found = values["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: no record of a run, or damaged; run agriseg run again") from error
    if found != FORMAT:
        raise DataError(f"{path}: format {found}, expected {FORMAT}; use the agriseg that wrote it")
    return values
