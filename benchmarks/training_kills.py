"""Bar: a training killed 20 times at random moments ends with the bytes of one that was left alone.

SIGKILL, in processes of their own, at seeded random moments after the first saved state; then `--resume`.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import machine
from safetensors.torch import load_file
from training import labelled_field

_CONFIG = """
classes = ["dark", "dim", "light"]
arch = "{arch}"
[data]
images = "field.tif"
labels = "labels.tif"
[validation]
block = 128
[recipe]
steps = {steps}
chip = 64
batch = 2
validate_every = 4
"""


def command(folder: Path, out: str) -> list[str]:
    return [sys.executable, "-m", "agriseg", "train", str(folder / "c.toml"), "-o", str(folder / out), "-q", "--resume"]


def ended(folder: Path) -> tuple[bytes, dict[str, bytes], list[dict[str, Any]]]:
    """Bytes of the best model, the tensors to go on from, and the log without its times."""
    tensors = {key: value.numpy().tobytes() for key, value in load_file(folder / "state.safetensors").items()}
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    log = [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
    return (folder / "best.safetensors").read_bytes(), tensors, log


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--arch", default="fcn8s_resnet18")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(machine())
    chance = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        labelled_field(folder, 512)
        (folder / "c.toml").write_text(_CONFIG.format(arch=args.arch, steps=args.steps))
        subprocess.run(command(folder, "straight"), check=True, stdout=subprocess.DEVNULL)
        kills, state = 0, folder / "killed" / "state.safetensors"
        while kills < args.kills:
            before = state.stat().st_mtime_ns if state.exists() else 0
            child = subprocess.Popen(command(folder, "killed"), stdout=subprocess.DEVNULL)
            while child.poll() is None and (not state.exists() or state.stat().st_mtime_ns == before):
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 2))
            child.kill()
            if child.wait() != -signal.SIGKILL:
                raise SystemExit(f"finished after {kills} kills; ask for more --steps")
            kills += 1
        subprocess.run(command(folder, "killed"), check=True, stdout=subprocess.DEVNULL)
        same = [a == b for a, b in zip(ended(folder / "straight"), ended(folder / "killed"), strict=True)]
    for what, equal in zip(("best model", "state", "log"), same, strict=True):
        print(f"{what:10} after {kills} kills: {'same bytes' if equal else 'DIFFERENT'}")
    if not all(same):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
