"""The engine against a second implementation, over random runs: `make laws` tries a thousand."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from conftest import read
from reference import Made, Tiling
from trials import POINTWISE, Trial, expected, paint, trial

from agriseg import segment

Tries = Callable[[int, int], int]

SEED = 20261126
TIE = 1e-5
"""Logits nearer to each other than this may be ordered either way: sums in float32 end in other last bits."""


@dataclass
class Count:
    """What was compared."""

    pixels: int = 0
    tied: int = 0
    exact_pixels: int = 0
    not_untiled: int = 0
    kinds: Counter[str] = field(default_factory=Counter)


@pytest.mark.fault("S01", "S02", "P04")
def test_any_run_gives_what_the_reference_gives(tmp_path: Path, tries: Tries) -> None:
    count = Count()
    for number in range(tries(40, 1000)):
        what = trial(SEED, number)
        folder = tmp_path / str(number)
        folder.mkdir()
        check(what, folder, count)
    print(count)
    assert count.not_untiled <= 1e-5 * count.exact_pixels


def check(what: Trial, folder: Path, count: Count) -> None:
    """Run a trial, and compare every pixel of every layer."""
    used, valid = paint(what, folder / "a.tif")
    report = segment(folder / "a.tif", what.model, folder / "out", **what.flags)
    cut = cut_of(what, report.record)
    made, window = expected(what, used, valid, cut), what.window
    classes = read(report.classes)[0]
    differ = classes != made.classes[window]
    tied = differ & valid[window] & (made.lead[window] < TIE)
    assert not (differ & ~tied).any(), f"{np.argwhere(differ & ~tied)[:3]} of {differ.sum()} pixels differ: {what}"
    near_steps(read(report.confidence)[0], made, window, what, "confidence")
    if report.probabilities:
        near_steps(read(report.probabilities), made, window, what, "probabilities")
    assert report.pixels["nodata"] == (~valid[window]).sum(), what
    count.pixels += differ.size
    count.tied += int(tied.sum())
    count.kinds[what.kind] += 1
    if what.kind in POINTWISE or what.flags.get("blend") == "exact":
        side = max(what.height, what.width)
        untiled = expected(what, used, valid, replace(cut, tile=-(-side // cut.align) * cut.align, overlap=0, margin=0))
        count.exact_pixels += differ.size
        count.not_untiled += int((classes != untiled.classes[window]).sum())


def cut_of(what: Trial, record: Path) -> Tiling:
    """The numbers given, or those that the preset has chosen, as the record tells them."""
    told = json.loads(record.read_text())["parameters"]
    chosen = {name: told[f"{name}_px"] for name in ("tile", "overlap", "margin")}
    assert all(what.flags.get(name, value) == value for name, value in chosen.items()), what
    model = what.model
    several = max(what.height, what.width) > chosen["tile"]
    if what.flags.get("blend") == "exact" and several:
        assert chosen["margin"] >= (model.halo or 0), what
    return Tiling(**chosen, stride=model.stride, align=model.step)


def near_steps(layer: np.ndarray, made: Made, window: tuple[slice, slice], what: Trial, name: str) -> None:
    """Shares in steps of 0.004, rounded; nodata where the reference has it."""
    shares = made.shares(what.model.temperature)[(slice(None), *window)]
    wanted = shares.max(0) if name == "confidence" else shares
    known = np.broadcast_to(made.valid[window], layer.shape)
    assert (layer[~known] == 255).all(), f"{name} where nothing is valid: {what}"
    wrong = np.abs(layer * 0.004 - wanted)[known] > 0.002 + 2e-6
    assert not wrong.any(), f"{wrong.sum()} pixels of {name} differ: {what}"
