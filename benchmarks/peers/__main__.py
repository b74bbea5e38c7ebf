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
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import rasterio
from rasterio.windows import Window

from agriseg.bundled_models import BUNDLED
from agriseg.networks import ARCHITECTURES, plain_name
from benchmarks.common import machine
from benchmarks.peers.bars import bars
from benchmarks.peers.engines import DEFAULT, ENGINES, EXACT, UNTILED, Engine
from benchmarks.peers.environments import EngineError
from benchmarks.peers.network_files import model_file
from benchmarks.peers.peak import natively_bf16
from benchmarks.peers.rasters import cut
from benchmarks.peers.results import Row, table
from benchmarks.peers.rounds import Inputs, Rounds
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


def compared(engines: Sequence[Engine], rows: Sequence[Row]) -> str:
    """Agriseg beside its peers, where both have run."""
    found = dict(zip((engine.name for engine in engines), rows, strict=True))
    none = Row("agriseg", failed="left out")
    peers = {least: [found[each.name] for each in engines if each.peer_overlap >= least] for least in (0.01, 0.5)}
    return bars(found.get(DEFAULT.name, none), found.get(EXACT.name, none), peers[0.01], peers[0.5])


def report(args: argparse.Namespace, rounds: Rounds) -> str:
    """Write the figures of the rounds so far as JSON; their table, with what it was measured on."""
    common, rows = rounds.rows()
    peaks = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in common.peaks.items())
    facts = {
        "machine": machine(), "raster": args.image.name, "megapixels": common.megapixels, "model": args.model,
        "minutes": args.minutes, "tile": args.tile, "rounds": rounds.done, "peaks": dict(common.peaks),
        "operations_per_pixel": common.operations_per_pixel, "rows": [asdict(each) for each in rows],
    }  # fmt: skip
    (args.out / f"results_{Path(args.model).stem}.json").write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
    return (
        f"{machine()}; {args.image.name}, {common.megapixels:.1f} Mpx; {args.model}, "
        f"{common.operations_per_pixel / 2e3:.0f} Gmac/Mpx; tile {args.tile} px; rounds: {rounds.done}; "
        f"10^9 operations per second of a matrix product: {peaks}\n\n{table(rows)}\n\n"
        f"{compared(rounds.engines, rows)}"
    )


def bench(args: argparse.Namespace) -> str:
    """The table of all rounds.

    Raises:
        EngineError: the network could not be trained, or the untiled run failed.
    """
    able = [each for each in ENGINES if natively_bf16() or not each.needs_bf16]
    engines = [each for each in able if each is UNTILED or any(word in each.name for word in args.only)]
    image = cut(args.image, window_of(args.image, args.size), args.out / "window.tif")
    rounds = Rounds(Inputs(image, chosen_model(args), args.out, args.tile), engines)
    rounds.prepare()
    text = ""
    for _ in range(args.rounds):
        rounds.go()
        text = report(args, rounds)
    return text


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
    try:
        print(bench(args))
    except EngineError as error:
        raise SystemExit(f"bench-peers: {error}") from error


if __name__ == "__main__":
    main()
