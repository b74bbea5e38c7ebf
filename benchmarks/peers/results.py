"""Medians of the rounds, and their table."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.peers.task import Measurement

_MEGABYTE = 10**6


@dataclass(frozen=True)
class Bench:
    """What all rows have in common.

    Args:
        megapixels: of the raster.
        operations_per_pixel: of the network's convolutions; a multiplication and its addition are two.
        peaks: operations per second of a matrix product, by precision.
    """

    megapixels: float
    operations_per_pixel: float
    peaks: Mapping[str, float]


@dataclass(frozen=True)
class Row:
    """An engine, by the medians of its rounds.

    Args:
        speed: raster Mpx/s by the wall clock.
        processor: processor seconds per raster Mpx.
        share_of_peak: operations that an untiled run needs per second, over the peak in the engine's precision.
        peak_mb: resident memory of its processes, the largest of the rounds (MB).
        unlike: share of the valid pixels with another class than untiled.
        seam_ratio: None without seams or changes.
        work: network pixels per raster pixel.
        failed: why there are no figures; they are 0 then.
    """

    engine: str
    precision: str = ""
    speed: float = 0.0
    processor: float = 0.0
    share_of_peak: float = 0.0
    peak_mb: float = 0.0
    unlike: float = 0.0
    seam_ratio: float | None = None
    work: float = 0.0
    failed: str = ""


def row(engine: str, rounds: Sequence[Measurement], bench: Bench, unlike: float, seams: float | None) -> Row:
    """The medians of some runs of an engine."""
    mapped = rounds[0].mapped
    speed = bench.megapixels / statistics.median(each.seconds for each in rounds)
    return Row(
        engine=engine,
        precision=mapped.precision,
        speed=speed,
        processor=statistics.median(each.processor_seconds for each in rounds) / bench.megapixels,
        share_of_peak=1e6 * speed * bench.operations_per_pixel / bench.peaks[mapped.precision],
        peak_mb=max(each.peak_bytes for each in rounds) / _MEGABYTE,
        unlike=unlike,
        seam_ratio=seams,
        work=mapped.network_pixels / (1e6 * bench.megapixels),
    )


_HEAD = (
    "engine", "number format", "Mpx/s", "processor s/Mpx", "share of peak", "memory (MB)", "labels unlike untiled",
    "seam ratio", "network px per px",
)  # fmt: skip


def table(rows: Sequence[Row]) -> str:
    """Markdown; engines without figures are listed below with the reason."""
    lines = [_HEAD, ("---",) * len(_HEAD)]
    for each in rows:
        if not each.failed:
            seams = "-" if each.seam_ratio is None else f"{each.seam_ratio:.2f}"
            lines.append((
                each.engine, each.precision, f"{each.speed:.3f}", f"{each.processor:.2f}", f"{each.share_of_peak:.2f}",
                f"{each.peak_mb:.0f}", f"{100 * each.unlike:.3f} %", seams, f"{each.work:.2f}",
            ))  # fmt: skip
    missing = [f"- {each.engine}: no figures. {each.failed}" for each in rows if each.failed]
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), *([""] if missing else []), *missing])
