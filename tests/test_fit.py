"""Samples by number, the loop, going on after a kill, and the command."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import blocks, nearest, write_raster
from PIL import Image
from scipy.ndimage import gaussian_filter

import agriseg.files
import agriseg.training.loop
from agriseg import SegmentationModel, load_model
from agriseg.cli import main
from agriseg.errors import DataError, ModelError, PredictionError, Terminated, UsageError
from agriseg.labels.raster import LabelRaster
from agriseg.labels.scene import Scene
from agriseg.legend import Legend
from agriseg.networks import architecture
from agriseg.networks.normalization import Normalization
from agriseg.raster.header import RasterInfo
from agriseg.raster.reader import Source
from agriseg.raster.valid_mask import ValidityRule
from agriseg.samples.augment import Augmentation, TrainingSamples, _blurred
from agriseg.samples.sampling import index_labels, sample_pixel
from agriseg.training.config import RENAMED_KEYS, Recipe, TrainConfig
from agriseg.training.dataset import load_dataset
from agriseg.training.distributed import Ranks
from agriseg.training.loop import TrainingRun, fit
from agriseg.training.progress import ValidationScores
from agriseg.training.run import TrainOptions, train

STILL = Augmentation(mirror=False, rotate="none", zoom=1, brightness=0, channel_jitter=0)
PLAIN = Normalization(1.0, (0.0,) * 3, (1.0,) * 3)
GREY = {"photometric": "MINISBLACK"}


def field(
    folder: Path, name: str = "a", *, height: int = 200, width: int = 260, seed: int = 0, hole: bool = True
) -> Path:
    """An image with its labels: three classes by brightness, the brightest rare."""
    folder.mkdir(exist_ok=True)
    pixels = blocks(height, width, side=10, seed=seed, low=1)
    ids = np.minimum(nearest(pixels), 2)
    ids[(pixels.mean(0) > 120) & (pixels.mean(0) < 200)] = 1
    if hole:
        pixels[:, :40, :40] = 0
        ids[60:80, 60:80] = 255
    write_raster(folder / f"{name}_labels.tif", ids[None], **GREY)
    return write_raster(folder / f"{name}.tif", pixels, nodata=0)


def scene(path: Path) -> Scene:
    info = RasterInfo.read(path)
    labels = LabelRaster.of(path.with_name(f"{path.stem}_labels.tif"), range(3))
    return Scene(Source(info, (1, 2, 3), ValidityRule.of(info), info.width, info.height), labels)


# scenes and samples


@pytest.mark.parametrize("held", [False, True])
def test_a_scene_reads_as_a_padded_array(tmp_path: Path, held: bool) -> None:
    one = scene(field(tmp_path))
    if held:
        one.load_into_memory()
    whole = one.all()
    assert (whole.ids[:40, :40] == 255).all(), "no label where there is no data"
    pad = 50
    padded = np.pad(whole.pixels, ((0, 0), (pad, pad), (pad, pad)))
    ids = np.pad(whole.ids, pad, constant_values=255)
    valid = np.pad(whole.valid, pad)
    for top, left, height, width in [
        (-30, -20, 60, 70),
        (10, 20, 30, 40),
        (180, 240, 60, 60),
        (-50, -50, 300, 360),
        (400, 0, 5, 5),
    ]:
        chip = one.read(top, left, height, width)
        place = np.s_[top + pad : top + pad + height, left + pad : left + pad + width]
        if top > 250:
            assert (chip.ids == 255).all()
            continue
        np.testing.assert_array_equal(chip.pixels, padded[(slice(None), *place)])
        np.testing.assert_array_equal(chip.ids, ids[place])
        np.testing.assert_array_equal(chip.valid, valid[place])


def test_a_census_counts_and_the_rare_are_sought(tmp_path: Path) -> None:
    scenes = [scene(field(tmp_path, name, seed=seed)) for seed, name in enumerate("ab")]
    class_index = index_labels(scenes, 3, seed=0)
    for number, one in enumerate(scenes):
        assert class_index.counts[number].tolist() == np.bincount(one.all().ids.ravel(), minlength=256)[:3].tolist()
    assert class_index.shares.sum() == pytest.approx(1)

    def drawn(rare: float) -> np.ndarray:
        rng = np.random.default_rng(0)
        found = []
        for _ in range(3000):
            number, row, col = sample_pixel(class_index, rare, rng)
            found.append(scenes_ids[number][row, col])
        return np.bincount(found, minlength=3) / 3000

    scenes_ids = [one.all().ids for one in scenes]
    np.testing.assert_allclose(drawn(0.0), class_index.shares, atol=0.04)
    common = class_index.shares.argmax()
    sought = drawn(1.0)
    assert sought[common] == 0
    np.testing.assert_allclose(np.delete(sought, common), 0.5, atol=0.04)


def test_images_alike_are_drawn_as_often_whatever_their_size(tmp_path: Path) -> None:
    sizes = {"a": (400, 500), "b": (60, 80), "c": (100, 100)}
    scenes = [
        scene(field(tmp_path, name, height=height, width=width, seed=seed, hole=False))
        for seed, (name, (height, width)) in enumerate(sizes.items())
    ]

    def drawn(*, images_alike: bool) -> np.ndarray:
        class_index, rng = index_labels(scenes, 3, 0, images_alike=images_alike), np.random.default_rng(0)
        return np.bincount([sample_pixel(class_index, 0.6, rng)[0] for _ in range(3000)], minlength=3) / 3000

    pixels = np.array([height * width for height, width in sizes.values()])
    np.testing.assert_allclose(drawn(images_alike=False), pixels / pixels.sum(), atol=0.08)
    np.testing.assert_allclose(drawn(images_alike=True), 1 / 3, atol=0.08)


def test_blur_and_noise_leave_the_mean_and_the_labels(tmp_path: Path) -> None:
    one = scene(field(tmp_path, hole=False))
    class_index = index_labels([one], 3, 0)
    one_std = Normalization(1.0, (0.0,) * 3, (60.0,) * 3)
    sharp = TrainingSamples([one], class_index, [one_std], 96, 0.5, STILL, seed=3)
    for changed, rougher in (({"blur": 3.0}, False), ({"noise": 0.9}, True)):
        samples = replace(sharp, augmentation=STILL.model_copy(update=changed))
        pairs = [(sharp[number], samples[number]) for number in range(12)]
        assert any(not torch.equal(x[0], y[0]) for x, y in pairs)
        for (x, ids), (y, same) in pairs:
            assert torch.equal(ids, same)
            assert y.mean().item() == pytest.approx(x.mean().item(), rel=0.05)
            steps = [(picture.diff(dim=2) ** 2).mean().item() for picture in (x, y)]
            assert steps[1] >= steps[0] if rougher else steps[1] <= steps[0] * 1.001


def test_samples_with_an_edge_have_no_data_beyond_it(tmp_path: Path) -> None:
    one = scene(field(tmp_path, hole=False))
    whole = TrainingSamples([one], index_labels([one], 3, 0), [PLAIN], 96, 0.5, STILL, seed=3)
    cut = replace(whole, augmentation=STILL.model_copy(update={"nodata_edge": 0.6}))
    shares = []
    for number in range(60):
        (x, ids), (y, known) = whole[number], cut[number]
        empty = (y == 0).all(0)
        assert (known[empty] == 255).all()
        assert torch.equal(y[:, ~empty], x[:, ~empty])
        assert torch.equal(known[~empty], ids[~empty])
        shares.append(empty.float().mean().item())
    assert 0.4 < np.mean(np.array(shares) > 0) < 0.8
    assert 0.3 < np.mean([share for share in shares if share]) < 0.7


def test_the_blur_is_a_gaussian() -> None:
    """Of one bright pixel: the values of scipy's filter of the same standard deviation."""
    x = torch.zeros(2, 41, 41)
    x[:, 20, 20] = 1
    how = Augmentation(blur=2.0)
    rng = next(rng for rng in map(np.random.default_rng, range(9)) if rng.random() >= 0.5)
    sigma = rng.uniform(0, 2.0)
    seed = next(seed for seed in range(9) if np.random.default_rng(seed).random() >= 0.5)
    got = _blurred(x, how, np.random.default_rng(seed))
    expected = gaussian_filter(x[0].numpy(), sigma, truncate=np.ceil(3 * sigma) / sigma, mode="nearest")
    np.testing.assert_allclose(got[0], expected, atol=1e-6)


def test_still_samples_are_windows_of_the_scene(tmp_path: Path) -> None:
    one = scene(field(tmp_path))
    whole = one.all()
    samples = TrainingSamples([one], index_labels([one], 3, 0), [PLAIN], 64, 0.5, STILL, seed=3)
    for number in range(10):
        x, ids = samples[number]
        assert x.shape == (3, 64, 64)
        assert ids.dtype == torch.uint8
        windows = np.lib.stride_tricks.sliding_window_view(whole.ids, (64, 64))
        hits = np.argwhere((windows == ids.numpy()).all((2, 3)))
        assert len(hits) >= 1
        assert any(
            np.allclose(
                x.numpy(), whole.pixels[:, r : r + 64, c : c + 64] * whole.valid[r : r + 64, c : c + 64], atol=1e-3
            )
            for r, c in hits
        )


@pytest.mark.parametrize("factor", [2, 3])
def test_reduced_samples_are_means_with_the_label_in_their_middle(tmp_path: Path, factor: int) -> None:
    one = scene(field(tmp_path))
    whole = TrainingSamples([one], index_labels([one], 3, 0), [PLAIN], 96, 0.5, STILL, seed=3)
    for number in range(5):
        (x, ids), (less, fewer) = whole[number], replace(whole, reduce=factor)[number]
        parts = x.reshape(3, 96 // factor, factor, 96 // factor, factor)
        torch.testing.assert_close(less, parts.mean((2, 4)))
        assert torch.equal(fewer, ids[factor // 2 :: factor, factor // 2 :: factor])
    turned = replace(whole, reduce=factor, augmentation=Augmentation(rotate="any", zoom=1.3))
    assert all(turned[number][0].shape[1:] == turned[number][1].shape == (96 // factor,) * 2 for number in range(9))


def test_samples_follow_from_their_number_alone(tmp_path: Path) -> None:
    one = scene(field(tmp_path))
    class_index = index_labels([one], 3, 0)
    first, second = (TrainingSamples([one], class_index, [PLAIN], 64, 0.5, Augmentation(), seed=1) for _ in range(2))
    later = second[7]
    for number in range(7):
        first[number]
    for a, b in zip(first[7], later, strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first[7][0], first[8][0])
    assert not torch.equal(
        first[7][0], TrainingSamples([one], class_index, [PLAIN], 64, 0.5, Augmentation(), seed=2)[7][0]
    )


def test_picture_and_labels_turn_together(tmp_path: Path) -> None:
    """A picture that holds its own labels: whatever the turn, each pixel still says its class."""
    ids = np.random.default_rng(0).integers(0, 3, (30, 30)).repeat(20, 0).repeat(20, 1).astype(np.uint8)
    write_raster(tmp_path / "a_labels.tif", ids[None], **GREY)
    one = scene(write_raster(tmp_path / "a.tif", np.stack([ids * 100] * 3)))
    how = Augmentation(brightness=0, channel_jitter=0, zoom=1.5)
    samples = TrainingSamples([one], index_labels([one], 3, 0), [PLAIN], 96, 0.5, how, seed=0)
    for number in range(12):
        x, labels = samples[number]
        known = labels != 255
        told = (x[0] / 100).round()
        agree = (told == labels)[known].float().mean()
        assert agree > 0.93  # bilinear meets nearest at the patches' edges
        beyond = ~known
        assert (x[0][beyond].abs() < 101).all()


# the loop


def config(tmp_path: Path, **recipe: Any) -> TrainConfig:
    if not (tmp_path / "data").exists():
        field(tmp_path / "data", height=128, width=192)
    numbers = {
        "steps": 6, "chip": 64, "batch": 2, "validate_every": 3, "precision": "fp32", "logit_adjustment": False, **recipe,
    }  # fmt: skip
    tables = {
        "classes": ["dark", "dim", "bright"],
        "arch": "fcn_small",
        "data": {"images": "data/a.tif", "labels": "data/a_labels.tif"},
        "validation": {"block": 64, "buffer": 16, "share": 0.25},
        "recipe": numbers,
    }
    return TrainConfig.of(tables, tmp_path)


def quiet(_: Any) -> None:
    pass


def never() -> bool:
    return False


def fitted(tmp_path: Path, name: str, stopped: Callable[[], bool] = never, **recipe: Any) -> Path:
    train(config(tmp_path, **recipe), tmp_path / name, TrainOptions("cpu", report=quiet, stopped=stopped))
    return tmp_path / name


def loop(
    folder: Path,
    one: Scene,
    *,
    arch: str = "fcn_small",
    scores: Iterable[float] | None = None,
    stopped: Callable[[], bool] = never,
    **recipe: Any,
) -> Path:
    """The loop alone, without maps and pictures; its scores are given, or how often it is right about some samples."""
    chosen = Recipe(
        **{
            "steps": 6, "chip": 32, "batch": 2, "validate_every": 3, "precision": "fp32", "logit_adjustment": False,
            **recipe,
        }
    )  # fmt: skip
    design = architecture(arch)
    model = SegmentationModel(
        design.build(3, 3, 0), legend=Legend.from_names(["a", "b", "c"]), bands=("red", "green", "blue"), std=(60.0,) * 3,
        stride=design.stride, align=design.align, halo=design.halo, architecture=arch,
    )  # fmt: skip
    samples = TrainingSamples(
        [one], index_labels([one], 3, 0), [model.normalization], 32, 0.5, Augmentation(), seed=chosen.seed
    )
    given = None if scores is None else iter(scores)

    def validate(model: SegmentationModel) -> ValidationScores:
        if given is not None:
            return ValidationScores(next(given), {})
        x, ids = samples[999]
        with torch.no_grad():
            found = torch.nn.functional.interpolate(model.network(x[None]), ids.shape)[0].argmax(0)
        return ValidationScores((found == ids).float().mean().item(), {})

    folder.mkdir(exist_ok=True)
    ranks = Ranks(torch.device("cpu"))
    fit(TrainingRun(model, samples, chosen, validate, folder, "this run", ranks, quiet, stopped))
    return folder


def test_the_backbone_learns_at_its_share_of_the_rate(tmp_path: Path) -> None:
    """One step of plain gradient descent: each weight moves by its gradient, the rate and its share of it."""
    one = scene(field(tmp_path, height=64, width=96, hole=False))
    start = dict(architecture("fcn8s_resnet18").build(3, 3, 0).named_parameters())
    recipe = {"steps": 1, "warmup": 0, "weight_decay": 0, "ema_decay": 0, "optimiser": "sgd", "validate_every": 1}
    moved = {}
    for share in (1.0, 0.25):
        folder = loop(tmp_path / str(share), one, arch="fcn8s_resnet18", scores=[0.5], backbone_lr=share, **recipe)
        after = dict(load_model(folder / "best.safetensors").network.named_parameters())
        moved[share] = {name: (after[name] - before).detach() for name, before in start.items()}
    assert any(name.startswith("backbone.") for name in start)
    for name, whole in moved[1.0].items():
        factor = 0.25 if name.startswith("backbone.") else 1.0
        torch.testing.assert_close(moved[0.25][name], factor * whole, rtol=1e-3, atol=1e-6)


@pytest.mark.fault("T03")
@pytest.mark.parametrize(
    "recipe",
    [
        {},
        {"optimiser": "sgd", "accumulation_steps": 2},
        {"arch": "fcn8s_resnet18", "backbone_lr": 0.3},
        {"arch": "unet_lite0", "frozen_steps": 3, "chip": 64},
        {"optimiser": "adam", "ema_decay": 0, "loss": {"focal": 1, "ohem": 1}},
    ],
    ids=str,
)
def test_going_on_gives_the_same_bytes(tmp_path: Path, recipe: dict[str, Any]) -> None:
    """Stopped before a step drawn at random, twice."""
    one = scene(field(tmp_path, height=64, width=96, hole=False))
    straight = loop(tmp_path / "straight", one, **recipe)
    for at in np.random.default_rng().permutation(np.arange(1, 6))[:2].tolist():
        asked = iter([False] * at + [True] * 99)
        with pytest.raises(Terminated):
            loop(tmp_path / f"broken{at}", one, stopped=lambda asked=asked: next(asked), **recipe)
        again = loop(tmp_path / f"broken{at}", one, **recipe)
        assert weights(again) == weights(straight), at
        assert log(again) == log(straight), at


@pytest.mark.parametrize("seed", range(3))
def test_a_training_that_has_ended_stays_ended(tmp_path: Path, seed: int) -> None:
    """By patience: after so many validations in a row without a better one; given again, it does nothing more."""
    one = scene(field(tmp_path, height=64, width=96, hole=False))
    rng = np.random.default_rng(seed)
    patience, scores = int(rng.integers(1, 4)), rng.integers(0, 6, 12) / 10
    best, stale, expected = -1.0, 0, 0
    for score in scores:  # by hand
        best, stale = (score, 0) if score > best else (best, stale + 1)
        expected += 1
        if stale == patience:
            break
    recipe = {"steps": 12, "validate_every": 1, "patience": patience}
    folder = loop(tmp_path / "out", one, scores=scores.tolist(), **recipe)
    assert len(log(folder)) == expected
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for _ in range(2):
        loop(folder, one, scores=[], **recipe)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    loop(tmp_path / "time", one, minutes=1e-6, steps=None)
    loop(tmp_path / "time", one, minutes=1e-6, steps=None, scores=[])


def weights(folder: Path) -> tuple[bytes, dict[str, Any]]:
    """The best model's bytes and the state's tensors; a state also knows the seconds it took."""
    from safetensors.torch import load_file

    tensors = load_file(folder / "state.safetensors")
    return (folder / "best.safetensors").read_bytes(), {key: value.numpy().tobytes() for key, value in tensors.items()}


def log(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


class Killed(BaseException):
    """Nothing catches it."""


def kill_before(write: int, monkeypatch: pytest.MonkeyPatch, kill: Callable[[], None]) -> list[Path]:
    """Kill instead of giving a file its name, at the so-many-th file; returns those that got theirs."""
    commit, written = agriseg.files.commit, []

    def killing(draft: Path, path: Path, *more: Any, **how: Any) -> None:
        if len(written) == write:
            kill()
        commit(draft, path, *more, **how)
        written.append(path)

    monkeypatch.setattr(agriseg.files, "commit", killing)
    return written


def killed() -> None:
    raise Killed


def results(folder: Path) -> dict[str, bytes]:
    """All that a training leaves to be read; a state and a log also tell seconds, and curves follow the log."""
    return {name: (folder / name).read_bytes() for name in ("best.safetensors", "best.md", "evaluation.json")}


PATIENT = {"steps": 9, "validate_every": 1, "patience": 2, "lr": 0.03, "ema_decay": 0.0}


@pytest.mark.fault("T03")
def test_killed_anywhere_it_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before files drawn at random, after the last step too; and given again at its end, which patience brings on."""
    seed = int(np.random.default_rng().integers(1 << 30))
    rng = np.random.default_rng(seed)
    with monkeypatch.context() as patch:
        written = kill_before(-1, patch, killed)
        straight = fitted(tmp_path, "straight", **PATIENT)
    last = max(number for number, path in enumerate(written) if path.name == "state.safetensors")
    for name, at in (("early", rng.integers(0, last)), ("late", rng.integers(last + 1, len(written)))):
        with monkeypatch.context() as patch:
            kill_before(int(at), patch, killed)
            with pytest.raises(Killed):
                fitted(tmp_path, name, **PATIENT)
    for name in ("early", "late", "late"):
        again = fitted(tmp_path, name, **PATIENT)
        assert weights(again) == weights(straight), seed
        assert log(again) == log(straight), seed
        assert results(again) == results(straight), seed


@pytest.mark.fault("T03")
def test_a_process_that_is_killed_leaves_what_goes_on(tmp_path: Path) -> None:
    """By SIGKILL, when it is told of the last step."""
    program = (
        "import os, signal, sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "import test_fit\n"
        "def report(progress):\n"
        "    if getattr(progress, 'step', 0) == 6: os.kill(os.getpid(), signal.SIGKILL)\n"
        "test_fit.quiet = report\n"
        "test_fit.fitted(Path(sys.argv[2]), 'killed')\n"
    )
    straight = fitted(tmp_path, "straight")
    command = [sys.executable, "-c", program, str(Path(__file__).parent), str(tmp_path)]
    assert subprocess.run(command, check=False, timeout=120).returncode == -signal.SIGKILL
    assert weights(fitted(tmp_path, "killed")) == weights(straight)


def test_it_learns(tmp_path: Path) -> None:
    field(tmp_path / "data", height=256, width=384)
    folder = fitted(tmp_path, "out", steps=60, batch=4, chip=32, validate_every=30, lr=1e-2, logit_adjustment=True)
    first, last = (line["miou"] for line in log(folder))
    assert last > 0.6
    model = load_model(folder / "best.safetensors")
    assert model.about["split"] == {"by": "block", "block": 64, "buffer": 16, "share": 0.25, "fold": 0, "draws": 1}
    assert model.about["validation"]["miou"] == max(first, last)
    assert model.gsd == pytest.approx(0.1)
    assert model.legend.names == ("dark", "dim", "bright")
    scores = json.loads((folder / "evaluation.json").read_text())
    assert scores["miou"] == pytest.approx(max(first, last))
    with Image.open(folder / "predictions.png") as picture:
        assert picture.width > 4 * 384
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
        assert {entry.rgb for entry in model.legend} <= colours


@pytest.mark.fault("T05")
def test_a_loss_that_is_no_number_stops_and_keeps_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rate explodes after the first validation."""
    learning_rate = agriseg.training.loop._learning_rate
    monkeypatch.setattr(
        agriseg.training.loop,
        "_learning_rate",
        lambda done, recipe: 1e30 if done > 0.55 else learning_rate(done, recipe),
    )
    with pytest.raises(PredictionError, match=r"the loss is (nan|inf) at step"):
        fitted(tmp_path, "out", steps=10, validate_every=5, optimiser="sgd", loss={"ce": 1})
    load_model(tmp_path / "out" / "best.safetensors")  # checks that every weight is finite
    assert [line["step"] for line in log(tmp_path / "out")] == [5]


@pytest.mark.fault("T08")
def test_a_state_of_another_run_is_refused(tmp_path: Path) -> None:
    fitted(tmp_path, "out")
    with pytest.raises(ModelError, match="another recipe"):
        fitted(tmp_path, "out", seed=1)
    os.utime(tmp_path / "data" / "a_labels.tif", (1, 1))
    with pytest.raises(ModelError, match="other data"):
        fitted(tmp_path, "out")
    (tmp_path / "out" / "state.safetensors").write_bytes(b"no state")
    with pytest.raises(ModelError, match="no training state"):
        fitted(tmp_path, "out")


def test_training_never_sees_what_is_held_back(tmp_path: Path) -> None:
    chosen = config(tmp_path)
    found = load_dataset(chosen, tmp_path)
    seen, kept = found.training[0].all().ids != 255, found.held[0].all().ids != 255
    assert not (seen & kept).any()
    assert kept.any()
    rows, cols = np.nonzero(kept)
    for row, col in list(zip(rows, cols, strict=True))[::97]:
        assert not seen[max(0, row - 16) : row + 17, max(0, col - 16) : col + 17].any()


# bad input


@pytest.mark.fault("T02")
def test_labels_that_do_not_fit_are_told_all_at_once(tmp_path: Path) -> None:
    for name in "ab":
        field(tmp_path / "data", name)
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for name in "ab":
        (tmp_path / "data" / f"{name}.tif").rename(tmp_path / "images" / f"{name}.tif")
    write_raster(tmp_path / "labels/a.tif", np.full((1, 200, 260), 7, np.uint8), **GREY)
    write_raster(tmp_path / "labels/b.tif", np.zeros((1, 200, 261), np.uint8), **GREY)
    tables = {"classes": ["x", "y"], "data": {"images": "images", "labels": "labels"}, "recipe": {"steps": 1}}
    with pytest.raises(DataError, match=r"a.tif: no class has 7 \(52,000 px\); .*b.tif: 261 x 200 px"):
        train(TrainConfig.of(tables, tmp_path), tmp_path / "out")


@pytest.mark.fault("T01")
@pytest.mark.parametrize(
    ("ids", "says"), [(np.full((1, 200, 260), 255), "no labelled pixel"), (np.ones((1, 200, 260)), "only one class")]
)
def test_too_few_labels(tmp_path: Path, ids: np.ndarray, says: str) -> None:
    field(tmp_path / "data")
    write_raster(tmp_path / "data/a_labels.tif", ids.astype(np.uint8), **GREY)
    with pytest.raises(DataError, match=says):
        fitted(tmp_path, "out")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"clases": ["a", "b"]}, "clases"),
        ({"recipe": {"steps": 1, "minutes": 2}}, "either steps or minutes"),
        ({"recipe": {}}, "either steps or minutes"),
        ({"recipe": {"steps": 1, "loss": {"jaccard": 1}}}, "loss jaccard"),
        ({"values": [1]}, "1 values for 3 classes"),
        ({"classes": ["one"]}, "classes"),
        ({"validation": {"images": "x"}}, "images without labels"),
    ],
)
def test_configurations_that_make_no_sense(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    field(tmp_path / "data")
    tables = {
        "classes": ["a", "b", "c"],
        "data": {"images": "data/a.tif", "labels": "data/a_labels.tif"},
        "validation": {"block": 64},
        "recipe": {"steps": 1, "chip": 64},
        "arch": "fcn_small",
    }
    with pytest.raises(ModelError, match=says):
        train(TrainConfig.of({**tables, **change}, tmp_path), tmp_path / "out")


@pytest.mark.parametrize("key", RENAMED_KEYS)
def test_a_former_key_is_refused_with_its_present_name(
    tmp_path: Path, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table, _, name = key.rpartition(".")
    written = f'recipe.steps = 1\n{key} = 0.5\nclasses = ["a", "b"]\n[data]\nimages = "i"\nlabels = "l"\n'
    (tmp_path / "field.toml").write_text(written)
    with pytest.raises(SystemExit) as left:
        main(["train", str(tmp_path / "field.toml"), "-o", str(tmp_path / "out")])
    assert left.value.code == 78
    assert f"{key}: this key is now {RENAMED_KEYS[key]}" in capsys.readouterr().err
    fields = {"recipe": Recipe, "recipe.augmentation": Augmentation}[table].model_fields
    assert RENAMED_KEYS[key] in fields
    assert name not in fields


def test_a_chip_must_fit_the_network(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="chip 65, expected a multiple of 2"):
        fitted(tmp_path, "out", chip=65)


# the command


def test_the_command_trains_resumes_and_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    field(tmp_path / "data", height=128, width=192)
    Path("field.toml").write_text(
        'classes = ["dark", "dim", "bright"]\narch = "fcn_small"\n'
        '[data]\nimages = "data/a.tif"\nlabels = "data/a_labels.tif"\n'
        "[validation]\nblock = 64\nbuffer = 8\n"
        "[recipe]\nsteps = 2\nchip = 64\nbatch = 2\nvalidate_every = 2\nlogit_adjustment = false\n"
    )

    def call(*args: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(["train", *args])
        out, err = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return left.value.code, out, err

    code, out, err = call("field.toml", "-o", "out")
    assert (code, "mIoU" in out, "best" in err) == (0, True, True), err
    assert call("field.toml", "-o", "out")[0] == 73
    assert call("field.toml", "-o", "out", "--resume", "-q")[0] == 0
    assert call("-o", "other")[0] == 2
    assert call("field.toml", "--images", "x", "-o", "other")[0] == 2
    assert call("none.toml", "-o", "other")[0] == 78
    assert call("--images", "data/a.tif", "--labels", "data/none.tif", "--classes", "a,b", "-o", "other")[0] == 66
    assert call("field.toml", "--time", "soon", "-o", "other")[0] == 2
