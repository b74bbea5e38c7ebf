"""SHA-256 of every file that fixed commands write: what a change of structure must leave as it is.

    python benchmarks/outputs.py before.txt            # write the sums
    python benchmarks/outputs.py after.txt before.txt  # after the change: name the files that differ

Times, versions of packages and the folder are masked in text files. The sums hold for one machine: networks answer
differently on another processor.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import rasterio
from common import field

TILES = ("--tile", "256", "--precision", "fp32", "--cpu-threads", "1")
LAYERS = (
    "--affected", "weed=1,potato=10%", "--ground", "soil", "--fields", "fields.geojson", "--plots", "fields.geojson",
    "--plot-buffer", "-0.1m", "--mmu", "0.02m2", "--smooth", "0.1m", "--simplify", "0.05m", "--cell", "3m", "--zones",
    "3", "--width", "4m", "--heading", "20", "--scout", "3", "--format", "geojson", "--format", "fgb", "--format",
    "parquet",
)  # fmt: skip
COMMANDS: dict[str, tuple[str, ...]] = {
    "blend_exact": ("run", "a.tif", "--blend", "exact", "--gsd", "native", *TILES[2:], "--tile", "480"),
    "blend_smooth": ("run", "a.tif", "--blend", "smooth", "--gsd", "native", *TILES),
    "blend_fast": ("run", "a.tif", "--blend", "fast", "--gsd", "native", *TILES),
    "window": ("run", "a.tif", "--window", "100,150,400,333", "--gsd", "native", *TILES),
    "gsd": ("run", "a.tif", "--gsd", "13cm", *TILES),
    "probabilities": ("run", "a.tif", "--probabilities", "--gsd", "native", "--zarr", "--stac", *TILES),
    "workers": ("run", "a.tif", "--workers", "2", "--gsd", "native", *TILES),
    "later": ("run", "later/a.tif", "--gsd", "native", *TILES),
    "layers": ("layers", "blend_smooth", *LAYERS),
    "report": ("report", "gsd", "--lang", "zh", "--previous", "later"),
    "index": ("index", "a.tif", "--index", "gli,exg,vari"),
    "change": ("change", "blend_exact", "later"),
    "batch": ("batch", "flights", "--settle", "0s", "--gsd", "native", "--limit", "distance=90:99", *TILES),
    "train": ("train", "train.toml", "--device", "cpu"),
}  # fmt: skip
"""Each writes into the folder of its name; `layers` and `report` beside the map."""
MASKS = (
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|\+00:00| UTC)?", "TIME"),
    (r'(\\?)"(seconds|prepare|map|publish|peak_memory_bytes|file:size)\1": ?[0-9.e+-]+', r'"\2": 0'),
    (r'(\\?)"(run|run_id)\1": ?\1"[0-9a-f]+\1"', r'"\2": "KEY"'),
    (r"\}\} +", "}}"),  # padding of a header
    (r"<dt>(Seconds|秒数?)</dt><dd>\d+</dd>".encode().decode("latin-1"), "SECONDS"),
    (r",(green|amber|red),\d+\.\d+,", r",\1,MINUTES,"),  # summary.csv
    (r"\[(\d+), \d{19}, ", r"[\1, TIME, "),  # stamps in the ledger
    (r'"[^"]*/agriseg/data/', '"PACKAGE/'),
)
"""Times, and keys that depend on the times of files."""


def inputs(folder: Path) -> None:
    """Rasters, boundaries, labels and a configuration."""
    field(folder / "a.tif", 600, 700, empty=0.1)
    (folder / "later").mkdir()
    with rasterio.open(folder / "a.tif") as source:
        pixels, profile = source.read(), source.profile
    changed = np.roll(pixels, 7, axis=2)
    changed[:, 200:300, 200:300] = 77
    with rasterio.open(folder / "later" / "a.tif", "w", **profile) as target:
        target.write(changed)
    (folder / "flights").mkdir()
    for number, side in enumerate((300, 420, 256)):
        field(folder / "flights" / f"{number}.tif", side, 310)
    with rasterio.open(folder / "labels.tif", "w", **{**profile, "count": 1, "nodata": 255}) as target:
        target.write((pixels.mean(0) // 86).astype(np.uint8), 1)
    left, top = profile["transform"].c, profile["transform"].f
    squares = []
    for k in range(2):
        corners = ((k * 30, 1), (k * 30 + 28, 1), (k * 30 + 20, 50), (k * 30, 40), (k * 30, 1))
        ring = [[left + x, top - y] for x, y in corners]
        shape = {"type": "Polygon", "coordinates": [ring]}
        squares.append({"type": "Feature", "properties": {"name": f"f{k}"}, "geometry": shape})
    crs = {"type": "name", "properties": {"name": "EPSG:32632"}}
    (folder / "fields.geojson").write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": squares}))
    (folder / "train.toml").write_text(
        'classes = ["soil", "crop", "weed"]\narch = "unet_small"\n'
        '[data]\nimages = "a.tif"\nlabels = "labels.tif"\n'
        "[validation]\nblock = 128\nbuffer = 8\n"
        "[recipe]\nsteps = 20\nchip = 64\nbatch = 4\nvalidate_every = 10\n"
    )


def plain(path: Path, folder: Path) -> bytes:
    """The bytes of a file without times and places."""
    if path.suffix in (".gpkg", ".sqlite"):
        with sqlite3.connect(path) as database:
            text = "\n".join(database.iterdump())
    else:
        text = path.read_bytes().decode("latin-1")
    text = text.replace(str(folder), "FOLDER")
    for pattern, mask in MASKS:
        text = re.sub(pattern, mask, text)
    return text.encode("latin-1", "replace")


def sums(folder: Path) -> dict[str, str]:
    """Of every file that the commands write."""
    inputs(folder)
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name, words in COMMANDS.items():
        out = [] if words[0] in ("layers", "report") else ["-o", name]
        done = subprocess.run(
            [sys.executable, "-m", "agriseg", *words, *out, "-q"], cwd=folder, env=env, check=False, capture_output=True
        )
        (folder / f"{name}.said").write_bytes(b"%d\n" % done.returncode + done.stdout + done.stderr)
        print(f"{name}: exit code {done.returncode} {done.stderr.decode()[:200]}", file=sys.stderr)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    records = {hashlib.sha256(path.read_bytes()).hexdigest(): path.name for path in paths if path.suffix == ".json"}
    found = {}
    for path in paths:
        data = plain(path, folder)
        for value, name in records.items():  # records hold times, so what vouches for them by their sums differs
            data = data.replace(value.encode(), f"SUM OF {name}".encode())
        found[str(path.relative_to(folder))] = hashlib.sha256(data).hexdigest()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sums", type=Path, help="gets a line for each file")
    parser.add_argument("before", type=Path, nargs="?", help="sums to compare with")
    parser.add_argument("--keep", type=Path, help="a new folder for the outputs")
    asked = parser.parse_args()
    folder = asked.keep or Path(tempfile.mkdtemp())
    folder.mkdir(exist_ok=True)
    got = sums(folder.resolve())
    if not asked.keep:
        shutil.rmtree(folder)
    asked.sums.write_text("".join(f"{value}  {name}\n" for name, value in got.items()))
    if asked.before:
        lines = (line.split("  ", 1) for line in asked.before.read_text().splitlines())
        before = {name: value for value, name in lines}
        differ = sorted(name for name in before | got if before.get(name) != got.get(name))
        for name in differ:
            print("gone" if name not in got else "new" if name not in before else "differs", name)
        print(f"{len(got)} files, {len(differ)} differ")
        sys.exit(bool(differ))


if __name__ == "__main__":
    main()
