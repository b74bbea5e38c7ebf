"""Test-time augmentation: each orientation is undone exactly, tiled equals untiled, and the record says it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import blocks, read, write_raster
from torch.nn import functional

from agriseg import SegmentationModel, segment
from agriseg.backends.choose_backend import choose_backend
from agriseg.backends.orientations import ORIENTATIONS
from agriseg.demo.reference_models import random_network
from agriseg.maps.reader import find_records
from agriseg.maps.record import RunRecord
from agriseg.options.run import RunOptions


@pytest.mark.parametrize("name", ["flips", "d4"])
def test_orientations_are_undone_and_differ(name: str) -> None:
    batch = torch.randn(2, 3, 32, 64)
    turned = [each.of(batch) for each in ORIENTATIONS[name]]
    assert all(torch.equal(each.undone(x), batch) for each, x in zip(ORIENTATIONS[name], turned, strict=True))
    assert len({tuple(x.shape) + tuple(x.flatten().tolist()) for x in turned}) == {"flips": 4, "d4": 8}[name]


def by_turns(model: SegmentationModel, x: torch.Tensor) -> torch.Tensor:
    """Mean logits over the eight symmetries, as quarter turns with and without a mirror."""
    parts = []
    for mirrored in (False, True):
        for quarters in range(4):
            seen = x.flip(3) if mirrored else x
            logits = torch.rot90(model.network(torch.rot90(seen, quarters, (2, 3))), -quarters, (2, 3))
            parts.append(logits.flip(3) if mirrored else logits)
    return torch.stack(parts).mean(0)


@pytest.mark.parametrize("name", ["fcn_small", "unet_small", "fcn_small/3", "unet_lite0"])
def test_logits_are_the_mean_over_quarter_turns_and_mirrors(name: str) -> None:
    model = random_network(name)
    backend = choose_backend(model, RunOptions(device="cpu", precision="fp32", tta="d4"))
    x = torch.randn(2, len(model.bands), 2 * model.step, 3 * model.step)
    with torch.inference_mode():
        torch.testing.assert_close(backend.logits(x), by_turns(model, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "height", "width", "tile"),
    [("fcn_small", 413, 349, 160), ("fcn_small/3", 205, 549, 480), ("unet_small", 205, 549, 480)],
)
def test_exact_equals_one_untiled_forward(tmp_path: Path, name: str, height: int, width: int, tile: int) -> None:
    pixels = blocks(height, width)
    image = write_raster(tmp_path / "a.tif", pixels)
    model = random_network(name)
    x = model.normalization_of(None)(torch.from_numpy(pixels), torch.ones(height, width, dtype=torch.bool))[None]
    x = functional.pad(x, (0, -width % model.step, 0, -height % model.step))
    with torch.inference_mode():
        logits = functional.interpolate(by_turns(model, x), size=x.shape[2:], mode="bilinear", align_corners=False)
    untiled = logits[0, :, :height, :width].argmax(0).numpy()
    report = segment(image, model, tmp_path / "out", blend="exact", tile=tile, precision="fp32", tta="d4")
    assert report.tiles > 1
    assert len(np.unique(untiled)) > 1
    assert np.mean(read(report.classes)[0] != untiled) <= 1e-5
    plain = segment(image, model, tmp_path / "plain", blend="exact", tile=tile, precision="fp32")
    assert np.mean(read(plain.classes)[0] != untiled) > 1e-5


def test_a_turned_raster_gives_the_turned_map(tmp_path: Path) -> None:
    """Sides are multiples of the network's step, so that no edge is padded."""
    model, pixels = random_network("unet_small"), blocks(192, 320)
    maps = []
    for number, each in enumerate((pixels, np.rot90(pixels, 1, (1, 2)), pixels[:, :, ::-1])):
        image = write_raster(tmp_path / f"{number}.tif", np.ascontiguousarray(each))
        report = segment(image, model, tmp_path / str(number), tile=512, precision="fp32", tta="d4")
        maps.append(read(report.classes)[0])
    assert np.mean(np.rot90(maps[1], -1) != maps[0]) <= 1e-4
    assert np.mean(maps[2][:, ::-1] != maps[0]) <= 1e-4


def test_the_record_says_it(tmp_path: Path) -> None:
    image = write_raster(tmp_path / "a.tif", blocks(80, 80))
    told = []
    for tta in ("none", "flips", "d4"):
        segment(image, random_network("fcn_small"), tmp_path / tta, tta=tta, precision="fp32")
        told.append(RunRecord.read(find_records(tmp_path / tta)[0]).parameters.precision)
    assert told == ["fp32", "fp32, mean of 4 orientations", "fp32, mean of 8 orientations"]
