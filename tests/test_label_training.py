"""Labels of the page, of QGIS, and exported from there teach the same: a training has the same bytes."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pyogrio
import rasterio
import shapely
from conftest import write_raster
from numpy.typing import NDArray
from safetensors.torch import load_file

from agriseg.labelling.job import Task
from agriseg.labelling.label import change_of_json
from agriseg.labelling.label_file import AREAS, LABELS, LabelFile
from agriseg.raster.header import RasterInfo
from agriseg.training.config import TrainConfig
from agriseg.training.run import TrainOptions, train

CLASSES = ("soil", "crop", "weed")
SIZE = 256
GROUND = rasterio.Affine(0.01, 0.002, 500_000, 0.002, -0.01, 5_400_000)
COLOURS = {"soil": (130, 100, 75), "crop": (30, 110, 40), "weed": (120, 190, 60)}
Drawn = list[tuple[str, str | None, NDArray[np.float64]]]
"""Kind, class, and corners in pixels."""


def field(folder: Path) -> tuple[Path, Drawn]:
    """A raster with a plant in each cell of a grid, and labels as a person draws them."""
    rng = np.random.default_rng(3)
    pixels = np.array(COLOURS["soil"])[:, None, None] + rng.integers(-9, 10, (3, SIZE, SIZE))
    rows, cols = np.mgrid[:SIZE, :SIZE]
    drawn: Drawn = [("area", None, np.array([[20, 20], [150, 20], [150, 150], [20, 150]], float))]
    for number, (x, y) in enumerate((x, y) for y in range(24, SIZE, 48) for x in range(24, SIZE, 48)):
        name = ("crop", "weed")[int(rng.integers(2))]
        disc = (cols - x) ** 2 + (rows - y) ** 2 < 81
        pixels[:, disc] = np.array(COLOURS[name])[:, None] + rng.integers(-9, 10, (3, int(disc.sum())))
        at = np.array([x, y]) + rng.uniform(-2, 2, 2)
        if number % 3 == 0:
            drawn += [("point", name, at[None]), ("point", "soil", at[None] + 20)]
        elif number % 3 == 1:
            drawn.append(("line", name, at + np.array([[-5.0, 0], [5, 1]])))
        else:
            angle = np.linspace(0, 2 * np.pi, 9)[:-1, None]
            drawn.append(("polygon", name, at + 8 * np.hstack([np.cos(angle), np.sin(angle)])))
    return write_raster(folder / "field.tif", pixels.clip(0, 255).astype(np.uint8), transform=GROUND), drawn


def by_the_page(folder: Path, image: Path, drawn: Drawn) -> Path:
    """Changes as the page sends them, with corrections on the way."""
    labels = LabelFile(folder / "labels.gpkg", RasterInfo.read(image), CLASSES)
    for number, (kind, name, xy) in enumerate([*drawn, ("point", "weed", np.array([[9.0, 9.0]]))]):
        one = {"id": f"n{number}", "kind": kind, "class": name, "xy": xy.tolist()}
        body = json.dumps({"version": labels.version, "add": [one], "remove": []}).encode()
        labels.apply(change_of_json(body, CLASSES, (SIZE, SIZE)))
    wrong = json.dumps({"version": labels.version, "add": [], "remove": [f"n{len(drawn)}"]}).encode()
    labels.apply(change_of_json(wrong, CLASSES, (SIZE, SIZE)))
    labels.close()
    return folder / "labels.gpkg"


def by_qgis(folder: Path, image: Path, drawn: Drawn) -> Path:
    """Layers as QGIS stores them: by OGR, with a spatial index, multi shapes, columns of its own, in another order."""
    path = folder / "qgis.gpkg"
    path.unlink(missing_ok=True)
    for layer, kinds in ((LABELS, ("point", "line", "polygon")), (AREAS, ("area",))):
        own = [each for each in drawn if each[0] in kinds][::-1]
        shapes = []
        for kind, _, xy in own:
            corners = np.transpose(GROUND @ (xy[:, 0], xy[:, 1]))
            make = {"point": shapely.MultiPoint, "line": lambda c: shapely.MultiLineString([c])}.get(kind)
            shapes.append(make(corners) if make else shapely.MultiPolygon([shapely.Polygon(corners)]))
        names = np.array([name or "" for _, name, _ in own], object)
        notes = np.array([f"note {number}" for number in range(len(own))], object)
        pyogrio.raw.write(
            path, shapely.to_wkb(np.array(shapes, object)), [notes, names], ["remark", "class"], layer=layer,
            driver="GPKG", geometry_type="Unknown", crs="EPSG:32632", append=path.exists(),
        )  # fmt: skip
    with rasterio.open(image) as opened:
        assert opened.crs.to_epsg() == 32632
    return path


def from_the_geopackage(folder: Path, labels: Path) -> Path:
    """The labels of the page, read by OGR and written anew."""
    path = folder / "copy.gpkg"
    for layer in (LABELS, AREAS):
        meta, _, shapes, columns = pyogrio.raw.read(labels, layer=layer)
        pyogrio.raw.write(
            path, shapes, columns, meta["fields"], layer=layer, driver="GPKG", geometry_type="Unknown",
            crs=meta["crs"], append=path.exists(),
        )  # fmt: skip
    return path


def trained(folder: Path, image: Path, labels: Path) -> dict[str, bytes]:
    """Weights of a short training with the settings of *Improve*."""
    folder.mkdir()
    Task(image, labels, CLASSES, folder, areas=True, start=None, nodata=None).improve(1)
    tables = tomllib.loads((folder / "improve.toml").read_text())
    tables["arch"] = "fcn_small"
    tables["recipe"] = {"steps": 4, "chip": 64, "batch": 2, "validate_every": 4}
    tables["validation"] = {"block": 64, "buffer": 8}
    train(TrainConfig.of(tables, folder), folder / "model", TrainOptions(device="cpu"))
    return {name: value.numpy().tobytes() for name, value in load_file(folder / "model" / "best.safetensors").items()}


def test_the_same_labels_from_anywhere_train_the_same_weights(tmp_path: Path) -> None:
    image, drawn = field(tmp_path)
    page = by_the_page(tmp_path, image, drawn)
    weights = trained(tmp_path / "page", image, page)
    assert trained(tmp_path / "qgis", image, by_qgis(tmp_path, image, drawn)) == weights
    assert trained(tmp_path / "copy", image, from_the_geopackage(tmp_path, page)) == weights
    swapped = {"crop": "weed", "weed": "crop"}
    other = [(kind, swapped.get(name or "", name), xy) for kind, name, xy in drawn[:20]] + drawn[20:]
    assert trained(tmp_path / "other", image, by_qgis(tmp_path, image, other)) != weights, "the check can fail"
