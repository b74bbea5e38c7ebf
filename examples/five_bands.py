"""A five-band camera end to end, on a field that never was: `python examples/five_bands.py five_bands`.

Reflectance as float32 with nodata around the field, bands named in the file, plants labelled with polygons in degrees;
a model is trained on blocks of the field and maps it. With a camera of your own: name the bands (`gdal_edit.py` or
`--bands blue=1,green=2,...`), draw polygons, write a TOML file as below. Half a minute on two cores.
"""

import json
import sys
from pathlib import Path

import numpy as np
import rasterio
from rasterio.features import shapes
from rasterio.warp import transform_geom

from agriseg import TrainConfig, segment, train

BANDS = ("blue", "green", "red", "red_edge", "nir")
SOIL = np.array([0.06, 0.09, 0.13, 0.17, 0.22])
CROP = np.array([0.03, 0.07, 0.04, 0.25, 0.48])
WEED = np.array([0.03, 0.08, 0.05, 0.30, 0.42])  # to the eye the crop's colour; red edge and infrared tell
SIDE, NODATA = 768, -10_000.0
WHERE = {"crs": "EPSG:32632", "transform": rasterio.Affine(0.03, 0, 500_000, 0, -0.03, 5_400_000)}


def grow(folder: Path) -> None:
    """Write `field.tif` and `plants.geojson`."""
    rng = np.random.default_rng(0)
    truth = np.zeros((SIDE, SIDE), np.uint8)
    truth[:, np.arange(SIDE) % 24 < 12] = 1
    for row, col in rng.integers(0, SIDE - 14, (250, 2)):
        truth[row : row + 14, col : col + 14] = 2
    pixels = np.stack([SOIL, CROP, WEED])[truth].transpose(2, 0, 1) * rng.uniform(0.8, 1.2, (5, SIDE, SIDE))
    rows, cols = np.indices((SIDE, SIDE)) - SIDE / 2
    pixels[:, np.abs(rows) + np.abs(cols) > 0.8 * SIDE] = NODATA
    profile = {"driver": "GTiff", "width": SIDE, "height": SIDE, "count": 5, "dtype": "float32", "nodata": NODATA}
    with rasterio.open(folder / "field.tif", "w", **profile, **WHERE) as dataset:
        dataset.write(pixels.astype(np.float32))
        dataset.descriptions = BANDS
    names = ("soil", "crop", "weed")
    features = [
        {
            "type": "Feature",
            "geometry": transform_geom(WHERE["crs"], "EPSG:4326", shape),
            "properties": {"class": names[int(k)]},
        }
        for shape, k in shapes(truth, transform=WHERE["transform"])
    ]
    (folder / "plants.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def main(folder: Path) -> None:
    folder.mkdir(parents=True)
    grow(folder)
    tables = {
        "classes": ["soil", "crop", "weed"],
        "bands": list(BANDS),
        "name": "five-bands",
        "data": {"images": "field.tif", "labels": "plants.geojson", "column": "class"},
        "validation": {"block": 128, "buffer": 16},
        "recipe": {"steps": 60, "chip": 128, "validate_every": 30},
    }
    trained = train(TrainConfig.of(tables, folder), folder / "model")
    report = segment(folder / "field.tif", trained.model, folder / "map")
    print(f"mIoU on the blocks held back {trained.evaluation.miou:.3f}; {report.classes}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
