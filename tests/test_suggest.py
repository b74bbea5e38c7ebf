"""Boxes to label: what is counted in them, in which order they come, and what the file of them says."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
import torch
from conftest import UTM, blocks, write_raster
from hypothesis import given, settings
from hypothesis import strategies as st

from agriseg import SegmentationModel, load_model
from agriseg.cli import main
from agriseg.demo.reference_models import random_network
from agriseg.errors import AgrisegError, DataError, InputMissing, OutputError, UsageError
from agriseg.grid import Window
from agriseg.labels.drawing import area_in_pixels
from agriseg.options.run import RunOptions
from agriseg.options.suggest import SuggestOptions
from agriseg.raster.header import RasterInfo
from agriseg.suggest.boxes import BoxGrid, BoxStatistics, BoxSurvey
from agriseg.suggest.ranking import Candidates, rank
from agriseg.suggest.suggest import Suggestions, check_outputs, images_of, suggest

if TYPE_CHECKING:
    from runs import Ended

NOWHERE = {"crs": None, "transform": rasterio.Affine.identity()}
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


# boxes


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.integers(0, 9), st.integers(0, 9))
def test_boxes_lie_side_by_side_inside_their_window(height: int, width: int, side: int, top: int, left: int) -> None:
    roi = Window(left, top, width, height)
    grid = BoxGrid(roi, side)
    seen = np.zeros((top + height, left + width), int)
    for number in range(len(grid)):
        box = grid.window(number)
        assert (box.height, box.width) == (min(side, height), min(side, width))
        seen[box.row_off : box.row_stop, box.col_off : box.col_stop] += 1
    assert seen.max() == 1
    assert not seen[:top].any() and not seen[:, :left].any()  # noqa: PT018
    rows, cols = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    assert max(top + height - 1 - rows[-1], rows[0] - top) < side
    assert max(left + width - 1 - cols[-1], cols[0] - left) < side


def by_hand(logits: np.ndarray, valid: np.ndarray, box: Window, temperature: float) -> list[np.ndarray]:
    """Share of valid pixels, entropy, shares and spreads of one box."""
    part = (slice(box.row_off, box.row_stop), slice(box.col_off, box.col_stop))
    z = logits[(slice(None), *part)].reshape(len(logits), -1).astype(np.float64)[:, valid[part].ravel()] / temperature
    if not z.size:
        zeros = np.zeros(len(logits))
        return [np.zeros(()), np.zeros(()), zeros, zeros]
    p = np.exp(z - z.max(0))
    p /= p.sum(0)
    entropy = -(p * np.log(np.maximum(p, 1e-300))).sum(0) / np.log(len(p))
    return [valid[part].mean(), entropy.mean(), p.mean(1), p.std(1)]


@pytest.mark.parametrize("seed", range(6))
def test_strips_of_any_size_count_what_the_whole_has(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width, classes = rng.integers(20, 70), rng.integers(20, 70), rng.integers(2, 5)
    logits = (4 * rng.normal(size=(classes, height, width))).astype(np.float32)
    valid = rng.random((height, width)) < 0.8
    valid[:12, :12] = False
    grid, temperature = BoxGrid(Window(0, 0, int(width), int(height)), int(rng.integers(5, 30))), 1.7
    survey = BoxSurvey(grid, int(classes), temperature)
    cuts = np.unique([0, height, *rng.integers(0, height, 4)]), np.unique([0, width, *rng.integers(0, width, 3)])
    for top, bottom in zip(cuts[0][:-1], cuts[0][1:], strict=True):
        for left, right in zip(cuts[1][:-1], cuts[1][1:], strict=True):
            part = (slice(top, bottom), slice(left, right))
            window = Window(int(left), int(top), int(right - left), int(bottom - top))
            survey.observe(torch.from_numpy(logits[:, *part]), torch.from_numpy(valid[part]), window)
    got = survey.statistics()
    assert len(got) == len(grid)
    for number in range(len(grid)):
        wanted = by_hand(logits, valid, grid.window(number), temperature)
        found = [got.valid[number], got.entropy[number], got.shares[number], got.spreads[number]]
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one, other, atol=2e-4)


def test_samples_of_pixels_count_as_a_raster_of_them_does() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(3, 16, 64)).astype(np.float32)
    survey = BoxSurvey(BoxGrid(Window(0, 0, 64, 16), 16), 3, 1.0)
    survey.observe(torch.from_numpy(logits), torch.ones(16, 64, dtype=torch.bool), Window(0, 0, 64, 16))
    p = torch.softmax(torch.from_numpy(logits), 0).numpy().reshape(3, 16, 4, 16).transpose(2, 1, 3, 0)
    sampled = BoxStatistics.of_probabilities(p.reshape(4, 256, 3), np.ones((4, 256), bool))
    for one, other in zip(vars(survey.statistics()).values(), vars(sampled).values(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


# ranking


def candidates(rng: np.random.Generator, rows: int = 4, cols: int = 6, images: int = 2, classes: int = 3) -> Candidates:
    """Boxes of several images with random numbers, some labelled and some without data."""
    count = rows * cols * images
    p = rng.dirichlet(np.full(classes, 0.4), (count, 40))
    cell = np.stack(np.divmod(np.arange(rows * cols), cols), 1)
    return Candidates(
        BoxStatistics.of_probabilities(p, np.ones((count, 40), bool)), np.repeat(np.arange(images), rows * cols),
        np.tile(cell, (images, 1)), rng.random(count) < 0.1, rng.random(count) < 0.9,
    )  # fmt: skip


def chosen(given: Candidates, count: int) -> list[int]:
    return [choice.box for choice in rank(given, count)]


@pytest.mark.parametrize("seed", range(8))
def test_the_order_of_boxes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    given = candidates(rng)
    order = chosen(given, 20)
    assert order == chosen(given, 20), "the same boxes give the same order"
    assert len(set(order)) == 20
    assert given.free[order].all()
    everything = chosen(given, 1000)
    assert sorted(everything) == np.flatnonzero(given.free).tolist()


def by_the_formula(given: Candidates, count: int) -> list[int]:
    """The order by the sentence of the module, box by box."""
    shares, spreads = given.statistics.shares, given.statistics.spreads
    usual = shares[given.valid].mean(0)
    marks = np.concatenate([np.sqrt(shares), spreads], 1)
    marks = (marks - marks[given.valid].mean(0)) / marks[given.valid].std(0)
    before = np.flatnonzero(given.labelled & given.valid).tolist()
    order: list[int] = []
    for _ in range(count):
        worth = {}
        for box in np.flatnonzero(given.free).tolist():
            if box in order:
                continue
            work = (1 - shares[box, usual.argmax()]) / (1 - usual.max())
            near = [np.sqrt(((marks[box] - marks[other]) ** 2).mean()) for other in before + order]
            beside = any(
                given.image[box] == given.image[other] and np.abs(given.cell[box] - given.cell[other]).max() <= 1
                for other in order
            )
            product = given.statistics.entropy[box] * min(near, default=1) / np.sqrt(0.1 + work)
            worth[box] = product * (0.5 if beside else 1)
        order.append(max(worth, key=worth.__getitem__))
    return order


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("labelled", [True, False])
def test_each_box_is_the_one_that_the_formula_prefers(seed: int, labelled: bool) -> None:
    given = candidates(np.random.default_rng(seed), images=1)
    if not labelled:
        given = replace(given, labelled=np.zeros_like(given.labelled))
    assert chosen(given, 12) == by_the_formula(given, 12)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_images_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    given = candidates(rng, images=3)
    turned = np.concatenate([np.flatnonzero(given.image == number) for number in (2, 0, 1)])
    other = Candidates(
        given.statistics.of(turned), given.image[turned], given.cell[turned], given.labelled[turned], given.valid[turned]
    )  # fmt: skip
    assert turned[chosen(other, 15)].tolist() == chosen(given, 15)


@pytest.mark.parametrize("seed", range(5))
def test_a_copy_of_a_box_comes_last(seed: int) -> None:
    given = candidates(np.random.default_rng(seed), images=1)
    twice = np.repeat(np.arange(len(given.statistics)), 2)
    both = Candidates(
        given.statistics.of(twice), np.arange(len(twice)), given.cell[twice], given.labelled[twice], given.valid[twice]
    )
    order = chosen(both, 1000)
    firsts = order[: len(order) // 2]
    assert len({box // 2 for box in firsts}) == len(firsts)


def test_boxes_are_spread_over_images_and_ground() -> None:
    rng = np.random.default_rng(3)
    given = candidates(rng, 6, 6, images=4)
    free = Candidates(given.statistics, given.image, given.cell, np.zeros(144, bool), np.ones(144, bool))
    loud = replace(free.statistics, entropy=np.where(free.image == 2, 1.0, 1e-6))
    order = chosen(replace(free, statistics=loud), 10)
    assert np.bincount(free.image[order], minlength=4)[2] == 5, "twice its share, though it is all that is unsure"
    calm = replace(
        free, image=np.zeros(144, int), cell=np.stack(np.divmod(np.arange(144), 12), 1),
        statistics=replace(free.statistics, entropy=np.full(144, 0.5)),
    )  # fmt: skip
    touching = [
        np.abs(calm.cell[b] - calm.cell[a]).max() <= 1
        for n, a in enumerate(chosen(calm, 12))
        for b in chosen(calm, 12)[:n]
    ]
    assert sum(touching) <= 2, "of 66 pairs; about 4 touch by chance"


# the command


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> SegmentationModel:
    """A small model with a calibrated temperature."""
    return replace(random_network("fcn_small"), temperature=1.5)


def field(path: Path, seed: int = 0, **profile: Any) -> Path:
    pixels = blocks(192, 256, seed=seed, low=1)
    pixels[:, :, 150:] = 0
    return write_raster(path, pixels, nodata=0, **profile)


def made(folder: Path, model: SegmentationModel, *images: Path, **flags: Any) -> Suggestions:
    options = SuggestOptions.of(**{"box": "32px", "count": 8, **flags})
    return suggest(images, model, folder / "todo.gpkg", options, RunOptions())


def windows(found: Suggestions) -> list[tuple[int, Window]]:
    return [(box.image, box.window) for box in found.boxes]


def test_boxes_hold_data_and_come_back_from_their_file(tmp_path: Path, trained: SegmentationModel) -> None:
    image = field(tmp_path / "field.tif")
    found = made(tmp_path, trained, image)
    with rasterio.open(image) as dataset:
        valid = dataset.read_masks(1) > 0
    for _, box in windows(found):
        part = valid[box.row_off : box.row_stop, box.col_off : box.col_stop]
        assert part.shape == (32, 32)
        assert part.mean() >= 0.75
    meta, _, shapes, values = pyogrio.raw.read(tmp_path / "todo.gpkg", layer="boxes")
    columns = dict(zip(meta["fields"], values, strict=True))
    assert list(columns) == ["rank", "image", "class", "why", "entropy", "rarity", "distance"]
    assert meta["crs"] == "EPSG:32632"
    assert columns["rank"].tolist() == list(range(1, 9))
    assert set(columns["image"]) == {"field.tif"}
    assert not any(columns["class"])
    assert all(columns["why"])
    transform = UTM["transform"]
    for (_, box), shape in zip(windows(found), shapely.from_wkb(shapes), strict=True):
        left, top = transform @ (box.col_off, box.row_off)
        right, bottom = transform @ (box.col_stop, box.row_stop)
        np.testing.assert_allclose(shape.bounds, (left, bottom, right, top))
    assert (tmp_path / "todo.png").stat().st_size > 10_000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["field.tif", "todo.gpkg", "todo.png"]


def test_what_is_labelled_is_passed_over(tmp_path: Path, trained: SegmentationModel) -> None:
    image = field(tmp_path / "field.tif")
    first = made(tmp_path, trained, image)
    done = (tmp_path / "todo.gpkg").rename(tmp_path / "done.gpkg")
    second = made(tmp_path, trained, image, done=[done], count=1000)
    assert not set(windows(first)) & set(windows(second))
    assert len(second.boxes) == second.candidates == first.candidates - 8
    rest = (tmp_path / "todo.gpkg").rename(tmp_path / "rest.gpkg")
    with pytest.raises(DataError, match="every box of 32px is labelled already"):
        made(tmp_path, trained, image, done=[done, rest])


def test_boxes_of_images_without_a_crs_are_pixels_each_in_a_layer(tmp_path: Path, trained: SegmentationModel) -> None:
    images = [field(tmp_path / f"{name}.tif", seed, **NOWHERE) for seed, name in enumerate("ab")]
    found = made(tmp_path, trained, *images)
    todo = tmp_path / "todo.gpkg"
    assert {str(name) for name, _ in pyogrio.list_layers(todo)} - {"layer_styles"} == {"a", "b"}
    for number, image in enumerate(images):
        own = [box for image_number, box in windows(found) if image_number == number]
        read = area_in_pixels(RasterInfo.read(image), Path(f"{todo}:{image.stem}"))
        wanted = [(box.col_off, box.row_off, box.col_stop, box.row_stop) for box in own]
        assert [shape.bounds for shape in read] == wanted
    done = todo.rename(tmp_path / "done.gpkg")
    second = made(tmp_path, trained, *images, done=[done], count=1000)
    assert not set(windows(found)) & set(windows(second))
    assert second.candidates == found.candidates - 8


def test_ground_that_the_model_was_trained_on_is_passed_over(tmp_path: Path) -> None:
    from test_learnt import config
    from test_learnt import field as labelled

    from agriseg.labels.learnt_images import LearntImages
    from agriseg.training.run import TrainOptions, train

    image, labels = labelled(tmp_path / "first")
    model = load_model(train(config(image, labels), tmp_path / "out", TrainOptions("cpu")).model)
    found = made(tmp_path, model, image, count=1000)
    (ground,) = LearntImages.of_card(model.about).images
    learnt = {(row, col) for row, col in np.argwhere(ground.trained).tolist()}
    assert ground.side == 64
    assert 0 < len(learnt) < 9
    assert {(box.row_off // 64, box.col_off // 64) for _, box in windows(found)} == {
        (row, col) for row in range(3) for col in range(3)
    } - learnt


def test_boxes_go_on_as_the_area_of_labels_and_of_a_training(
    tmp_path: Path, agriseg_cli: Callable[..., "Ended"], model_file: Path
) -> None:
    write_raster(tmp_path / "field.tif", blocks(512, 1024, low=1))
    made_boxes = agriseg_cli("suggest", "field.tif", "-m", model_file, "-n", 24, "--box", "128px", "--json")
    assert made_boxes.code == 0, made_boxes.err
    told = json.loads(made_boxes.out)
    assert [box["rank"] for box in told["boxes"]] == list(range(1, 25))
    plants = [
        shapely.box(500_000 + x, 5_400_000 - y - 2, 500_000 + x + 2, 5_400_000 - y)
        for x in range(1, 100, 3)
        for y in range(1, 50, 3)
    ]
    pyogrio.raw.write(
        tmp_path / "weeds.gpkg", shapely.to_wkb(plants), [np.array(["weed"] * len(plants), object)], ["class"],
        crs="EPSG:32632", geometry_type="Polygon", driver="GPKG",
    )  # fmt: skip
    labels = ("--column", "class", "--area", "todo.gpkg", "--classes", "soil,weed")
    checked = agriseg_cli("labels", "check", "field.tif", "weeds.gpkg", *labels, "--json")
    assert checked.code == 0, checked.err
    pixels = json.loads(checked.out)["pixels"]
    assert sum(pixels.values()) >= 24 * 128**2, "all within the boxes, and the plants beside them"
    assert pixels["soil"] > 0
    training = ("--arch", "fcn_small", "--time", "1s", "-o", "weeds")
    done = agriseg_cli("train", "--image", "field.tif", "--labels", "weeds.gpkg", *labels, *training)
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (["a.tif", "-o", "x.shp"], UsageError, "ends in .gpkg or .geojson"),
        (["a.tif", "b.tif", "-o", "x.geojson"], UsageError, "boxes of one image, not of 2"),
        (["photo.tif", "-o", "x.geojson"], UsageError, "has no CRS; write a .gpkg"),
        (["a.tif", "more/a.tif", "-o", "x.gpkg"], UsageError, "have one name"),
        (["a.tif", "-o", "there.gpkg"], OutputError, "exists and is not overwritten"),
        (["empty", "-o", "x.gpkg"], InputMissing, "no rasters in this folder"),
        (["none.tif", "-o", "x.gpkg"], InputMissing, "none.tif"),
    ],
)
def test_what_cannot_be_suggested_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], kind: type[AgrisegError], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("more", "empty"):
        Path(name).mkdir()
    for name in ("a.tif", "b.tif", "more/a.tif"):
        field(Path(name))
    field(Path("photo.tif"), **NOWHERE)
    Path("there.gpkg").touch()
    with pytest.raises(kind, match=message):
        check_outputs(Path(words[-1]), images_of([Path(word) for word in words[:-2]]), overwrite=False)
    with pytest.raises(SystemExit) as left:
        main(["suggest", *words])
    assert left.value.code == kind.exit_code


@pytest.mark.parametrize(
    ("box", "message"),
    [("5m", "pixel size of .* is unknown"), ("8px", "8 px of photo.tif, expected 16"), ("12", "is no length")],
)
def test_a_side_that_is_none(tmp_path: Path, trained: SegmentationModel, box: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        made(tmp_path, trained, field(tmp_path / "photo.tif", **NOWHERE), box=box)


def test_metres_and_geojson(tmp_path: Path, trained: SegmentationModel) -> None:
    image = field(tmp_path / "field.tif")
    path = tmp_path / "todo.geojson"
    found = suggest([image], trained, path, SuggestOptions.of(box="3.2m", count=8))
    assert windows(found) == windows(made(tmp_path, trained, image))
    read = area_in_pixels(RasterInfo.read(image), path)
    for (_, box), shape in zip(windows(found), read, strict=True):
        wanted = box.col_off, box.row_off, box.col_stop, box.row_stop
        np.testing.assert_allclose(shape.bounds, wanted, atol=0.01)


def test_a_model_that_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    write_raster(Path("grey.tif"), blocks(64, 64)[:1])
    for words, code, message in (
        (["grey.tif", "-m", "vegetation"], 65, "wants bands red, green, blue"),
        (["grey.tif", "-m", "none.safetensors"], 78, "no such model file"),
        (["grey.tif", "--probabilities"], 2, "suggest keeps none"),
    ):
        with pytest.raises(SystemExit) as left:
            main(["suggest", *words])
        assert left.value.code == code
        assert message in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["grey.tif"]


def test_a_raster_without_data(tmp_path: Path, trained: SegmentationModel) -> None:
    image = write_raster(tmp_path / "empty.tif", np.zeros((3, 64, 64), np.uint8), nodata=0)
    with pytest.raises(DataError, match="holds data on 75% of its pixels; give a smaller --box"):
        made(tmp_path, trained, image)
    assert [path.name for path in tmp_path.iterdir()] == ["empty.tif"]
