"""Clicks grow to their plants and to nothing else, in any squares; and bad clicks are one line."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from conftest import read, write_raster
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio.enums import ColorInterp
from scipy import ndimage

from agriseg.cli import main
from agriseg.errors import AgrisegError
from agriseg.growth import grown_clicks
from agriseg.growth.clicked import Outlined, Points
from agriseg.growth.grown_clicks import ClickGrowth
from agriseg.growth.plant_growth import GroundLevel, grow, sure_ground
from agriseg.labels import clicks
from agriseg.labels.label_set import LabelRequest
from agriseg.labels.loading import label_raster, load_labels
from agriseg.options.labels import LabelOptions
from agriseg.raster.header import RasterInfo
from agriseg.training.config import TrainConfig
from agriseg.training.dataset import load_dataset
from agriseg.vectors.features import LONLAT, Features

CLASSES = ("soil", "crop", "weed")
SOIL, LEAF = (120, 100, 80), {1: (60, 140, 50), 2: (80, 120, 70)}  # weeds are paler
Click = tuple[int, float, float]  # class, x, y
Disc = tuple[int, int, int, int]  # class, x, y, radius


def field(height: int, width: int, discs: list[Disc], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(3, H, W) uint8 noisy soil with round plants, and (H, W) true classes."""
    truth = np.zeros((height, width), np.uint8)
    rows, cols = np.indices(truth.shape) + 0.5
    for class_id, x, y, radius in discs:
        truth[np.hypot(rows - y, cols - x) <= radius] = class_id
    colours = np.array([SOIL, LEAF[1], LEAF[2]], np.float64)[truth]
    light = 1 + 0.1 * np.random.default_rng(seed).standard_normal((height, width, 1))
    pixels = colours * light + np.random.default_rng(seed + 1).normal(0, 3, (height, width, 3))
    return np.clip(pixels, 1, 255).astype(np.uint8).transpose(2, 0, 1).copy(), truth


def spread(count: int, side: int, rng: np.random.Generator) -> list[Disc]:
    """Plants that do not touch, one in each cell of a lattice."""
    cells = rng.permutation([(x, y) for x in range(30, side - 29, 60) for y in range(30, side - 29, 60)])[:count]
    return [(int(rng.integers(1, 3)), int(x), int(y), int(rng.integers(5, 20))) for x, y in cells]


def labelme(path: Path, image: str, size: tuple[int, int], found: list[Click]) -> Path:
    shapes = [{"label": CLASSES[k], "points": [[x, y]], "shape_type": "point"} for k, x, y in found]
    tree = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": image, "imageData": None}
    path.write_text(json.dumps(tree | {"imageHeight": size[0], "imageWidth": size[1]}), "utf-8")
    return path


def photo(folder: Path, pixels: np.ndarray, **profile: Any) -> Path:
    return write_raster(folder / "photo.tif", pixels, photometric="rgb", **profile)


def grown(folder: Path, pixels: np.ndarray, found: list[Click], **options: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """(H, W) labels of an image with clicks, and remarks."""
    image = photo(folder, pixels)
    path = labelme(folder / "photo.json", image.name, pixels.shape[1:], found)
    drawn = label_raster(image, path, LabelRequest(image, path, CLASSES, LabelOptions(**options)), folder / "out.tif")
    return read(folder / "out.tif")[0], drawn.remarks


def jittered(discs: list[Disc], rng: np.random.Generator) -> list[Click]:
    return [(k, x + rng.uniform(-2, 2), y + rng.uniform(-2, 2)) for k, x, y, _ in discs]


def on_soil(truth: np.ndarray, rng: np.random.Generator) -> list[Click]:
    rows, cols = np.nonzero(ndimage.distance_transform_edt(truth == 0) > 5)
    return [(0, cols[i] + 0.5, rows[i] + 0.5) for i in rng.integers(0, len(rows), 10)]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_clicks_become_their_plants(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    rng = np.random.default_rng(seed)
    discs = spread(12, 300, rng)
    pixels, truth = field(300, 300, discs, seed)
    found = jittered(discs, rng) + on_soil(truth, rng)
    labels, remarks = grown(tmp_path_factory.mktemp("field"), pixels, found, grow="45px")
    for class_id in set(truth[truth > 0].tolist()):
        found, true = labels == class_id, truth == class_id
        assert (found & true).sum() > 0.85 * (found | true).sum()
    assert (truth[labels == 0] == 0).mean() > 0.995
    assert (labels == 0).sum() > 0.2 * (truth == 0).sum()
    assert remarks == ()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), reach=st.integers(3, 40))
def test_a_click_stays_in_its_reach_and_off_other_clicks(seed: int, reach: int) -> None:
    rng = np.random.default_rng(seed)
    index = rng.normal(0, 1, (90, 80)).astype(np.float32) + 4 * (rng.random((90, 80)) < 0.6)
    index[rng.random(index.shape) < 0.05] = np.nan
    xy, ids = rng.uniform(-5, 95, (20, 2)), rng.integers(0, 3, 20).astype(np.uint8)
    growth = grow(index, xy, ids, reach, GroundLevel(0.0, 1.0))
    rows, cols = np.nonzero(growth.owner >= 0)
    owner = growth.owner[rows, cols]
    assert (np.hypot(cols + 0.5 - xy[owner, 0], rows + 0.5 - xy[owner, 1]) <= reach + 1e-3).all()
    assert np.isfinite(index[rows, cols]).all()
    assert growth.found[owner].all()
    for number, (col, row) in enumerate(np.floor(xy).astype(int).tolist()):
        if 0 <= row < 90 and 0 <= col < 80:
            assert growth.owner[row, col] == -1 or ids[growth.owner[row, col]] == ids[number]


def test_a_plant_leaves_out_the_pixel_under_a_click_of_another_class() -> None:
    index = np.zeros((30, 60), np.float32)
    index[10:20], index[10:20, 46:52] = 4, 12
    xy, bright = np.array([(15.5, 15.5), (45.5, 15.5)]), GroundLevel(0.0, 0.1)
    for ids, owner in (((1, 2), -1), ((1, 1), 0)):  # the second click begins at 12: its own pixel is too pale for it
        assert grow(index, xy, np.array(ids, np.uint8), 50, bright).owner[15, 45] == owner


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), block=st.integers(20, 150))
@example(seed=52897, block=20)  # a pixel on the edge of a reach
def test_squares_do_not_change_what_clicks_become(
    tmp_path_factory: pytest.TempPathFactory, seed: int, block: int
) -> None:
    rng = np.random.default_rng(seed)
    discs = spread(12, 240, rng)
    pixels, truth = field(240, 240, discs, seed)
    found = jittered(discs, rng) + on_soil(truth, rng)
    with pytest.MonkeyPatch.context() as patch:
        whole = grown(tmp_path_factory.mktemp("whole"), pixels, found, grow="30px")
        patch.setattr(grown_clicks, "BLOCK", block)
        squares = grown(tmp_path_factory.mktemp("squares"), pixels, found, grow="30px")
    np.testing.assert_array_equal(whole[0], squares[0])
    assert whole[1] == squares[1]


def test_a_thin_weed_does_not_take_the_leaf_behind_it(tmp_path: Path) -> None:
    pixels, truth = field(160, 160, [(1, 100, 80, 30)])
    truth[78:82, 40:72] = 2
    pixels[:, truth == 2] = np.array(LEAF[1], np.uint8)[:, None]
    labels, _ = grown(tmp_path, pixels, [(2, 50, 80)], grow="80px")
    assert (labels[truth == 1] == 2).mean() < 0.05
    assert (labels[truth == 2] == 2).mean() > 0.5


def test_shade_between_leaves_does_not_make_a_plant_narrow(tmp_path: Path) -> None:
    pixels, truth = field(160, 160, [(1, 80, 80, 60)])
    rows, cols = np.indices(truth.shape) + 0.5
    for angle in np.linspace(0, 2 * np.pi, 8, endpoint=False):
        truth[np.hypot(rows - 80 - 9 * np.sin(angle), cols - 80 - 9 * np.cos(angle)) < 2.5] = 0
    pixels[:, truth == 0] = np.array(SOIL, np.uint8)[:, None]
    labels, _ = grown(tmp_path, pixels, [(1, 80, 80)], grow="90px")
    assert (labels[truth == 1] == 1).mean() > 0.9


def test_two_clicks_on_one_plant_divide_it(tmp_path: Path) -> None:
    pixels, truth = field(120, 120, [(1, 60, 60, 25)])
    labels, remarks = grown(tmp_path, pixels, [(1, 48, 60), (2, 72, 60)], grow="60px")
    cols = np.indices(truth.shape)[1] + 0.5
    assert (labels[(truth == 1) & (cols < 58)] != 2).all()
    assert (labels[(truth == 1) & (cols > 62)] != 1).all()
    assert [text for text in remarks if "plants that are divided between clicks of two classes: 1" in text]


def test_points_and_lines_without_a_radius_are_pixels(tmp_path: Path) -> None:
    pixels, _ = field(40, 50, [])
    labels, remarks = grown(tmp_path, pixels, [(1, 10.2, 20.9), (2, 30.5, 5.5)])
    wanted = np.full((40, 50), 255, np.uint8)
    wanted[20, 10], wanted[5, 30] = 1, 2
    np.testing.assert_array_equal(labels, wanted)
    assert remarks == ()
    path = labelme(tmp_path / "photo.json", "photo.tif", (40, 50), [])
    line = {"label": "weed", "points": [[3.5, 7.5], [20.5, 7.5]], "shape_type": "linestrip"}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"shapes": [line]}))
    request = LabelRequest(tmp_path / "photo.tif", path, CLASSES)
    label_raster(request.images, path, request, tmp_path / "out.tif")
    wanted = np.full((40, 50), 255, np.uint8)
    wanted[7, 3:21] = 2
    np.testing.assert_array_equal(read(tmp_path / "out.tif")[0], wanted)


def test_ground_beside_vegetation_is_not_labelled() -> None:
    index = np.zeros((50, 50), np.float32)
    index[20:30, 20:30] = 10
    index[40, 40] = 1.5  # neither vegetation nor surely ground
    bare = sure_ground(index, index > 5, np.ones(index.shape, bool), GroundLevel(0.0, 1.0))
    rows, cols = np.maximum(np.maximum(20 - np.indices(index.shape), np.indices(index.shape) - 29), 0)
    np.testing.assert_array_equal(bare, (np.hypot(rows, cols) > 3) & (index < 1))


def points_file(path: Path, found: list[Click], crs: Any) -> Path:
    where = rasterio.Affine(0.1, 0, 500_000, 0, -0.1, 5_400_000)
    xy = [where @ (x, y) for _, x, y in found]
    names = np.array([CLASSES[k] for k, _, _ in found], object)
    features = Features("p", shapely.points(xy), {"class": names}, crs)
    if crs != LONLAT:
        features = features.to_crs(LONLAT, path)
    tree = {
        "type": "FeatureCollection",
        "features": [
            {"type": "Feature", "properties": {"class": name}, "geometry": json.loads(shapely.to_geojson(shape))}
            for name, shape in zip(names, features.shapes, strict=True)
        ],
    }
    path.write_text(json.dumps(tree))
    return path


def test_clicks_of_another_crs_lie_on_their_plants(tmp_path: Path) -> None:
    pixels, truth = field(120, 120, [(1, 40, 60, 12), (2, 90, 50, 9)])
    found = [(1, 40.3, 60.2), (2, 90.1, 50.4), (0, 5.5, 5.5)]
    labels, _ = grown(tmp_path, pixels, found, grow="30px")
    with rasterio.open(tmp_path / "photo.tif") as dataset:
        path = points_file(tmp_path / "p.geojson", found, dataset.crs)
    options = LabelOptions(column="class", grow="3m")
    request = LabelRequest(tmp_path / "photo.tif", path, CLASSES, options)
    label_raster(request.images, path, request, tmp_path / "placed.tif")
    assert np.mean(read(tmp_path / "placed.tif")[0] != labels) < 0.01
    assert (labels[truth == 1] == 1).mean() > 0.9


SEEN: list[Click] = [(1, 40, 60), (2, 90, 50), (0, 5.5, 5.5), (0, 100.5, 100.5)]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ([(1, 300, 60)], "feature 5 lies outside the image and count nowhere"),
        ([(1, 119.5, 2.5)], "feature 5 lies on pixels without data and count nowhere"),
        ([(1, 20.5, 100.5)], "1 of 4 clicks on plants have no vegetation within 4 px and count as drawn: feature 5 lies"),
        ([(2, 40.2, 60.2)], "features 1, 5 lie on one pixel with a click of another class, so they count nowhere; delete"),
        ([(2, 46, 60)], r"features 1 \(crop\) and 5 \(weed\); delete a wrong click"),
        ([(0, 42, 60)], "1 of 3 clicks of soil, which --grow takes for ground, lie on vegetation: feature 5 lies"),
    ],
    ids=["outside", "nodata", "no plant", "one pixel", "one plant", "ground on a plant"],
)  # fmt: skip
def test_odd_clicks_are_remarks(tmp_path: Path, more: list[Click], says: str) -> None:
    pixels, _ = field(120, 120, [(1, 40, 60, 12), (2, 90, 50, 9), (1, 15, 30, 8)])
    pixels[:, :10, 110:] = 0
    image = photo(tmp_path, pixels, nodata=0)
    path = labelme(tmp_path / "photo.json", image.name, (120, 120), [*SEEN, *more, (1, 15, 30)])
    request = LabelRequest(image, path, CLASSES, LabelOptions(grow="30px"))
    (remark,) = load_labels(request, tmp_path / "labels").remarks
    assert re.search(says, remark)
    assert "\n" not in remark
    assert load_labels(request, tmp_path / "labels").problems == ()


@pytest.mark.parametrize(
    ("classes", "options", "found", "says"),
    [
        (("soil", "crop"), {"grow": "30px"}, SEEN, r"class weed \(1\) is not in the legend .*--rename weed=crop"),
        (CLASSES, {"grow": "30px"}, [(1, 300, 60)], "no shape meets photo.tif"),
        (CLASSES, {"grow": "30px"}, SEEN[:1] + SEEN[2:], r"no labelled pixel to train on: weed \(0 px held back\)"),
        (("crop", "soil", "weed"), {"grow": "30px"}, SEEN, "1 of 1 clicks of crop, which --grow takes for ground, lie on "
         "vegetation; put the class of bare ground first in --classes"),
        (CLASSES, {"grow": "150m"}, SEEN, "--grow 150m is 1,500 px on photo.tif, expected at most 1,000 px"),
        (CLASSES, {"grow": "far"}, SEEN, "'far' is no length above 0; write it with its unit, such as 8px or 5cm"),
        (CLASSES, {"grow": "30px", "rest": "leaf"}, SEEN, "--rest leaf is no class"),
    ],
    ids=["class", "all outside", "no click of a class", "ground", "too far", "no length", "rest"],
)  # fmt: skip
def test_clicks_that_cannot_be_labels(
    tmp_path: Path, classes: tuple[str, ...], options: dict[str, Any], found: list[Click], says: str
) -> None:
    pixels, _ = field(120, 120, [(1, 40, 60, 12), (2, 90, 50, 9)])
    image = photo(tmp_path, pixels)
    path = labelme(tmp_path / "photo.json", image.name, (120, 120), found)
    request = LabelRequest(image, path, classes, LabelOptions(**options))
    with pytest.raises(AgrisegError, match=says) as caught:
        load_labels(request, tmp_path / "labels").refuse()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("bands", "remedy"),
    [(1, "draw polygons, or leave --grow out"), (4, "--colorinterp red,green,blue,undefined photo.tif")],
)
def test_growth_needs_colours(tmp_path: Path, bands: int, remedy: str) -> None:
    pixels, _ = field(60, 60, [(1, 30, 30, 12)])
    image = write_raster(tmp_path / "photo.tif", np.concatenate([pixels, pixels])[:bands], photometric="minisblack")
    path = labelme(tmp_path / "photo.json", image.name, (60, 60), [(1, 30, 30)])
    request = LabelRequest(image, path, CLASSES, LabelOptions(grow="30px"))
    says = f"--grow needs red, green and blue, or red and nir, but the file has {bands} band.*{remedy}"
    with pytest.raises(AgrisegError, match=says):
        load_labels(request, tmp_path / "labels").refuse()
    if bands > 1:
        with rasterio.open(image, "r+") as dataset:  # what the command does
            dataset.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.undefined]
        assert load_labels(replace(request, least=1), tmp_path / "labels").problems == ()


def test_ten_thousand_clicks(tmp_path: Path) -> None:
    side = 1310
    places = [(x, y) for x in range(8, side, 13) for y in range(8, side, 13)]
    discs = [(1 + (x + y) % 2, x, y, 4) for x, y in places]
    rng = np.random.default_rng(0)
    pixels = np.full((3, side, side), 0, np.uint8) + np.array(SOIL, np.uint8)[:, None, None]
    pixels += rng.integers(0, 12, pixels.shape, np.uint8)
    rows, cols = np.indices((13, 13)) + 0.5
    mark = np.hypot(rows - 6.5, cols - 6.5) <= 4
    for class_id, x, y, _ in discs:
        place = pixels[:, y - 6 : y + 7, x - 6 : x + 7]
        place[:, mark[: place.shape[1], : place.shape[2]]] = np.array(LEAF[class_id], np.uint8)[:, None]
    image = photo(tmp_path, pixels)
    found = [(k, x + 0.5, y + 0.5) for k, x, y, _ in discs] + [(0, 1.5, 1.5)]
    path = labelme(tmp_path / "photo.json", image.name, (side, side), found)
    request = LabelRequest(image, path, CLASSES, LabelOptions(grow="12px"))
    (loaded,) = load_labels(request, tmp_path / "labels").images
    assert len(loaded.clicks.pixels) == len(found) >= 10_000
    assert (loaded.clicks.pixels[:-1] > 0).all()
    assert loaded.problems == ()


def test_reach_in_metres_needs_a_pixel_size(tmp_path: Path) -> None:
    pixels, _ = field(60, 60, [(1, 30, 30, 12)])
    image = photo(tmp_path, pixels, crs=None, transform=None)
    path = labelme(tmp_path / "photo.json", image.name, (60, 60), [(1, 30, 30)])
    with pytest.raises(AgrisegError, match=r"--grow 20cm, but the pixel size of .* is unknown; write it as 8px"):
        load_labels(LabelRequest(image, path, CLASSES, LabelOptions(grow="20cm")), tmp_path / "labels")


def test_a_reach_below_a_pixel_samples_as_much_ground_as_one_of_sixteen(tmp_path: Path) -> None:
    """Ground of two pixels has no deviation, and a click on it would lie on vegetation."""
    pixels, _ = field(120, 120, [(1, 30, 30, 12)])
    path = labelme(tmp_path / "photo.json", photo(tmp_path, pixels).name, (120, 120), [(0, 90, 90), (1, 30, 30)])
    levels = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grown_clicks.GroundLevel, "of", lambda values: levels.append(values) or ground_of(values))
        for reach in ("0.5px", "16px"):
            request = LabelRequest(tmp_path / "photo.tif", path, CLASSES, LabelOptions(grow=reach))
            load_labels(request, tmp_path / f"labels{reach}")
    assert len({each.tobytes() for each in levels}) == 1
    assert len(levels[0]) > 1000


ground_of = GroundLevel.of


def test_the_largest_reach_is_a_limit_of_memory() -> None:
    assert (grown_clicks.BLOCK + 4 * clicks.LARGEST_REACH) ** 2 * 4 * 20 < 4e9  # bytes of twenty float32 arrays


def test_clicks_are_scored_by_full_masks(tmp_path: Path) -> None:
    pixels, truth = field(120, 120, [(1, 40, 60, 12), (2, 90, 50, 9)])
    write_raster(tmp_path / "mask.tif", truth[None])
    labelme(tmp_path / "photo.json", photo(tmp_path, pixels).name, (120, 120), SEEN)
    other, _ = field(120, 120, [(1, 40, 60, 12), (2, 90, 50, 9)], seed=5)
    write_raster(tmp_path / "other.tif", other, photometric="rgb")
    tables = {
        "classes": list(CLASSES), "arch": "fcn_small", "recipe": {"steps": 1, "chip": 32},
        "data": {"images": "photo.tif", "labels": "photo.json", "grow": "30px"},
        "validation": {"images": "other.tif", "labels": "mask.tif"},
    }  # fmt: skip
    data = load_dataset(TrainConfig.of(tables, tmp_path), tmp_path / "work")
    (held,), (trained,) = data.held, data.training
    np.testing.assert_array_equal(held.all().ids, truth)
    assert (trained.all().ids[truth == 2] == 2).mean() > 0.8


def test_what_clicks_became_is_told_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels, truth = field(120, 120, [(1, 40, 60, 12), (2, 90, 50, 9), (1, 15, 30, 8)])
    (tmp_path / "images").mkdir()
    image = photo(tmp_path / "images", pixels)
    path = labelme(tmp_path / "photo.json", image.name, (120, 120), [*SEEN, (1, 15, 30), (1, 20.5, 100.5)])

    def check(*more: str, images: Path) -> None:
        with pytest.raises(SystemExit) as ended:
            main(["labels", "check", str(images), str(path), "--classes", "soil,crop,weed", "--grow", "30px", *more])
        assert ended.value.code == 0

    check("--json", "--picture", str(tmp_path / "a.png"), images=image)
    told = json.loads(capsys.readouterr().out)["clicks"]
    assert {name: (each["clicks"], each["grown"]) for name, each in told.items()} == {
        "soil": (2, 0), "crop": (3, 2), "weed": (1, 1)
    }  # fmt: skip
    assert told["weed"]["median_px"] == pytest.approx((truth == 2).sum(), rel=0.25)
    assert told["soil"]["median_px"] is None
    check("--picture", str(tmp_path / "all"), images=image.parent)
    assert "weed                 1 clicks, 1 grew to plants of" in capsys.readouterr().out
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "all" / "photo.png").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        shown = np.asarray(picture.convert("RGB"), float)
    bare, labelled = shown[:, : shown.shape[1] // 2], shown[:, -(shown.shape[1] // 2) :]
    assert 0.2 < (np.abs(bare - labelled).sum(2) > 60).mean() < 0.95


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_bare_ground_around_outlined_plants_is_labelled(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """Networks learn from it where a plant ends; only where something says which class the ground is."""
    folder, rng = tmp_path_factory.mktemp("outlined"), np.random.default_rng(seed)
    discs = spread(8, 400, rng)
    pixels, truth = field(400, 400, discs, seed)
    image = photo(folder, pixels)
    shapes = [
        {"label": CLASSES[k], "points": shapely.get_coordinates(shapely.Point(x, y).buffer(r)).tolist()}
        for k, x, y, r in discs[:4]
    ]
    soil = {"label": "soil", "points": [list(on_soil(truth, rng)[0][1:])], "shape_type": "point"}
    labels, reach = {}, int(rng.integers(10, 40))
    for ground in (True, False):
        drawn = [{**each, "shape_type": "polygon"} for each in shapes] + ([soil] if ground else [])
        tree = {"version": "5.4.1", "flags": {}, "shapes": drawn, "imagePath": image.name, "imageData": None}
        path = folder / "photo.json"
        path.write_text(json.dumps(tree | {"imageHeight": 400, "imageWidth": 400}), "utf-8")
        request = LabelRequest(image, path, CLASSES, LabelOptions(grow=f"{reach}px"))
        label_raster(image, path, request, folder / "out.tif")
        labels[ground] = read(folder / "out.tif")[0]
    rows, cols = np.indices(truth.shape) + 0.5
    distance = np.min([np.hypot(rows - y, cols - x) - r for _, x, y, r in discs[:4]], axis=0)
    outlined = distance <= -1
    np.testing.assert_array_equal(labels[True][outlined], truth[outlined])
    np.testing.assert_array_equal(np.unique(labels[False][distance > 1]), [255])
    around = labels[True] == 0
    assert (truth[around] == 0).mean() > 0.99
    far = np.hypot(rows - soil["points"][0][1], cols - soil["points"][0][0]) > reach + 1
    assert not around[(distance > reach + 1) & far].any()
    unlike = ndimage.distance_transform_edt((truth == 0) | (distance <= 0)) > 12  # other plants are far
    assert around[(distance > 3.5) & (distance < 7) & unlike].mean() > 0.8, "an outline says where its plant ends"
    ring = (distance > 6) & (distance < reach - 1) & (truth == 0)
    others = ndimage.distance_transform_edt(truth == 0) > 6
    assert around[ring & others].mean() > 0.6, "most of the noise is no deviation above the ground's median"


@settings(max_examples=12, deadline=None)
@given(data=st.data(), seed=st.integers(0, 10**6), block=st.sampled_from([64, 100, 1024]))
def test_growing_on_is_growing_anew(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, seed: int, block: int
) -> None:
    """Clicks that come and go, one after the other, become what the clicks that are left become at once."""
    rng = np.random.default_rng(seed)
    discs = spread(12, 300, rng)
    pixels, truth = field(300, 300, discs, seed)
    info = RasterInfo.read(photo(tmp_path_factory.mktemp("field"), pixels))
    everything = jittered(discs, rng) + on_soil(truth, rng)
    outlined = Outlined(np.array([shapely.box(200, 210, 222, 240)][: data.draw(st.integers(0, 1))], object))
    level = GroundLevel(0.0, 5.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grown_clicks, "BLOCK", block)
        growth = ClickGrowth(info, 30.0, level)
        for _ in range(data.draw(st.integers(2, 4))):
            kept = data.draw(st.lists(st.sampled_from(everything), min_size=1, max_size=12, unique=True))
            plants, bare = ([each for each in kept if (each[0] > 0) == leafy] for leafy in (True, False))
            given = points(plants), points(bare), outlined, 0
            again, anew = growth.grown(*given), ClickGrowth(info, 30.0, level).grown(*given)
            assert [shape.wkb for shape in again.shapes] == [shape.wkb for shape in anew.shapes]
            for name in ("ids", "pixels", "green"):
                assert np.array_equal(getattr(again, name), getattr(anew, name))
            assert again.shared == anew.shared


def points(found: list[Click]) -> Points:
    xy = np.array([(x, y) for _, x, y in found]).reshape(-1, 2)
    return Points(xy, np.array([k for k, *_ in found], np.uint8))
