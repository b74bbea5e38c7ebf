"""Bars: what makes a map safe costs at most 5 % of a run with FCN-8s on ResNet-18, and at most 1 s of a small one.

The same runs, whole ones, with and without: answers kept for the next run, journal and checksums, flushes, and
reading every pixel and overview back. The parts are taken out here; agriseg has no switch for them.
"""

import argparse
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import torch
from common import field, machine

from agriseg import files, segment
from agriseg.demo.reference_models import random_network
from agriseg.mapping import checkpoint
from agriseg.mapping import run as jobs
from agriseg.raster import cog
from agriseg.storage.logits_cache import LogitsCache
from agriseg.storage.progress_log import ProgressLog


def bare() -> ExitStack:
    """Around a run that keeps nothing, flushes nothing and reads nothing back."""
    stack = ExitStack()
    for where, name, instead in (
        (LogitsCache, "keep", lambda *_: None), (LogitsCache, "begin", lambda *_: None),
        (ProgressLog, "add", lambda *_: None), (checkpoint, "_checksum", lambda _: ""),
        (files, "_flush", lambda _: None), (cog, "_verify", lambda *_: 0), (cog, "_check_layout", lambda _: None),
        (jobs, "_publish", lambda store, layer, folder, _: cog.write_cog(
            store.layer(layer.name), layer, folder, torch.get_num_threads())[0]),
    ):  # fmt: skip
        stack.enter_context(patch.object(where, name, instead))
    return stack


def compare(image: Path, arch: str, tile: int, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of each round with and without; who goes first alternates, since machines drift."""
    model, seconds = random_network(arch), {"safe": [], "bare": []}
    for round_ in range(-1, rounds):
        for label in sorted(seconds, reverse=round_ % 2 == 1):
            with bare() if label == "bare" else ExitStack():
                began = time.perf_counter()
                segment(image, model, image.with_suffix(""), tile=tile, overwrite=True)
            if round_ >= 0:
                seconds[label].append(time.perf_counter() - began)
    return seconds["safe"], seconds["bare"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="fcn8s_resnet18")
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        large = field(Path(name) / "large.tif", args.side, args.side)
        small = field(Path(name) / "small.tif", 512, 512)
        safe, plain = compare(large, args.arch, 512, args.rounds)
        small_safe, small_plain = compare(small, args.arch, 256, 2 * args.rounds)
    ratios = sorted(s / p for s, p in zip(safe, plain, strict=True))
    more = sorted(s - p for s, p in zip(small_safe, small_plain, strict=True))
    print(machine())
    print(
        f"{args.arch}, {args.side} px a side, {statistics.median(safe):.1f} s: safe / bare: "
        f"median {statistics.median(ratios):.3f}, {ratios[0]:.3f} to {ratios[-1]:.3f}; bar 1.05"
    )
    print(f"512 px a side: {statistics.median(more):.2f} s more, {more[0]:.2f} to {more[-1]:.2f}; bar 1")


if __name__ == "__main__":
    main()
