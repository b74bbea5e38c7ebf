"""Where the time of a run goes: the seconds of each stage, in the record and as a table."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import blocks, record_of, write_raster

from agriseg import SegmentationModel, segment
from agriseg.cli.common.format import show_seconds
from agriseg.maps.record import RunSeconds
from agriseg.timing.stages import Stage, StageClock

MAPPING = {"wait", "normalise", "network", "keep", "stitch", "classify", "read", "store"}
PUBLICATION = {"hash", "write", "verify", "pictures"}


def test_a_clock_sums_what_each_thread_spends() -> None:
    """Against the sum of the threads' own measurements, from outside and from inside of each context."""
    clock = StageClock()

    def use(number: int) -> tuple[float, float]:
        began = time.perf_counter()
        with clock(Stage.READ):
            entered = time.perf_counter()
            sum(range(10_000 * number))
            left = time.perf_counter()
        return left - entered, time.perf_counter() - began

    with ThreadPoolExecutor(4) as pool:
        spent = list(pool.map(use, range(40)))
    inside, outside = (sum(each) for each in zip(*spent, strict=True))
    assert inside <= clock.seconds[Stage.READ] <= outside
    clock.add({Stage.READ: 1000.0, Stage.STORE: 1.0})
    assert 1000 + inside <= clock.seconds[Stage.READ] <= 1000 + outside
    assert list(clock.seconds) == [Stage.READ, Stage.STORE]


def test_a_stage_that_fails_counts() -> None:
    clock = StageClock()
    with pytest.raises(ValueError, match="stop"), clock(Stage.NETWORK):
        raise ValueError("stop")
    assert clock.seconds[Stage.NETWORK] > 0


def test_the_stages_of_a_run_are_in_its_record_and_within_its_time(tmp_path: Path, small: SegmentationModel) -> None:
    image = write_raster(tmp_path / "a.tif", blocks(300, 300))
    report = segment(image, small, tmp_path / "out", tile=64)
    seconds = record_of(tmp_path / "out")["seconds"]
    assert seconds["stages"].keys() == MAPPING | PUBLICATION
    assert seconds["workers"] == 0
    assert min(seconds["stages"].values()) >= 0 < seconds["stages"]["network"]
    in_turn = [each for name, each in seconds["stages"].items() if not Stage(name).is_beside]
    rounding = 0.001 * len(in_turn)
    assert 0.5 * report.seconds.total <= sum(in_turn) <= report.seconds.total + rounding
    assert report.seconds.stages == seconds["stages"]


def test_a_record_without_stages_is_read(tmp_path: Path) -> None:
    """Those of agriseg before it measured them."""
    assert RunSeconds(1, 2).stages == {}
    assert "wall clock" in show_seconds(RunSeconds(1, 2))


def test_the_table_adds_up() -> None:
    stages = {"wait": 1.0, "network": 5.5, "read": 3.0, "store": 0.25, "write": 2.0}
    lines = show_seconds(RunSeconds(7, 3, stages)).splitlines()
    rows = {line[2:26].strip(): line[26:].split() for line in lines}
    assert rows["network"] == ["5.50", "55.0%"]
    assert rows["other"] == ["1.50", "15.0%"]
    assert rows["wall clock"] == ["10.00", "100.0%"]
    assert lines.index("  beside these, in other threads") < next(
        lines.index(each) for each in lines if "decode" in each
    )
    of_workers = show_seconds(RunSeconds(7, 3, stages, workers=3))
    assert "3 worker processes" in of_workers
    assert not any(line.startswith("  other ") for line in of_workers.splitlines())


def test_the_flag_prints_it_beside_the_result(
    tmp_path: Path, model_file: Path, agriseg_cli: Callable[..., Any]
) -> None:
    image = write_raster(tmp_path / "a.tif", blocks(100, 100))
    plain = agriseg_cli("run", image, "-m", model_file, "-o", tmp_path / "one", "-q")
    timed = agriseg_cli("run", image, "-m", model_file, "-o", tmp_path / "two", "-q", "--profile")
    assert (plain.code, timed.code) == (0, 0)
    assert plain.out.replace(str(tmp_path / "one"), str(tmp_path / "two")) == timed.out
    assert "wall clock" in timed.err
    assert "wall clock" not in plain.err
