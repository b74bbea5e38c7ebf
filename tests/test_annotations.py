"""Annotations of tools: the same shapes in each format are the same mask, and damage is one line."""

import base64
import copy
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from conftest import noise, read, write_raster
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from agriseg.annotations.coco import from_text
from agriseg.annotations.formats import is_annotations, read_annotations
from agriseg.annotations.label_studio import unpacked
from agriseg.annotations.shapes import Runs
from agriseg.cli import main
from agriseg.errors import DataError, UsageError
from agriseg.labels.label_set import LabelRequest
from agriseg.labels.loading import label_raster, load_labels
from agriseg.options.labels import LabelOptions

CLASSES = ("soil", "crop", "weed")
WIDTH, HEIGHT = 37, 29
NAME = "photo.tif"
Ring = list[tuple[float, float]]
Drawn = list[tuple[str, Ring]]


# Writers, each by the description of its format


def coco(drawn: list[tuple[str, Any]], **more: Any) -> dict[str, Any]:
    annotations = [
        {
            "id": k,
            "image_id": 7,
            "category_id": CLASSES.index(label),
            "segmentation": form,
            "iscrowd": int("size" in form),
        }
        for k, (label, form) in enumerate(drawn)
    ]
    categories = [{"id": k, "name": name, "supercategory": ""} for k, name in enumerate(CLASSES)]
    images = [{"id": 7, "file_name": f"train/{NAME}", "width": WIDTH, "height": HEIGHT}]
    return {"images": images, "annotations": annotations, "categories": categories, **more}


def labelme(shapes: list[dict[str, Any]]) -> dict[str, Any]:
    named = {"imagePath": f"..\\images\\{NAME}", "imageData": None, "imageHeight": HEIGHT, "imageWidth": WIDTH}
    return {"version": "5.4.1", "flags": {}, "shapes": shapes, **named}


def studio(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    result = [{"id": str(k), **size, **each} for k, each in enumerate(results)]
    data = {"image": f"/data/upload/3/0a1b2c3d-{NAME}"}
    return [{"id": 1, "data": data, "annotations": [{"id": 5, "was_cancelled": False, "result": result}]}]


def cvat(shapes: list[str], head: str = "") -> str:
    image = f'<image id="0" name="set/{NAME}" width="{WIDTH}" height="{HEIGHT}">{"".join(shapes)}</image>'
    return f'<?xml version="1.0" encoding="utf-8"?>\n{head}<annotations><version>1.1</version>{image}</annotations>'


def percent(ring: Ring) -> list[list[float]]:
    return [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in ring]


POLYGONS: dict[str, Callable[[Drawn], Any]] = {
    "coco.json": lambda drawn: coco([(label, [[v for xy in ring for v in xy]]) for label, ring in drawn]),
    "labelme.json": lambda drawn: labelme(
        [{"label": label, "points": ring, "shape_type": "polygon", "group_id": None} for label, ring in drawn]
    ),
    "studio.json": lambda drawn: studio(
        [{"type": "polygonlabels", "value": {"points": percent(ring), "polygonlabels": [label]}} for label, ring in drawn]
    ),
    "cvat.xml": lambda drawn: cvat(
        [
            f'<polygon label="{label}" source="manual" occluded="0" z_order="{k}" points="{";".join(f"{x},{y}" for x, y in ring)}"/>'
            for k, (label, ring) in enumerate(drawn)
        ]
    ),
    "pixels.geojson": lambda drawn: features(drawn, 1),
    "qgis.geojson": lambda drawn: features(drawn, -1),
}  # fmt: skip


def features(drawn: Drawn, sign: int) -> dict[str, Any]:
    rings = [[[x, sign * y] for x, y in [*ring, ring[0]]] for _, ring in drawn]
    found = [
        {"type": "Feature", "properties": {"class": label}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
        for (label, _), ring in zip(drawn, rings, strict=True)
    ]
    return {"type": "FeatureCollection", "features": found}


def lengths(flat: np.ndarray) -> list[int]:
    """Lengths of runs, the first of which is of zeros; by counting one pixel after another."""
    counts, now = [0], False
    for value in flat.tolist():
        if value != now:
            counts.append(0)
            now = value
        counts[-1] += 1
    return counts


def letters(counts: list[int]) -> str:
    text = ""
    for k, count in enumerate(counts):
        value = count - (counts[k - 2] if k > 2 else 0)
        more = True
        while more:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text += chr(48 + bits + 32 * more)
    return text


def packed(words: np.ndarray, sizes: tuple[int, ...] = (3, 4, 8, 16)) -> list[int]:
    """Runs of equal words where they are long, else words one by one."""
    bits = f"{len(words):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    values = words.tolist()
    start = 0
    while start < len(values):
        stop = start + 1
        same = stop < len(values) and values[stop] == values[start]
        while (
            stop < len(values)
            and stop - start < 60_000
            and (values[stop] == values[start] if same else stop - start < 5)
        ):
            stop += 1
        kind = next(k for k, size in enumerate(sizes) if stop - start <= 2**size)
        bits += f"{int(same)}{kind:02b}{stop - start - 1:0{sizes[kind]}b}"
        bits += "".join(f"{value:08b}" for value in (values[start : start + 1] if same else values[start:stop]))
        start = stop
    bits += "0" * (-len(bits) % 8)
    return [int(bits[k : k + 8], 2) for k in range(0, len(bits), 8)]


def png(mask: np.ndarray) -> str:
    held = io.BytesIO()
    Image.fromarray(mask).save(held, "PNG")
    return base64.b64encode(held.getvalue()).decode()


def cut(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is in the mask (of the last pixel)."""
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(cols[0]), int(rows[0]), int(cols[-1]), int(rows[-1])


def cvat_mask(label: str, mask: np.ndarray, order: int) -> str:
    left, top, right, bottom = cut(mask)
    runs = ", ".join(map(str, lengths(mask[top : bottom + 1, left : right + 1].ravel())))
    place = f'left="{left}" top="{top}" width="{right - left + 1}" height="{bottom - top + 1}"'
    return f'<mask label="{label}" rle="{runs}" {place} z_order="{order}"/>'


def labelme_mask(label: str, mask: np.ndarray) -> dict[str, Any]:
    left, top, right, bottom = cut(mask)
    inner = png(mask[top : bottom + 1, left : right + 1])
    return {"label": label, "points": [[left, top], [right, bottom]], "shape_type": "mask", "mask": inner}


Masks = list[tuple[str, np.ndarray]]
MASKS: dict[str, Callable[[Masks], Any]] = {
    "runs.json": lambda m: coco([(n, {"size": [HEIGHT, WIDTH], "counts": lengths(k.T.ravel())}) for n, k in m]),
    "text.json": lambda m: coco([(n, {"size": [HEIGHT, WIDTH], "counts": letters(lengths(k.T.ravel()))}) for n, k in m]),
    "labelme.json": lambda m: labelme([labelme_mask(*each) for each in m]),
    "brush.json": lambda m: studio(
        [
            {"type": "brushlabels", "value": {"format": "rle", "brushlabels": [n], "rle": packed(np.repeat(k.ravel() * np.uint8(255), 4))}}
            for n, k in m
        ]
    ),
    "cvat.xml": lambda m: cvat([cvat_mask(*each, k) for k, each in enumerate(m)]),
}  # fmt: skip


def write(path: Path, tree: Any) -> Path:
    path.write_text(tree if isinstance(tree, str) else json.dumps(tree), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raster(tmp_path_factory.mktemp("set") / NAME, noise(HEIGHT, WIDTH), crs=None, transform=None)


def mask_of(photo: Path, name: str, tree: Any, **more: Any) -> np.ndarray:
    path = write(photo.parent / name, tree)
    if name.endswith(".geojson"):
        more["column"] = "class"
    out = photo.parent / "labels" / "out.tif"
    out.parent.mkdir(exist_ok=True)
    label_raster(photo, path, LabelRequest(photo, path, CLASSES, LabelOptions(**more)), out)
    return read(out)[0]


corners = st.tuples(st.integers(-300, WIDTH * 100 + 300), st.integers(0, HEIGHT * 100 + 300))
rings = st.lists(corners, min_size=3, max_size=7, unique=True).map(lambda found: [(x / 100, y / 100) for x, y in found])
drawings = st.lists(st.tuples(st.sampled_from(CLASSES), rings), min_size=1, max_size=4)


@settings(max_examples=15, deadline=None)
@given(drawings)
def test_the_same_polygons_are_the_same_mask_in_each_format(photo: Path, drawn: Drawn) -> None:
    drawn = [
        ("soil", [(1, 1), (6, 1), (6, 6), (1, 6)]),
        *drawn,
        ("crop", [(0, 0), (2, 0), (0, 2)]),
        ("weed", [(9, 9), (12, 9), (9, 12)]),
    ]
    rows, cols = np.indices((HEIGHT, WIDTH)) + 0.5
    wanted, sure = np.full((HEIGHT, WIDTH), 255), np.ones((HEIGHT, WIDTH), bool)
    for label, ring in drawn:
        shape = shapely.Polygon(ring)
        sure &= shapely.distance(shapely.LinearRing(ring), shapely.points(cols, rows)) > 1e-9
        if shape.is_valid:
            wanted[shapely.contains_xy(shape, cols, rows)] = CLASSES.index(label)
        else:
            sure[:] = False
    masks = {}
    for name, writer in POLYGONS.items():
        try:
            masks[name] = mask_of(photo, name, writer(drawn))
        except DataError as error:
            masks[name] = str(error).partition(": ")[2]  # a class that is hidden
    first = masks.pop("coco.json")
    for name, mask in masks.items():
        assert np.array_equal(mask, first), name
    if isinstance(first, np.ndarray):
        np.testing.assert_array_equal(first[sure], wanted[sure])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.02, 0.3, 0.9]))
def test_the_same_masks_are_the_same_in_each_format(photo: Path, seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    masks = [(label, rng.random((HEIGHT, WIDTH)) < share) for label in ("crop", "weed")]
    masks[0][1][3, 4], masks[1][1][3, 4], masks[1][1][5, 6] = True, False, True
    wanted = np.full((HEIGHT, WIDTH), 255)
    for label, mask in masks:
        wanted[mask] = CLASSES.index(label)
    for name, writer in MASKS.items():
        np.testing.assert_array_equal(mask_of(photo, name, writer(masks)), wanted, err_msg=name)


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=30))
def test_text_of_runs(counts: list[int]) -> None:
    assert from_text(letters(counts)) == counts


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(1, 2, 3, 16), (3, 4, 8, 16), (16, 16, 16, 16)]))
def test_packed_runs(seed: int, sizes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(seed)
    words = np.repeat(rng.integers(0, 3, 60), rng.integers(1, 40, 60)).astype(np.uint8)
    words = words[: len(words) // 4 * 4]
    runs = unpacked(packed(words, sizes), len(words) // 4)
    np.testing.assert_array_equal(np.repeat(np.arange(len(runs)) % 2 == 1, runs), words[3::4] > 0)


def test_a_mask_and_its_runs(photo: Path) -> None:
    for mask in (np.zeros((3, 4), bool), np.ones((3, 4), bool), np.eye(5, dtype=bool), np.eye(5, dtype=bool)[::-1]):
        np.testing.assert_array_equal(Runs.of(mask).decoded(), mask)


# Shapes other than polygons


def disc(x: float, y: float, across: float, down: float) -> np.ndarray:
    rows, cols = np.indices((HEIGHT, WIDTH)) + 0.5
    return ((cols - x) / across) ** 2 + ((rows - y) / down) ** 2 < 1


def box(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    found = np.zeros((HEIGHT, WIDTH), bool)
    found[top:bottom, left:right] = True
    return found


def lm(kind: str, *points: list[float]) -> Any:
    return labelme([{"label": "crop", "points": list(points), "shape_type": kind}])


def ls(kind: str, **value: Any) -> Any:
    return studio([{"type": kind, "value": {**value, kind: ["crop"]}}])


@pytest.mark.parametrize(
    ("name", "tree", "wanted"),
    [
        ("a.json", lm("rectangle", [3, 4], [10, 20]), box(3, 4, 10, 20)),
        ("a.json", lm("rectangle", [10, 20], [3, 4]), box(3, 4, 10, 20)),
        ("a.json", lm("rectangle", [3, 4], [10, 4], [10, 20], [3, 20]), box(3, 4, 10, 20)),
        ("a.json", lm("circle", [15.3, 12.3], [20.3, 12.3]), disc(15.3, 12.3, 5, 5)),
        ("a.json", lm("point", [15.3, 12.3]), disc(15.3, 12.3, 4, 4)),
        ("a.json", lm("points", [15.3, 12.3], [25.3, 12.3]), disc(15.3, 12.3, 4, 4) | disc(25.3, 12.3, 4, 4)),
        ("a.json", lm("linestrip", [15.3, 12.3], [25.3, 12.3]), disc(15.3, 12.3, 4, 4) | disc(25.3, 12.3, 4, 4) | (np.indices((HEIGHT, WIDTH))[0] + 0.5 > 8.3) & (np.indices((HEIGHT, WIDTH))[0] + 0.5 < 16.3) & (np.indices((HEIGHT, WIDTH))[1] + 0.5 > 15.3) & (np.indices((HEIGHT, WIDTH))[1] + 0.5 < 25.3)),
        ("a.json", ls("rectanglelabels", x=300 / WIDTH, y=400 / HEIGHT, width=700 / WIDTH, height=1600 / HEIGHT, rotation=0), box(3, 4, 10, 20)),
        ("a.json", ls("rectanglelabels", x=1000 / WIDTH, y=400 / HEIGHT, width=1600 / WIDTH, height=700 / HEIGHT, rotation=90), box(3, 4, 10, 20)),
        ("a.json", ls("ellipselabels", x=1530 / WIDTH, y=1230 / HEIGHT, radiusX=500 / WIDTH, radiusY=300 / HEIGHT, rotation=0), disc(15.3, 12.3, 5, 3)),
        ("a.json", ls("ellipselabels", x=1530 / WIDTH, y=1230 / HEIGHT, radiusX=300 / WIDTH, radiusY=500 / HEIGHT, rotation=90), disc(15.3, 12.3, 5, 3)),
        ("a.json", ls("keypointlabels", x=1530 / WIDTH, y=1230 / HEIGHT, width=1), disc(15.3, 12.3, 4, 4)),
        ("a.xml", cvat(['<box label="crop" xtl="3" ytl="4" xbr="10" ybr="20"/>']), box(3, 4, 10, 20)),
        ("a.xml", cvat(['<box label="crop" xtl="-1.5" ytl="8.5" xbr="14.5" ybr="15.5" rotation="90"/>']), box(3, 4, 10, 20)),
        ("a.xml", cvat(['<ellipse label="crop" cx="15.3" cy="12.3" rx="5" ry="3"/>']), disc(15.3, 12.3, 5, 3)),
        ("a.xml", cvat(['<points label="crop" points="15.3,12.3;25.3,12.3"/>']), disc(15.3, 12.3, 4, 4) | disc(25.3, 12.3, 4, 4)),
    ],
    ids=range(16),
)  # fmt: skip
def test_other_shapes(photo: Path, name: str, tree: Any, wanted: np.ndarray) -> None:
    np.testing.assert_array_equal(mask_of(photo, name, tree, point_radius="4px") == 1, wanted)


def test_parts_of_one_annotation_add_up(photo: Path) -> None:
    rings = [[3, 4, 12, 4, 12, 20, 3, 20], [8, 4, 20, 4, 20, 20, 8, 20]]
    np.testing.assert_array_equal(mask_of(photo, "a.json", coco([("crop", rings)])) == 1, box(3, 4, 20, 20))


def test_the_order_in_which_shapes_lie(photo: Path) -> None:
    two = [
        '<box label="{}" xtl="3" ytl="4" xbr="10" ybr="20" z_order="{}"/>'.format(*each)
        for each in (("crop", 2), ("weed", 1))
    ]
    whole = '<box label="weed" xtl="20" ytl="4" xbr="30" ybr="20"/>'
    found = mask_of(photo, "a.xml", cvat([*two, whole]))
    assert (found[box(3, 4, 10, 20)] == 1).all()


SQUARE: Ring = [(3, 4), (10, 4), (10, 20), (3, 20)]
PAIR: Drawn = [("crop", SQUARE), ("weed", [(20, 4), (30, 4), (30, 20), (20, 20)])]


def test_photographs_need_a_radius_in_pixels(photo: Path) -> None:
    with pytest.raises(UsageError, match="--point-radius 5cm, but the pixel size"):
        mask_of(photo, "a.json", lm("point", [15, 12]), point_radius="5cm")


@pytest.mark.parametrize("radius", ["30cm", "3px"])
def test_points_on_the_ground(tmp_path: Path, radius: str) -> None:
    field = write_raster(tmp_path / "field.tif", noise(80, 90))  # pixels of 10 cm
    tree = {"type": "Point", "coordinates": [500_002.03, 5_399_996.98]}
    crs = {"type": "name", "properties": {"name": "EPSG:32632"}}
    one = {"type": "Feature", "properties": {"class": "crop"}, "geometry": tree}
    path = write(tmp_path / "p.geojson", {"type": "FeatureCollection", "crs": crs, "features": [one]})
    request = LabelRequest(field, path, CLASSES, LabelOptions(column="class", point_radius=radius))
    label_raster(field, path, request, tmp_path / "out.tif")
    rows, cols = np.indices((80, 90)) + 0.5
    across = 3 if radius == "3px" else 0.3 / rasterio_gsd(field)
    wanted = (cols - 20.3) ** 2 + (rows - 30.2) ** 2 < across**2
    assert np.count_nonzero((read(tmp_path / "out.tif")[0] == 1) != wanted) <= 1


def rasterio_gsd(field: Path) -> float:
    from agriseg.raster.header import RasterInfo

    gsd = RasterInfo.read(field).gsd
    assert gsd is not None
    return gsd[0]


# What is not drawn, and what names mean


def test_what_no_shape_covers(photo: Path) -> None:
    path, tree = "a.json", POLYGONS["coco.json"](PAIR)
    one, rest = mask_of(photo, path, tree), mask_of(photo, path, tree, rest="soil")
    assert set(np.unique(one)) == {1, 2, 255}
    np.testing.assert_array_equal(rest, np.where(one == 255, 0, one))
    with pytest.raises(UsageError, match="--rest rock is no class"):
        mask_of(photo, path, tree, rest="rock")


def test_names_that_are_no_class(photo: Path) -> None:
    tree = json.loads(json.dumps(POLYGONS["coco.json"](PAIR)).replace('"weed"', '"dock"'))
    with pytest.raises(DataError) as caught:
        mask_of(photo, "a.json", tree)
    assert "class dock (1) is not in the legend (soil, crop, weed); --rename dock=weed makes it one" in str(
        caught.value
    )
    np.testing.assert_array_equal(
        mask_of(photo, "a.json", tree, rename=(("dock", "weed"),)),
        mask_of(photo, "b.json", POLYGONS["coco.json"](PAIR)),
    )
    left_out = mask_of(photo, "a.json", tree, rename=(("dock", ""),), rest="soil")
    assert (left_out[box(20, 4, 30, 20)] == 255).all()
    assert (left_out == 0).any()


def test_numbers_that_are_classes(photo: Path) -> None:
    tree = json.loads(json.dumps(features(PAIR, 1)).replace('"crop"', "7").replace('"weed"', "9.0"))
    with pytest.raises(DataError, match=r"class 7 .* 9 .*; say each class's number, such as --values 0,1,2"):
        mask_of(photo, "a.geojson", tree)
    found = mask_of(photo, "a.geojson", tree, values=(5, 7, 9))
    np.testing.assert_array_equal(found, mask_of(photo, "b.geojson", features(PAIR, 1)))
    found = mask_of(photo, "a.geojson", tree, values=(5, 7, 8), unlabelled=(9,))
    assert set(np.unique(found)) == {1, 255}


def test_pixels_on_both_sides_of_the_edge_are_refused(photo: Path) -> None:
    both = [("crop", SQUARE), ("weed", [(20, -14), (30, -14), (30, -3)])]
    with pytest.raises(DataError, match="y from -14 to 20, expected pixels, all from 0 up or all from 0 down"):
        mask_of(photo, "a.geojson", features(both, 1))
    crs = {"type": "name", "properties": {"name": "EPSG:32632"}}
    with pytest.raises(DataError, match="has a CRS, but the image has none"):
        mask_of(photo, "a.geojson", {**features(PAIR, 1), "crs": crs})


def test_a_picture_of_another_size_is_refused(photo: Path) -> None:
    tree = POLYGONS["coco.json"](PAIR)
    tree["images"][0]["width"] = 2 * WIDTH
    with pytest.raises(DataError, match=f"drawn on photo.tif of {2 * WIDTH} x {HEIGHT} px, but photo.tif has"):
        mask_of(photo, "a.json", tree)


# Many pictures


def test_one_file_of_many_pictures(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("a", "b", "c", "d"):
        write_raster(tmp_path / "images" / f"{name}.tif", noise(HEIGHT, WIDTH), crs=None, transform=None)
    tree = POLYGONS["coco.json"](PAIR)
    tree["images"] = [
        {"id": 7, "file_name": "b.jpg"},
        {"id": 8, "file_name": "a.tif"},
        {"id": 9, "file_name": "e.tif"},
        {"id": 10, "file_name": "c.tif"},
    ]
    tree["annotations"] += [{**tree["annotations"][0], "image_id": 10}]
    path = write(tmp_path / "coco.json", tree)
    request = LabelRequest(tmp_path / "images", path, CLASSES, LabelOptions(rest="soil"))
    found = load_labels(request, tmp_path / "made")
    assert [each.pair.image.name for each in found.images] == ["a.tif", "b.tif", "c.tif"]
    assert found.problems == ()
    assert "1 images without annotations are left out: d.tif" in found.remarks
    assert any("1 annotated images are not in" in text and text.endswith(": e.tif") for text in found.remarks)
    assert "a.tif: no shape; all is soil" in found.remarks
    area = 7 * 16
    assert found.pixels == {"soil": 3 * WIDTH * HEIGHT - 2 * area - 160, "crop": 2 * area, "weed": 160}


def test_one_file_for_each_picture_beside_them(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_raster(tmp_path / f"{name}.tif", noise(HEIGHT, WIDTH), crs=None, transform=None)
        write(tmp_path / f"{name}.json", {**POLYGONS["labelme.json"](PAIR), "imagePath": "moved.png"})
    write(tmp_path / "notes.json", {"by": "me"})
    found = load_labels(LabelRequest(tmp_path, tmp_path, CLASSES, least=1), tmp_path / "made")
    assert found.problems == ()
    assert [each.pair.source.name for each in found.images] == ["a.json", "b.json"]
    assert found.pixels == {"soil": 0, "crop": 2 * 7 * 16, "weed": 320}
    write(tmp_path / "again.json", {**POLYGONS["labelme.json"](PAIR), "imagePath": "a.tif"})
    with pytest.raises(DataError, match=r"a.tif: annotated in .*a.json and again in .*again.json; leave one out"):
        load_labels(LabelRequest(tmp_path, tmp_path, CLASSES), tmp_path / "made")
    (tmp_path / "again.json").write_text('{"shapes": [')
    with pytest.raises(DataError, match=r"again.json: damaged or cut off"):
        load_labels(LabelRequest(tmp_path, tmp_path, CLASSES), tmp_path / "made")


def test_no_picture_of_the_file_is_there(photo: Path) -> None:
    tree = POLYGONS["coco.json"](PAIR)
    tree["images"][0]["file_name"] = "other.jpg"
    with pytest.raises(DataError, match=r"annotates other.jpg and such \(1\), not photo.tif"):
        mask_of(photo, "a.json", tree)


def test_several_people_on_one_picture(photo: Path) -> None:
    tree = POLYGONS["studio.json"](PAIR)
    other = POLYGONS["studio.json"]([("weed", SQUARE)])[0]["annotations"][0]
    tree[0]["annotations"] += [{**other, "was_cancelled": True}]
    assert (mask_of(photo, "a.json", tree)[box(3, 4, 10, 20)] == 1).all()
    tree[0]["annotations"] += [other]
    with pytest.raises(DataError, match="task 1: 2 annotations of one image; mark one as ground truth"):
        mask_of(photo, "a.json", tree)
    tree[0]["annotations"][-1] = {**other, "ground_truth": True}
    assert (mask_of(photo, "a.json", tree)[box(3, 4, 10, 20)] == 2).all()


def test_the_commands_take_annotations(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(write(photo.parent / "a.json", POLYGONS["coco.json"](PAIR)))

    def call(*args: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as left:
            main(["labels", *args, "--classes", "soil,crop,weed"])
        assert isinstance(left.value.code, int)
        said = capsys.readouterr()
        return left.value.code, said.out + said.err

    code, text = call("check", str(photo), path, "--rest", "soil", "--json")
    assert (code, json.loads(text)["pixels"]["weed"]) == (0, 160)
    assert call("rasterize", str(photo), path, "-o", str(photo.parent / "made.tif"), "--overwrite")[0] == 0
    code, text = call("check", str(photo), path, "--column", "class")
    assert code == 2
    assert "annotations, which name their classes; leave --column out" in text
    assert call("check", str(photo), path, "--rest", "soil", "--point-radius", "5")[0] in (0, 2)


# Damage

JUNK: list[Any] = [
    None, True, -1, 0, 3, 2.5, 1e308, float("nan"), float("-inf"), 10**30, "", "x", "\x1b[2J", "9" * 5000, [], [None], [[]],
    [[1]], [1, 2, 3], {}, {"a": 1}, [[1, "x"]], [[1e9, 1]], "PP\\", "[" * 50,
]  # fmt: skip


def sites(tree: Any) -> list[tuple[Any, Any]]:
    """Each place in a JSON tree: its owner and its key."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [found for key, value in pairs for found in [(tree, key), *sites(value)]]


TREES = {
    **{f"polygons {name}": writer(PAIR) for name, writer in POLYGONS.items() if name.endswith(".json")},
    **{f"masks {name}": writer([("crop", box(3, 4, 10, 20))]) for name, writer in MASKS.items() if name.endswith(".json")},
    "other": lm("circle", [15.3, 12.3], [20.3, 12.3]),
    "ellipse": ls("ellipselabels", x=40, y=40, radiusX=10, radiusY=10, rotation=0),
}  # fmt: skip
DOCUMENTS = {
    "polygons": POLYGONS["cvat.xml"](PAIR),
    "masks": MASKS["cvat.xml"]([("crop", box(3, 4, 10, 20))]),
    "other": cvat(['<ellipse label="crop" cx="15.3" cy="12.3" rx="5" ry="3"/>', '<box label="crop" xtl="3" ytl="4" xbr="10" ybr="20"/>']),
}  # fmt: skip


def one_line(photo: Path, path: Path) -> None:
    """Read as labels, or refused in one line."""
    try:
        if is_annotations(path):
            read_annotations(path)
        out = photo.parent / "labels" / "damaged.tif"
        out.parent.mkdir(exist_ok=True)
        label_raster(photo, path, LabelRequest(photo, path, CLASSES, LabelOptions(point_radius="2px")), out)
    except (DataError, UsageError) as error:
        text = str(error).replace(str(photo.parent), "folder")
        assert len(text) <= 300, text
        assert text.isprintable(), text


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(TREES)), st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_a_damaged_member_is_one_line(photo: Path, which: str, seed: int, times: int) -> None:
    draw, tree = random.Random(seed), copy.deepcopy(TREES[which])
    for _ in range(times):
        places = sites(tree)
        if not places:
            break
        owner, key = draw.choice(places)
        if draw.random() < 0.3:
            del owner[key]
        else:
            owner[key] = copy.deepcopy(draw.choice(JUNK))
    one_line(photo, write(photo.parent / "damaged.json", json.dumps(tree)))


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(sorted(DOCUMENTS)), st.integers(0, 2**32 - 1))
def test_a_damaged_attribute_is_one_line(photo: Path, which: str, seed: int) -> None:
    draw, text = random.Random(seed), DOCUMENTS[which]
    parts = text.split('"')
    k = draw.randrange(1, len(parts) - 1, 2)
    if draw.random() < 0.3:
        parts[k - 1] = parts[k - 1].rpartition(" ")[0] + " lost="
    else:
        parts[k] = draw.choice(
            ["", "-1", "nan", "inf", "1e400", "9" * 5000, "1,2", ";", "1;2,", "x", "&#27;", "0", "99999999"]
        )
    one_line(photo, write(photo.parent / "damaged.xml", '"'.join(parts)))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_file_that_is_cut_off_is_refused(photo: Path, data: st.DataObject) -> None:
    name, text = data.draw(
        st.sampled_from(
            [("a.json", json.dumps(tree)) for tree in TREES.values()] + [("a.xml", text) for text in DOCUMENTS.values()]
        )
    )
    path = write(photo.parent / f"cut_{name}", text[: data.draw(st.integers(0, len(text) - 1))])
    one_line(photo, path)
    with pytest.raises(DataError):
        read_annotations(path)


BOMB = '<!DOCTYPE annotations [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.xml", cvat([], BOMB), "document type annotations"),
        ("a.xml", cvat(["<tag label='&nbsp;'/>"]), "is no XML"),
        ("a.xml", "<annotations>" + "<a>" * 50_000 + "</a>" * 50_000 + "</annotations>", "annotates no image, so not photo.tif"),
        ("a.xml", "<annotations><track/></annotations>", "tracks of a video; export as CVAT for images 1.1"),
        ("a.xml", "<annotation><object/></annotation>", "Pascal VOC, which is not read; export"),
        ("a.xml", "<svg/>", "none of the formats COCO, LabelMe, Label Studio, CVAT"),
        ("a.xml", cvat(['<cuboid label="crop"/>']), "shape 1 is a cuboid, expected polygon"),
        ("a.xml", cvat(['<mask label="crop" rle="0, 999999999999" left="0" top="0" width="3" height="3"/>']), "no place in a picture"),
        ("a.xml", cvat(['<mask label="crop" rle="0, 99999" left="0" top="0" width="3" height="3"/>']), "runs that do not add up to the 3 x 3 px"),
        ("a.xml", cvat(['<mask label="crop" rle="0, 9" left="36" top="0" width="3" height="3"/>']), "mask 1 of photo.tif reaches beyond the image"),
        ("a.json", "[" * 100_000, "damaged or cut off"),
        ("a.json", json.dumps({"objects": [], "size": {"height": 3, "width": 3}}), "Supervisely, which is not read"),
        ("a.json", json.dumps({"_via_img_metadata": {}}), "VGG Image Annotator, which is not read"),
        ("a.json", json.dumps([{"image": "a.jpg", "annotation_id": 3}]), "Label Studio JSON-MIN, which is not read"),
        ("a.json", json.dumps(coco([("crop", [[1, 2, 3]])])), "annotation 1: 3 coordinates, expected pairs"),
        ("a.json", json.dumps(coco([("crop", [[1, 2, 3, 4]])])), "annotation 1: an outline of 2 points, expected 3"),
        ("a.json", json.dumps(coco([("crop", [])])), "1 annotations have no outline, a box at most"),
        ("a.json", json.dumps(coco([("crop", {"size": [HEIGHT, WIDTH], "counts": [3]})])), "runs that do not add up"),
        ("a.json", json.dumps(coco([("crop", {"size": [HEIGHT, WIDTH], "counts": "0" * 9 + "~"})])), "run lengths that cannot be read"),
        ("a.json", json.dumps(coco([("crop", {"size": [3, 4], "counts": [12]})])), "a mask of 4 x 3 px on an image of 37 x 29"),
    ],
    ids=range(20),
)  # fmt: skip
def test_what_is_wrong_is_named(photo: Path, name: str, text: str, says: str) -> None:
    path = write(photo.parent / name, text)
    with pytest.raises(DataError) as caught:
        label_raster(photo, path, LabelRequest(photo, path, CLASSES), photo.parent / "out.tif")
    assert says in str(caught.value)
    assert len(str(caught.value).replace(str(photo.parent), "folder")) <= 300
