"""Bars: a run takes no longer than 1 / 0.95 of its network alone, and less than an older commit.

    python benchmarks/file_to_file.py field.tif --rows 9300 --clones ../before .

Each clone maps the raster in a process of its own, in turn, from the file to the published files. Before and after,
the process runs the network alone on tiles drawn from the same plan, and counts that time for as many tiles as the run
took. Processor seconds are those of all threads: on a machine that others use they say more than the wall clock. A
raster with fewer rows than asked for is continued by its mirror image.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SAMPLE = 12  # tiles of the network alone, before the run and after it


def seconds() -> tuple[float, float]:
    """Wall clock, and processor seconds of all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), used.ru_utime + used.ru_stime


def measure(args: argparse.Namespace) -> None:
    """Map the raster with the agriseg of this process; prints a line of JSON."""
    import numpy as np
    import torch

    from agriseg.demo.reference_models import random_network
    from agriseg.inference import malloc
    from agriseg.mapping.outputs import Outputs
    from agriseg.mapping.prepare import prepare
    from agriseg.mapping.run import run
    from agriseg.model import load_model
    from agriseg.options.run import RunOptions
    from agriseg.raster.reader import Reader

    getattr(malloc, "set_up_heap", malloc.release_heap)()  # as a run does, for the network alone too
    model = random_network(args.arch) if args.arch else load_model(args.model)
    options = RunOptions(precision="fp32", gsd="native", device="cpu", tile=args.tile, overlap=args.overlap)
    job = prepare(args.image, model, options)
    tiles = list(job.plan.grid)
    drawn = [tiles[i] for i in np.random.default_rng(0).choice(len(tiles), min(SAMPLE, len(tiles)), replace=False)]
    batches = []
    with Reader(job.model_input.source) as reader:
        for tile in drawn:
            inside = job.plan.grid.without_padding(tile)
            strip = reader.read(inside)
            x = torch.zeros(1, len(model.bands), tile.window.height, tile.window.width)
            x = x.contiguous(memory_format=torch.channels_last)
            pixels, valid = torch.from_numpy(strip.pixels), torch.from_numpy(strip.valid)
            x[0, :, : inside.height, : inside.width] = job.model.normalization(pixels, valid)
            batches.append(x)

    def network() -> list[float]:
        job.backend.logits(batches[0])
        began = seconds()
        for x in batches:
            job.backend.logits(x)
        return [(one - two) / len(batches) for one, two in zip(seconds(), began, strict=True)]

    before = network()
    with tempfile.TemporaryDirectory() as folder:
        began = seconds()
        report = run(job, Outputs(Path(folder), "map", False, True))
        spent = [one - two for one, two in zip(seconds(), began, strict=True)]
    alone = [report.tiles * (one + two) / 2 for one, two in zip(before, network(), strict=True)]
    print(json.dumps({"run": spent, "alone": alone, "mpx": report.pixels.total / 1e6, "tiles": report.tiles}))


def mirrored(image: Path, rows: int, folder: Path) -> Path:
    """The raster and its mirror image below each other, up to a number of rows; stored in the same way."""
    import rasterio
    from rasterio.windows import Window

    with rasterio.open(image) as source:
        if rows <= source.height:
            return image
        with rasterio.open(folder / image.name, "w", **{**source.profile, "height": rows}) as made:
            for top in range(0, rows, 512):
                high = min(512, rows - top)
                there = (row % (2 * source.height) for row in range(top, top + high))
                lines = [row if row < source.height else 2 * source.height - 1 - row for row in there]
                first = min(lines)
                block = source.read(window=Window(0, first, source.width, max(lines) - first + 1))
                made.write(block[:, [line - first for line in lines]], window=Window(0, top, source.width, high))
    return folder / image.name


def compare(args: argparse.Namespace) -> None:
    """Run the clones in turn, and print the ratios."""
    found: dict[str, list[dict[str, list[float]]]] = {str(clone): [] for clone in args.clones}
    with tempfile.TemporaryDirectory() as folder:
        image = mirrored(args.image, args.rows, Path(folder))
        passed = [
            f"--{name}={value}" for name in ("arch", "model", "tile", "overlap") if (value := getattr(args, name))
        ]
        for _ in range(args.rounds):
            for clone in args.clones:
                command = [sys.executable, __file__, str(image), "--measure", *passed]
                environment = {**os.environ, "PYTHONPATH": str(clone), "OMP_WAIT_POLICY": "PASSIVE"}
                done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
                found[str(clone)].append(json.loads(done.stdout.splitlines()[-1]))
    print(f"{args.arch or args.model}, fp32, {found[str(args.clones[0])][0]['mpx']:.1f} Mpx")
    medians = {}
    for clone, rounds in found.items():
        for place, kind in enumerate(("wall clock", "processor")):
            run, alone = (statistics.median(each[name][place] for each in rounds) for name in ("run", "alone"))
            medians[clone, kind] = run
            print(
                f"{clone}: {kind:10} {run:8.1f} s file to file, {rounds[0]['mpx'] / run:.3f} Mpx/s; network alone "
                f"{alone:8.1f} s for {rounds[0]['tiles']} tiles; network / run {alone / run:.3f} (bar 0.95)"
            )
    old, new = str(args.clones[0]), str(args.clones[-1])
    for kind in ("wall clock", "processor"):
        print(f"{kind}: {old} / {new} = {medians[old, kind] / medians[new, kind]:.2f} (bar 2.5)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("--clones", type=Path, nargs="+", default=[Path(__file__).parents[1]], help="the oldest first")
    parser.add_argument("--model", default="potato-weed")
    parser.add_argument("--arch", help="random weights instead of a model")
    parser.add_argument("--rows", type=int, default=0, help="of the raster at least; default: its own")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--tile", type=int)
    parser.add_argument("--overlap", type=int)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    (measure if args.measure else compare)(args)


if __name__ == "__main__":
    main()
