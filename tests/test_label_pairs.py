"""Images and their labels find each other, and lie on each other: names, sizes, CRSs, turned pictures."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.transform
import rasterio.warp
from conftest import noise, read, write_raster
from PIL import Image, ImageOps
from rasterio.crs import CRS

from agriseg.errors import DataError, UsageError
from agriseg.labels.label_set import LabelRequest, LabelSet
from agriseg.labels.loading import load_labels
from agriseg.labels.pairs import find_pairs
from agriseg.labels.rasterize import reproject_labels
from agriseg.options.labels import LabelOptions
from agriseg.raster.georeference import crs_name, horizontal, same_horizontal_crs
from agriseg.raster.header import RasterInfo
from agriseg.raster.tags import orientation

GREY: dict[str, Any] = {"photometric": "MINISBLACK"}
CLASSES = ("soil", "weed")


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize("suffix", ["_mask", "-mask", ".mask", " mask", "_L"])
def test_masks_beside_their_images(tmp_path: Path, suffix: str) -> None:
    touch(
        tmp_path,
        "b.JPG",
        f"b{suffix}.PNG",
        "a.jpg",
        f"a{suffix}.png",
        "classes.txt",
        "Thumbs.db",
        "a.jpg.msk",
        "._a.jpg",
    )
    pairs = find_pairs(tmp_path, tmp_path, suffix)
    assert [(pair.image.name, pair.labels.name) for pair in pairs] == [
        ("a.jpg", f"a{suffix}.png"), ("b.JPG", f"b{suffix}.PNG"),
    ]  # fmt: skip
    with pytest.raises(UsageError, match=f"one folder; distinguish the labels by --label-suffix {suffix}$"):
        find_pairs(tmp_path, tmp_path)


@pytest.mark.parametrize("folder", ["labels", "masks", "deep/er"])
def test_masks_in_a_folder_below_the_images(tmp_path: Path, folder: str) -> None:
    touch(tmp_path, "b.jpg", "a.jpg", f"{folder}/a.png", f"{folder}/b.png", ".cache/c.jpg", "@eaDir/d.jpg")
    assert [pair.labels.name for pair in find_pairs(tmp_path, tmp_path / folder)] == ["a.png", "b.png"]
    touch(tmp_path, "flight2/c.jpg", f"{folder}/flight2/c.png")
    assert [pair.labels.name for pair in find_pairs(tmp_path, tmp_path / folder)] == ["a.png", "b.png", "c.png"]


def test_a_label_may_keep_its_images_whole_name(tmp_path: Path) -> None:
    touch(tmp_path, "i/x.tif", "l/x.tif.png")
    assert find_pairs(tmp_path / "i", tmp_path / "l")[0].labels.name == "x.tif.png"


def test_names_that_do_not_pair_are_told_with_the_suffix_that_would_pair_them(tmp_path: Path) -> None:
    touch(tmp_path, "i/a.jpg", "i/b.jpg", "l/a_gt.png", "l/b_gt.png")
    with pytest.raises(DataError, match=r"4 without a partner: .*add --label-suffix _gt$"):
        find_pairs(tmp_path / "i", tmp_path / "l")
    assert len(find_pairs(tmp_path / "i", tmp_path / "l", "_gt")) == 2
    touch(tmp_path, "i/a.tif")
    with pytest.raises(DataError, match="share a stem"):
        find_pairs(tmp_path / "i", tmp_path / "l", "_gt")


def look(image: Path, labels: Path, **more: Any) -> LabelSet:
    return load_labels(LabelRequest(image, labels, CLASSES, LabelOptions(**more)), image.parent / "made")


def halves() -> np.ndarray:
    ids = np.zeros((1, 40, 60), np.uint8)
    ids[:, :, 25:] = 1
    return ids


WKT = re.sub(r',AUTHORITY\["[^]]*\]', "", CRS.from_epsg(32632).to_wkt())
SPELLINGS = {
    "heights": "EPSG:32632+5773",
    "heights of another table": "EPSG:32632+7837",
    "esri": CRS.from_epsg(32632).to_wkt(version="WKT1_ESRI"),
    "own datum name": WKT.replace('"WGS_1984"', '"D_Drone"'),
    "parameters": "+proj=tmerc +lat_0=0 +lon_0=9 +k=0.9996 +x_0=500000 +y_0=0 +datum=WGS84 +units=m",
    "bound": "+proj=utm +zone=32 +ellps=WGS84 +towgs84=0,0,0 +units=m",
}  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_crs_is_the_same_however_it_is_spelled(tmp_path: Path, spelling: str) -> None:
    image = write_raster(tmp_path / "i.tif", noise(40, 60), crs=CRS.from_user_input(SPELLINGS[spelling]))
    labels = write_raster(tmp_path / "l.tif", halves(), **GREY)
    for one, other in ((image, labels), (labels, image)):
        found = look(image, labels) if one == image else None
        assert found is None or not found.problems
        infos = RasterInfo.read(one).georeference, RasterInfo.read(other).georeference
        assert same_horizontal_crs(infos[0].crs, infos[1].crs, [infos[0].transform @ (0, 0)])  # type: ignore[arg-type]


def test_crs_of_degrees_and_of_axes() -> None:
    here = [(9.1, 48.7), (9.2, 48.8)]
    for other in ("OGC:CRS84", "EPSG:4979", "+proj=longlat +datum=WGS84"):
        assert same_horizontal_crs(CRS.from_epsg(4326), CRS.from_user_input(other), here)
    assert not same_horizontal_crs(CRS.from_epsg(4326), CRS.from_epsg(32632), here)
    assert not same_horizontal_crs(CRS.from_epsg(4326), CRS.from_epsg(4314), here)  # DHDN lies 100 m off
    assert not same_horizontal_crs(CRS.from_epsg(32632), CRS.from_epsg(32633), [(5e5, 5.4e6)])


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("EPSG:32632", "EPSG:32632"), ("EPSG:32632+5773", "EPSG:32632 + EPSG:5773"), ("OGC:CRS84", "OGC:CRS84"),
        ('LOCAL_CS["my field",UNIT["metre",1]]', "'my field'"),
        ("+proj=tmerc +lat_0=1 +lon_0=2 +datum=WGS84", "'unknown'"),
    ],
)  # fmt: skip
def test_a_crs_has_a_short_name(given: str, name: str) -> None:
    assert crs_name(CRS.from_user_input(given)) == name
    assert horizontal(CRS.from_user_input("EPSG:32632+5773")) == CRS.from_epsg(32632)


def test_other_crs_of_labels_is_named_by_its_code_and_the_advice_helps(tmp_path: Path) -> None:
    image = write_raster(tmp_path / "i.tif", noise(40, 60), crs="EPSG:32632+5773")
    plain = write_raster(tmp_path / "p.tif", halves(), **GREY)
    with rasterio.open(plain) as source:
        bounds = rasterio.warp.transform_bounds(source.crs, "EPSG:25833", *source.bounds)
    grid = rasterio.transform.from_bounds(*bounds, 240, 160)
    there: dict[str, Any] = {"crs": "EPSG:25833", "transform": grid, **GREY}
    reproject_labels(
        write_raster(tmp_path / "o.tif", np.zeros((1, 160, 240), np.uint8), **there), plain, tmp_path / "there.tif"
    )
    resized = write_raster(tmp_path / "r.tif", read(tmp_path / "there.tif")[:, :40, :60], nodata=255, **there)
    (problem,) = look(image, resized).problems
    assert "CRS EPSG:25833, but i.tif has EPSG:32632 + EPSG:5773; --reproject-labels" in problem
    found = look(image, tmp_path / "there.tif", reproject_labels=True)
    assert not found.problems
    made = read(found.images[0].pair.labels)
    inside = made != 255
    assert inside.mean() > 0.9
    assert (made == halves())[inside].mean() > 0.95


def test_labels_that_lost_their_crs_still_have_to_lie_on_the_image(tmp_path: Path) -> None:
    image = write_raster(tmp_path / "i.tif", noise(40, 60))
    where = RasterInfo.read(image).georeference.transform
    there = write_raster(tmp_path / "l.tif", halves(), crs=None, transform=where, **GREY)
    assert not look(image, there).problems
    beside = write_raster(tmp_path / "m.tif", halves(), crs=None, transform=where @ where.translation(30, 0), **GREY)
    assert "30.00 px beside i.tif, and m.tif has no CRS" in look(image, beside).problems[0]
    assert not look(image, write_raster(tmp_path / "n.tif", halves(), crs=None, transform=None, **GREY)).problems


@pytest.mark.parametrize("reproject", [False, True])
def test_advice_about_small_masks_of_photographs_can_be_followed(tmp_path: Path, *, reproject: bool) -> None:
    bare: dict[str, Any] = {"crs": None, "transform": None}
    image = write_raster(tmp_path / "i.png", noise(40, 60), driver="PNG", **bare)
    small = write_raster(tmp_path / "l.png", halves()[:, ::2, ::2], driver="PNG", **bare)
    (problem,) = look(image, small, reproject_labels=reproject).problems
    assert "--reproject-labels" not in problem
    words = problem.split("gdal_translate ")[1].split()
    assert words[:3] == ["-r", "nearest", "-outsize"]
    size = int(words[3]), int(words[4])
    Image.open(small).resize(size, Image.Resampling.NEAREST).save(tmp_path / "full.png")
    assert not look(image, tmp_path / "full.png").problems
    cut = write_raster(tmp_path / "cut.png", halves()[:, :, :40], driver="PNG", **bare)
    (problem,) = look(image, cut).problems
    assert "another shape" in problem
    assert "60 x 40" in problem


@pytest.mark.parametrize("tag", range(2, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "tif"])
def test_turned_pictures_are_read_as_viewers_show_them_or_refused(tmp_path: Path, kind: str, tag: int) -> None:
    stored = Image.fromarray(noise(40, 60).transpose(1, 2, 0))
    exif = Image.Exif()
    exif[274] = tag
    image, mask = tmp_path / f"i.{kind}", tmp_path / "l.png"
    stored.save(image, exif=exif, **({"quality": 95} if kind == "jpg" else {}))
    assert orientation(image) == tag
    assert any(f"orientation tag ({tag})" in note for note in RasterInfo.read(image).notes)
    shown = ImageOps.exif_transpose(Image.open(image))
    drawn = (np.asarray(shown)[..., 0] > 120).astype(np.uint8)
    Image.fromarray(drawn).save(mask)
    (problem,) = look(image, mask).problems
    assert f"viewers turn i.{kind} (orientation tag {tag}), but l.png not so (1)" in problem
    assert f"mogrify -auto-orient i.{kind}" in problem
    shown.save(image)  # as that does
    assert not look(image, mask).problems


def test_shapes_on_a_turned_picture_are_refused(tmp_path: Path) -> None:
    """Tools for annotation draw on the picture as viewers show it."""
    exif, drawn = Image.Exif(), tmp_path / "i.json"
    exif[274] = 3
    picture = Image.fromarray(noise(40, 60).transpose(1, 2, 0))
    picture.save(tmp_path / "i.png", exif=exif)
    shape = {"label": "weed", "points": [[1, 1], [20, 1], [20, 20]], "shape_type": "polygon"}
    drawn.write_text(json.dumps(
        {"version": "5.0", "imagePath": "i.png", "imageWidth": 60, "imageHeight": 40, "imageData": None,
         "shapes": [shape]}
    ))  # fmt: skip
    (problem,) = look(tmp_path / "i.png", drawn, rest="soil").problems
    assert "viewers turn i.png (orientation tag 3), so shapes may lie elsewhere" in problem
    picture.save(tmp_path / "i.png")
    assert not look(tmp_path / "i.png", drawn, rest="soil").problems


def test_pictures_that_are_turned_alike_lie_on_each_other(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(noise(40, 60).transpose(1, 2, 0)).save(tmp_path / "i.jpg", exif=exif)
    Image.fromarray(halves()[0]).save(tmp_path / "l.png", exif=exif)
    assert not look(tmp_path / "i.jpg", tmp_path / "l.png").problems
    Image.fromarray(noise(40, 60).transpose(1, 2, 0)).save(tmp_path / "i.jpg")
    (problem,) = look(tmp_path / "i.jpg", tmp_path / "l.png").problems
    assert "viewers turn l.png (orientation tag 6), but i.jpg not so (1)" in problem
