"""Bar: with at most 5 % of the weeds missed, cells of 0.25 and 0.5 m spray at most 1.3 times the floor.

    python benchmarks/rx_curve.py ../shared/data

Columns 8 to 10 of the potato field, which the model `potato-weed` was not trained on, with the nominal GSD of 3 mm. The
floor is what perfect knowledge sprays with the same cells to miss no more: `agriseg/prescription/measured/missed.py`.
Missed is counted in labelled plants of the class weed, with the upper end of the 95 % interval by blocks of ground.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import rasterio
from common import machine
from rasterio.windows import Window

from agriseg import segment
from agriseg.maps.reader import FinishedMap
from agriseg.prescription.measured.curve import CurvePoint, MissCurve
from agriseg.prescription.measured.labelled_maps import LabelledMap
from agriseg.prescription.spots import SpotRule, spot_ids

MOST = 0.05
FIRST, GSD = 5120, 0.003


def placed(source: Path, folder: Path) -> Path:
    """The columns that the model does not know, in a place on the ground."""
    with rasterio.open(source) as opened:
        window = Window(FIRST, 0, opened.width - FIRST, opened.height)
        place = {"crs": "EPSG:32650", "transform": rasterio.Affine(GSD, 0, 500_000, 0, -GSD, 4_000_000)}
        profile = {**opened.profile, **place, "width": window.width, "height": window.height}
        with rasterio.open(folder / source.name, "w", **profile) as made:
            made.write(opened.read(window=window))
    return folder / source.name


def least(points: list[CurvePoint], missed: Callable[[CurvePoint], float]) -> CurvePoint | None:
    """The point that sprays least with few enough missed plants."""
    return min((p for p in points if missed(p) <= MOST), key=lambda point: point.sprayed, default=None)


def row(name: str, point: CurvePoint | None, curve: MissCurve) -> str:
    """A line of the table."""
    floor, whole = curve.floor.sprayed_at(MOST), curve.floor.sprayed_at(float(curve.floor.missed.min()))
    if point is None or not floor or not whole:
        return f"| {name} | none | | | | | | |"
    low, high = point.plants.share_95
    doubt = "treat" if point.treat_doubtful else "skip"
    return (
        f"| {name} | {doubt} {point.threshold:g} | {point.sprayed:.1%} | {point.plants.share:.1%} "
        f"({low or 0:.1%} to {high or 1:.1%}) | {point.area:.1%} | {floor:.1%} | {point.sprayed / floor:.2f} | "
        f"{point.sprayed / whole:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--cells", type=float, nargs="+", default=[0.25, 0.5, 1.0, 3.0], help="metres")
    parser.add_argument("--min-area", type=float, default=0.0, help="square metres")
    parser.add_argument("--model", default="potato-weed")
    args = parser.parse_args()
    field = args.data / "potato_weed_uav" / "field"
    with tempfile.TemporaryDirectory() as name:
        image, labels = (placed(field / f"field_cols00-10{end}.tif", Path(name)) for end in ("", "_labels"))
        map_ = FinishedMap.of(segment(image, args.model, Path(name) / "maps", probabilities=True).record)
        with rasterio.open(labels) as opened:
            truth = LabelledMap(map_, opened.read(1), None)
        rule = SpotRule(spot_ids(map_.legend, ["weed"]), min_area=args.min_area)
        print(f"{machine()}; {args.model}; least area {args.min_area * 1e4:g} cm2; at most {MOST:.0%} of plants missed")
        print(
            "| cell, missed by | doubtful pixels, threshold | sprayed | missed plants | missed area | floor "
            "| / floor | / floor that misses fewest |"
        )
        print("|---|---|---|---|---|---|---|---|")
        for side in args.cells:
            curve = MissCurve.of([truth], side, rule)
            points = list(curve.points)
            print(row(f"{side:g} m, upper end", least(points, lambda p: p.plants.share_95[1] or 1.0), curve))
            print(row(f"{side:g} m, estimate", least(points, lambda p: p.plants.share or 0.0), curve), flush=True)
        print(f"{curve.chosen.plants.whole} plants in {curve.blocks} blocks")


if __name__ == "__main__":
    main()
