"""What the layers of a sparse mask of 1 Gpx take.

Bars: at most 1 GiB above the imports, and 15 % of the time that FCN-8s on ResNet-18 takes to map as much here.

Plants are discs on bare soil, every tenth of them a weed, and a tenth of the map is nodata. Each part runs in a process
of its own; the area that a plant has to itself is given in pixels.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import rasterio
from common import field, machine

from agriseg import segment
from agriseg.analysis.build import make_layers
from agriseg.analysis.components import Components
from agriseg.analysis.polygonize import polygonize
from agriseg.analysis.postprocess import clean
from agriseg.demo.reference_models import random_network
from agriseg.legend import NODATA, Legend
from agriseg.maps.reader import FinishedMap
from agriseg.options.layers import LayerOptions


def sparse_map(folder: Path, side: int, ground: int) -> None:
    """Files of mask and confidence, written in strips."""
    rng, radius = np.random.default_rng(0), 8
    disc = np.add.outer(*(np.arange(-radius, radius + 1) ** 2,) * 2) <= radius**2
    profile = {
        "driver": "GTiff", "dtype": "uint8", "count": 1, "height": side, "width": side, "tiled": True, "nodata": NODATA,
        "blockxsize": 512, "blockysize": 512, "crs": "EPSG:32632", "compress": "deflate",
        "transform": rasterio.Affine(0.05, 0, 5e5, 0, -0.05, 5e6),
    }  # fmt: skip
    small = field(folder / "small.tif", 64, 64)
    model = replace(random_network("fcn_small", 3), legend=Legend.from_names(["soil", "crop", "weed"]))
    segment(small, model, folder).record.rename(folder / "field_run.json")
    with (
        rasterio.open(folder / "field_classes.tif", "w", **profile) as classes,
        rasterio.open(folder / "field_confidence.tif", "w", **profile) as confidence,
    ):
        classes.write_colormap(1, {0: (176, 141, 98), 1: (26, 152, 80), 2: (215, 25, 28)})
        for top in range(0, side, 512):
            mask = np.zeros((min(512, side - top), side), np.uint8)
            for place in rng.integers(0, mask.size, mask.size // ground):
                row, col = divmod(int(place), side)
                corner = mask[row : row + disc.shape[0], col : col + disc.shape[1]]
                corner[disc[: corner.shape[0], : corner.shape[1]]] = 2 if place % 10 == 0 else 1
            mask[:, : side // 10] = NODATA
            window = rasterio.windows.Window(0, top, side, len(mask))
            classes.write(mask, 1, window=window)
            confidence.write(np.where(mask == NODATA, NODATA, 250 - 40 * mask).astype(np.uint8), 1, window=window)


def opened(folder: Path) -> FinishedMap:
    return FinishedMap.of(folder / "field_run.json")


def everything(folder: Path) -> str:
    """Areas, polygons, severity, zones, scout points; as `agriseg layers` makes them."""
    options = LayerOptions.of(affected="weed", zones=3, width="3m")
    made = make_layers(folder / "field_run.json", options, overwrite=True)
    return f"{len(made.files)} files of {sum(path.stat().st_size for path in made.files) / 1e6:.0f} MB"


def everything_clean(folder: Path) -> str:
    """The same of a cleaned mask."""
    options = LayerOptions.of(affected="weed", zones=3, width="3m", mmu="0.25m2")
    made = make_layers(folder / "field_run.json", options, overwrite=True)
    return f"{len(made.files)} files, of patches from 0.25 m2 on"


def seconds_to_map(folder: Path, side: int) -> float:
    """What FCN-8s on ResNet-18 takes for a raster of so many pixels a side, by one of 4096."""
    image = field(folder / "image.tif", 4096, 4096)
    began = time.perf_counter()
    segment(image, random_network("fcn8s_resnet18"), folder / "mapped")
    return (time.perf_counter() - began) * (side / 4096) ** 2


def listed(folder: Path) -> str:
    return f"{len(Components.of(opened(folder))):,} patches"


def cleaned(folder: Path) -> str:
    clean(opened(folder), folder, mmu_m2=0.25)
    return "patches below 0.25 m2 given away"


def smoothed(folder: Path) -> str:
    clean(opened(folder), folder, smooth_px=2)
    return "majority of 5 x 5"


def outlined(folder: Path) -> str:
    source = opened(folder)
    patches = Components.of(source)
    return f"{len(polygonize(source, patches)):,} polygons"


PARTS: dict[str, Callable[[Path], str]] = {
    "patches": listed, "mmu": cleaned, "smooth": smoothed, "polygons": outlined, "layers": everything,
    "cleaned": everything_clean,
}  # fmt: skip


def peak_bytes() -> int:
    """Largest resident set of this process so far, since its program began.

    `getrusage` would also tell that of the process that started it, which mapped a raster before.
    """
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024


def child(part: str, folder: Path) -> None:
    before, began = peak_bytes(), time.perf_counter()
    told = PARTS[part](folder)
    print(json.dumps({"seconds": time.perf_counter() - began, "bytes": peak_bytes() - before, "told": told}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=list(PARTS))
    parser.add_argument("--side", type=int, default=32768)
    parser.add_argument("--ground", type=int, default=40_000, help="pixels that a plant has to itself")
    args = parser.parse_args()
    if args.child:
        child(args.child[0], Path(args.child[1]))
        return
    with tempfile.TemporaryDirectory() as name:
        sparse_map(Path(name), args.side, args.ground)
        whole = seconds_to_map(Path(name), args.side)
        print(f"{machine()}\n{args.side} px a side; FCN-8s on ResNet-18 takes {whole:.0f} s, by a raster of 4096 px")
        for part in [args.only] if args.only else PARTS:
            command = [sys.executable, __file__, "--child", part, name]
            found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            memory = f"{found['bytes'] / 2**20:5.0f} MiB above the imports"
            share = f"{found['seconds']:6.1f} s, {found['seconds'] / whole:6.1%} of the run"
            print(f"{part:9} {share}, {memory}; {found['told']}")


if __name__ == "__main__":
    main()
