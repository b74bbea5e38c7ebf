"""Training with few labels: the decoder first, on features of the frozen encoder; validation where labels are."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import blocks, write_raster
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from test_fit import config, field, fitted, log, scene
from torch.nn import functional

import agriseg.training.validation
from agriseg import load_model
from agriseg.errors import UsageError
from agriseg.evaluation.calibrate import CalibrationSampler
from agriseg.evaluation.patches import BLOCK, Patches
from agriseg.evaluation.scores import LearntShare
from agriseg.grid import Window
from agriseg.labels.learnt_images import LearntImages
from agriseg.labels.scene import Scene
from agriseg.legend import NODATA, Legend
from agriseg.model import SegmentationModel
from agriseg.networks import architecture
from agriseg.networks.unet import UNet
from agriseg.options.run import RunOptions
from agriseg.samples.augment import Augmentation, TrainingSamples
from agriseg.samples.sampling import index_labels
from agriseg.training.decoder import train_decoder
from agriseg.training.losses import build_loss
from agriseg.training.progress import ValidationScores
from agriseg.training.run import TrainOptions, train
from agriseg.training.validation import Validator, labelled_windows

CPU = torch.device("cpu")


def untrained(arch: str = "unet_lite0") -> SegmentationModel:
    design = architecture(arch)
    return SegmentationModel(
        design.build(3, 3, 0), legend=Legend.from_names(["dark", "dim", "bright"]), bands=("red", "green", "blue"),
        scale=1 / 255, normalize_by="training", stride=design.stride, align=design.align, halo=design.halo,
        architecture=arch,
    )  # fmt: skip


def samples_of(one: Scene, side: int = 64) -> TrainingSamples:
    normalization = untrained().normalization
    return TrainingSamples([one], index_labels([one], 3, 0), [normalization], side, 0.5, Augmentation(), seed=3)


def test_the_decoder_learns_and_the_encoder_stays(tmp_path: Path) -> None:
    samples = samples_of(scene(field(tmp_path, hole=False)))
    network = untrained().network
    assert isinstance(network, UNet)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    loss_of, x_ids = build_loss({"ce": 1.0}), samples[1000]

    def loss() -> float:
        with torch.no_grad():
            logits = functional.interpolate(network.eval()(x_ids[0][None]), x_ids[1].shape, mode="bilinear")
        return float(loss_of(logits, x_ids[1][None].long()))

    start = loss()
    train_decoder(network, samples, 30, loss_of, CPU, "fp32")
    assert loss() < 0.8 * start
    for name, value in network.state_dict().items():
        same = torch.equal(value, before[name])
        assert same == name.startswith("backbone."), f"{name}: means and variances of the encoder stay as well"


def test_a_step_on_stored_features_is_a_step_of_the_network(tmp_path: Path) -> None:
    """Decoded features are the logits, so the two ways have one gradient."""
    x, _ = samples_of(scene(field(tmp_path)))[0]
    network = untrained().network.eval()
    assert isinstance(network, UNet)
    torch.testing.assert_close(network.decode(network.backbone(x[None])), network(x[None]))


def test_the_first_score_is_that_of_the_decoder(tmp_path: Path) -> None:
    settings = config(tmp_path, frozen_steps=4, steps=2, validate_every=2)
    train(settings.model_copy(update={"arch": "unet_lite0"}), tmp_path / "out", TrainOptions("cpu"))
    assert [line["step"] for line in log(tmp_path / "out")] == [0, 2]


def test_the_decoder_alone_is_the_best_only_until_the_next_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = iter([0.9, 0.1, 0.05])
    monkeypatch.setattr(Validator, "scores", lambda _self, _model: ValidationScores(next(given), {}))
    settings = config(tmp_path, frozen_steps=4, steps=4, validate_every=2)
    train(settings.model_copy(update={"arch": "unet_lite0"}), tmp_path / "out", TrainOptions("cpu"))
    assert load_model(tmp_path / "out" / "best.safetensors").about["step"] == 2


def test_the_encoder_keeps_its_means_and_variances(tmp_path: Path) -> None:
    """The decoder has learnt from features normalized by them, and a batch of few chips has others."""
    settings = config(tmp_path, frozen_steps=4, steps=3, validate_every=3, ema_decay=0)
    for frozen in (4, 0):
        recipe = settings.recipe.model_copy(update={"frozen_steps": frozen})
        chosen = settings.model_copy(update={"arch": "unet_lite0", "init": "random", "recipe": recipe})
        train(chosen, tmp_path / f"out{frozen}", TrainOptions("cpu"))
        state = load_file(tmp_path / f"out{frozen}" / "state.safetensors")  # the best model may be that of no step
        after = {name.removeprefix("network."): value for name, value in state.items() if name.startswith("network.")}
        before = architecture("unet_lite0").build(3, 3, settings.recipe.seed).state_dict()
        same = {name: torch.equal(value, before[name]) for name, value in after.items() if name.startswith("backbone.")}
        statistics = [name for name in same if "running" in name]
        weights = [name for name in same if name.endswith("conv.weight")]
        assert all(same[name] == (frozen > 0) for name in statistics)
        assert not all(same[name] for name in weights)


def test_a_network_without_a_decoder_of_its_own_is_refused(tmp_path: Path) -> None:
    field(tmp_path / "data", height=256, width=384)
    with pytest.raises(UsageError, match="frozen_steps, but fcn_small has no decoder of its own; use unet_lite0"):
        fitted(tmp_path, "out", frozen_steps=4)


def sparse(folder: Path, height: int, width: int, spots: list[tuple[float, float, int]]) -> Scene:
    """A scene with labels in squares alone, given by shares of the height and width, and a side (px)."""
    path = folder / "a.tif"
    write_raster(path, blocks(height, width, side=9, seed=1, low=1), nodata=0)
    ids = np.full((height, width), NODATA, np.uint8)
    rng = np.random.default_rng(len(spots))
    for down, across, side in spots:
        top, left = int(down * (height - 1)), int(across * (width - 1))
        part = ids[top : top + side, left : left + side]
        part[:] = (
            rng.integers(0, 3, ((side + 6) // 7, (side + 6) // 7))
            .repeat(7, 0)
            .repeat(7, 1)[: part.shape[0], : part.shape[1]]
        )
    write_raster(folder / "a_labels.tif", ids[None], photometric="MINISBLACK", nodata=NODATA)
    return scene(path)


place = st.floats(0, 1, allow_nan=False)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(place, place, st.integers(1, 700)), max_size=6), st.integers(1, 3000), st.integers(1, 3000))
def test_windows_contain_all_labels_once(
    tmp_path_factory: pytest.TempPathFactory, spots: list[tuple[float, float, int]], height: int, width: int
) -> None:
    one = sparse(tmp_path_factory.mktemp("scene"), height, width, spots)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agriseg.training.validation, "_OWN_COST", 0)
        windows = labelled_windows(one)
    labelled = one.labels.read(Window(0, 0, width, height)) != NODATA
    covered = np.zeros((height, width), int)
    for window in windows:
        if window is None:
            covered += 1
            continue
        assert window.row_off % BLOCK == window.col_off % BLOCK == 0
        covered[window.row_off : window.row_stop, window.col_off : window.col_stop] += 1
    assert covered.max() == 1
    assert (covered[labelled] == 1).all()


def test_a_window_costs_something_of_its_own(tmp_path: Path) -> None:
    assert labelled_windows(sparse(tmp_path, 700, 700, [(0.1, 0.1, 5)])) == [None]


@pytest.mark.parametrize("seed", range(3))
def test_scores_of_labelled_windows_are_those_of_the_whole_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    spots = [(rng.random(), rng.random(), int(rng.integers(20, 200))) for _ in range(4)]
    one = sparse(tmp_path, 800, 1000, spots)
    learnt = LearntShare.of(0.0, LearntImages(complete=True))
    found = []
    for whole in (True, False):
        monkeypatch.setattr(agriseg.training.validation, "_OWN_COST", 10**9 if whole else 0)
        validator = Validator([one], learnt, tmp_path / "maps", RunOptions(gsd="native", tile=256))
        assert (labelled_windows(one) == [None]) == whole
        found.append(validator.evaluate(untrained("unet_small"), CalibrationSampler()))
        validator.draw(tmp_path / "picture.png", untrained("unet_small"))
    one_map, windows = (each.counts for each in found)
    assert in_any_order(windows.blocks) == in_any_order(one_map.blocks)
    for name in ("boundary", "pixels", "hits"):
        np.testing.assert_array_equal(getattr(windows, name), getattr(one_map, name))
    for part in ("labelled", "mapped"):
        assert patches(getattr(windows.patches, part)) == patches(getattr(one_map.patches, part))
    fitted_on = [each.calibration for each in found]
    assert fitted_on[0] is not None
    assert fitted_on[1] is not None
    assert fitted_on[0].pixels == fitted_on[1].pixels
    assert fitted_on[0].temperature == pytest.approx(fitted_on[1].temperature, rel=1e-6)


def in_any_order(arrays: np.ndarray) -> list[list[int]]:
    return sorted(arrays.reshape(len(arrays), -1).tolist())


def patches(found: Patches) -> list[tuple[int, int, bool]]:
    return sorted(zip(found.class_id.tolist(), found.pixels.tolist(), found.hit.tolist(), strict=True))
