"""What the report of a map of 1 Gpx takes.

Bars: at most 20 s, 500 MB above the imports, 3 MB on the disk, and the same bytes when it is made again.

The map is that of `layers.py`: plants on bare soil, a tenth of it nodata; its overviews are made beforehand, as a run
makes them, and so are its layers, with polygons, zones and places to walk to. The report is made in its own process.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from common import machine
from layers import sparse_map
from PIL import Image
from rasterio.enums import Resampling

from agriseg.analysis.build import make_layers
from agriseg.figures.quicklook import quicklook_size
from agriseg.options.layers import LayerOptions
from agriseg.reports.report import write_report


def finished(folder: Path, side: int, ground: int) -> Path:
    """A finished map with overviews, layers and the quick look of its image; returns its record."""
    sparse_map(folder, side, ground)
    for name, resampling in (("classes", Resampling.mode), ("confidence", Resampling.average)):
        with rasterio.open(folder / f"field_{name}.tif", "r+") as dataset:
            dataset.build_overviews([2**k for k in range(1, 8) if side > 256 * 2**k], resampling)
    width, height = quicklook_size(side, side)
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)  # the hardest to compress
    Image.fromarray(noise).save(folder / "field_image.png")
    record = folder / "field_run.json"
    make_layers(record, LayerOptions.of(affected="weed", zones=3, width="3m"))
    return record


def resident(what: str) -> int:
    """Bytes of memory that the process has now (VmRSS), or had at most (VmHWM), as Linux tells."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))


def child(record: Path) -> None:
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text(
        "5"
    )  # the peak begins anew: that of the imports is higher than what follows
    began = time.perf_counter()
    page = write_report(record)
    seconds, memory = time.perf_counter() - began, resident("VmHWM") - before
    first = hashlib.sha256(page.read_bytes()).hexdigest()
    same = hashlib.sha256(write_report(record).read_bytes()).hexdigest() == first
    print(json.dumps({"seconds": seconds, "bytes": memory, "page": page.stat().st_size, "same": same}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--side", type=int, default=32768)
    parser.add_argument("--ground", type=int, default=40_000, help="pixels that a plant has to itself")
    args = parser.parse_args()
    if args.child:
        child(Path(args.child))
        return
    with tempfile.TemporaryDirectory() as name:
        record = finished(Path(name), args.side, args.ground)
        command = [sys.executable, __file__, "--child", str(record)]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    print(f"{machine()}\n{args.side} px a side, a plant on {args.ground:,} px")
    print(
        f"report {found['seconds']:.1f} s, {found['bytes'] / 1e6:.0f} MB above the imports, "
        f"{found['page'] / 1e6:.2f} MB, {'the same bytes' if found['same'] else 'OTHER BYTES'} when made again"
    )


if __name__ == "__main__":
    main()
