"""All engines in turn, round after round, each on the same raster."""

import json
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agriseg import load_model
from benchmarks.peers.engines import AGRISEG, UNTILED, Engine
from benchmarks.peers.environments import ROOT, EngineError, installed
from benchmarks.peers.network_files import operations_per_pixel
from benchmarks.peers.rasters import classes_of, valid_of
from benchmarks.peers.results import Bench, Row, row
from benchmarks.peers.run_process import run_engine, watched
from benchmarks.peers.scores import seam_ratio, unlike_share
from benchmarks.peers.task import Measurement, Task


@dataclass(frozen=True)
class Inputs:
    """What every engine is given.

    Args:
        image: the raster.
        model: file of an agriseg model.
        folder: for environments, exported networks and class maps.
        tile: side of the tiles of the peers (px).
    """

    image: Path
    model: Path
    folder: Path
    tile: int

    def task(self, engine: Engine) -> Task:
        """The raster for an engine."""
        classes, answer = (self.folder / f"{engine.key}{suffix}" for suffix in (".tif", ".json"))
        paths = (self.image, self.model, self.folder, classes, answer)
        return Task(*map(str, paths), self.tile, dict(engine.settings))


class Rounds:
    """The runs of all engines, and why engines failed. `done` counts the finished rounds."""

    def __init__(self, inputs: Inputs, engines: Sequence[Engine]) -> None:
        self.inputs, self.engines, self.done = inputs, engines, 0
        self.runs: dict[str, list[Measurement]] = {engine.name: [] for engine in engines}
        self.failed: dict[str, str] = {}
        self.peaks: dict[str, float] = {}
        self.pythons: dict[str, Path] = {}

    def prepare(self) -> None:
        """Install what the engines need, and export the network for those that take files."""
        for engine in self.engines:
            try:
                self.pythons[engine.name] = installed(engine.environment, self.inputs.folder / "environments")
            except EngineError as error:
                self.failed[engine.name] = str(error)
        try:
            self._export()
        except EngineError as error:
            for engine in self.engines:
                if engine.takes_file:
                    self.failed.setdefault(engine.name, f"no exported network: {error}")

    def _export(self) -> None:
        """Only the environment of agriseg has what an export needs."""
        python = installed(AGRISEG, self.inputs.folder / "environments")
        words = [str(each) for each in (self.inputs.model, self.inputs.folder, self.inputs.tile)]
        watched([str(python), "-m", "benchmarks.peers.network_files", *words], "the export")

    def go(self) -> None:
        """One round, in an order of its own.

        Raises:
            EngineError: the untiled run failed, so there is nothing to compare with.
        """
        for name, rate in measured_peaks().items():
            self.peaks[name] = max(rate, self.peaks.get(name, 0.0))
        for engine in random.Random(self.done).sample(self.engines, len(self.engines)):
            if engine.name not in self.failed:
                self._run(engine)
        self.done += 1

    def _run(self, engine: Engine) -> None:
        try:
            measured = run_engine(engine, self.pythons[engine.name], self.inputs.task(engine))
        except EngineError as error:
            if engine is UNTILED:
                raise
            self.failed[engine.name] = str(error)
            print(f"{engine.name}: {error}", file=sys.stderr, flush=True)
            return
        self.runs[engine.name].append(measured)
        print(f"{engine.name}: {measured.seconds:.1f} s", file=sys.stderr, flush=True)

    def rows(self) -> tuple[Bench, list[Row]]:
        """The table, in the order of the engines."""
        valid, operations = valid_of(self.inputs.image), operations_per_pixel(load_model(self.inputs.model))
        bench = Bench(valid.size / 1e6, operations, self.peaks)
        return bench, [self._row(engine, bench) for engine in self.engines]

    def _row(self, engine: Engine, bench: Bench) -> Row:
        if engine.name in self.failed:
            return Row(engine.name, failed=self.failed[engine.name])
        untiled, classes = (classes_of(self.inputs.task(each).classes) for each in (UNTILED, engine))
        unlike = unlike_share(classes, untiled, valid_of(self.inputs.image))
        runs = self.runs[engine.name]
        return row(engine.name, runs, bench, unlike, seam_ratio(classes, runs[0].mapped))


def measured_peaks() -> dict[str, float]:
    """Operations per second of matrix products, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.peers.peak"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    peaks: dict[str, float] = json.loads(done.stdout)
    return peaks
