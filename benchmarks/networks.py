"""Every network on real labels with the same budget: what it scores, how fast it maps, what it takes.

    python benchmarks/networks.py examples/potato_weed.toml
    python benchmarks/networks.py --draw docs/networks.png

Each training is a process of its own, from random weights with the configuration's recipe but for its length and a
learning rate that suits deep networks too; each map is made by another, of a synthetic raster, in bf16 where the
processor has it. Where the configuration's network is over means of pixels (/2), so are all. What is done already in
the folder is not done again. The second command prints the table and draws the trade-off.
"""

import argparse
import json
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

from common import field, machine
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator
from memory import peak_bytes, resident_bytes

from agriseg import TrainConfig, TrainOptions, load_model, segment, train
from agriseg.networks import ARCHITECTURES, architecture, plain_name
from agriseg.training.progress import Progress, StepDone

_SIDE = 2048  # of the raster that is mapped (px)
_RATE = 1e-3


def trained(config: Path, arch: str, minutes: float, folder: Path) -> dict[str, Any]:
    """Train one network; its scores and costs."""
    tables = tomllib.loads(config.read_text("utf-8"))
    recipe = {**tables["recipe"], "minutes": minutes, "steps": None, "validate_every": 10**6, "lr": _RATE}
    chosen = TrainConfig.of({**tables, "arch": arch, "recipe": recipe}, config.parent)
    reports: list[Progress] = []
    done = train(chosen, folder, TrainOptions("cpu", report=reports.append))
    steps = max(each.step for each in reports if isinstance(each, StepDone))
    return {
        "steps": steps, "train_mb": peak_bytes() / 1e6, "file_mb": done.model.stat().st_size / 1e6,
        "miou": done.evaluation.miou, "iou": done.evaluation.iou,
    }  # fmt: skip


def over_means(config: Path, arch: str) -> str:
    """The network over means of as many pixels as the configuration's own."""
    own = tomllib.loads(config.read_text("utf-8")).get("arch", "")
    return arch + own.removeprefix(plain_name(own))


def mapped(model: Path, image: Path, folder: Path) -> dict[str, Any]:
    """Map a raster twice, the first time to warm up; speed, and memory above the program and the weights."""
    loaded = load_model(model)
    before = resident_bytes()
    for turn in range(2):
        began = time.perf_counter()
        segment(image, loaded, folder / str(turn), device="cpu")
        seconds = time.perf_counter() - began
    return {"mpx_per_s": _SIDE**2 / 1e6 / seconds, "map_mb": (peak_bytes() - before) / 1e6}


def measure(config: Path, arch: str, minutes: float, out: Path) -> None:
    """Both, in processes of their own; kept in `out`."""
    folder = out / config.stem / arch
    result = folder / "result.json"
    if result.exists():
        return
    image = out / "synthetic.tif"
    if not image.exists():
        field(image, _SIDE, _SIDE)
    network = over_means(config, arch)
    found = {"set": config.stem, "network": network, "minutes": minutes, "machine": machine()}
    for step in (
        ["--train", str(config), network, str(minutes), str(folder / "run")],
        ["--map", str(folder / "run" / "best.safetensors"), str(image), str(folder / "map")],
    ):
        done = subprocess.run([sys.executable, __file__, *step], stdout=subprocess.PIPE, text=True, check=True)
        found |= json.loads(done.stdout.splitlines()[-1])
    result.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found))


def table(results: list[dict[str, Any]]) -> str:
    """Markdown, the rarest class first among the IoU."""
    names = list(results[0]["iou"])
    head = ["network", "parameters", "file", "steps", "mIoU", *names, "Mpx/s", "memory to train", "to map"]
    lines = [head, ["---"] * len(head)]
    for each in sorted(results, key=lambda result: -result["miou"]):
        scores = [f"{each['iou'][name] or 0:.3f}" for name in names]
        lines.append([
            f"`{each['network']}`", f"{architecture(each['network']).parameters / 1e6:.1f} M",
            f"{each['file_mb']:.0f} MB", str(each["steps"]), f"{each['miou']:.3f}", *scores,
            f"{each['mpx_per_s']:.2f}", f"{each['train_mb'] / 1e3:.1f} GB", f"{each['map_mb'] / 1e3:.2f} GB",
        ])  # fmt: skip
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw(sets: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Speed against score, a panel a set."""
    figure = Figure(figsize=(6 * len(sets), 5.5), layout="constrained")
    panels = figure.subplots(1, len(sets), squeeze=False)[0]
    for axes, (name, results) in zip(panels, sets.items(), strict=True):
        for rank, each in enumerate(sorted(results, key=lambda result: -result["miou"]), 1):
            point = each["mpx_per_s"], each["miou"]
            axes.plot(*point, "o", color="#1a9850", markersize=13, label=f"{rank}  {each['network']}")
            axes.annotate(str(rank), point, color="white", ha="center", va="center", fontsize="small", weight="bold")
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.12), "ncols": 3, "frameon": False}
        axes.legend(handlelength=0, handletextpad=0, markerscale=0, fontsize="small", **below)
        axes.set(xscale="log", xlabel="Mpx/s on this machine", ylabel="mIoU of what was held back")
        axes.set_title(f"{name}, {results[0]['minutes']:g} minutes each")
        axes.grid(color="#d9d9d9", linewidth=0.5)
        axes.margins(x=0.25)
        axes.xaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter=FormatStrFormatter("%g"))
        axes.xaxis.set_minor_locator(NullLocator())
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", type=Path)
    parser.add_argument("--minutes", type=float, default=2.5)
    parser.add_argument("--arch", nargs="+", default=[name for name in ARCHITECTURES if name != "fcn_small"])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("networks"))
    parser.add_argument("--draw", type=Path, metavar="PNG")
    parser.add_argument("--train", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--map", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.train:
        config, arch, minutes, folder = args.train
        print(json.dumps(trained(Path(config), arch, float(minutes), Path(folder))))
        return
    if args.map:
        print(json.dumps(mapped(*map(Path, args.map))))
        return
    args.out.mkdir(parents=True, exist_ok=True)
    if args.config:
        for arch in args.arch:
            measure(args.config, arch, args.minutes, args.out)
    sets: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(args.out.glob("*/*/result.json")):
        result = json.loads(path.read_text())
        sets.setdefault(result["set"], []).append(result)
    for name, results in sets.items():
        print(f"\n{name}, {results[0]['minutes']:g} minutes each, {results[0]['machine']}\n\n{table(results)}")
    if args.draw:
        draw(sets, args.draw)


if __name__ == "__main__":
    main()
