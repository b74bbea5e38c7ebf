"""Bar: the engine runs a network at 0.95 or more of the speed of a bare loop of forwards.

Both run the same network on the same tile tensors with the same threads and precision, in turn, in this
process. The bare loop only calls the network; the engine also reads, normalises, blends, decides and stores.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from common import field, machine

from agriseg.demo.reference_models import random_network
from agriseg.mapping.checkpoint import RunCheckpoint
from agriseg.mapping.local import run_local
from agriseg.mapping.outputs import ALONE
from agriseg.mapping.prepare import MappingJob, prepare
from agriseg.options.run import RunOptions
from agriseg.storage.base import FolderStorage


def recorded_tiles(prepared: MappingJob) -> list[torch.Tensor]:
    """The very tensors that the engine gives to the network."""
    tensors: list[torch.Tensor] = []
    backend = prepared.backend

    def record(x: torch.Tensor) -> torch.Tensor:
        tensors.append(x.clone(memory_format=torch.preserve_format))
        stride, classes = prepared.model.stride, len(prepared.model.legend)
        return torch.zeros(len(x), classes, x.shape[2] // stride, x.shape[3] // stride)

    recorder = type("Recorder", (), {"device": backend.device, "logits": lambda _s, x: record(x)})()
    run_engine(prepared, recorder, Path(tempfile.mkdtemp()))
    return tensors


def run_bare(prepared: MappingJob, tensors: list[torch.Tensor]) -> float:
    """Seconds of the forwards alone."""
    began = time.perf_counter()
    for x in tensors:
        prepared.backend.logits(x)
    return time.perf_counter() - began


def run_engine(prepared: MappingJob, backend: object, folder: Path) -> float:
    """Seconds from the first read to the last block stored, with all that makes the run go on after a kill."""
    working = folder / "working"
    shutil.rmtree(working, ignore_errors=True)
    working.mkdir()
    archive = RunCheckpoint.create(prepared, FolderStorage(working))
    bands = range(len(archive.bands))
    began = time.perf_counter()
    run_local(replace(prepared, backend=backend), archive, bands, ALONE, lambda _: None)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", default="fcn_resnet50")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--side", type=int, default=1280)
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--rounds", type=int, default=16)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = RunOptions(tile=args.tile, precision=args.precision, batch=args.batch)
        prepared = prepare(field(folder / "field.tif", args.side, args.side), random_network(args.arch), options)
        tensors = recorded_tiles(prepared)
        pixels = sum(len(x) * x.shape[2] * x.shape[3] for x in tensors) / 1e6
        for x in tensors[:2]:
            prepared.backend.logits(x)
        seconds: dict[str, list[float]] = {"bare loop": [], "engine": []}
        turns = {
            "bare loop": lambda: run_bare(prepared, tensors),
            "engine": lambda: run_engine(prepared, prepared.backend, folder),
        }
        for round_ in range(args.rounds):
            for label in sorted(turns, reverse=round_ % 2 == 1):  # who goes first alternates: machines drift
                seconds[label].append(turns[label]())
    print(machine())
    print(
        f"{args.arch} {prepared.backend.precision}, {len(tensors)} batches, {pixels:.1f} Mpx of tiles, tile {args.tile}"
    )
    for label, spent in seconds.items():
        print(
            f"{label:10} {pixels / statistics.median(spent):7.3f} Mpx/s (median of {args.rounds}), "
            f"{pixels / min(spent):.3f} at its fastest"
        )
    bare, engine = seconds.values()
    ratios = sorted(b / e for b, e in zip(bare, engine, strict=True))
    print(
        f"engine / bare: median {statistics.median(ratios):.3f}, {ratios[0]:.3f} to {ratios[-1]:.3f}, "
        f"at their fastest {min(bare) / min(engine):.3f}; bar 0.95"
    )


if __name__ == "__main__":
    main()
