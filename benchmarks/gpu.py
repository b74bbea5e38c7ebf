"""Bars on a GPU: file to file at 0.85 or more of the network alone; the network at 0.55 or more of the GEMM rate.

    python benchmarks/gpu.py                                               # six minutes at most, one NVIDIA GPU
    python benchmarks/gpu.py --device cpu --arch fcn_small --side 1024     # tries the command itself, without a GPU

The matrix product and the network alone need torch and torchvision, nothing else and no network access. The run from
file to file needs what agriseg needs; packages that are not there are named, and that part is left out. A run is made
under torch's profiler too, which counts how often the processor waited for the device: once per tile is too often.
"""

import argparse
import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # a clone that is not installed

_NEEDED = ("rasterio", "dask", "distributed", "safetensors", "pydantic", "scipy", "zarr", "click")
_WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
_PRODUCT, _TILE, _BATCH = 8192, 512, 8
_SECONDS = 5.0  # of the network alone


def finished(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rate(work: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Calls per second, over so many seconds, after one to warm up."""
    work()
    finished(device)
    began, calls = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        work()
        finished(device)
        calls += 1
    return calls / (time.perf_counter() - began)


def product_rate(device: torch.device, precision: torch.dtype, side: int) -> float:
    """Operations per second of a matrix product; a multiplication and its addition are two."""
    one, other = torch.rand(2, side, side, device=device, dtype=torch.float32).to(precision)
    return 2 * side**3 * rate(lambda: one @ other, device, 2.0)


def network_rate(arch: str, device: torch.device, precision: torch.dtype, batch: int) -> float:
    """Input pixels per second of the network alone, on tiles that lie on the device."""
    from agriseg.networks import architecture

    network = architecture(arch).build(3, 4).eval().to(device).to(memory_format=torch.channels_last)
    x = torch.rand(batch, 3, _TILE, _TILE, device=device).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), torch.autocast(device.type, precision, enabled=precision != torch.float32):
        return batch * _TILE**2 * rate(lambda: network(x), device, _SECONDS)


def missing() -> list[str]:
    """Packages that a run needs and that are not installed."""
    return [name for name in _NEEDED if importlib.util.find_spec(name) is None]


def waits(names: Iterable[str]) -> int:
    """How many events of a profile are waits for the device."""
    return sum(name in _WAITS for name in names)


def profiled(segment: Callable[[], int]) -> str:
    """How often a run waits for the device; `segment` gives its tiles. The first run warms up."""
    segment()
    with torch.profiler.profile() as profile:
        tiles = segment()
    counted = waits(event.name for event in profile.events())
    return f"waits for the device: {counted} for {tiles} tiles, {counted / tiles:.2f} per tile"


def file_to_file(args: argparse.Namespace, alone: float) -> str:
    """A run with all that belongs to it, beside the network alone (pixels per second)."""
    from common import field

    from agriseg import segment
    from agriseg.demo.reference_models import random_network

    options = {"gsd": "native", "device": args.device, "precision": args.precision, "tile": _TILE, "overwrite": True}
    model = random_network(args.arch)
    with tempfile.TemporaryDirectory() as folder:
        small = field(Path(folder) / "small.tif", 4 * _TILE, 4 * _TILE)
        counted = profiled(lambda: segment(small, model, folder, **options).tiles)
        image = field(Path(folder) / "field.tif", args.side, args.side)
        began = time.perf_counter()
        tiles = segment(image, model, folder, **options).tiles
        seconds = time.perf_counter() - began
    share = tiles * _TILE**2 / seconds / alone
    speed = f"{args.side**2 / 1e6 / seconds:.2f} Mpx/s of the raster, {tiles} tiles in {seconds:.1f} s"
    return f"{counted}\nfile to file: {speed}; {share:.2f} of the network alone (bar 0.85)"


def measure(args: argparse.Namespace, device: torch.device) -> None:
    """Print each figure as soon as it is there."""
    on_gpu = device.type == "cuda"
    precision = torch.bfloat16 if args.precision == "bf16" else torch.float32
    name = torch.cuda.get_device_name(device) if on_gpu else "the processor, which stands in for a GPU: no bar holds"
    print(f"{name}, torch {torch.__version__}, {args.arch}, {args.precision}", flush=True)
    product = product_rate(device, precision, _PRODUCT if on_gpu else 1024)
    print(f"matrix product: {product / 1e12:.2f} * 10^12 operations per second", flush=True)
    if importlib.util.find_spec("torchvision") is None:
        print("the network needs torchvision, which is not installed; the rest is left out")
        return
    from agriseg.networks import architecture

    alone = network_rate(args.arch, device, precision, _BATCH if on_gpu else 1)
    share = 2 * architecture(args.arch).multiply_adds * alone / product
    print(f"network alone: {alone / 1e6:.2f} Mpx/s, {share:.2f} of the matrix product (bar 0.55)", flush=True)
    if missing():
        print(f"file to file needs {', '.join(missing())}, which are not installed; left out")
        return
    print(file_to_file(args, alone))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="fcn_resnet50")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--side", type=int, default=16384, help="of the raster (px); 32768 is 1 Gpx, with its writing")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        print(f"no GPU: torch {torch.__version__} finds no CUDA device here. Nothing was measured.")
        return
    measure(args, torch.device(args.device))


if __name__ == "__main__":
    main()
