"""Polygons on a grid, and what is wrong with labels."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from conftest import noise, read, write_raster
from rasterio.crs import CRS
from rasterio.warp import transform_geom

from agriseg.cli import main
from agriseg.errors import DataError
from agriseg.labels.label_set import LabelRequest
from agriseg.labels.loading import label_raster, load_labels
from agriseg.labels.rasterize import Drawn
from agriseg.legend import Legend
from agriseg.options.labels import LabelOptions
from agriseg.vectors.read import read_polygons

LEGEND = Legend.from_names(["soil", "crop", "weed"])
UTM = CRS.from_epsg(32632)
WHERE = rasterio.Affine(0.1, 0, 500_000, 0, -0.1, 5_400_000)


def burn(image: Path, polygons: Path, column: str, legend: Legend, out: Path, *, area: Path | None = None) -> Drawn:
    request = LabelRequest(image, polygons, legend.names, LabelOptions(column=column, area=area))
    return label_raster(image, polygons, request, out)


def ground(*pixels: tuple[float, float]) -> shapely.Polygon:
    """A polygon by column and row of the test image."""
    return shapely.Polygon([WHERE @ pixel for pixel in pixels])


SHAPES = [
    (ground((3, 4), (50, 8), (40, 60), (5, 44)), "crop"),
    (ground((30.2, 20.7), (70, 20), (70, 75), (35, 70)), "weed"),
]


def geojson(path: Path, shapes: list[tuple[Any, Any]], *, crs: str | None = None, column: str = "class") -> Path:
    target = CRS.from_user_input(crs or "OGC:CRS84")
    features = [
        {
            "type": "Feature",
            "geometry": transform_geom(UTM, target, shapely.geometry.mapping(shape)) if shape else None,
            "properties": {column: label},
        }
        for shape, label in shapes
    ]
    tree: dict[str, Any] = {"type": "FeatureCollection", "features": features}
    if crs:
        tree["crs"] = {"type": "name", "properties": {"name": crs}}
    path.write_text(json.dumps(tree))
    return path


def ogr(path: Path, shapes: list[tuple[Any, Any]], crs: str = "EPSG:32632") -> Path:
    target = CRS.from_user_input(crs)
    wkb = [
        shapely.to_wkb(shapely.geometry.shape(transform_geom(UTM, target, shapely.geometry.mapping(s))))
        for s, _ in shapes
    ]
    labels = np.array([label for _, label in shapes], object)
    pyogrio.raw.write(path, np.array(wkb, object), [labels], ["class"], geometry_type="Polygon", crs=crs)
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "field.tif", noise(80, 90))


def expected(shapes: list[tuple[Any, str]], fill: np.ndarray) -> np.ndarray:
    """By shapely alone: the class of the last polygon that holds a pixel's centre."""
    rows, cols = np.indices((80, 90))
    x, y = WHERE @ (cols + 0.5, rows + 0.5)
    ids = fill.copy()
    for shape, label in shapes:
        ids[shapely.contains_xy(shape, x, y)] = LEGEND.names.index(label)
    return ids


@pytest.mark.parametrize("kind", ["rfc7946", "old.geojson", "gpkg", "shp", "gpkg in degrees"])
def test_burnt_as_shapely_says(tmp_path: Path, image: Path, kind: str) -> None:
    path = {
        "rfc7946": lambda: geojson(tmp_path / "p.geojson", SHAPES),
        "old.geojson": lambda: geojson(tmp_path / "p.geojson", SHAPES, crs="EPSG:3857"),
        "gpkg": lambda: ogr(tmp_path / "p.gpkg", SHAPES),
        "shp": lambda: ogr(tmp_path / "p.shp", SHAPES),
        "gpkg in degrees": lambda: ogr(tmp_path / "p.gpkg", SHAPES, "EPSG:4326"),
    }[kind]()
    counts = burn(image, path, "class", LEGEND, tmp_path / "l.tif").pixels
    got, wanted = read(tmp_path / "l.tif")[0], expected(SHAPES, np.full((80, 90), 255, np.uint8))
    assert np.mean(got != wanted) < 0.001  # a centre on an edge may fall to either side after a change of CRS
    assert counts.tolist() == [(got == k).sum() for k in range(3)]
    with rasterio.open(tmp_path / "l.tif") as labels, rasterio.open(image) as source:
        assert (labels.crs, labels.transform, labels.nodata) == (source.crs, source.transform, 255)
        assert labels.colormap(1)[1][:3] == LEGEND.classes[1].rgb


def test_unlabelled_ground_is_background_only_where_all_was_labelled(tmp_path: Path, image: Path) -> None:
    seen = [(ground((10, 10), (80, 10), (80, 70), (10, 70)), None)]
    area = geojson(tmp_path / "area.geojson", seen)
    burn(image, geojson(tmp_path / "p.geojson", SHAPES), "class", LEGEND, tmp_path / "l.tif", area=area)
    fill = np.full((80, 90), 255, np.uint8)
    fill[10:70, 10:80] = 0
    assert np.mean(read(tmp_path / "l.tif")[0] != expected(SHAPES, fill)) < 0.001


def test_strips_are_one_picture(tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ogr(tmp_path / "p.gpkg", SHAPES)
    burn(image, path, "class", LEGEND, tmp_path / "whole.tif")
    monkeypatch.setattr("agriseg.labels.rasterize._ROWS", 13)
    burn(image, path, "class", LEGEND, tmp_path / "strips.tif")
    np.testing.assert_array_equal(read(tmp_path / "whole.tif"), read(tmp_path / "strips.tif"))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: geojson(p / "p.geojson", SHAPES, column="kind"), "no column 'class'; it has kind"),
        (
            lambda p: geojson(p / "p.geojson", [(SHAPES[0][0], "tree")]),
            r"class tree \(1\) is not in the legend .*; --rename tree=weed makes it one",
        ),
        (
            lambda p: geojson(p / "p.geojson", [(SHAPES[0][0], None)]),
            r"class without a name \(1\) is not in the legend",
        ),
        (lambda p: geojson(p / "p.geojson", [(None, "crop")]), "feature 1 is no geometry"),
        (lambda p: geojson(p / "p.geojson", []), "no features"),
        (
            lambda p: geojson(p / "p.geojson", [(ground((900, 900), (990, 900), (990, 990)), "crop")]),
            "no shape meets",
        ),
        (lambda p: geojson(p / "p.kml", SHAPES), "is no KML"),
        (lambda p: geojson(p / "p.gpkg", SHAPES), "is no GPKG"),
        (lambda p: ((p / "p.geojson").write_text("{}"), p / "p.geojson")[1], "no GeoJSON feature collection"),
    ],
    ids=range(9),
)
def test_polygons_that_cannot_be_labels(tmp_path: Path, image: Path, make: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        burn(image, make(tmp_path), "class", LEGEND, tmp_path / "l.tif")
    assert not list(tmp_path.glob("*l.tif*"))


def test_odd_polygons_are_told(tmp_path: Path, image: Path) -> None:
    bow = ground((0, 0), (10, 10), (10, 0), (0, 10))
    tiny = ground((5, 5), (5.1, 5), (5.1, 5.1))
    path = ogr(tmp_path / "p.gpkg", [*SHAPES, (bow, "crop"), (tiny, "crop"), (SHAPES[0][0], "crop")])
    found = burn(image, path, "class", LEGEND, tmp_path / "l.tif").remarks
    shared = SHAPES[0][0].intersection(SHAPES[1][0]).area / 0.01
    assert any("feature 3" in text and "Self-intersection" in text for text in found)
    assert "feature 4 is smaller than a pixel" in found
    assert f"features 1 (crop) and 2 (weed) overlap by {shared:,.0f} px; the later one wins" in found
    assert f"features 2 (weed) and 5 (crop) overlap by {shared:,.0f} px; the later one wins" in found
    assert any("feature 1 (crop) lies under later ones" in text for text in found)
    assert len(found) == 5


def test_polygons_keep_their_holes(tmp_path: Path) -> None:
    ring = SHAPES[0][0].difference(ground((15, 20), (30, 20), (30, 40), (15, 40)))
    (one,) = read_polygons(ogr(tmp_path / "p.gpkg", [(ring, "crop")]), UTM, "class")
    assert one.shape.area == pytest.approx(ring.area)
    assert one.label == "crop"


@pytest.mark.fault("T02", "T09")
def test_label_rasters_are_looked_at_all_at_once(tmp_path: Path) -> None:
    grey = {"photometric": "MINISBLACK"}
    good = np.zeros((1, 80, 90), np.uint8)
    good[0, :8], good[0, 70:] = 1, 255
    made = {
        "a": (good, {}),
        "b": (good + (good == 1) * np.uint8(6), {}),
        "c": (good[:, :79], {}),
        "d": (np.tile(good, (2, 1, 1)), {}),
        "e": (good, {"nodata": 0}),
    }
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for name, (pixels, more) in made.items():
        write_raster(tmp_path / "images" / f"{name}.tif", noise(80, 90))
        write_raster(tmp_path / "labels" / f"{name}.tif", pixels, **grey, **more)
    found = load_labels(LabelRequest(tmp_path / "images", tmp_path / "labels", LEGEND.names), tmp_path / "made")
    told = dict(zip("dbce", found.problems, strict=True))  # what cannot be read comes first
    assert f"no class has 7 ({8 * 90} px)" in told["b"]
    assert "--unlabelled 7" in told["b"]
    assert "90 x 79 px" in told["c"]
    assert "2 bands, expected one" in told["d"]
    assert f"class soil is 0, which the file declares nodata, so its {62 * 90:,} px count" in told["e"]
    assert any(text.startswith("class weed is nowhere: no label has it") for text in found.remarks)
    assert found.pixels == {"soil": 3 * 62 * 90, "crop": 3 * 8 * 90, "weed": 0}
    assert not (tmp_path / "made").exists()


def test_the_commands(tmp_path: Path, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    polygons = str(ogr(tmp_path / "p.gpkg", SHAPES))

    def call(*args: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as left:
            main(["labels", *args])
        assert isinstance(left.value.code, int)
        return left.value.code, capsys.readouterr().out

    flags = ["--column", "class", "--classes", "soil,crop,weed"]
    out = str(tmp_path / "l.tif")
    assert call("rasterize", str(image), polygons, *flags, "-o", out)[0] == 0
    assert call("rasterize", str(image), polygons, *flags, "-o", out)[0] == 73
    assert call("rasterize", str(image), polygons, *flags, "-o", str(image), "--overwrite")[0] == 2
    code, text = call("check", str(image), out, "--classes", "soil,crop,weed")
    assert code == 65  # as a training
    assert "class soil is nowhere" in text
    assert "overlap by" in call("check", str(image), polygons, *flags)[1]
    assert call("check", str(image), out, "--classes", "soil,crop")[0] == 65
    assert json.loads(call("check", str(image), out, "--classes", "a,b,c", "--json")[1])["pixels"]["b"] > 0
