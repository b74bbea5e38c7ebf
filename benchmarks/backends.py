"""Runtimes side by side: Mpx/s file to file and of the network alone, seconds to start, labels unlike torch in fp32.

    python benchmarks/backends.py field.tif --window 1000,1000,2048,2048 --models potato-weed vegetation
    python benchmarks/backends.py field.tif --int8 --models potato-weed vegetation

The runtimes take turns in one process, and the table has medians. A name of `agriseg model list` is a network with
random weights. With `--int8` the table compares int8, calibrated on the raster, with fp32 of the same runtime on tiles
of the raster: processor seconds, which other programs disturb less. Labels are of ONNX Runtime, on tiles held back.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
import torch
from common import machine

from agriseg import SegmentationModel, load_model, segment, units
from agriseg.backends.choose_backend import choose_backend
from agriseg.bundled_models import BUNDLED
from agriseg.demo.reference_models import random_network
from agriseg.model_export.export import export_model
from agriseg.model_export.image_tiles import ImageTile, spread_tiles
from agriseg.model_export.quantize import Int8Request
from agriseg.networks.network_input import downsampling_factor
from agriseg.options.run import RunOptions

BACKENDS = ("torch", "onnxruntime", "openvino")


def mapped(image: Path, model: SegmentationModel, window: str, backend: str, folder: Path) -> tuple[float, np.ndarray]:
    """Seconds from the file to the published map, and its classes."""
    began = time.perf_counter()
    options = {"backend": backend, "precision": "fp32", "gsd": "native", "window": window, "overwrite": True}
    report = segment(image, model, folder / backend, **options)
    seconds = time.perf_counter() - began
    with rasterio.open(report.classes) as dataset:
        return seconds, dataset.read(1)


def network_alone(model: SegmentationModel, rounds: int) -> dict[str, tuple[float, float]]:
    """Mpx/s of one tile after the other, and seconds until a backend stands, by runtime."""
    side = -(-512 * downsampling_factor(model.network) // model.step) * model.step
    x = torch.rand(1, len(model.bands), side, side).contiguous(memory_format=torch.channels_last)
    backends, starts = {}, {}
    for name in BACKENDS:
        began = time.perf_counter()
        backends[name] = choose_backend(model, RunOptions(backend=name, precision="fp32", device="cpu"))
        backends[name].logits(x)
        starts[name] = time.perf_counter() - began
    seconds: dict[str, list[float]] = {name: [] for name in BACKENDS}
    for _ in range(3 * rounds):
        for name, backend in backends.items():
            began = time.perf_counter()
            backend.logits(x)
            seconds[name].append(time.perf_counter() - began)
    return {name: (side**2 / 1e6 / statistics.median(seconds[name]), starts[name]) for name in BACKENDS}


def int8_table(image: Path, names: list[str], rounds: int) -> None:
    """Print what int8 takes and changes."""
    print("| model | runtime | fp32 (processor s per Mpx) | int8 | times as fast | labels as torch fp32 |")
    print("|---|---|---|---|---|---|")
    for name in names:
        model = load_model(name) if name in BUNDLED else random_network(name)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "int8.onnx"
            options = RunOptions(gsd="native")
            made = export_model(model, "onnx", path, None, None, Int8Request((image,), options, force=True))
            kinds = {"fp32": model, "int8": load_model(path)}
            seconds = processor_seconds(kinds, spread_tiles(model, [image], options, 512, 8), rounds)
        for runtime in BACKENDS[1:]:
            before, after = (seconds[kind, runtime] for kind in kinds)
            equal = made.int8.equal if made.int8 else 1
            print(
                f"| {name} | {runtime} | {before:.3f} | {after:.3f} | {before / after:.2f} | {equal:.3%} |", flush=True
            )


def processor_seconds(
    kinds: dict[str, SegmentationModel], tiles: list[ImageTile], rounds: int
) -> dict[tuple[str, str], float]:
    """Processor seconds per Mpx of the network, by kind of the model and runtime."""
    backends = {
        (kind, runtime): choose_backend(model, RunOptions(backend=runtime, precision="fp32", device="cpu"))
        for kind, model in kinds.items()
        for runtime in BACKENDS[1:]
    }
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in backends}
    for number in range(rounds + 1):
        for tile in tiles[: None if number else 1]:  # the first one warms up
            for key, backend in backends.items():
                began = time.process_time()
                backend.logits(torch.from_numpy(tile.pixels))
                seconds[key].append(time.process_time() - began)
    return {key: statistics.median(each[1:]) / (tiles[0].valid.size / 1e6) for key, each in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("--window", default="0,0,2048,2048", metavar="COL,ROW,WIDTH,HEIGHT")
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--models", nargs="+", default=["potato-weed", "vegetation"])
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    if args.int8:
        print(f"{machine()}; {args.image.name}\n")
        int8_table(args.image, args.models, args.rounds)
        return
    window = units.window(args.window)
    megapixels = window.width * window.height / 1e6
    print(f"{machine()}; {args.image.name}, {megapixels:.1f} Mpx\n")
    print("| model | runtime | network alone (Mpx/s) | file to file (Mpx/s) | start (s) | labels unlike torch fp32 |")
    print("|---|---|---|---|---|---|")
    for name in args.models:
        model = load_model(name) if name in BUNDLED else random_network(name)
        alone = network_alone(model, args.rounds)
        with tempfile.TemporaryDirectory() as folder:
            runs: dict[str, list[float]] = {backend: [] for backend in BACKENDS}
            classes = {}
            for _ in range(args.rounds):
                for backend in BACKENDS:
                    seconds, classes[backend] = mapped(args.image, model, args.window, backend, Path(folder))
                    runs[backend].append(seconds)
        for backend in BACKENDS:
            unlike = np.mean(classes[backend] != classes["torch"])
            speed, start = alone[backend]
            whole = megapixels / statistics.median(runs[backend])
            print(f"| {name} | {backend} | {speed:.2f} | {whole:.2f} | {start:.1f} | {unlike:.4%} |", flush=True)


if __name__ == "__main__":
    main()
