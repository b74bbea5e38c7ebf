"""Bars: memory at four times the height is at most 1.05 of it; 8192 x 8192 takes at most 300 MB above the imports.

    python benchmarks/memory.py
    python benchmarks/memory.py --heights 3072 196608    # 25 Mpx and 1.6 Gpx

Each run is a process of its own with the pixelwise oracle, so that the engine's memory and time show and no network's.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import field, machine

from agriseg import segment
from agriseg.demo.reference_models import nearest_level


def peak_bytes() -> int:
    """Largest resident set of this process so far; Linux gives kibibytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def resident_bytes() -> int:
    """What this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def child(image: Path, out: Path) -> None:
    """One run; prints what the process held after its imports and at most."""
    model = nearest_level()
    before = resident_bytes()
    began = time.perf_counter()
    report = segment(image, model, out, tile=512)
    seconds = time.perf_counter() - began
    expected = json.loads(report.record.read_text())["parameters"]["expected_memory_bytes"]
    print(json.dumps({"imports": before, "peak": peak_bytes(), "expected": expected, "seconds": seconds}))


def measure(folder: Path, width: int, height: int) -> dict[str, float]:
    """Megabytes of one run in a fresh process."""
    image = field(folder / f"{height}.tif", height, width)
    command = [sys.executable, __file__, "--child", str(image), str(folder / f"map_{height}")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = {key: value / 1e6 for key, value in json.loads(done.stdout).items()}
    found["per_mpx"] = found["seconds"] * 1e12 / (width * height)
    print(
        f"{width} x {height}: {found['peak']:.0f} MB, imports {found['imports']:.0f}, "
        f"above them {found['peak'] - found['imports']:.0f}, foretold {found['expected']:.0f}; "
        f"{found['per_mpx']:.4f} s/Mpx",
        flush=True,
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--width", type=int, default=8192)
    parser.add_argument("--heights", type=int, nargs=2, default=(2048, 8192), metavar=("LOW", "HIGH"))
    args = parser.parse_args()
    if args.child:
        child(*args.child)
        return
    with tempfile.TemporaryDirectory() as name:
        low, high = (measure(Path(name), args.width, height) for height in args.heights)
    print(machine())
    above = {key: run["peak"] - run["imports"] for key, run in (("low", low), ("high", high))}
    print(
        f"{args.heights[1]} rows / {args.heights[0]}: "
        f"seconds per Mpx {high['per_mpx'] / low['per_mpx']:.3f} (bar 1.05), "
        f"whole process {high['peak'] / low['peak']:.3f} (bar 1.05), "
        f"above the imports {above['high'] / above['low']:.3f}"
    )
    print(
        f"{args.width} x {args.heights[1]}, tile 512: {above['high']:.0f} MB above the imports; bar 300 for 8192 rows"
    )


if __name__ == "__main__":
    main()
