"""Networks and model files: what torchvision gives, what a file carries, what is refused."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import blocks, read, write_raster
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torchvision.models import resnet18
from torchvision.models.segmentation import fcn_resnet50, fcn_resnet101

from agriseg import Legend, SegmentationModel, load_model, segment
from agriseg.demo.reference_models import random_network
from agriseg.errors import ModelError
from agriseg.legend import LegendClass
from agriseg.networks import ARCHITECTURES, architecture, last_bias, without_downsampling
from agriseg.networks.network_input import expand_first_conv
from agriseg.networks.normalization import Normalization
from agriseg.networks.pretrained import load_pretrained, read_torchvision_state

RGB = ("red", "green", "blue")


@pytest.mark.parametrize("make", [fcn_resnet50, fcn_resnet101])
def test_fcn_is_torchvisions_with_its_keys_and_answers(make: Any) -> None:
    theirs = make(weights=None, weights_backbone=None, num_classes=3, aux_loss=True).eval()
    ours = architecture(make.__name__).build(3, 3).eval()
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = theirs(x)
        logits, auxiliary = ours.forward_with_auxiliary(x)
        assert logits.shape == (1, 3, 8, 12)
        for mine, name in ((logits, "out"), (auxiliary, "aux")):
            up = torch.nn.functional.interpolate(mine, size=(64, 96), mode="bilinear", align_corners=False)
            torch.testing.assert_close(up, expected[name], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ours(x), logits)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_shapes_and_bands(name: str) -> None:
    design = architecture(name)
    network = design.build(5, 4, seed=1).eval()
    side = 64
    with torch.inference_mode():
        logits = network(torch.zeros(2, 5, side, 2 * side))
    assert logits.shape == (2, 4, side // design.stride, 2 * side // design.stride)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_the_last_bias_gains_all_logits_gain(name: str) -> None:
    network = architecture(name).build(3, 4).eval()
    x, gained = torch.randn(1, 3, 64, 64), torch.tensor([1.0, -2.0, 0.5, 3.0])
    with torch.no_grad():
        before = network(x)
        last_bias(network).add_(gained)
        torch.testing.assert_close(network(x), before + gained[:, None, None], atol=1e-4, rtol=1e-4)
    with pytest.raises(ModelError, match="logit_adjustment = false"):
        last_bias(torch.nn.Identity())


def test_building_is_seeded_and_leaves_the_random_state_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = (architecture("fcn_small").build(3, 2, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


class Doubled(torch.nn.Module):
    """An unpooling that puts each value in all four places where it may go."""

    def forward(self, x: torch.Tensor, _: None) -> torch.Tensor:
        return torch.nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")


def probed_reach(name: str) -> tuple[int, int]:
    """How far one logit sees to the left and right, by the gradient of a network whose weights are all positive."""
    design = architecture(name)
    whole = design.build(1, 1).eval()
    network = without_downsampling(whole)
    if hasattr(network, "backbone"):  # the gradient of a maximum goes to one pixel alone
        network.backbone.maxpool = torch.nn.AvgPool2d(3, stride=2, padding=1)
    if name == "segnet":
        network.unpool = Doubled()
        for layer in network.backbone.features:
            if isinstance(layer, torch.nn.MaxPool2d):
                layer.forward = lambda x: (torch.nn.functional.avg_pool2d(x, 2), None)
    with torch.no_grad():
        for key, value in network.state_dict().items():
            positive = torch.full_like(value, 0.01) if value.is_floating_point() else value
            if key.endswith(("running_mean", "bias")):
                positive = torch.zeros_like(value)
            if key.endswith("running_var") or (value.dim() == 1 and key.endswith("weight")):
                positive = torch.ones_like(value)
            value.copy_(positive)
    side = -(-(2 * design.halo + 4 * design.align) // (2 * design.align)) * 2 * design.align
    x = torch.ones(1, 1, 4 * design.align, side, requires_grad=True)
    extents = []
    for offset in range(design.align // design.stride):  # cells differ in where they sit in the coarsest step
        cell = side // design.stride // 2 // (design.align // design.stride) * (design.align // design.stride) + offset
        logits = whole(x)
        (gradient,) = torch.autograd.grad(logits[0, 0, logits.shape[2] // 2, cell], x)
        columns = gradient[0, 0].abs().sum(0).nonzero().ravel()
        extents.append((cell * design.stride - int(columns.min()), int(columns.max()) - cell * design.stride))
    return max(before for before, _ in extents), max(after for _, after in extents)


@pytest.mark.parametrize(
    "name",
    [
        "pixel_mlp",
        "fcn_small",
        "unet_small",
        "fcn8s_resnet18",
        "fcn8s_resnet50",
        "fcn_resnet50",
        pytest.param("segnet", marks=pytest.mark.long),  # sees the most of all
        "fcn8s_resnet18/2",
        "unet_small/3",
        "unet_resnet18",
        pytest.param("unet_resnet50", marks=pytest.mark.long),
        pytest.param("unet_lite0", marks=pytest.mark.long),  # sees over a thousand pixels
    ],
)
def test_the_reach_by_arithmetic_is_what_a_probe_sees(name: str) -> None:
    assert probed_reach(name) == (architecture(name).reach.left, architecture(name).reach.right)


def test_halos_are_those_of_the_reference() -> None:
    halos = {name: design.halo for name, design in ARCHITECTURES.items()}
    assert halos["fcn_resnet50"] == 224
    assert halos["fcn_resnet101"] == 496


def test_widening_keeps_rgb_and_the_size_of_the_response() -> None:
    weight = torch.randn(4, 3, 7, 7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(expand_first_conv(weight, RGB), weight)
    wide = expand_first_conv(weight, ("blue", "nir", "red", "b9"))
    torch.testing.assert_close(wide[:, 0], weight[:, 2] * 0.75)
    torch.testing.assert_close(wide[:, 2], weight[:, 0] * 0.75)
    torch.testing.assert_close(wide[:, 1], weight.mean(1) * 0.75)
    assert torch.equal(wide[:, 1], wide[:, 3])
    # n equal bands excite the next layer as three did
    three, five = torch.ones(1, 3, 7, 7), torch.ones(1, 5, 7, 7)
    grey = expand_first_conv(weight, tuple("vwxyz"))
    conv = torch.nn.functional.conv2d
    torch.testing.assert_close(conv(five, grey), conv(three, weight), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_torchvisions_weights_load_from_a_file(tmp_path: Path, suffix: str) -> None:
    theirs = fcn_resnet50(weights=None, weights_backbone=None, num_classes=21, aux_loss=True)
    path = tmp_path / f"coco{suffix}"
    save_file(theirs.state_dict(), path) if suffix == ".safetensors" else torch.save(theirs.state_dict(), path)
    ours = architecture("fcn_resnet50").build(4, 3)
    design = architecture("fcn_resnet50")
    fresh = load_pretrained(ours, design, read_torchvision_state(path), ("red", "green", "blue", "nir"))
    assert fresh == ["classifier.4.weight", "classifier.4.bias", "aux_classifier.4.weight", "aux_classifier.4.bias"]
    mine, given = ours.state_dict(), theirs.state_dict()
    assert torch.equal(mine["backbone.layer4.2.conv3.weight"], given["backbone.layer4.2.conv3.weight"])
    assert torch.equal(mine["classifier.0.weight"], given["classifier.0.weight"])
    assert torch.equal(
        mine["backbone.conv1.weight"],
        expand_first_conv(given["backbone.conv1.weight"], ("red", "green", "blue", "nir")),
    )


@pytest.mark.fault("C04")
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.pop("layer1.0.conv1.weight"), "lacks backbone.layer1.0.conv1.weight"),
        (lambda s: s.update({"layer9.weight": torch.zeros(1)}), "has backbone.layer9.weight, unknown"),
        (lambda s: s.update({"bn1.bias": torch.zeros(7)}), r"backbone.bn1.bias of shape \(7,\), expected \(64,\)"),
    ],
)
def test_a_state_that_does_not_fit_names_the_first_mismatch(change: Any, says: str) -> None:
    state = resnet18(weights=None).state_dict()
    change(state)
    with pytest.raises(ModelError, match=says):
        load_pretrained(architecture("fcn8s_resnet18").build(3, 2), architecture("fcn8s_resnet18"), state, RGB)


class Payload:
    """Touches a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.fault("C02")
@pytest.mark.parametrize("name", ["a.pth", "a.safetensors", "a.pt"])
def test_pickled_code_never_runs(tmp_path: Path, name: str) -> None:
    owned = tmp_path / "owned"
    for write in (
        lambda path: torch.save({"w": Payload(owned)}, path),
        lambda path: path.write_bytes(pickle.dumps(Payload(owned))),
        lambda path: torch.save({"w": Payload(owned)}, path, _use_new_zipfile_serialization=False),
    ):
        write(tmp_path / name)
        for load in (load_model, read_torchvision_state):
            with pytest.raises(ModelError):
                load(tmp_path / name)
        assert not owned.exists()
    pickle.loads(pickle.dumps(Payload(owned)))
    assert owned.exists()  # the payload works: the check above can fail


# the file


def full_model() -> SegmentationModel:
    design = architecture("fcn_small")
    return SegmentationModel(
        design.build(4, 2, seed=3), legend=Legend.from_names(["Boden", "Unkraut 畑"]), bands=("red", "green", "blue", "nir"),
        scale=1e-4, mean=(0.1, 0.2, 0.3, 0.4), std=(0.05, 0.06, 0.07, 0.08), stride=2, align=2, halo=32, gsd=0.05,
        name="full", architecture="fcn_small", temperature=1.5, about={"licence": "CC0", "metrics": {"iou": [0.5, 0.25]}},
    )  # fmt: skip


def test_a_model_file_gives_back_all_of_it(tmp_path: Path) -> None:
    model = full_model()
    model.save(tmp_path / "a.safetensors")
    back = load_model(tmp_path / "a.safetensors")
    for name in ("legend", "bands", "scale", "mean", "std", "stride", "align", "halo", "gsd", "name", "architecture",
                 "temperature", "about", "fingerprint"):  # fmt: skip
        assert getattr(back, name) == getattr(model, name), name
    for key, value in model.network.state_dict().items():
        assert torch.equal(back.network.state_dict()[key], value)
    back.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


def test_the_fingerprint_knows_what_decides_a_map() -> None:
    model = full_model()
    prints = {model.fingerprint}
    for change in (
        {"temperature": 2.0},
        {"gsd": None},
        {"scale": 1e-3},
        {"halo": 34},
        {"bands": ("b1", "b2", "b3", "b4")},
    ):
        arguments = {
            name: getattr(model, name) for name in ("legend", "bands", "scale", "mean", "std", "stride", "halo", "gsd")
        }
        prints.add(SegmentationModel(model.network, **{**arguments, **change}).fingerprint)
    with torch.no_grad():
        next(model.network.parameters()).add_(1e-3)
    prints.add(SegmentationModel(model.network, **arguments, temperature=1.5).fingerprint)
    assert len(prints) == 7


def test_a_network_of_ones_own_cannot_be_saved(tmp_path: Path, oracle: SegmentationModel) -> None:
    with pytest.raises(ModelError, match="cannot be saved"):
        oracle.save(tmp_path / "a.safetensors")


def damaged(path: Path, change: Any) -> Path:
    """The full model's file with its card or its tensors changed."""
    full_model().save(path)
    with safe_open(path, framework="pt") as file:
        card = json.loads(file.metadata()["agriseg"])
    tensors = load_file(path)
    change(card, tensors)
    save_file(tensors, path, {"agriseg": json.dumps(card)})
    return path


@pytest.mark.fault("C01", "C04")
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c, t: c.update(format=2), "format in the metadata is wrong"),
        (lambda c, t: c.pop("legend"), "legend in the metadata is wrong: Field required"),
        (lambda c, t: c.update(extra=1), "extra in the metadata is wrong"),
        (lambda c, t: c.update(architecture="fcn_resnet51"), "no architecture 'fcn_resnet51'; use fcn_resnet50"),
        (lambda c, t: c.update(scale="1"), "scale in the metadata is wrong"),
        (lambda c, t: c.update(std=[0.0] * 4), "std .* must be above 0"),
        (lambda c, t: c["bands"].append("red"), "the weights do not fit"),
        (lambda c, t: c["legend"].append(["x", "#000000"]), "the weights do not fit"),
        (lambda c, t: c["legend"].__setitem__(0, ["", "#000000"]), "class 0 has no name"),
        (lambda c, t: c["legend"].__setitem__(0, ["a", "red"]), "write it as #rrggbb"),
        (lambda c, t: t["0.weight"].view(-1).__setitem__(0, 9.0), "not those that were saved"),
    ],
)
def test_a_card_that_is_wrong_is_refused(tmp_path: Path, change: Any, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        load_model(damaged(tmp_path / "a.safetensors", change))


@pytest.mark.fault("C01")
def test_files_that_are_no_model(tmp_path: Path) -> None:
    good = tmp_path / "good.safetensors"
    full_model().save(good)
    data = good.read_bytes()
    bad = tmp_path / "bad.safetensors"
    for content in (b"", b"hello", data[:100], data[:-10], b"\xff" * 8 + data, data[:8] + b"x" + data[9:]):
        bad.write_bytes(content)
        with pytest.raises(ModelError, match=r"bad\.safetensors"):
            load_model(bad)
    save_file({"w": torch.zeros(1)}, bad)
    with pytest.raises(ModelError, match="without agriseg's metadata"):
        load_model(bad)
    with pytest.raises(ModelError, match="no such model file"):
        load_model(tmp_path / "none.safetensors")
    with pytest.raises(ModelError, match="no such model file"):
        load_model(tmp_path)


@pytest.mark.fault("C05")
def test_nan_weights_are_refused_from_memory_and_file(tmp_path: Path) -> None:
    network = architecture("fcn_small").build(3, 2)
    with torch.no_grad():
        network[1].running_mean[0] = float("nan")
    with pytest.raises(ModelError, match="NaN or infinity"):
        SegmentationModel(network, legend=Legend.from_names(["a", "b"]), bands=RGB, stride=2)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"bands": ()}, "one or more different roles"),
        ({"bands": ("red", "red", "blue")}, "one or more different roles"),
        ({"mean": (0.0,)}, "3 bands, 1 means"),
        ({"std": (1.0, 0.0, 1.0)}, "must be above 0"),
        ({"mean": (float("nan"),) * 3}, "must be finite"),
        ({"scale": 0.0}, "scale must not be 0"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"gsd": -1.0}, "metres above 0"),
        ({"stride": 8, "align": 12}, "multiple of stride"),
        ({"halo": -1}, "halo -1"),
    ],
)
def test_a_model_is_checked_at_birth(arguments: dict[str, Any], says: str) -> None:
    good = {"legend": Legend.from_names(["a", "b"]), "bands": RGB}
    with pytest.raises(ModelError, match=says):
        SegmentationModel(torch.nn.Identity(), **{**good, **arguments})


def test_defaults_of_the_public_api() -> None:
    model = SegmentationModel(
        torch.nn.Identity(), legend=Legend.from_names(["soil", "crop"]), bands=RGB, scale=1.0, mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0), stride=4,
    )  # fmt: skip
    assert (model.align, model.halo, model.gsd) == (4, 0, None)


def test_legends() -> None:
    legend = Legend.from_names([f"c{i}" for i in range(255)])
    assert len({c.colour for c in legend}) > 200
    assert legend.colormap[255] == (0, 0, 0, 0)
    with pytest.raises(ModelError, match="256 classes"):
        Legend.from_names([f"c{i}" for i in range(256)])
    with pytest.raises(ModelError, match="0 classes"):
        Legend.from_names([])
    with pytest.raises(ModelError, match="twice"):
        Legend.from_names(["a", "a"])
    with pytest.raises(ModelError, match="one colour a class"):
        Legend.from_names(["a"], ["#000000", "#111111"])
    with pytest.raises(ModelError, match="in order"):
        Legend((LegendClass(1, "a", "#000000"),))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int16, torch.int32, torch.uint32, torch.float64])
def test_normalising_is_the_formula_in_double(dtype: torch.dtype) -> None:
    stored = torch.tensor([[[0, 1], [100, 101]], [[120, 3], [77, 2]]]).to(dtype)
    valid = torch.tensor([[True, True], [True, False]])
    got = Normalization(1e-3, (0.01, 0.02), (0.5, 0.25))(stored, valid)
    mean, std = np.reshape([0.01, 0.02], (2, 1, 1)), np.reshape([0.5, 0.25], (2, 1, 1))
    expected = (stored.to(torch.float64).numpy() * 1e-3 - mean) / std
    expected[:, 1, 1] = 0
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-5, atol=1e-7)
    assert got.dtype == torch.float32


def test_wide_integers_are_not_rounded_before_they_are_scaled() -> None:
    big = 2**31 - 1
    stored = torch.tensor([[[big, big - 3]]], dtype=torch.int64)
    got = Normalization(1.0, (float(big - 1),), (1.0,))(stored, torch.ones(1, 2, dtype=torch.bool))
    assert got.tolist() == [[[1.0, -2.0]]]


def test_permuted_bands_map_the_same(tmp_path: Path, small: SegmentationModel) -> None:
    pixels = blocks(90, 80)
    straight = segment(write_raster(tmp_path / "a.tif", pixels), small, tmp_path / "a")
    turned = write_raster(tmp_path / "b.tif", pixels[[2, 0, 1]], photometric="MINISBLACK")
    report = segment(turned, small, tmp_path / "b", bands="red=2,green=3,blue=1")
    np.testing.assert_array_equal(read(report.classes), read(straight.classes))
    np.testing.assert_array_equal(read(report.confidence), read(straight.confidence))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_random_networks_use_every_class(name: str) -> None:
    """The laws that other tests check with them have power only if no class wins everywhere."""
    model = random_network(name)
    x = model.normalization(torch.from_numpy(blocks(256, 256)), torch.ones(256, 256, dtype=torch.bool))
    with torch.inference_mode():
        labels = model.network(x[None]).argmax(1)
    assert labels.flatten().bincount(minlength=4).min() > 0.02 * labels.numel()
