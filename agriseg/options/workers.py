"""The options of worker processes."""

from dataclasses import dataclass

from agriseg.errors import UsageError
from agriseg.options.table import Options, option


@dataclass(frozen=True)
class WorkerOptions(Options):
    """Which processes run the network; the fields are flags of `agriseg run` and `agriseg batch`.

    `workers` is the number of processes on this machine. With the address of a Dask scheduler, or the file that it
    writes, its workers are used instead. `cpu_threads` are those of the network in each process.
    """

    workers: int | None = option(
        None, "Worker processes; default one per GPU if there are several, else threads of this one.", "N",
        span=(0, None),
    )  # fmt: skip
    scheduler: str | None = option(None, "Use the workers of this Dask scheduler: tcp://HOST:PORT.", "ADDRESS")
    scheduler_file: str | None = option(None, "The same, by the file that 'dask scheduler' writes.", "FILE")
    cpu_threads: int | None = option(
        None, "Threads of the network per process, on which the bytes depend; default: the cores shared out.", "N",
        span=(1, None),
    )  # fmt: skip

    def __post_init__(self) -> None:
        if self.scheduler and self.scheduler_file:
            raise UsageError("--scheduler and --scheduler-file; give one of them")

    @property
    def scheduler_address(self) -> str | None:
        """Address or file of the Dask scheduler."""
        return self.scheduler or self.scheduler_file
