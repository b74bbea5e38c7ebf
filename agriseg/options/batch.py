"""The options of a batch: which rasters are mapped, and how failures are handled."""

from dataclasses import dataclass
from datetime import date

from agriseg import units
from agriseg.errors import UsageError
from agriseg.options.table import option
from agriseg.options.workers import WorkerOptions


def _shard(value: str | tuple[int, int]) -> tuple[int, int]:
    if not isinstance(value, str):
        return value
    part, _, parts = value.partition("/")
    if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise UsageError(f"--shard {value}, expected K/N with K from 1 to N, such as 2/4")
    return int(part), int(parts)


def _day(value: str | date) -> date:
    try:
        return date.fromisoformat(value) if isinstance(value, str) else value
    except ValueError as error:
        raise UsageError(f"--since {value}, expected a day such as 2026-05-01") from error


@dataclass(frozen=True)
class BatchOptions(WorkerOptions):
    """How a batch runs; the fields are flags of `agriseg batch`.

    `timeout` and `settle` are in seconds. `shard` is (k, n): the k-th of n parts, each with its own database and
    summary.
    """

    workers: int = option(1, "Worker processes; default 1.", "N", span=(1, None))
    since: date | None = option(None, "Only flights of this day or later, such as 2026-05-01.", "DATE", parse=_day)
    settle: float = option(
        30.0, "Wait until a file has not changed for this long: it may still be growing; default 30s.", "LENGTH",
        parse=units.seconds,
    )  # fmt: skip
    timeout: float | None = option(None, "Stop a raster that takes longer, such as 30m.", "LENGTH", parse=units.seconds)
    retry: int = option(
        1, "Retries of a raster after a disk error or the loss of its worker; default 1.", "N", span=(0, None)
    )
    fail_fast: bool = option(
        False,
        "End after the first raster that fails, or go on (default).",
        names=("--fail-fast/--keep-going",),
        kind=bool,
    )
    shard: tuple[int, int] = option(
        (1, 1), "Only the K-th of N parts of the rasters: for N machines.", "K/N", parse=_shard
    )
