"""The process of one engine: load the network, map the raster, write what it took.

python -m benchmarks.peers.adapter_process ADAPTER TASK
"""

import importlib
import resource
import sys
import time
from pathlib import Path

from benchmarks.peers.task import Measurement, Task

_KIB = 1024


def processor_seconds() -> float:
    """Of all threads of this process, and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def main() -> None:
    adapter, task = sys.argv[1], Task.read(Path(sys.argv[2]))
    run = importlib.import_module(f"benchmarks.peers.adapters.{adapter}").prepare(task)
    began, before = time.perf_counter(), processor_seconds()
    mapped = run()
    seconds, spent = time.perf_counter() - began, processor_seconds() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB
    Measurement(seconds, spent, peak, mapped).write(Path(task.measurement))


if __name__ == "__main__":
    main()
