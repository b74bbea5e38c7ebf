"""The benchmark against peers: what it counts and compares, against counting by hand and against agriseg's own engine."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import blocks, noise, read, write_raster
from rasterio.windows import Window

from agriseg import SegmentationModel, load_model, segment
from agriseg.demo.reference_models import random_network
from benchmarks.peers import network_files, results, scores, tile_lines, trained_network
from benchmarks.peers.adapters import agriseg_run, notebook_loop, untiled
from benchmarks.peers.bars import bars
from benchmarks.peers.engines import ENGINES, UNTILED, Engine
from benchmarks.peers.environments import ROOT, EngineError, Environment, installed, last_line
from benchmarks.peers.pixel_network import CountedNetwork, PixelNetwork
from benchmarks.peers.rasters import classes_of, cut, valid_of
from benchmarks.peers.rounds import Inputs, Rounds
from benchmarks.peers.run_process import tree_bytes, watched
from benchmarks.peers.task import Mapped, Measurement, Setting, Task

SMALL = ("fcn_small", "unet_small", "pixel_mlp")


def task(folder: Path, image: np.ndarray, model: SegmentationModel, tile: int = 64, **settings: Setting) -> Task:
    file, raster = folder / "model.safetensors", write_raster(folder / "image.tif", image)
    model.save(file)
    paths = (raster, file, folder, folder / "classes.tif", folder / "answer.json")
    return Task(*map(str, paths), tile, settings)


# the untiled labels


@pytest.mark.parametrize("name", SMALL)
def test_the_untiled_labels_are_those_of_an_exact_run(name: str, tmp_path: Path) -> None:
    """Of a raster whose sides are no multiples of the network's step; the two share nothing but the network."""
    told = task(tmp_path, blocks(301, 333), random_network(name))
    mapped = untiled.prepare(told)()
    options = {"tile": 256, "blend": "smooth", "precision": "fp32", "device": "cpu", "gsd": "native"}
    exact = options | {"blend": "exact"} if name != "unet_small" else options | {"tile": 1024}
    report = segment(told.image, load_model(told.model), tmp_path / "map", **exact)
    assert np.array_equal(classes_of(told.classes), read(report.classes)[0])
    assert len(np.unique(classes_of(told.classes))) > 1
    assert mapped == Mapped(301 * 333)


def test_a_loop_without_overlap_is_the_untiled_run_of_each_tile(tmp_path: Path) -> None:
    image, model = blocks(150, 130), random_network("fcn_small")
    told = task(tmp_path, image, model)
    mapped = notebook_loop.prepare(told)()
    network = PixelNetwork(model)
    with torch.inference_mode():
        tiles = [
            np.concatenate(
                [
                    network(torch.from_numpy(image[None, :, top : top + 64, left : left + 64]))[0].argmax(0).numpy()
                    for left in (0, 64, 128)
                ],
                axis=1,
            )
            for top in (0, 64, 128)
        ]
    assert np.array_equal(classes_of(told.classes), np.concatenate(tiles))
    assert mapped == Mapped(150 * 130, (64, 128), (64, 128))
    untiled.prepare(replace(told, classes=str(tmp_path / "untiled.tif")))()
    whole = classes_of(tmp_path / "untiled.tif")
    assert scores.unlike_share(classes_of(told.classes), whole, np.ones(whole.shape, bool)) > 0


def test_agriseg_tells_what_its_network_was_given(tmp_path: Path) -> None:
    told = task(tmp_path, blocks(300, 200), random_network("fcn_small"), tile=128, overlap=64, margin=16)
    mapped = agriseg_run.prepare(replace(told, settings={**told.settings, "tile": 128}))()
    assert mapped.network_pixels == 4 * 3 * 128 * 128
    assert mapped.col_seams == (96, 160)[: len(mapped.col_seams)]
    assert mapped.row_seams[:2] == (96, 160)
    assert mapped.precision in ("fp32", "bf16")


def test_a_model_that_normalises_by_the_raster_is_refused() -> None:
    with pytest.raises(ValueError, match="normalises by the raster; use a model with constants"):
        PixelNetwork(load_model("vegetation"))


def test_pixels_of_all_calls_are_counted() -> None:
    network = CountedNetwork(torch.nn.Identity())
    network(torch.zeros(2, 3, 5, 7))
    network(torch.zeros(1, 3, 11, 2))
    assert network.pixels == 2 * 35 + 22


# unlike labels and seams


@pytest.mark.parametrize("seed", range(5))
def test_unlike_labels_by_hand(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, 3, (2, 23, 17), np.uint8)
    one[rng.random(one.shape) < 0.1] = 255
    valid = rng.random(one.shape) < 0.8
    pairs = [(one[at], other[at]) for at in np.ndindex(one.shape) if valid[at]]
    assert scores.unlike_share(one, other, valid) == pytest.approx(sum(a != b for a, b in pairs) / len(pairs))
    assert scores.unlike_share(one, one, valid) == 0


def test_maps_of_two_sizes_are_refused() -> None:
    one = np.zeros((4, 5), np.uint8)
    with pytest.raises(ValueError, match="expected one size"):
        scores.unlike_share(one, one[:3], one == 0)


def changes_by_hand(classes: np.ndarray, seams: tuple[int, ...]) -> float:
    """Share of changes across the seams, over the median share across the other lines between columns."""
    shares = [
        np.mean([a != b for a, b in zip(*classes[:, k - 1 : k + 1].T, strict=True)]) for k in range(1, classes.shape[1])
    ]
    elsewhere = [share for k, share in enumerate(shares, 1) if k not in seams]
    return float(np.mean([shares[k - 1] for k in seams]) / np.median(elsewhere))


def test_seams_by_hand() -> None:
    rng = np.random.default_rng(3)
    classes = (np.cumsum(rng.random((70, 90)) < 0.3, axis=1) % 3).astype(np.uint8)
    classes[:, 40:] = (classes[:, 40:] + 1) % 3
    cols, rows = (40,), (20, 50)
    expected = (changes_by_hand(classes, cols) + changes_by_hand(classes.T, rows)) / 2
    assert scores.seam_ratio(classes, Mapped(0, cols, rows)) == pytest.approx(expected)
    assert scores.seam_ratio(classes, Mapped(0)) is None


@pytest.mark.parametrize("seed", range(30))
def test_lines_between_tiles(seed: int) -> None:
    """Against the tiles over each pixel, one pixel after the other."""
    rng = np.random.default_rng(seed)
    tile = 2 * int(rng.integers(2, 20))
    size, step = int(rng.integers(1, 200)), int(rng.integers(tile // 2, tile + 1))
    starts = tile_lines.clamped_starts(size, tile, step)
    over = [tuple(start for start in starts if start <= x < start + tile) for x in range(size)]
    assert all(over)
    assert starts[-1] + tile == size or tile >= size
    assert tile_lines.ends(starts, tile) == tuple(x for x in range(1, size) if over[x] != over[x - 1])
    nearest = [min(near, key=lambda start: (abs(2 * x + 1 - 2 * start - tile), start)) for x, near in enumerate(over)]
    hands = tuple(x for x in range(1, size) if nearest[x] != nearest[x - 1])
    assert np.allclose(tile_lines.middles(starts, tile), hands, atol=1)
    assert len(tile_lines.middles(starts, tile)) == len(starts) - 1


# rasters and networks as files


def test_a_window_is_cut_with_its_place_and_nodata(tmp_path: Path) -> None:
    image = noise(40, 50)
    image[:, 30:35, 40:45] = 0
    made = cut(write_raster(tmp_path / "whole.tif", image, nodata=0), Window(20, 10, 30, 28), tmp_path / "part.tif")
    assert np.array_equal(read(made), image[:, 10:38, 20:50])
    valid = valid_of(made)
    assert not valid[20:25, 20:25].any()
    assert valid[:20].mean() > 0.9


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:.*torch.jit:FutureWarning")
@pytest.mark.parametrize("name", SMALL)
def test_the_exports_are_the_network(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    model = random_network(name)
    model.save(tmp_path / "model.safetensors")
    network_files.export(tmp_path / "model.safetensors", tmp_path, 64)
    image = torch.from_numpy(blocks(64, 64))[None]
    with torch.inference_mode():
        logits = PixelNetwork(model)(image)
        traced = torch.jit.load(str(tmp_path / "network.pt"))(image)
    assert torch.allclose(logits, traced, atol=1e-5)
    assert (tmp_path / "network.onnx").stat().st_size > 1000


def test_a_field_without_labels_cannot_be_trained_on(tmp_path: Path) -> None:
    image = write_raster(tmp_path / "field.tif", noise(40, 50))
    with pytest.raises(EngineError, match=r"expected field_labels\.tif"):
        trained_network.trained("unet_small", 1, image, tmp_path, Window(10, 0, 40, 40))


# processes


def test_what_processes_say_comes_back(tmp_path: Path) -> None:
    measured = Measurement(1.5, 2.5, 10**9, Mapped(99, (1, 2), (), "bf16"))
    measured.write(tmp_path / "answer.json")
    assert Measurement.read(tmp_path / "answer.json") == measured
    told = task(tmp_path, noise(8, 8), random_network("pixel_mlp"), overlap=0.5, mode="constant")
    told.write(tmp_path / "task.json")
    assert Task.read(tmp_path / "task.json") == told


def test_a_round_measures_each_engine_and_tells_why_one_failed(tmp_path: Path) -> None:
    """Processes as the benchmark starts them, in this environment; one of them has no adapter."""
    told = task(tmp_path, blocks(64, 96), random_network("fcn_small"))
    broken = Engine("broken", "no_such_adapter", UNTILED.environment)
    rounds = Rounds(Inputs(Path(told.image), Path(told.model), tmp_path, 64), [broken, UNTILED])
    rounds.pythons = {engine.name: Path(sys.executable) for engine in rounds.engines}
    rounds.go()
    common, (failed, whole) = rounds.rows()
    assert (
        failed.failed == "exit code 1: ModuleNotFoundError: No module named 'benchmarks.peers.adapters.no_such_adapter'"
    )
    assert common.megapixels == pytest.approx(64 * 96 / 1e6)
    assert (whole.work, whole.unlike, whole.seam_ratio) == (pytest.approx(1), 0, None)
    assert min(whole.speed, whole.processor, whole.peak_mb, whole.share_of_peak, common.peaks["fp32"]) > 0


def test_without_untiled_labels_there_is_no_table(tmp_path: Path) -> None:
    inputs = Inputs(tmp_path / "none.tif", tmp_path / "none.safetensors", tmp_path, 64)
    rounds = Rounds(inputs, [UNTILED])
    rounds.pythons = {UNTILED.name: tmp_path / "no_python"}
    with pytest.raises(EngineError, match="no_python"):
        rounds._run(UNTILED)


def test_an_engine_that_fails_gives_its_last_line() -> None:
    with pytest.raises(EngineError, match="exit code 3: no such network"):
        watched([sys.executable, "-c", "import sys; print('no such network', file=sys.stderr); sys.exit(3)"], "it")
    assert last_line("a\n\n b \n\n") == "b"
    assert last_line("") == "no message"


def test_memory_is_that_of_the_whole_tree() -> None:
    """A process and its child, which both hold 60 MB and say so before they are measured."""
    hold = "import sys; held = bytearray(b'1') * 60_000_000; print('ready', flush=True); sys.stdin.read()"
    both = f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', {hold!r}]); {hold}; child.wait()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", both], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout
        assert [process.stdout.readline() for _ in range(2)] == ["ready\n"] * 2
        assert 120e6 < tree_bytes(process.pid) < 300e6
        process.communicate("")
    assert tree_bytes(process.pid) == 0


def test_an_environment_sees_the_packages_of_this_one(tmp_path: Path) -> None:
    python = installed(Environment("plain"), tmp_path)
    code = "import importlib.util as u, benchmarks.peers; print(u.find_spec('torch').origin)"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == torch.__file__
    before = python.stat().st_ctime_ns
    assert installed(Environment("plain"), tmp_path).stat().st_ctime_ns == before, "it is not made again"


# the table


def test_medians_and_shares_by_hand() -> None:
    rounds = [Measurement(seconds, 2 * seconds, peak, Mapped(6_000_000)) for seconds, peak in ((4, 7), (1, 9), (2, 8))]
    bench = results.Bench(megapixels=4.0, operations_per_pixel=1e6, peaks={"fp32": 1e13})
    made = results.row("it", rounds, bench, 0.25, None)
    assert made == results.Row("it", "fp32", 2.0, 1.0, 2.0 * 1e6 * 1e6 / 1e13, 9e-6, 0.25, None, 1.5)
    lines = results.table([made, results.Row("other", failed="pip could not")]).splitlines()
    assert lines[2] == "| it | fp32 | 2.000 | 1.00 | 0.20 | 0 | 25.000 % | - | 1.50 |"
    assert lines[-1] == "- other: no figures. pip could not"
    assert len({line.count("|") for line in lines[:3]}) == 1


def test_bars_are_against_the_fastest_that_ran() -> None:
    slow, fast = (
        results.Row("slow", speed=1.0, processor=4.0),
        results.Row("fast", speed=2.0, processor=3.0, unlike=0.04),
    )
    ours, broken = results.Row("ours", speed=5.0, processor=1.5, unlike=0.01), results.Row("broken", failed="no")
    default, exact = bars(ours, ours, [slow, broken, fast], [slow, broken]).splitlines()
    assert default.startswith("- agriseg default is 2.50 times as fast as fast, and takes 1 / 2.00 of its processor")
    assert "1.000 % of its labels are unlike untiled, 4.000 % of the other's" in default
    assert exact.startswith("- agriseg exact is 5.00 times as fast as slow")
    assert bars(broken, ours, [fast], [broken]) == ""


def test_each_engine_has_a_short_adapter_of_its_own() -> None:
    folder = ROOT / "benchmarks" / "peers" / "adapters"
    lines = {path.stem: len(path.read_text().splitlines()) for path in folder.glob("*.py") if path.stem != "__init__"}
    assert {engine.adapter for engine in ENGINES} == lines.keys()
    assert max(lines.values()) <= 60
    assert len({engine.key for engine in ENGINES}) == len(ENGINES)
    peers = {engine.environment.name for engine in ENGINES if engine.peer_overlap}
    assert peers == {"monai", "geo-inference", "omnicloudmask", "torchgeo", "habitat-mapper"}


def test_the_operations_are_those_of_the_network() -> None:
    """Of the network over means of pixels, a dense layer per pixel: counted by its weights."""
    model = random_network("pixel_mlp")
    weights = sum(each.weight.numel() for each in model.network.modules() if isinstance(each, torch.nn.Conv2d))
    counted = network_files.operations_per_pixel(model)
    assert counted == pytest.approx(2 * weights, rel=0.2)
