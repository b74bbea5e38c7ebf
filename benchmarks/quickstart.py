"""From 15 polygons or 60 clicks to the map of a field: wall-clock time and mean IoU on ground without labels.

    python benchmarks/quickstart.py ../shared/data [--labels "15 polygons"] [--times 2m 5m] [--seeds 3]

Labels are drawn from the truth of the columns 0 to 7 of the potato field: plants of at least 150 px drawn at random,
outlined or clicked with 3 px of jitter, and as many patches or points of soil. The columns 8 to 10 score the map.
Run it alone: times count all processes of the machine.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.features import shapes
from scipy import ndimage

from agriseg.metrics import confusion, iou, mean_iou

CLASSES = ("soil", "potato", "weed")
LABELLED = 8 * 640  # columns of pixels
LEAST = 150  # pixels of a plant that somebody outlines or clicks on
KINDS = {"15 polygons": 5, "60 clicks": 20}
"""Labels of each class."""

Label = tuple[str, shapely.Geometry]


def outlines(ids: NDArray[np.uint8], count: int, rng: np.random.Generator) -> Iterator[Label]:
    for number, (place, plant) in plants(ids, count, rng):
        outline = max((shapely.geometry.shape(each) for each, _ in shapes(plant.astype(np.uint8), plant)), key=area)
        corner = place[1].start, place[0].start
        yield CLASSES[number], shapely.transform(outline.simplify(1), lambda xy, corner=corner: xy + corner)
    plant = ids > 0
    for _ in range(count):
        while True:
            side = int(rng.integers(100, 220))
            row, col = (int(rng.integers(0, length - side)) for length in ids.shape)
            if not plant[row : row + side, col : col + side].any():
                break
        yield CLASSES[0], shapely.box(col, row, col + side, row + side)


def clicks(ids: NDArray[np.uint8], count: int, rng: np.random.Generator) -> Iterator[Label]:
    for number, (place, plant) in plants(ids, count, rng):
        depth = ndimage.distance_transform_edt(np.pad(plant, 1))[1:-1, 1:-1]
        row, col = np.unravel_index(depth.argmax(), depth.shape)
        jitter = rng.uniform(-3, 3, 2)
        yield (
            CLASSES[number],
            shapely.Point(place[1].start + col + 0.5 + jitter[0], place[0].start + row + 0.5 + jitter[1]),
        )
    near = ndimage.binary_dilation(ids > 0, iterations=5)
    for spot in rng.choice(np.flatnonzero(~near), count, replace=False):
        row, col = np.unravel_index(spot, ids.shape)
        yield CLASSES[0], shapely.Point(col + 0.5, row + 0.5)


def plants(
    ids: NDArray[np.uint8], count: int, rng: np.random.Generator
) -> Iterator[tuple[int, tuple[tuple[slice, slice], NDArray[np.bool_]]]]:
    """Class and place of plants drawn at random, and their pixels there."""
    for number in (1, 2):
        found = ndimage.label(ids == number)[0]
        large = np.flatnonzero(np.bincount(found.ravel())[1:] >= LEAST) + 1
        places = ndimage.find_objects(found)
        for each in rng.choice(large, count, replace=False):
            yield number, (places[each - 1], found[places[each - 1]] == each)


def area(shape: shapely.Geometry) -> float:
    return float(shape.area)


def write_labels(truth: Path, kind: str, seed: int, path: Path) -> None:
    with rasterio.open(truth) as source:
        ids, transform, crs = source.read(1)[:, :LABELLED], source.transform, source.crs
    draw = outlines if "polygons" in kind else clicks
    features = [
        {
            "type": "Feature",
            "properties": {"class": name},
            "geometry": json.loads(
                shapely.to_geojson(shapely.transform(shape, lambda xy: np.stack(transform @ xy.T, 1)))
            ),
        }
        for name, shape in draw(ids, KINDS[kind], np.random.default_rng(seed))
    ]
    system = {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{crs.to_epsg()}"}}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": system, "features": features}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--labels", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--times", nargs="+", default=["2m", "5m"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    asked = parser.parse_args()
    field = asked.data / "potato_weed_uav/field/field_cols00-10.tif"
    truth = field.with_name("field_cols00-10_labels.tif")
    with rasterio.open(truth) as source:
        ids = source.read(1)[:, LABELLED:]
    print(
        "| labels | time given | seed | time taken | mIoU | soil | potato | weed |\n|---|---|---|---|---|---|---|---|",
        flush=True,
    )
    for kind in asked.labels:
        for length in asked.times:
            for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
                with tempfile.TemporaryDirectory() as name:
                    labels, out = Path(name) / "labels.geojson", Path(name) / "out"
                    write_labels(truth, kind, seed, labels)
                    began = time.monotonic()
                    classes = ("--classes", ",".join(CLASSES), "--affected", "weed")
                    command = (sys.executable, "-m", "agriseg", "quickstart", field, labels, *classes)
                    subprocess.run([*command, "--time", length, "-o", out, "-q"], check=True, stdout=subprocess.DEVNULL)
                    taken = time.monotonic() - began
                    with rasterio.open(out / f"{field.stem}_classes.tif") as source:
                        matrix = confusion(ids, source.read(1)[:, LABELLED:], len(CLASSES))
                numbers = " | ".join(f"{each:.3f}" for each in (mean_iou(matrix), *iou(matrix)))
                print(f"| {kind} | {length} | {seed} | {taken:.0f} s | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
