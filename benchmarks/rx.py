"""What a prescription of a map takes.

Bars: at most 10 % of the time that FCN-8s on ResNet-18 takes to map as much here, and memory without a term in the
height of the raster: a quarter of it and all of it, with as many cells, need the same.

The map is that of `layers.py`: plants are discs on bare soil, every tenth of them a weed, and a tenth is nodata. Each
prescription is made in a process of its own.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import machine
from layers import opened, peak_bytes, seconds_to_map, sparse_map

from agriseg.options.prescription import RxOptions
from agriseg.prescription.plan import prescribe

PIXEL = 0.05
"""Metres."""
CELLS = 1000
"""On a side of the map."""
KINDS = {
    "turned": {"heading": "30", "margin": "10cm"},
    "lonlat": {"margin": "10cm"},
    "no margin": {"heading": "0"},
}  # fmt: skip


def child(kind: str, folder: Path, side: int) -> None:
    """Make a prescription; tell its seconds and memory as JSON."""
    options = RxOptions.of(
        spot="weed",
        rate="200",
        unit="l/ha",
        cell=side * PIXEL / CELLS,
        min_area="0cm2",
        doubtful="treat",
        **KINDS[kind],
    )
    source, before, began = opened(folder), peak_bytes(), time.perf_counter()
    plan = prescribe(source, options, lonlat=kind == "lonlat")
    seconds, balance = time.perf_counter() - began, plan.balance
    told = f"{balance.treated_hectares:.2f} of {balance.field_hectares:.2f} ha in {plan.cells.areas.size:,} cells"
    print(json.dumps({"seconds": seconds, "bytes": peak_bytes() - before, "told": told}))


def measure(side: int, ground: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        sparse_map(Path(name), side, ground)
        whole = seconds_to_map(Path(name), side)
        print(f"{side} px a side; FCN-8s on ResNet-18 takes {whole:.0f} s, by a raster of 4096 px")
        for kind in KINDS:
            command = [sys.executable, __file__, "--child", kind, name, "--side", str(side)]
            found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            share = f"{found['seconds']:6.1f} s, {found['seconds'] / whole:6.1%} of the run"
            print(f"{kind:9} {share}, {found['bytes'] / 2**20:5.0f} MiB above the imports; {found['told']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--side", type=int, default=32768)
    parser.add_argument("--ground", type=int, default=4_000, help="pixels that a plant has to itself")
    args = parser.parse_args()
    if args.child:
        child(args.child[0], Path(args.child[1]), args.side)
        return
    print(machine())
    for side in (args.side // 2, args.side):
        measure(side, args.ground)


if __name__ == "__main__":
    main()
