"""The training job: splits on request, folds, caches, bad images, polygons, the card, the bundled example."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from conftest import blocks, examples_in, write_raster
from PIL import Image
from test_fit import GREY, config, field, fitted, scene, weights

import agriseg.raster.reader
import agriseg.training.dataset
from agriseg import load_model
from agriseg.cli import main
from agriseg.errors import DataError, ModelError, UsageError
from agriseg.figures import charts
from agriseg.legend import Legend
from agriseg.networks.normalization import Normalization
from agriseg.samples.augment import Augmentation, TrainingSamples
from agriseg.samples.sampling import index_labels
from agriseg.training.config import TrainConfig
from agriseg.training.dataset import load_dataset
from agriseg.training.progress import FoldStarted, Progress, StepDone
from agriseg.training.run import TrainOptions, cross_validate, train

EXAMPLES = Path(__file__).parents[1] / "examples"


# scenes


def test_a_cache_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    straight = fitted(tmp_path, "straight")
    monkeypatch.setattr(agriseg.training.dataset, "_HELD_BYTES", 0)
    monkeypatch.setattr(agriseg.training.dataset, "_CACHE_ABOVE", 0)
    cached = fitted(tmp_path, "cached")
    assert (cached / "cache" / "1" / "zarr.json").exists()
    assert weights(cached) == weights(straight)


def test_a_cache_is_used_again_by_the_same_run_alone(tmp_path: Path) -> None:
    one, again = (scene(field(tmp_path)) for _ in range(2))
    one.cache_on_disk(tmp_path / "cache", "this run")
    whole = one.all()
    shutil.rmtree(tmp_path / "cache" / "ids" / "c")  # reads as zeros now, so it shows whether the cache was taken
    again.cache_on_disk(tmp_path / "cache", "this run")
    assert (again.all().ids == 0).all()
    again.cache_on_disk(tmp_path / "cache", "another run")
    np.testing.assert_array_equal(again.all().ids, whole.ids)


def test_what_a_chip_decodes(tmp_path: Path) -> None:
    strips = scene(field(tmp_path))
    rows = strips.source.info.block[0]
    assert strips.decode_cost(64) == (-(-64 // rows) + 1) * rows * 260 / 64**2, "whole rows, and a strip more"
    Image.new("RGB", (260, 200)).save(tmp_path / "p.png")
    write_raster(tmp_path / "p_labels.tif", np.zeros((1, 200, 260), np.uint8), **GREY)
    assert scene(tmp_path / "p.png").decode_cost(64) == 260 * 200 / 64**2, "a PNG is decoded from its top"


def test_a_class_index_in_strips_is_one_in_a_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = scene(field(tmp_path))
    whole = index_labels([one], 3, seed=0)
    monkeypatch.setattr(agriseg.raster.reader, "_AT_ONCE", 7 * 260)
    strips = index_labels([one], 3, seed=0)
    assert strips.counts.tolist() == whole.counts.tolist()
    ids = one.all().ids
    for k, places in enumerate(strips.pixels):
        assert len(places) == min(4000, whole.counts[0, k])
        assert len(np.unique(places, axis=0)) == len(places)
        assert (ids[places[:, 1], places[:, 2]] == k).all()
        everywhere = np.argwhere(ids == k)[:, 0].mean()
        assert places[:, 1].mean() == pytest.approx(everywhere, abs=3), "no part of the raster is preferred"


# samples


def test_the_rarest_class_is_pasted_with_its_picture(tmp_path: Path) -> None:
    """A picture that holds its own labels, as in the test of turns."""
    ids = (np.random.default_rng(0).random((30, 30)) < 0.5).astype(np.uint8)
    ids[np.random.default_rng(1).random((30, 30)) < 0.05] = 2
    ids = ids.repeat(20, 0).repeat(20, 1)
    write_raster(tmp_path / "a_labels.tif", ids[None], **GREY)
    one = scene(write_raster(tmp_path / "a.tif", np.stack([ids * 100] * 3)))
    class_index, plain = index_labels([one], 3, 0), Normalization(1.0, (0.0,) * 3, (1.0,) * 3)
    assert class_index.rarest == 2
    shares = []
    for paste in (0.0, 1.0):
        how = Augmentation(brightness=0, channel_jitter=0, copy_paste=paste)
        samples = TrainingSamples([one], class_index, [plain], 96, 0.0, how, seed=0)
        made = [samples[number] for number in range(40)]
        shares.append(np.mean([(labels == 2).float().mean().item() for _, labels in made]))
        for x, labels in made:
            known = labels != 255
            assert ((x[0] / 100).round() == labels)[known].float().mean() > 0.93
    assert shares[1] > 1.5 * shares[0]


def test_quarter_turns_move_pixels_and_change_none(tmp_path: Path) -> None:
    one = scene(field(tmp_path, hole=False))
    plain = Normalization(1.0, (0.0,) * 3, (1.0,) * 3)
    samples = TrainingSamples(
        [one], index_labels([one], 3, 0), [plain], 64, 0.5, Augmentation(zoom=1, brightness=0, channel_jitter=0), seed=3
    )
    windows = np.lib.stride_tricks.sliding_window_view(one.all().pixels[0], (64, 64))
    turned = set()
    for number in range(60):
        x, ids = samples[number]
        assert (ids != 255).all(), "stays inside where there is room"
        for turns in range(4):
            for mirrored in (False, True):
                back = torch.rot90(x.flip(2) if mirrored else x, turns, (1, 2))[0].round().byte().numpy()
                like = np.argwhere((windows[:, :, ::9, ::9] == back[::9, ::9]).all((2, 3)))
                if any((windows[row, col] == back).all() for row, col in like):
                    turned.add((turns, mirrored))
    assert len(turned) == 8


# splits


def test_random_squares_only_on_request_and_marked(tmp_path: Path) -> None:
    chosen = config(tmp_path, steps=2, validate_every=2)
    scattered = chosen.model_copy(update={"validation": chosen.validation.model_copy(update={"by": "random"})})
    found = load_dataset(scattered, tmp_path)
    seen, kept = found.training[0].all().ids != 255, found.held[0].all().ids != 255
    labelled = scene(tmp_path / "data" / "a.tif").all().ids != 255
    np.testing.assert_array_equal(seen | kept, labelled)  # no belt
    assert not (seen & kept).any()
    train(scattered, tmp_path / "out")
    assert load_model(tmp_path / "out" / "best.safetensors").about["split"]["by"] == "random"
    assert "flatter" in (tmp_path / "out" / "best.md").read_text()


def test_folds_map_every_label_with_a_model_that_has_not_seen_it(tmp_path: Path) -> None:
    chosen = config(tmp_path, steps=2, validate_every=2)
    reports: list[Progress] = []
    trained, pooled = cross_validate(chosen, tmp_path / "out", 3, TrainOptions(report=reports.append))
    labelled = scene(tmp_path / "data" / "a.tif").all().ids != 255
    assert pooled.matrix.sum() == labelled.sum()
    assert [each.fold for each in reports if isinstance(each, FoldStarted)] == [1, 2, 3]
    written = json.loads((tmp_path / "out" / "folds.json").read_text())
    assert written["miou"] == [each.evaluation.miou for each in trained]
    assert written["mean"] == pytest.approx(np.mean(written["miou"]))
    assert written["pooled"]["pixels"] == labelled.sum()
    for fold in range(3):
        found = load_dataset(chosen.of_fold(fold, 3), tmp_path)
        assert not ((found.training[0].all().ids != 255) & (found.held[0].all().ids != 255)).any()


def test_statistics_are_of_the_training_blocks_alone(tmp_path: Path) -> None:
    """The held-back ground is made bright; the statistics must not notice."""
    chosen = config(tmp_path)
    before = load_dataset(chosen, tmp_path)
    held = before.held[0].all().ids != 255
    with_holes = before.held[0].all()
    pixels = np.where(held, 250, with_holes.pixels).astype(np.uint8)
    write_raster(tmp_path / "data" / "a.tif", pixels, nodata=0)
    after = load_dataset(chosen, tmp_path)
    assert after.model.mean == before.model.mean
    assert after.model.std == before.model.std


def sized(folder: Path, gsds: list[float | None], held: list[float] | None = None) -> TrainConfig:
    """Images of so many metres per pixel, in UTM; None has no place on the ground."""
    for name, lengths in (("train", gsds), ("held", held or [])):
        for number, gsd in enumerate(lengths):
            where = {"crs": None, "transform": rasterio.Affine.identity()} if gsd is None else {
                "transform": rasterio.Affine(gsd, 0, 5e5, 0, -gsd, 5.4e6)
            }  # fmt: skip
            pixels = blocks(64, 64, seed=number)
            for kind, array in (("images", pixels), ("labels", (pixels[:1] > 128).astype(np.uint8))):
                (folder / name / kind).mkdir(parents=True, exist_ok=True)
                write_raster(folder / name / kind / f"{number}.tif", array, **where)
    tables = {
        "classes": ["a", "b"], "arch": "fcn_small", "recipe": {"steps": 1, "chip": 32},
        "data": {"images": "train/images", "labels": "train/labels"},
        "validation": {"images": "held/images", "labels": "held/labels"} if held else {"by": "file"},
    }  # fmt: skip
    return TrainConfig.of(tables, folder)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_model_has_the_resolution_of_its_images(tmp_path: Path) -> None:
    """Of one of them, not a mean between them; where they are far apart there is no such thing."""
    rng = np.random.default_rng(0)
    near = (0.05 * rng.uniform(1, 1.24, 4)).tolist()
    found = load_dataset(sized(tmp_path / "near", near), tmp_path)
    assert any(found.model.gsd == pytest.approx(each, rel=1e-6) for each in near)
    with pytest.raises(DataError, match=r"2 of 2 cm, 2 of 10 cm per pixel, but a model has one; bring them"):
        load_dataset(sized(tmp_path / "far", [0.02, 0.02, 0.1, 0.1]), tmp_path)
    with pytest.raises(DataError, match=r"2 of 5 cm, 1 of 10 cm"):
        load_dataset(sized(tmp_path / "held", [0.05, 0.05], [0.1]), tmp_path)
    some = load_dataset(sized(tmp_path / "some", [0.05, None, 0.05]), tmp_path)
    assert some.model.gsd is None
    assert "1 of 3 images have no record of their ground resolution, so the model has none" in some.remarks
    none = load_dataset(sized(tmp_path / "none", [None, None]), tmp_path)
    assert (none.model.gsd, [text for text in none.remarks if "resolution" in text]) == (None, [])


@pytest.mark.parametrize(
    ("validation", "says"),
    [
        ({"folds": 3, "images": "i", "labels": "l"}, "folds, but also images"),
        ({"folds": 3, "fold": 3}, "fold 3, expected 0 to 3"),
        ({"by": "random", "images": "i", "labels": "l"}, "split by random, but also images"),
    ],
)
def test_folds_that_make_no_sense(validation: dict[str, Any], says: str) -> None:
    tables = {"classes": ["a", "b"], "data": {"images": "i", "labels": "l"}, "recipe": {"steps": 1}}
    with pytest.raises(ModelError, match=says):
        TrainConfig.of({**tables, "validation": validation}, Path())


# bad images


@pytest.mark.fault("T06")
def test_a_damaged_image_is_named_or_left_out(tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for seed, name in enumerate("abcd"):
        path = field(tmp_path / "data", name, seed=seed)
        shutil.move(path, tmp_path / "images" / f"{name}.tif")
        shutil.move(path.with_name(f"{name}_labels.tif"), tmp_path / "labels" / f"{name}.tif")
    bad = tmp_path / "images" / "b.tif"
    bad.write_bytes(bad.read_bytes()[:-60_000])
    tables = {
        "classes": ["x", "y", "z"], "arch": "fcn_small", "data": {"images": "images", "labels": "labels"},
        "validation": {"by": "file", "share": 0.3},
        "recipe": {"steps": 1, "chip": 64, "batch": 2, "validate_every": 1},
    }  # fmt: skip
    chosen = TrainConfig.of(tables, tmp_path)
    with pytest.raises(DataError, match=r"b\.tif"):
        train(chosen, tmp_path / "out")
    trained = train(chosen, tmp_path / "out", TrainOptions(skip_bad=True))
    assert len(trained.skipped) == 1
    assert "b.tif" in trained.skipped[0]
    assert load_model(trained.model).about["data"]["skipped"] == list(trained.skipped)


# what is written


@pytest.mark.fault("X10")
def test_the_card_tells_what_the_model_knows(tmp_path: Path) -> None:
    chosen = config(tmp_path)
    hostile = "<script>alert(1)</script>|*x*"
    chosen = chosen.model_copy(update={"classes": ["dark", hostile, "bright"], "licence": "CC-BY-4.0"})
    trained = train(chosen, tmp_path / "out")
    model = load_model(trained.model)
    scores = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert model.about["evaluation"] == scores
    assert model.temperature == scores["fitted"]["temperature"]
    text = (tmp_path / "out" / "best.md").read_text()
    assert r"\<script\>alert(1)\</script\>\|\*x\*" in text, "the name reads as it is"
    assert not re.search(r"(?<!\\)<script", text)
    for fact in ("CC-BY-4.0", model.fingerprint, f"{scores['miou']:.3f}", "Whole blocks of ground", "256 px"):
        assert fact in text
    assert len(re.findall(r"\n\n(?=\|)", text)) == 7, "tables"
    for name in ("curves.png", "confusion.png", "predictions.png"):
        with Image.open(tmp_path / "out" / name) as picture:
            assert min(picture.size) > 200


def test_the_log_has_the_loss_of_every_step(tmp_path: Path) -> None:
    reports: list[Progress] = []
    train(config(tmp_path), tmp_path / "out", TrainOptions(report=reports.append))
    losses = [each.loss for each in reports if isinstance(each, StepDone)]
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert [line["loss"] for line in lines] == pytest.approx([np.mean(losses[:3]), np.mean(losses[3:])])


def test_charts_show_any_name_without_a_warning(tmp_path: Path) -> None:
    """A name whose letters no font has is shown by its number; matplotlib would warn, and draw boxes."""
    assert charts.shown_name("土壤\U0010ffff", 3) == "class 3"
    assert charts.shown_name("a$b", 0) == r"a\$b"
    charts.save_confusion(tmp_path / "c.png", np.eye(2, dtype=int), Legend.from_names(["\U0010ffff", "$weed$"]))
    points = [charts.CurvePoint(1, 1.0, 0.5, {"\U0010ffff": 0.5, "$weed$": None})]
    charts.save_curves(tmp_path / "d.png", points, Legend.from_names(["\U0010ffff", "$weed$"]))


# the command


def call(*args: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["train", *args])
    assert isinstance(left.value.code, int)
    return left.value.code


def test_polygons_with_an_area(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The example that comes with the repository, for two steps; on TensorBoard too."""
    path = examples_in(tmp_path) / "polygon_field.toml"
    path.write_text(
        path.read_text()
        .replace("block = 256", "block = 128")
        .replace("steps = 150", "steps = 2")
        .replace("every = 50", "every = 2")
    )
    out = tmp_path / "out"
    assert call(str(path), "-o", str(out), "--tensorboard") == 0, capsys.readouterr().err
    assert any((out / "tensorboard").iterdir())
    model = load_model(out / "best.safetensors")
    assert model.gsd == pytest.approx(0.003)
    pixels = model.about["data"]["pixels"]
    assert pixels["soil"] > 10 * pixels["potato"] > 0
    capsys.readouterr()
    assert call(str(path), "-o", str(out), "--resume", "-q") == 0, "burning the labels again is no other data"


def test_polygons_of_two_images_of_one_name_stay_apart(tmp_path: Path) -> None:
    """field.tif to train on and another field.tif to score on: neither gets the other's labels."""
    shutil.copytree(EXAMPLES / "polygon_field", tmp_path / "one")
    shutil.copytree(EXAMPLES / "polygon_field", tmp_path / "two")
    plants = json.loads((tmp_path / "two" / "plants.geojson").read_text())
    plants["features"] = plants["features"][:5]
    (tmp_path / "two" / "plants.geojson").write_text(json.dumps(plants))
    tables = {
        "classes": ["potato", "weed"], "arch": "fcn_small", "recipe": {"steps": 1},
        "data": {"images": "one/field.tif", "labels": "one/plants.geojson", "column": "class"},
        "validation": {"images": "two/field.tif", "labels": "two/plants.geojson"},
    }  # fmt: skip
    found = load_dataset(TrainConfig.of(tables, tmp_path), tmp_path / "out")
    training, held = (int((scenes[0].all().ids != 255).sum()) for scenes in (found.training, found.held))
    assert training > 2 * held > 0


def test_flags_for_the_common_case(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="name the column"):
        load_dataset(
            TrainConfig.of(
                {"classes": ["a", "b"], "data": {"images": "i.tif", "labels": "l.gpkg"}, "recipe": {"steps": 1}},
                tmp_path,
            ),
            tmp_path,
        )
    source = examples_in(tmp_path) / "polygon_field"
    flags = ["--image", str(source / "field.tif"), "--labels", str(source / "plants.geojson"), "--column", "class"]
    flags += [
        "--area",
        str(source / "labelled_area.geojson"),
        "--classes",
        "soil, potato, weed",
        "--time",
        "0.001m",
        "--arch",
        "fcn_small",
    ]
    assert call(*flags, "-o", str(tmp_path / "out"), "--split", "random") == 0
    assert "lower scores" in capsys.readouterr().err
    assert load_model(tmp_path / "out" / "best.safetensors").legend.names == ("soil", "potato", "weed")
    assert call(str(EXAMPLES / "polygon_field.toml"), *flags, "-o", str(tmp_path / "other")) == 2
