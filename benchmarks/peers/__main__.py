"""agriseg beside its peers: one raster, one network, each engine in an environment and a process of its own.

    make bench-peers FIELD=field.tif
    python -m benchmarks.peers field.tif --size 2048 --rounds 3 --model weeds.safetensors

The window is the lower right corner of the raster. `--model` is a file, a bundled model, or a name of
`agriseg model list`: that network is trained for `--minutes` on the upper left of the field, by `field_labels.tif`, and
with `--minutes 0` it has random weights. The engines take turns in an order that is shuffled for each round. An engine
that cannot be installed or run is listed with the reason. Needs psutil, which the development tools bring.
"""

import argparse
import json
import random
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import rasterio
from rasterio.windows import Window

from agriseg import load_model
from agriseg.bundled_models import BUNDLED
from agriseg.networks import ARCHITECTURES, plain_name
from benchmarks.common import machine
from benchmarks.peers.bars import bars
from benchmarks.peers.engines import AGRISEG, DEFAULT, ENGINES, EXACT, UNTILED, Engine
from benchmarks.peers.environments import ROOT, EngineError, installed
from benchmarks.peers.network_files import model_file, operations_per_pixel
from benchmarks.peers.peak import natively_bf16
from benchmarks.peers.rasters import classes_of, cut, valid_of
from benchmarks.peers.results import Bench, Row, row, table
from benchmarks.peers.run_process import run_engine, watched
from benchmarks.peers.scores import seam_ratio, unlike_share
from benchmarks.peers.task import Measurement, Task
from benchmarks.peers.trained_network import trained


def window_of(image: Path, size: int) -> Window:
    """The lower right corner."""
    with rasterio.open(image) as dataset:
        side = min(size, dataset.width, dataset.height)
        return Window(dataset.width - side, dataset.height - side, side, side)


def chosen_model(args: argparse.Namespace) -> Path:
    """The model file that all engines run."""
    if plain_name(args.model) in ARCHITECTURES and args.model not in BUNDLED and args.minutes:
        return trained(args.model, args.minutes, args.image, args.out, window_of(args.image, args.size))
    return model_file(args.model, args.out)


def measured_peaks() -> dict[str, float]:
    """Operations per second of matrix products, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.peers.peak"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    peaks: dict[str, float] = json.loads(done.stdout)
    return peaks


class Rounds:
    """The runs of all engines, and why engines failed."""

    def __init__(self, args: argparse.Namespace, engines: list[Engine], model: Path) -> None:
        self.out, self.engines, self.model, self.tile = args.out, engines, model, args.tile
        self.image = cut(args.image, window_of(args.image, args.size), args.out / "window.tif")
        self.runs: dict[str, list[Measurement]] = {engine.name: [] for engine in engines}
        self.failed: dict[str, str] = {}
        self.peaks: dict[str, float] = {}
        self.pythons: dict[str, Path] = {}

    def prepare(self) -> None:
        """Install what the engines need, and export the network."""
        for engine in (*self.engines, UNTILED):
            try:
                self.pythons[engine.name] = installed(engine.environment, self.out / "environments")
            except EngineError as error:
                self.failed[engine.name] = str(error)
        python = installed(AGRISEG, self.out / "environments")
        words = ["-m", "benchmarks.peers.network_files", str(self.model), str(self.out), str(self.tile)]
        watched([str(python), *words], "the export")

    def go(self, seed: int) -> None:
        """One round, in an order of its own."""
        for name, rate in measured_peaks().items():
            self.peaks[name] = max(rate, self.peaks.get(name, 0.0))
        for engine in random.Random(seed).sample(self.engines, len(self.engines)):
            if engine.name not in self.failed:
                self._run(engine)

    def _run(self, engine: Engine) -> None:
        try:
            measured = run_engine(engine, self.pythons[engine.name], self._task(engine))
        except EngineError as error:
            self.failed[engine.name] = str(error)
            print(f"{engine.name}: {error}", file=sys.stderr, flush=True)
            return
        self.runs[engine.name].append(measured)
        print(f"{engine.name}: {measured.seconds:.1f} s", file=sys.stderr, flush=True)

    def _task(self, engine: Engine) -> Task:
        classes, answer = (self.out / f"{engine.key}{suffix}" for suffix in (".tif", ".json"))
        settings = dict(engine.settings)
        return Task(str(self.image), str(self.model), str(self.out), str(classes), str(answer), self.tile, settings)

    def rows(self) -> tuple[Bench, list[Row]]:
        """The table, in the order of the engines."""
        untiled, valid = classes_of(self._task(UNTILED).classes), valid_of(self.image)
        operations = operations_per_pixel(load_model(self.model))
        bench = Bench(valid.size / 1e6, operations, self.peaks)
        rows = []
        for engine in self.engines:
            if engine.name in self.failed:
                rows.append(Row(engine.name, failed=self.failed[engine.name]))
                continue
            classes, runs = classes_of(self._task(engine).classes), self.runs[engine.name]
            unlike, seams = unlike_share(classes, untiled, valid), seam_ratio(classes, runs[0].mapped)
            rows.append(row(engine.name, runs, bench, unlike, seams))
        return bench, rows


def compared(engines: list[Engine], rows: list[Row]) -> str:
    """Agriseg beside its peers, where both have run."""
    found = dict(zip((engine.name for engine in engines), rows, strict=True))
    none = Row("agriseg", failed="left out")
    peers = {least: [found[each.name] for each in engines if each.peer_overlap >= least] for least in (0.01, 0.5)}
    return bars(found.get(DEFAULT.name, none), found.get(EXACT.name, none), peers[0.01], peers[0.5])


def report(args: argparse.Namespace, rounds: Rounds) -> str:
    """Write the figures as JSON; the table with what it was measured on."""
    bench, rows = rounds.rows()
    peaks = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in bench.peaks.items())
    facts = {
        "machine": machine(), "raster": args.image.name, "megapixels": bench.megapixels, "model": args.model,
        "minutes": args.minutes, "tile": args.tile, "rounds": args.rounds, "peaks": dict(bench.peaks),
        "operations_per_pixel": bench.operations_per_pixel, "rows": [asdict(each) for each in rows],
    }  # fmt: skip
    (args.out / f"results_{Path(args.model).stem}.json").write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
    return (
        f"{machine()}; {args.image.name}, {bench.megapixels:.1f} Mpx; {args.model}, "
        f"{bench.operations_per_pixel / 2e3:.0f} Gmac/Mpx; tile {args.tile} px; {args.rounds} rounds; "
        f"10^9 operations per second of a matrix product: {peaks}\n\n{table(rows)}\n\n"
        f"{compared(rounds.engines, rows)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("--model", default="fcn_resnet50", help="file, bundled model, or architecture")
    parser.add_argument("--minutes", type=float, default=10, help="of training of an architecture; 0: random weights")
    parser.add_argument("--size", type=int, default=2048, help="side of the window (px)")
    parser.add_argument("--tile", type=int, default=512, help="side of the tiles of the peers (px)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=[""], metavar="WORD", help="engines with a word in their name")
    parser.add_argument("--out", type=Path, default=Path("build/bench-peers"))
    args = parser.parse_args()
    args.out = args.out.resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    able = [each for each in ENGINES if natively_bf16() or not each.needs_bf16]
    engines = [each for each in able if each is UNTILED or any(word in each.name for word in args.only)]
    rounds = Rounds(args, engines, chosen_model(args))
    rounds.prepare()
    for seed in range(args.rounds):
        rounds.go(seed)
    print(report(args, rounds))


if __name__ == "__main__":
    main()
