"""Label rasters as people have them: every way of storing a class is counted right or refused, and advice helps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import noise, write_raster
from PIL import Image

from agriseg.cli import main
from agriseg.cli.common.errors import one_line
from agriseg.errors import DataError, UsageError
from agriseg.labels.label_set import LabelRequest, LabelSet
from agriseg.labels.loading import load_labels
from agriseg.labels.raster import LabelRaster
from agriseg.options.labels import LabelOptions
from agriseg.training.config import TrainConfig
from agriseg.training.run import TrainOptions, train

SIDE = 48
CLASSES = ("soil", "crop", "weed")
COLOURS = ((0, 0, 0), (0, 176, 0), (255, 0, 0))
GREY: dict[str, Any] = {"photometric": "MINISBLACK"}
HOLE = np.s_[:5]  # rows that nobody labelled


def truth() -> np.ndarray:
    """Class ids, 255 in the hole."""
    ids = np.random.default_rng(5).integers(0, 3, (SIDE, SIDE)).astype(np.uint8)
    ids[HOLE] = 255
    return ids


def known() -> np.ndarray:
    """The same, and soil in the hole."""
    return np.where(truth() == 255, 0, truth()).astype(np.uint8)


def look(folder: Path, save: Callable[[Path], object], name: str, *, least: int = 2, **more: Any) -> LabelSet:
    path = folder / name
    save(path)
    image = write_raster(folder / "image.tif", noise(SIDE, SIDE), crs=None, transform=None)
    return load_labels(LabelRequest(image, path, CLASSES, LabelOptions(**more), least), folder)


def png(pixels: np.ndarray, **more: Any) -> Callable[[Path], object]:
    return lambda path: Image.fromarray(pixels).save(path, **more)


def tif(pixels: np.ndarray, **more: Any) -> Callable[[Path], object]:
    bands = pixels if pixels.ndim == 3 else pixels[None]
    return lambda path: write_raster(path, bands, crs=None, transform=None, **GREY, **more)


def palette(**more: Any) -> Callable[[Path], object]:
    picture = Image.fromarray(known()).convert("P")
    picture.putdata(known().ravel().tolist())
    picture.putpalette([number for colour in COLOURS for number in colour])
    return lambda path: picture.save(path, **more)


def painted(ids: np.ndarray) -> np.ndarray:
    return np.array(COLOURS, np.uint8)[ids]


def with_nan() -> np.ndarray:
    return np.where(truth() == 255, np.nan, truth()).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "save", "more", "hole"),
    [
        ("l.png", png(truth()), {}, True),
        ("l.png", png(truth().astype(np.uint16)), {}, True),
        ("l.png", palette(), {}, False),
        ("l.png", png(np.dstack([known(), np.where(truth() == 255, 0, 255).astype(np.uint8)])), {}, True),
        ("l.png", png(painted(known())), {"values": COLOURS}, False),
        (
            "l.png",
            png(painted(known())),
            {"values": ((9, 9, 9), *COLOURS[1:]), "unlabelled": COLOURS[:1], "least": 1},
            None,
        ),
        ("l.png", png(np.where(truth() == 255, 0, truth() + 1)), {"values": (1, 2, 3), "unlabelled": (0,)}, True),
        ("l.png", png(known() * 127), {"values": (0, 127, 254)}, False),
        ("l.tif", tif(truth(), nodata=255), {}, True),
        ("l.tif", tif(np.where(truth() == 255, 7, truth()).astype(np.uint8), nodata=7), {}, True),
        ("l.tif", tif(with_nan()), {}, True),
        ("l.tif", tif(np.nan_to_num(with_nan(), nan=-9999)), {"unlabelled": (-9999,)}, True),
        ("l.tif", tif(known().astype(np.int32) - 1), {"values": (-1, 0, 1)}, False),
    ],
    ids=range(13),
)
def test_every_way_to_store_classes_is_counted_as_numpy_counts(
    tmp_path: Path, name: str, save: Callable[[Path], object], more: dict[str, Any], hole: bool | None
) -> None:
    found = look(tmp_path, save, name, **more)
    ids = truth() if hole else known()
    counts = np.bincount(ids.ravel(), minlength=256)
    if hole is None:  # soil's colour means unlabelled
        counts[[0, 255]] = 0, counts[0]
    assert not found.problems
    assert list(found.pixels.values()) == counts[:3].tolist()
    assert found.ignored == counts[255]


def transparent() -> Callable[[Path], object]:
    return png(np.dstack([painted(known()), np.where(known() == 0, 0, 255).astype(np.uint8)]))


@pytest.mark.parametrize(
    ("name", "save", "more", "says"),
    [
        ("l.tif", tif(known(), nodata=0), {}, r"class soil is 0, .* nodata, so its [\d,]+ px .*--unset-nodata l\.tif"),
        ("l.tif", tif(known().astype(np.float32), nodata=2), {}, "class weed is 2, .* nodata"),
        (
            "l.png",
            palette(transparency=0),
            {},
            "class soil is 0, .* nodata.* gdal_translate -a_nodata none l.png l.tif",
        ),
        ("l.png", png(known(), transparency=1), {}, "class crop is 1, .* nodata"),
        (
            "l.png",
            png(painted(known()), transparency=(0, 0, 0)),
            {"values": COLOURS},
            "class soil is #000000, .* nodata",
        ),
        ("l.png", transparent(), {"values": COLOURS}, r"all [\d,]+ px of class soil are transparent \(alpha"),
        ("l.png", png(painted(known())), {}, "3 bands.* a coloured picture needs .*--values (#.{6},?){3}"),
        ("l.png", palette(), {"values": COLOURS}, "palette says 0 is #000000, 1 is #00b000, 2 is #ff0000"),
        ("l.png", png((known() > 0) * np.uint8(255)), {}, r"only one class, soil, .*\([\d,]+ px are 255, .*--values"),
        ("l.png", png(np.where(known() == 2, 128, known())), {}, r"no class has 128 \([\d,]+ px\); .*--unlabelled 128"),
        ("l.jpg", png(known() * 127, quality=60), {"values": (0, 127, 254)}, "a JPEG's loss changes numbers"),
        ("l.jpg", png(painted(known())), {}, "a JPEG's loss changes colours"),
        ("l.tif", tif(known() + np.float32(0.5)), {}, "no class has .*0.5.*classes are whole numbers"),
        ("l.tif", tif(noise(SIDE, SIDE)[0] + np.float32(0.1)), {}, "are these the labels"),
        ("l.png", png(noise(SIDE, SIDE).transpose(1, 2, 0)), {}, "more than 255 colours"),
        ("l.tif", tif(np.stack([known()] * 2)), {}, "2 bands, expected one .*gdal_translate -b 1 l.tif"),
        ("l.png", lambda path: path.write_text("0 1 1"), {}, "this is text"),
        ("l.png", lambda path: path.write_bytes(b""), {}, "empty"),
    ],
    ids=range(18),
)
def test_what_would_lose_a_class_is_refused(
    tmp_path: Path, name: str, save: Callable[[Path], object], more: dict[str, Any], says: str
) -> None:
    found = look(tmp_path, save, name, **more)
    with pytest.raises(DataError, match=says) as refused:
        found.refuse()
    assert "\n" not in str(refused.value)
    assert len(str(refused.value).replace(str(tmp_path), "labels")) <= 300


@pytest.mark.parametrize("name", ["l.png", "l.jpg", "l.tif"])
def test_label_rasters_that_end_early_are_refused(tmp_path: Path, name: str) -> None:
    """GDAL's quick way of reading a PNG takes what it never got for pixels."""
    picture = np.random.default_rng(0).integers(0, 2, (200, 200)).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / name)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[: -path.stat().st_size // 8])
    with pytest.raises(DataError, match="copy it again"):
        LabelRaster.of(path, (0, 1)).survey()


def test_transparent_pixels_are_told_where_the_class_has_others(tmp_path: Path) -> None:
    alpha = np.full((SIDE, SIDE), 255, np.uint8)
    alpha[:9] = 0
    found = look(tmp_path, png(np.dstack([known(), alpha])), "l.png")
    assert not found.problems
    lost = int((known()[:9] == 1).sum())
    assert any(f"{lost} px of class crop are transparent" in text for text in found.remarks)


def test_advice_about_nodata_can_be_followed(tmp_path: Path) -> None:
    from click.testing import CliRunner
    from rasterio.rio.main import main_group

    problem = look(tmp_path, tif(known(), nodata=0), "l.tif").problems[0]
    words = problem[problem.index("rio ") :].split(";")[0].split()
    done = CliRunner().invoke(main_group, [*words[1:-1], str(tmp_path / words[-1])])
    assert done.exit_code == 0, done.output
    image = tmp_path / "image.tif"
    again = load_labels(LabelRequest(image, tmp_path / "l.tif", CLASSES), tmp_path)
    assert not again.problems
    assert list(again.pixels.values()) == np.bincount(known().ravel()).tolist()


def test_advice_about_numbers_and_colours_can_be_followed(tmp_path: Path) -> None:
    problem = look(tmp_path, png(painted(known())), "l.png").problems[0]
    listed = problem.split("--values ")[1].split()[0].rstrip(",")
    assert not look(tmp_path, png(painted(known())), "l.png", values=LabelOptions.of(values=listed).values).problems
    problem = look(tmp_path, png((known() > 0) * np.uint8(255)), "l.png").problems[0]
    assert "--values" in problem
    problem = look(tmp_path, png(np.where(truth() == 255, 9, truth())), "l.png").problems[0]
    listed = problem.split("--unlabelled ")[1].split()[0]
    unlabelled = LabelOptions.of(unlabelled=listed).unlabelled
    assert not look(tmp_path, png(np.where(truth() == 255, 9, truth())), "l.png", unlabelled=unlabelled).problems


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"values": (1, 0, 1)}, "1 is of two classes"),
        ({"values": ((0, 0, 0), (1, 1, 1), (0, 0, 0))}, "#000000 is of two classes"),
        ({"unlabelled": (0,)}, "0 is a class and unlabelled"),
        ({"unlabelled": ((0, 0, 0),)}, "numbers beside colours"),
        ({"values": (0, 1)}, "2 values for 3 classes"),
        ({"column": "class"}, "no polygons"),
    ],
)
def test_values_that_mean_two_things_are_refused(tmp_path: Path, more: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        look(tmp_path, png(known()), "l.png", **more)


def test_a_raster_that_ends_early_is_no_image_either(tmp_path: Path) -> None:
    """The same way of reading, for what is mapped."""
    from agriseg.grid import Window
    from agriseg.raster.header import RasterInfo
    from agriseg.raster.reader import Reader, Source
    from agriseg.raster.valid_mask import ValidityRule

    path = tmp_path / "i.png"
    Image.fromarray(noise(100, 100).transpose(1, 2, 0)).save(path)
    path.write_bytes(path.read_bytes()[:-9000])
    info = RasterInfo.read(path)
    with Reader(Source(info, (1, 2, 3), ValidityRule.of(info), 100, 100)) as reader, pytest.raises(DataError):
        reader.read(Window(0, 0, 100, 100))
    with rasterio.open(path) as plain:
        assert plain.driver == "PNG"


KINDS: dict[str, tuple[np.ndarray, dict[str, Any], dict[str, Any]]] = {
    "good": (known()[None], {}, {}),
    "nodata is a class": (known()[None], {"nodata": 0}, {}),
    "nodata is none": (known()[None], {"nodata": 9}, {}),
    "a number too many": (known()[None] + np.uint8(1), {}, {}),
    "unlabelled": (np.where(truth() == 255, 9, truth()).astype(np.uint8)[None], {}, {"unlabelled": [9]}),
    "one class": (np.zeros((1, SIDE, SIDE), np.uint8), {}, {}),
    "none": (np.full((1, SIDE, SIDE), 255, np.uint8), {}, {}),
    "another size": (known()[None, 1:], {}, {}),
    "another place": (known()[None], {"transform": rasterio.Affine(0.1, 0, 500_001, 0, -0.1, 5_400_000)}, {}),
    "a class nowhere": (np.minimum(known(), 1)[None], {}, {}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_check_refuses_what_the_training_refuses(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the commands, up to the first step, and with the same sentence."""
    pixels, profile, data = KINDS[kind]
    image = str(write_raster(tmp_path / "i.tif", noise(SIDE, SIDE), photometric="RGB"))
    labels = str(write_raster(tmp_path / "l.tif", pixels, **GREY, **profile))
    flags = [word for name, values in data.items() for word in (f"--{name}", ",".join(map(str, values)))]

    def call(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as left:
            main([*words])
        return int(left.value.code or 0), capsys.readouterr().err

    def first_step(*_: object) -> None:
        raise ReachedStep

    monkeypatch.setattr("agriseg.training.run.fit", first_step)
    checked, why = call("labels", "check", image, labels, "--classes", ",".join(CLASSES), *flags)
    config = {"classes": list(CLASSES), "arch": "fcn_small", "data": {"images": image, "labels": labels, **data}}
    plan = {"validation": {"block": 32, "buffer": 0, "share": 0.4}, "recipe": {"steps": 1, "chip": 32, "batch": 2}}
    with pytest.raises((ReachedStep, DataError)) as ended:
        train(TrainConfig.of({**config, **plan}, tmp_path), tmp_path / "out", TrainOptions("cpu"))
    if ended.type is ReachedStep:
        assert checked == 0
    else:
        assert (checked, why) == (65, one_line(f"agriseg: error: {ended.value}") + "\n")


class ReachedStep(Exception):
    """The training has begun."""
