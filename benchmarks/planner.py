"""Bar: `--tile auto` is 1.3 times as fast as the default tiles, and as near to an untiled run; its certificate holds.

The disagreement with an untiled run is the same or lower, and the certificate within a factor of 2 of it.

Each real raster is mapped exactly, with the default tiles, and with tiles that are chosen, with each model; file to
file, the measurement included. `work` is network pixels per pixel, that of the measurement included. Seconds are those
of the processors, because other programs may run beside; the ratio of wall clocks is printed too.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from common import machine
from numpy.typing import NDArray

from agriseg import segment
from agriseg.maps.record import RunRecord
from agriseg.model import SegmentationModel, load_model

_RASTERS = {
    "field": "potato_weed_uav/field/field_cols00-10.tif",
    "aerial": "aerial_rgba_epsg4326/3420B_2010_328_RGB_LATLNG.tif",
    "orthomosaic": "drone_ortho_rgba_utm12n/orthomosaic.tif",
}


@dataclass(frozen=True)
class Run:
    """A finished run: seconds of processors and of the clock, its labels and its record."""

    cpu: float
    wall: float
    labels: NDArray[np.uint8]
    record: RunRecord

    def unlike(self, exact: "Run") -> float:
        """Share of the valid pixels with another label."""
        valid = exact.labels != 255
        return float((self.labels != exact.labels)[valid].mean())


def cut(source: Path, target: Path, width: int, height: int) -> Path:
    """The middle of a raster as a file of its own."""
    with rasterio.open(source) as dataset:
        width, height = min(width, dataset.width), min(height, dataset.height)
        left, top = (dataset.width - width) // 2, (dataset.height - height) // 2
        window = rasterio.windows.Window(left, top, width, height)
        profile = {
            **dataset.profile, "width": width, "height": height, "driver": "GTiff", "compress": "deflate",
            "tiled": True, "blockxsize": 512, "blockysize": 512, "transform": dataset.window_transform(window),
        }  # fmt: skip
        profile.pop("photometric", None)
        with rasterio.open(target, "w", **profile) as copy:
            copy.write(dataset.read(window=window))
            copy.colorinterp = dataset.colorinterp
    return target


def run(image: Path, model: SegmentationModel, **options: str) -> Run:
    """Map a raster, file to file."""
    with tempfile.TemporaryDirectory() as folder:
        cpu, wall = time.process_time(), time.perf_counter()
        report = segment(image, model, Path(folder) / "out", **options)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        with rasterio.open(report.classes) as dataset:
            return Run(cpu, wall, dataset.read(1), RunRecord.read(report.record))


def compare(name: str, image: Path, model: SegmentationModel, tolerance: str | None) -> None:
    """One line of the table."""
    options = {"tile": "auto"} if tolerance is None else {"tile": "auto", "tolerance": tolerance}
    exact = run(image, model, blend="exact", tile="auto")
    default, auto = run(image, model), run(image, model, **options)
    known, how = auto.record.tiling, auto.record.parameters
    work = "-" if known is None else f"{known.default_work:.2f} {known.work + known.probe_work:.2f}"
    certified = "-" if known is None else f"{known.disagreement:.1e} ({known.disagreement_95[1]:.1e})"
    print(
        f"{name:12} {model.name:12} {exact.labels.size / 1e6:5.1f} {how.tile_px:5} {how.overlap_px:4}  {work:11} "
        f"{default.cpu:6.1f} {auto.cpu:6.1f} {default.cpu / auto.cpu:5.2f} {default.wall / auto.wall:5.2f}  "
        f"{default.unlike(exact):.1e} {auto.unlike(exact):.1e} {certified:18} "
        f"{default.record.seam_ratio or 0:.2f} {auto.record.seam_ratio or 0:.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of the shared data sets")
    parser.add_argument("--rasters", nargs="*", default=list(_RASTERS), choices=_RASTERS)
    parser.add_argument("--models", nargs="*", default=["vegetation", "potato-weed"])
    parser.add_argument("--size", type=int, nargs=2, default=[4096, 3072], metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--tolerance")
    args = parser.parse_args()
    print(machine())
    print(
        "raster       model          Mpx  tile over  work: default, auto  CPU s: both  ratio  wall  unlike: default, "
        "auto  certificate (95 %)  seams"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in args.rasters:
            image = cut(args.data / _RASTERS[name], Path(folder) / f"{name}.tif", *args.size)
            for model in args.models:
                compare(name, image, load_model(model), args.tolerance)


if __name__ == "__main__":
    main()
