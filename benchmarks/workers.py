"""What worker processes cost, and what they bring.

Bars: they take at most 1.10 of the CPU time of threads on one large raster; two of them map at least 1.8 times the
rasters an hour that one does, each with one thread for the network; and neither planning nor scheduling knows how many
tiles a raster has.

Whole commands are measured, their start included; for rasters an hour also what comes between the first raster that is
done and the last, which is what a long night has. CPU time is that of a command and all its children.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import psutil
import rasterio
from common import field, machine

from agriseg.demo.reference_models import random_network


def agriseg(*args: object) -> tuple[float, float, dict[str, float]]:
    """Run a command; returns seconds on the clock, seconds of CPU, and megabytes of itself and its largest child."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "agriseg", *map(str, args)], stdout=subprocess.DEVNULL)
    peaks: dict[str, float] = {"command": 0.0, "worker": 0.0}
    watcher = threading.Thread(target=_watch, args=(child, peaks))
    watcher.start()
    if child.wait():
        raise SystemExit(f"agriseg {' '.join(map(str, args))} ended with {child.returncode}")
    seconds = time.perf_counter() - began
    watcher.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, peaks


def _watch(child: "subprocess.Popen[bytes]", peaks: dict[str, float]) -> None:
    """Largest resident sets, looked at four times a second."""
    while child.poll() is None:
        try:
            command = psutil.Process(child.pid)
            peaks["command"] = max(peaks["command"], command.memory_info().rss / 1e6)
            for worker in command.children(recursive=True):
                peaks["worker"] = max(peaks["worker"], worker.memory_info().rss / 1e6)
        except psutil.Error:
            pass
        time.sleep(0.25)


def cost(folder: Path, side: int, rounds: int) -> None:
    """CPU time of one large raster: threads, one worker, two workers; who goes first alternates."""
    image, model = field(folder / "large.tif", side, side), folder / "fcn8s.safetensors"
    random_network("fcn8s_resnet18").save(model)
    found: dict[int, list[tuple[float, float]]] = {0: [], 1: [], 2: []}
    for round_ in range(rounds):
        for workers in sorted(found, reverse=round_ % 2 == 1):
            flags = ["-m", model, "-o", folder / "out", "--overwrite", "-q", "--cpu-threads", 1, "--workers", workers]
            found[workers].append(agriseg("run", image, *flags)[:2])
    for workers, each in found.items():
        ratios = [cpu / alone for (_, cpu), (_, alone) in zip(each, found[0], strict=True)]
        name = f"{workers} workers" if workers else "threads"
        print(f"{side} px, {name:>9}: {np.median([clock for clock, _ in each]):.0f} s on the clock, "
              f"{np.median([cpu for _, cpu in each]):.0f} s of CPU, {np.median(ratios):.3f} of the threads' "
              f"({', '.join(f'{ratio:.3f}' for ratio in ratios)})")  # fmt: skip


def night(folder: Path, count: int, side: int, rounds: int) -> None:
    """Rasters an hour with one worker and with two."""
    flights, model = folder / "flights", folder / "fcn8s.safetensors"
    flights.mkdir()
    random_network("fcn8s_resnet18").save(model)
    first = field(flights / "field0.tif", side, side)
    for number in range(1, count):
        os.link(first, flights / f"field{number}.tif")
    hours: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    for round_ in range(rounds):
        for workers in sorted(hours, reverse=round_ % 2 == 1):
            out = folder / f"night{workers}_{round_}"
            flags = ["-m", model, "-o", out, "-q", "--settle", "0s", "--cpu-threads", 1, "--workers", workers]
            whole = agriseg("batch", flights, *flags)[0]
            hours[workers].append((3600 * (count - 1) / _under_way(out), 3600 * count / whole))
    for what, place in (("under way", 0), ("with start and end", 1)):
        one, two = (np.array([each[place] for each in hours[workers]]) for workers in (1, 2))
        ratios = two / one
        print(
            f"{count} rasters of {side} px, {what}: {np.median(one):.0f} an hour with one worker, "
            f"{np.median(two):.0f} with two: {np.median(ratios):.2f} times "
            f"({', '.join(f'{ratio:.2f}' for ratio in ratios)})"
        )


def _under_way(out: Path) -> float:
    """Seconds between the first raster that was done in a night and the last."""
    events = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    done = [datetime.fromisoformat(event["ts"]) for event in events if event["event"] == "done"]
    return (max(done) - min(done)).total_seconds()


def tiles(folder: Path) -> None:
    """Memory and time per tile of 10,000 and of 100,000, with a network of two small convolutions."""
    model = folder / "small.safetensors"
    random_network("fcn_small").save(model)
    for workers in (0, 2):
        for rows in (100, 1000):
            image = striped(folder / f"{rows}.tif", 64 * rows, 6400)
            flags = ["-m", model, "--tile", 64, "--overlap", 0, "-q", "--overwrite", "--workers", workers]
            seconds, cpu, peaks = agriseg("run", image, "-o", folder / "out", *flags)
            each = 1000 * cpu / rows / 100
            print(f"{100 * rows:>7,} tiles, {workers} workers: {seconds:.0f} s, {each:.2f} ms of CPU a tile, at most "
                  f"{peaks['command']:.0f} MB in the command, {peaks['worker']:.0f} MB in a worker")  # fmt: skip


def striped(path: Path, height: int, width: int) -> Path:
    """A raster that packs to little."""
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 3, "height": height, "width": width, "tiled": True,
               "blockysize": 64, "blockxsize": 6400, "compress": "deflate", "crs": "EPSG:32632",
               "transform": rasterio.Affine(0.1, 0, 5e5, 0, -0.1, 5e6)}  # fmt: skip
    rows = np.broadcast_to(np.linspace(1, 255, width).astype(np.uint8), (3, 64, width))
    with rasterio.open(path, "w", **profile) as dataset:
        for top in range(0, height, 64):
            dataset.write(rows, window=rasterio.windows.Window(0, top, width, 64))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["cost", "night", "tiles"])
    parser.add_argument("--side", type=int, default=12288)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    print(machine())
    parts: dict[str, Callable[[Path], None]] = {
        "cost": lambda folder: cost(folder, args.side, args.rounds),
        "night": lambda folder: night(folder, 24, 2048, args.rounds),
        "tiles": tiles,
    }
    for name, part in parts.items():
        if args.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                part(Path(folder))


if __name__ == "__main__":
    main()
