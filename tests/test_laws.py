"""The engine against a second implementation, over random runs: `make laws` tries a thousand."""

import json
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count as counted
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import layer_bytes, read
from moments import Moments
from reference import Made, Tiling
from runs import Nursery
from trials import POINTWISE, Trial, expected, paint, trial

from agriseg import load_model, segment
from agriseg.backends.torch_backend import TorchBackend
from agriseg.inference.workers import WorkerPool
from agriseg.mapping.checkpoint import RunCheckpoint
from agriseg.mapping.distribute import _parts
from agriseg.mapping.local import run_local
from agriseg.mapping.outputs import Outputs
from agriseg.mapping.prepare import MappingJob, prepare
from agriseg.mapping.run import Execution, run
from agriseg.mapping.working_folder import WorkingFolder
from agriseg.options.run import RunOptions
from agriseg.storage.base import FolderStorage

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
    sys.stdout.write(f"{count}\n")
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
    assert report.pixels.nodata == (~valid[window]).sum(), what
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


class Stop(KeyboardInterrupt):
    """As Ctrl-C does."""


def stop() -> None:
    raise Stop


def of_several_bands(*, saved: bool = False) -> Iterator[Trial]:
    """Trials with three bands or more, to be interrupted between; `saved`: of networks that have a file."""
    for number in counted():
        what = trial(SEED + 1, number)
        _, _, _, height = what.flags.get("window", (0, 0, 0, what.height))
        high = what.flags["tile"] * what.flags.get("band_rows", 1)
        if height > 2 * high and (what.model.architecture or not saved):
            yield what


def begun(what: Trial, folder: Path, out: str) -> tuple[MappingJob, Outputs]:
    """A run of a trial, before its first tile."""
    outputs = Outputs(folder / out, "a", bool(what.flags.get("probabilities")), with_pictures=False)
    return prepare(folder / "a.tif", what.model, RunOptions.of(**what.flags)), outputs


@pytest.mark.fault("K01", "K03")
def test_a_run_that_is_stopped_anywhere_goes_on_to_the_same_bytes(tmp_path: Path, tries: Tries) -> None:
    """Between any two deeds, in a batch, in a file, in the thread that writes; once or several times."""
    for number, what in zip(range(tries(8, 150)), of_several_bands(), strict=False):
        rng, folder = np.random.default_rng((SEED, number)), tmp_path / str(number)
        folder.mkdir()
        paint(what, folder / "a.tif")
        with pytest.MonkeyPatch.context() as patch:
            moments = Moments(0, stop, patch.setattr)
            run(*begun(what, folder, "straight"))
        places = [int(rng.integers(1, moments.seen + 1)) for _ in range(rng.integers(1, 4))]
        for place in places:
            with pytest.MonkeyPatch.context() as patch:
                Moments(place, stop, patch.setattr)
                try:
                    run(*begun(what, folder, "again"))
                    break  # there was less to do than before it was stopped the first time
                except Stop:
                    continue
        else:
            run(*begun(what, folder, "again"))
        assert layer_bytes(folder / "again") == layer_bytes(folder / "straight"), f"stopped at {places}: {what}"
        assert not list((folder / "again").glob(".*"))


@pytest.mark.fault("K01", "K03")
def test_a_run_that_is_killed_anywhere_goes_on_to_the_same_bytes(
    nursery: Nursery, tmp_path: Path, tries: Tries
) -> None:
    for number, what in zip(range(tries(3, 50)), of_several_bands(saved=True), strict=False):
        rng, folder = np.random.default_rng((SEED, number)), tmp_path / str(number)
        folder.mkdir()
        paint(what, folder / "a.tif")
        what.model.save(folder / "m.safetensors")
        asked = ["run", folder / "a.tif", "-m", folder / "m.safetensors", "-q", *as_arguments(what), "-o"]
        straight = nursery.run(*asked, folder / "straight")
        assert straight.code == 0, (straight.err, what)
        most = 400
        while not killed(nursery, asked, out := folder / f"below {most}", rng, most):
            most //= 2  # it has fewer moments
        made, straight_bytes = layer_bytes(out), layer_bytes(folder / "straight")
        made.pop(".a_report.part.html", None)  # the page's draft, of one that was killed after its map was complete
        assert made == straight_bytes, what


def killed(nursery: Nursery, asked: list[Any], out: Path, rng: np.random.Generator, most: int) -> int:
    """Run until it is through, killed once or twice on the way at one of so many moments; how often it was."""
    for kills in (0, 1, 2):
        patch = [["die_at", int(rng.integers(1, most))]] if kills < 2 else []
        ended = nursery.run(*asked, out, patches=patch)
        if ended.code != -signal.SIGKILL:
            break
    # killed after its very last deed: what is there is complete, and is not overwritten
    assert ended.code == 0 or (kills and ended.code == 73), ended.err
    return kills


def as_arguments(what: Trial) -> list[str]:
    """Flags as the command line has them."""
    said = []
    for name, value in what.flags.items():
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        said += [f"--{name.replace('_', '-')}", *([] if value is True else [text])]
    return said


@pytest.mark.fault("W07")
def test_bands_that_are_shared_out_in_any_way_make_the_same_bytes(tmp_path: Path, tries: Tries) -> None:
    """Stretches cut anywhere, in any order, each as a worker runs it; some stop half-way, and what is left is cut anew."""
    for number, what in zip(range(tries(5, 60)), of_several_bands(), strict=False):
        rng, folder = np.random.default_rng((SEED, number)), tmp_path / str(number)
        folder.mkdir()
        paint(what, folder / "a.tif")
        prepared, outputs = begun(what, folder, "straight")
        run(prepared, outputs)
        prepared, outputs = begun(what, folder, "shared")
        cuts = share_out(prepared, outputs, rng)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(TorchBackend, "logits", none_again)
            run(prepared, outputs)
        assert layer_bytes(outputs.folder) == layer_bytes(folder / "straight"), f"cut as {cuts}: {what}"


def none_again(*_: Any) -> None:
    raise AssertionError("a tile is computed that was there")


def share_out(prepared: MappingJob, outputs: Outputs, rng: np.random.Generator) -> list[range]:
    """Run all bands in stretches; returns them in their order."""
    outputs.folder.mkdir()
    place = FolderStorage(outputs.working)
    working = WorkingFolder(prepared, [outputs], "shared out", place, resume=False)
    waiting, done = cut_anywhere(working.missing, rng), []
    while waiting:
        part = waiting.pop(int(rng.integers(len(waiting))))
        done.append(part)
        with pytest.MonkeyPatch.context() as patch:
            Moments(int(rng.integers(1, 40)) if rng.random() < 0.3 else 0, stop, patch.setattr)
            try:
                mapped = run_local(
                    prepared, RunCheckpoint(prepared, place), part, f"band{part.start}", lambda _tiles: None
                )
                for index, counts in mapped.counts.items():
                    working.mark_done(index, counts)
            except Stop:
                waiting += cut_anywhere(working.recover(part), rng)
    return done


def cut_anywhere(bands: list[int], rng: np.random.Generator) -> list[range]:
    """Runs of neighbours, cut at random."""
    found = []
    for part in _parts(bands, len(bands)):
        edges = sorted({part.start, part.stop, *(int(each) for each in rng.integers(part.start, part.stop, 3))})
        found += [range(*pair) for pair in pairwise(edges)]
    return found


@pytest.mark.fault("W07")
def test_real_workers_make_the_same_bytes_of_any_run(tmp_path: Path, long: bool, tries: Tries) -> None:
    if not long:
        pytest.skip("starts workers; one raster over workers is tried in test_spread")
    with WorkerPool(2) as crew:
        for number, what in zip(range(tries(1, 10)), of_several_bands(saved=True), strict=False):
            folder = tmp_path / str(number)
            folder.mkdir()
            paint(what, folder / "a.tif")
            what.model.save(folder / "m.safetensors")
            model, options = load_model(folder / "m.safetensors"), RunOptions.of(**what.flags)
            made: dict[str, Any] = {}
            for name, execution in (("straight", Execution()), ("shared", Execution(crew))):
                outputs = Outputs(folder / name, "a", options.probabilities)
                run(prepare(folder / "a.tif", model, options), outputs, execution=execution)
                made[name] = layer_bytes(outputs.folder)
            assert made["shared"] == made["straight"], what
