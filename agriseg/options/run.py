"""What a person can choose for a run, and where the choices come from."""

import difflib
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from math import inf
from pathlib import Path
from typing import Any

from agriseg import units
from agriseg.errors import ModelError, UsageError
from agriseg.grid import PRESETS, Window

CONFIG_NAME = "agriseg.toml"

BLENDS = tuple(PRESETS)
PRECISIONS = ("auto", "fp32", "bf16")
ON_READ_ERROR = ("stop", "nodata")

Span = tuple[float, float]

_MEASURED: Mapping[str, Span] = {
    "distance": (0.0, inf), "gsd_ratio": (1.0, inf), "doubtful": (0.0, 1.0), "nodata": (0.0, 1.0), "failed": (0.0, 1.0)
}  # fmt: skip
"""Least and largest value of what limits are set on."""


@dataclass(frozen=True)
class RunOptions:
    """How to map one raster; the fields are the flags of `agriseg run`. None means: chosen for you.

    Args:
        blend: preset for overlap and margin. exact: margin = the network's receptive half-width, equal to
            an untiled run. smooth: a quarter of a tile overlaps. fast: an eighth.
        tile: side of a tile (px).
        overlap: pixels that tiles share, or below 1 a share of the tile.
        margin: pixels at a tile's inner edge that only give context.
        batch: tiles per forward.
        device: auto, cpu, cuda, cuda:N, mps.
        precision: auto, fp32, bf16.
        max_memory: bytes that the run may use above the program itself.
        window: part of the raster to map, in its own pixels.
        bands: role to band number, or the numbers in the model's order; the role `alpha` marks a validity band.
        gsd: auto resamples to the model's ground sample distance, native does not; a number is metres.
        nodata: a value that means no data, beside what the file declares.
        probabilities: whether to write one band per class.
        threads: Dask threads: one reads ahead, one runs the network, one writes.
        band_rows: tile rows per Dask task.
        on_read_error: stop, or nodata: a stored block that cannot be decoded is left out of the map, and told.
        require_crs: refuse a raster that does not say where it lies.
    """

    blend: str = "smooth"
    tile: int | None = None
    overlap: int | float | None = None
    margin: int | None = None
    batch: int | None = None
    device: str = "auto"
    precision: str = "auto"
    max_memory: int | None = None
    window: Window | None = None
    bands: Mapping[str, int] | tuple[int, ...] | None = None
    gsd: float | str = "auto"
    nodata: float | None = None
    probabilities: bool = False
    threads: int | None = None
    band_rows: int = 1
    on_read_error: str = "stop"
    require_crs: bool = False

    def __post_init__(self) -> None:
        for name in ("tile", "batch", "max_memory", "threads", "band_rows"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} {value}, expected 1 or more")
        for name, words in (("blend", BLENDS), ("precision", PRECISIONS), ("on_read_error", ON_READ_ERROR)):
            if getattr(self, name) not in words:
                raise UsageError(f"{name} {getattr(self, name)!r}, expected {', '.join(words)}")
        if not isinstance(self.gsd, str) and not self.gsd > 0:
            raise UsageError(f"gsd {self.gsd!r}, expected auto, native, or metres per pixel above 0")

    @classmethod
    def of(cls, **flags: Any) -> "RunOptions":
        """Options from flags as people write them: `gsd="5cm"`, `overlap="25%"`, `bands="red=3,green=2,blue=1"`.

        Raises:
            UsageError: a flag that is unknown or cannot be read.
        """
        known = [option.name for option in fields(cls)]
        for name in flags:
            if name not in known:
                raise UsageError(f"unknown option {name!r}; {_nearest(name, known)}")
        read: dict[str, Callable[[Any], Any]] = {
            "overlap": units.pixels_or_share,
            "max_memory": units.size,
            "window": units.window,
            "bands": units.bands,
            "nodata": float,
            "gsd": lambda value: value if value in ("auto", "native") else units.metres(value),
        }
        given = {name: value for name, value in flags.items() if value is not None}
        return cls(**{name: read.get(name, _as_is)(value) for name, value in given.items()})


NOT_JUDGED = (1.0, 1.0)
"""Limits of a share of which all is allowed."""


@dataclass(frozen=True)
class VerdictLimits:
    """Above the first number of each a map is amber, above the second red. docs/verdicts.md tells what they rest on.

    A share with the limits of `NOT_JUDGED` is not judged; `of` takes `100%` and more for them.

    Args:
        distance: of the raster's mean colour from that of the training pixels, in deviations; see `distance`.
        gsd_ratio: of the ground sample distance that the network sees to the model's, or the other way round.
        doubtful: share of pixels with a confidence below 0.7.
        nodata: share of pixels without data.
        failed: share of pixels that could not be read.
    """

    distance: Span = (2.0, 5.0)
    gsd_ratio: Span = (1.25, 2.0)
    doubtful: Span = (0.1, 0.3)
    nodata: Span = (0.95, 0.999)
    failed: Span = (0.0, 0.01)

    def __post_init__(self) -> None:
        for name, (least, most) in _MEASURED.items():
            amber, red = getattr(self, name)
            if most == 1 and (amber, red) == NOT_JUDGED:
                continue
            if not least <= amber <= red < most:  # nor is NaN
                such = f"from {least:g} to below {most:g}" if most < inf else f"{least:g} or more"
                percent = "; 10 % is written 10% or 0.1, and 100%:100% judges nothing" if most == 1 else ""
                raise UsageError(
                    f"limit {name}={amber:g}:{red:g}, expected amber and then red, which is no less, {such}{percent}; "
                    "a limit that nothing can exceed would check nothing"
                )

    @classmethod
    def of(cls, texts: Iterable[str]) -> "VerdictLimits":
        """Limits as people write them: `doubtful=10%:30%`, `distance=2:5`; what is not named stays.

        Raises:
            UsageError: a limit that is unknown, cannot be read, or can never be exceeded.
        """
        given = {}
        for text in texts:
            name, _, numbers = text.partition("=")
            amber, _, red = numbers.partition(":")
            if name not in _MEASURED or name in given or not red:
                known = ", ".join(_MEASURED)
                raise UsageError(
                    f"limit {text!r}, expected NAME=AMBER:RED, each name once, of {known}, such as distance=2:5"
                )
            given[name] = units.share(amber), units.share(red)
            if given[name][0] == 1 <= given[name][1] and amber.strip().endswith("%"):
                given[name] = NOT_JUDGED
            elif given[name] == NOT_JUDGED:
                raise UsageError(
                    f"limit {text!r}: 1 is 100 %, and 1 % is written 1%; say {name}=100%:100% to judge nothing"
                )
        return cls(**given)


@dataclass(frozen=True)
class PublishPolicy:
    """Which maps may be published.

    Args:
        limits: of the verdict.
        refused: colours of maps that may not.
        quarantine: folder for these.
    """

    limits: VerdictLimits = field(default_factory=VerdictLimits)
    refused: tuple[str, ...] = ()
    quarantine: Path | None = None


def _as_is(value: Any) -> Any:
    return value


def find_config(start: Path) -> Path | None:
    """The nearest `agriseg.toml` in this folder or above it."""
    return next((folder / CONFIG_NAME for folder in (start, *start.parents) if (folder / CONFIG_NAME).is_file()), None)


def read_config(path: Path, known: Mapping[str, Collection[str]]) -> dict[str, dict[str, Any]]:
    """Read a TOML file with one table per command.

    Args:
        path: the file.
        known: command to the keys it knows.

    Raises:
        ModelError: no TOML, or a key that no command knows; the nearest one is named.
    """
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as TOML: {error}") from error
    for command, table in tables.items():
        if command not in known:
            raise ModelError(f"{path}: unknown table [{command}]; {_nearest(command, known)}")
        if not isinstance(table, dict):
            raise ModelError(f"{path}: {command!r} must be a table; write [{command}] above its keys")
        for key in table:
            if key not in known[command]:
                raise ModelError(f"{path}: unknown key {key!r} in [{command}]; {_nearest(key, known[command])}")
    return tables


def _nearest(word: str, words: Collection[str]) -> str:
    near = difflib.get_close_matches(word, list(words), 1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(words))}"
