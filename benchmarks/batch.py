"""What a night of many rasters costs beside the maps.

Bars: its summaries and its log together are at most 3 times the bytes of the last summaries; a raster at the end takes
at most 1.2 times what one at the beginning takes.

The rasters are so small that what a night does for each of them outweighs the network. Bytes are counted by strace
where they are written, drafts among them. Time is that between rasters that are done, as the log has it: the median of
the second tenth of the rasters (the first has the start of the workers), and that of the last.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path

import numpy as np
from common import field, machine

from agriseg.demo.reference_models import random_network

_WRITES = re.compile(r"write\(\d+<[^>]*/\.?(?:summary[^>/]*|log\.jsonl)>, .*\) = (\d+)$")


def night(folder: Path, count: int, side: int) -> tuple[Path, int]:
    """Map so many rasters; returns the folder of the outputs, and bytes written to summaries and log."""
    flights, model, out, calls = folder / "flights", folder / "small.safetensors", folder / "out", folder / "calls"
    flights.mkdir()
    random_network("fcn_small").save(model)
    first = field(flights / "field00000.tif", side, side)
    for number in range(1, count):
        os.link(first, flights / f"field{number:05}.tif")
    asked = [
        sys.executable,
        "-m",
        "agriseg",
        "batch",
        flights,
        "-o",
        out,
        "-m",
        model,
        "--settle",
        "0s",
        "--cpu-threads",
        1,
    ]
    traced = ["strace", "-y", "-s", "0", "-e", "trace=write", "-o", calls, *asked]
    done = subprocess.run([*map(str, traced)], env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    if done.returncode:
        raise SystemExit(f"the night ended with {done.returncode}")
    with calls.open(errors="replace") as lines:
        written = sum(int(found[1]) for line in lines if (found := _WRITES.search(line)))
    return out, written


def pace(out: Path) -> tuple[float, float]:
    """Seconds per raster: of the second tenth, and of the last."""
    events = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    done = [datetime.fromisoformat(event["ts"]).timestamp() for event in events if event["event"] == "done"]
    steps, tenth = np.diff(done), len(done) // 10
    return statistics.median(steps[tenth : 2 * tenth]), statistics.median(steps[-tenth:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1600)
    parser.add_argument("--side", type=int, default=64)
    args = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        out, written = night(Path(folder), args.count, args.side)
        size = sum((out / f"summary.{end}").stat().st_size for end in ("json", "csv", "html"))
        first, last = pace(out)
    print(f"{args.count} rasters of {args.side} px: {written / 1e6:.1f} MB written to summaries and log, "
          f"{written / size:.2f} times the last ones ({size / 1e6:.1f} MB); {1000 * first:.0f} ms a raster at the "
          f"beginning, {1000 * last:.0f} at the end, {last / first:.2f} times")  # fmt: skip


if __name__ == "__main__":
    main()
