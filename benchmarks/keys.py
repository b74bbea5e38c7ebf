"""What the keys of a run cost at the start of its workers: they keep other accounts of the machine out.

    python benchmarks/keys.py [--rounds 7]

Bar: at most 1 s. Two workers are started and ended, in turn with keys and without. Nothing heavy is imported here,
since each worker imports the main module again.
"""

import argparse
import statistics
import time
from contextlib import nullcontext
from types import SimpleNamespace
from unittest.mock import patch

from distributed import Security

from agriseg.inference import local_cluster
from agriseg.inference.workers import WorkerPool

WITHOUT = patch.multiple(local_cluster, _PROTOCOL="tcp://", Security=SimpleNamespace(temporary=Security))


def seconds() -> tuple[float, float]:
    """Until two workers are there, and until all has ended."""
    began = time.perf_counter()
    with WorkerPool(2):
        started = time.perf_counter() - began
    return started, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    found: dict[str, list[tuple[float, float]]] = {"with": [], "without": []}
    for round_ in range(parser.parse_args().rounds):
        for name in sorted(found, reverse=round_ % 2 == 1):
            with WITHOUT if name == "without" else nullcontext():
                found[name].append(seconds())
    for place, what in enumerate(("start", "start and end")):
        one, none = (sorted(each[place] for each in found[name]) for name in ("with", "without"))
        print(f"{what} of two workers: {statistics.median(one):.2f} s with keys ({one[0]:.2f} to {one[-1]:.2f}), "
              f"{statistics.median(none):.2f} s without ({none[0]:.2f} to {none[-1]:.2f}), "
              f"{statistics.median(one) - statistics.median(none):+.2f} s")  # fmt: skip


if __name__ == "__main__":
    main()
