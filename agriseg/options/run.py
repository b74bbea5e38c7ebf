"""The options of a run: how a raster is mapped."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from agriseg import units
from agriseg.errors import UsageError
from agriseg.grid import PRESETS, Window
from agriseg.options.table import Options, option

BLENDS = tuple(PRESETS)
PRECISIONS = ("auto", "fp32", "bf16")
BACKENDS = ("auto", "torch", "openvino", "onnxruntime")
ON_READ_ERROR = ("stop", "nodata")
TTA = ("none", "flips", "d4")
AUTO = "auto"
_CONFIDENCES = "expected above 0 and at most 1, such as 0.7 or 70%"


def _gsd(value: float | str) -> float | str:
    return value if value in ("auto", "native") else units.metres(value)


def _tile(value: int | str) -> int | str:
    if value == AUTO:
        return value
    try:
        return int(value)
    except ValueError as error:
        raise UsageError(f"--tile {value}, expected pixels such as 512, or auto") from error


def _overlap(value: float | str) -> int | float | str:
    return value if value == AUTO else units.pixels_or_share(value)


def _tolerance(value: float | str) -> float:
    return units.share(value) if isinstance(value, str) else float(value)


def _confidence(value: float | str) -> float:
    try:
        return units.share(value) if isinstance(value, str) else float(value)
    except (UsageError, TypeError, ValueError) as error:
        raise UsageError(f"--min-confidence {value}, {_CONFIDENCES}") from error


@dataclass(frozen=True)
class RunOptions(Options):
    """How to map one raster; the fields are the flags of `agriseg run`. None means: chosen automatically.

    `bands` maps roles to band numbers, or holds the numbers in the model's order; the role `alpha` marks a validity
    band. `overlap` is in pixels, or below 1 a share of the tile; `gsd` is in metres, `max_memory` in bytes;
    `min_confidence` is above 0 and at most 1; `tolerance` is at least 0 and below 1.
    """

    bands: Mapping[str, int] | tuple[int, ...] | None = option(
        None, "Band numbers by role (red=3,green=2,blue=1) or in the model's order (3,2,1); alpha=4: validity band.",
        "LIST", names=("-b", "--bands"), parse=units.bands,
    )  # fmt: skip
    gsd: float | str = option(
        "auto",
        "Ground sample distance: auto (the model's, default), native (the raster's), or 5cm.",
        "LENGTH",
        parse=_gsd,
    )
    nodata: float | None = option(
        None, "Nodata value, in addition to the one the file declares.", "VALUE", kind=float, parse=float
    )
    window: Window | None = option(
        None, "Map only this window, in pixels of the raster.", "COL,ROW,WIDTH,HEIGHT", parse=units.window
    )
    blend: str = option(
        "smooth", "Tile blending. exact: equal to an untiled run; smooth (default): overlap of 1/4 tile; fast: 1/8.",
        choices=BLENDS,
    )  # fmt: skip
    tile: int | str | None = option(
        None, "Side of a tile, such as 512. auto: tile and overlap of least work, measured on this raster.",
        "PX|auto", parse=_tile,
    )  # fmt: skip
    overlap: int | float | str | None = option(
        None, "Overlap of neighbouring tiles, such as 64 or 25%, or auto.", "PX|%|auto", parse=_overlap
    )
    tolerance: float | None = option(
        None, "With auto: share of labels that may differ from an untiled run; default 0.1% or the default tiles', the "
        "smaller.", "%", parse=_tolerance,
    )  # fmt: skip
    margin: int | None = option(None, "Pixels at a tile's inner edge that only give context.", "PX", kind=int)
    batch: int | None = option(None, "Tiles per forward pass of the network.", "N", kind=int)
    device: str = option("auto", "auto (default), cpu, cuda, cuda:1, mps.", "NAME")
    backend: str | None = option(
        None, "Runtime: torch (default; for an ONNX file what is installed), openvino, onnxruntime, or auto: the "
        "fastest that keeps the labels, measured on this raster.", "NAME", choices=BACKENDS,
    )  # fmt: skip
    precision: str = option("auto", "Number format of the network's computation.", choices=PRECISIONS)
    tta: str = option(
        "none", "Test-time augmentation: the mean over 4 flips, or over 8 flips and turns (d4); 4 or 8 times as slow.",
        choices=TTA,
    )  # fmt: skip
    min_confidence: float | None = option(
        None, "Pixels of a lower confidence, such as 0.7, get no class of the model but 'unsure', with its hectares.",
        "VALUE", parse=_confidence,
    )  # fmt: skip
    max_memory: int | None = option(
        None, "Memory limit of the run, above that of the program itself, such as 2GB.", "SIZE", parse=units.size
    )
    threads: int | None = option(None, "Dask threads, to read ahead, run the network and write.", "N", kind=int)
    band_rows: int = option(1, "Tile rows per Dask task.", "N", kind=int)
    on_read_error: str = option(
        "stop", "A block that cannot be read: stop (default), or nodata: leave it out of the map and exit with 3.",
        choices=ON_READ_ERROR,
    )  # fmt: skip
    require_crs: bool = option(False, "Refuse a raster without georeference.", kind=bool)
    probabilities: bool = option(False, "Also write the probabilities, one band per class.", kind=bool)

    def __post_init__(self) -> None:
        for name in ("tile", "batch", "max_memory", "threads", "band_rows"):
            value = getattr(self, name)
            if value not in (None, AUTO) and value < 1:
                raise UsageError(f"{name} {value}, expected 1 or more")
        self.check_choices()
        if not isinstance(self.gsd, str) and not self.gsd > 0:
            raise UsageError(f"gsd {self.gsd!r}, expected auto, native, or metres per pixel above 0")
        if self.min_confidence is not None and not 0 < self.min_confidence <= 1:
            raise UsageError(f"--min-confidence {self.min_confidence:g}, {_CONFIDENCES}")
        self._check_auto()

    @property
    def has_auto(self) -> bool:
        """Whether tile or overlap is chosen by measurement."""
        return AUTO in (self.tile, self.overlap)

    @property
    def tile_px(self) -> int | None:
        """The user's tile; None if it is open."""
        return self.tile if isinstance(self.tile, int) else None

    @property
    def overlap_given(self) -> int | float | None:
        """The user's overlap; None if it is open."""
        return None if isinstance(self.overlap, str) else self.overlap

    def with_tiles(self, tile: int, overlap: int | None, margin: int | None) -> "RunOptions":
        """The same with these numbers, and nothing to measure."""
        return replace(self, tile=tile, overlap=overlap, margin=margin, tolerance=None)

    def _check_auto(self) -> None:
        if self.tolerance is not None and not 0 <= self.tolerance < 1:
            raise UsageError(f"--tolerance {self.tolerance:g}, expected 0 or more and below 1, such as 0.1%")
        if self.has_auto and self.margin is not None and self.overlap_given is None:
            raise UsageError(
                f"--margin {self.margin} with an overlap that is chosen; leave it out, or give --overlap in pixels"
            )
