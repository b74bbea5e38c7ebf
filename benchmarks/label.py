"""`agriseg label` as a person uses it, in Chromium: time from a click to the repainted screen, and the map at the end.

    python benchmarks/label.py ../shared/data [--places 10] [--minutes 5] [--seed 0] [--no-masks]
    python benchmarks/label.py ../shared/data --minutes 0 --places 4 --rows 14205     # 100 Mpx; 142046 rows: 1 Gpx

A script goes to places in the columns 0 to 7 of the potato field by the wheel of the mouse, and clicks plants and soil
from the truth with 3 px of jitter. It finishes in what is left of the minutes since the command began. The columns 8 to
10 score the map, beside that of the same network trained as long on full masks of these places. With more rows than the
field has, it is continued by its mirror image. Run it alone.
"""

import argparse
import io
import re
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import rasterio
from common import machine
from file_to_file import mirrored
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from scipy import ndimage

from agriseg.metrics import confusion, iou, mean_iou

CLASSES = ("soil", "potato", "weed")
LABELLED, SIDE = 8 * 640, 640  # columns that may be labelled, and the side of a place (px)
OF_CLASS = 6  # clicks of each class in a place
JITTER = 3.0  # px
SCREEN = {"width": 1600, "height": 900}
SEEN = 8.0  # standard deviation of grey, above which a picture is on the screen
SPARE_S = 20.0  # of the minutes, that Finish leaves for its own start and end

Click = tuple[int, float, float]


@dataclass(frozen=True)
class Seen:
    """Where raster pixels are on the screen: raster = scale * screen + offset, for x and y."""

    scale: NDArray[np.float64]
    offset: NDArray[np.float64]

    def screen(self, x: float, y: float) -> tuple[float, float]:
        found = (np.array([x, y]) - self.offset) / self.scale
        return float(found[0]), float(found[1])


def read_place(page: Page, x: float, y: float) -> NDArray[np.float64] | None:
    """The raster pixel under a place of the screen, as the page tells it; None beside the raster."""
    page.mouse.move(x, y)
    for _ in range(25):
        if found := re.search(r"x (-?[\d ,\u202f]+), y (-?[\d ,\u202f]+)", page.locator("#place").inner_text()):
            return np.array([int(re.sub(r"\D", "", each)) for each in found.groups()], float)
        page.wait_for_timeout(20)
    return None


def seen(page: Page, around: tuple[float, float] | None = None) -> Seen:
    """Where raster pixels are, by two places of the screen: in the middle of the map, or around one on the raster."""
    box = page.locator("#map").bounding_box() or {"x": 0, "y": 0, "width": 0, "height": 0}
    middle = np.array(around or (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2))
    page.wait_for_timeout(200)
    for left, up in ((-40, -40), (0, -40), (-40, 0), (0, 0), (-80, -40), (-80, -80), (0, -80)):  # one lies at an edge
        one = middle + np.array([left, up])
        other = one + 80
        low, high = read_place(page, *one), read_place(page, *other)
        if low is not None and high is not None:
            scale = (high - low) / (other - one)
            return Seen(scale, low + 0.5 - scale * one)
    raise SystemExit("the page does not tell the place of the pointer")


def go_to(page: Page, x: float, y: float) -> Seen:
    """Show the whole field, then zoom in on a place with the wheel until a raster pixel is about a screen pixel."""
    page.keyboard.press("0")
    now = seen(page)
    at = now.screen(x, y)
    page.mouse.move(*at)
    while now.scale[0] > 1.2:
        page.mouse.wheel(0, -120)
        now = seen(page, at)
        at = now.screen(x, y)
        page.mouse.move(*at)
    return now


def clicks(ids: NDArray[np.uint8], rng: np.random.Generator) -> list[Click]:
    """Clicks in a place (h, w), in its pixels, class after class."""
    found = []
    for number in range(len(CLASSES)):
        if number:
            plants, _ = ndimage.label(ids == number, np.ones((3, 3)))
            sizes = np.bincount(plants.ravel())[1:]
            chosen = rng.permutation(np.flatnonzero(sizes >= 40) + 1)[:OF_CLASS]
            spots = [ndimage.distance_transform_edt(plants == each).argmax() for each in chosen]
        else:
            far = np.flatnonzero(~ndimage.binary_dilation(ids > 0, iterations=6))
            spots = rng.choice(far, OF_CLASS, replace=False).tolist()
        for spot in spots:
            row, col = np.unravel_index(spot, ids.shape)
            angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(0, JITTER)
            x, y = col + 0.5 + length * np.cos(angle), row + 0.5 + length * np.sin(angle)
            found.append((number, float(np.clip(x, 1, SIDE - 1)), float(np.clip(y, 1, SIDE - 1))))
    return found


def places(truth: NDArray[np.uint8], count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Row and column of places with plants of each class."""
    found = []
    for row in range(0, truth.shape[0] - SIDE + 1, SIDE):
        for col in range(0, LABELLED, SIDE):
            counts = np.bincount(truth[row : row + SIDE, col : col + SIDE].ravel(), minlength=256)
            if counts[1] > 2000 and counts[2] > 1000:
                found.append((row, col))
    return [found[number] for number in rng.permutation(len(found))[:count]]


def label(page: Page, truth: NDArray[np.uint8], chosen: list[tuple[int, int]], rng: np.random.Generator) -> None:
    """Click at all places."""
    for row, col in chosen:
        now = go_to(page, col + SIDE / 2, row + SIDE / 2)
        for number, x, y in clicks(truth[row : row + SIDE, col : col + SIDE], rng):
            page.keyboard.press(str(number + 1))
            page.mouse.click(*now.screen(col + x, row + y))
        page.wait_for_selector("#saved.saved")


def measure(page: Page, chosen: list[tuple[int, int]]) -> list[float]:
    """Seconds from a click to the repainted screen, twice at each place."""
    waits = []
    for row, col in chosen:
        now = go_to(page, col + SIDE / 2, row + SIDE / 2)
        page.wait_for_timeout(1000)
        waits += [repainted(page, now, row, col, spot, number) for number, spot in enumerate(((300, 20), (20, 300)))]
    return waits


def repainted(page: Page, now: Seen, row: int, col: int, spot: tuple[int, int], number: int) -> float:
    """Seconds from a click to the screen whose map has learnt from it; the click is undone."""
    settle(page)
    head = page.get_attribute("#map", "data-head")
    page.keyboard.press(str(number + 1))
    x, y = now.screen(col + spot[0], row + spot[1])
    began = time.monotonic()
    page.mouse.click(x, y)
    page.wait_for_function("head => document.querySelector('#map').dataset.head !== head", arg=head, timeout=60_000)
    taken = time.monotonic() - began
    page.keyboard.press("Control+z")
    settle(page)
    return taken


def first_sight(page: Page, address: str) -> float:
    """Seconds from the opening of the page to the first picture of the raster on it."""
    began = time.monotonic()
    page.goto(address)
    page.wait_for_selector("#classes button")
    while True:
        pixels = np.asarray(Image.open(io.BytesIO(page.locator("#map").screenshot())).convert("L"), float)
        if pixels[100:-100, 100:-100].std() > SEEN:
            return time.monotonic() - began


def settle(page: Page) -> None:
    """Wait until the map of all that was clicked is on the screen."""
    page.wait_for_function(
        "() => document.querySelector('#learning').textContent === '' && document.querySelector('#map').dataset.head",
        timeout=120_000,
    )
    page.wait_for_timeout(300)


def finish(page: Page, began: float, seconds: float) -> float:
    """Finish in so many seconds, as whole minutes, and wait for the report; returns the time that was given."""
    minutes = max(1, int(seconds // 60))
    page.fill("#minutes", str(minutes))
    page.click("#finish")
    page.wait_for_function(
        "() => !document.querySelector('#job').hidden && document.querySelector('#running').hidden", timeout=3_600_000
    )
    if not page.is_visible("#report"):
        raise SystemExit(page.locator("#job-text").inner_text())
    taken = time.monotonic() - began
    print(f"  the report is there after {taken:.0f} s, of which Finish {60 * minutes} s were given", flush=True)
    return 60.0 * minutes


def scores(classes: Path, truth: NDArray[np.uint8]) -> str:
    with rasterio.open(classes) as source:
        matrix = confusion(truth[:, LABELLED:], source.read(1)[:, LABELLED:], len(CLASSES))
    return (
        f"mIoU {mean_iou(matrix):.3f} ({', '.join(f'{n} {v:.3f}' for n, v in zip(CLASSES, iou(matrix), strict=True))})"
    )


def full_masks(field: Path, truth: Path, chosen: list[tuple[int, int]], seconds: float, folder: Path) -> Path:
    """The map of a network that is trained on the full masks of the places for the same time."""
    masked = folder / "masks.tif"
    with rasterio.open(truth) as source:
        ids, profile = source.read(1), source.profile
    kept = np.full_like(ids, 255)
    for row, col in chosen:
        place = np.s_[row : row + SIDE, col : col + SIDE]
        kept[place] = ids[place]
    with rasterio.open(masked, "w", **(profile | {"nodata": 255})) as target:
        target.write(kept, 1)
    command = [sys.executable, "-m", "agriseg", "quickstart", field, masked, "--classes", ",".join(CLASSES)]
    subprocess.run([*command, "--time", f"{seconds:.0f}s", "-o", folder / "masks", "-q"], check=True, stdout=-3)
    return folder / "masks" / f"{field.stem}_classes.tif"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--places", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=5.0, help="0: no Finish")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=0, help="of the raster at least; default: its own")
    parser.add_argument("--masks", action=argparse.BooleanOptionalAction, default=True)
    asked = parser.parse_args()
    field = asked.data / "potato_weed_uav/field/field_cols00-10.tif"
    truth_path = field.with_name("field_cols00-10_labels.tif")
    with rasterio.open(truth_path) as source:
        truth = source.read(1)
    rng = np.random.default_rng(asked.seed)
    chosen = places(truth, asked.places, rng)
    print(f"{machine()}; {asked.places} places, {asked.minutes:g} minutes, seed {asked.seed}", flush=True)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        field = mirrored(field, asked.rows, folder)
        with rasterio.open(field) as source:
            print(f"  {source.width * source.height / 1e6:.0f} Mpx", flush=True)
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport=SCREEN, locale="en-GB", reduced_motion="reduce")
        began = time.monotonic()
        command = [
            sys.executable,
            "-m",
            "agriseg",
            "label",
            field,
            "--classes",
            ",".join(CLASSES),
            "-o",
            folder / "out",
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process, ExitStack() as stack:
            stack.callback(process.terminate)
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            print(f"  the address is there after {time.monotonic() - began:.1f} s", flush=True)
            print(f"  first sight of the raster {first_sight(page, address):.1f} s after that", flush=True)
            label(page, truth, chosen, rng)
            clicked = time.monotonic() - began
            print(f"  clicked after {clicked:.0f} s", flush=True)
            left = finish(page, began, 60 * asked.minutes - clicked - SPARE_S) if asked.minutes else 0.0
            middle, late = np.percentile(waits := measure(page, chosen), (50, 95))
            print(f"  from a click to the repainted screen: median {middle:.2f} s, 95 % {late:.2f} s of {len(waits)}")
            print(f"  {page.locator('#score').inner_text()}; {page.locator('#known').inner_text()} mapped")
            print(f"  memory of the server {psutil.Process(process.pid).memory_info().rss / 1e9:.2f} GB", flush=True)
        browser.close()
        if not asked.minutes:
            return
        print(f"  clicks: {scores(folder / 'out/result' / f'{field.stem}_classes.tif', truth)}", flush=True)
        if asked.masks:
            print(f"  masks:  {scores(full_masks(field, truth_path, chosen, left, folder), truth)}", flush=True)


if __name__ == "__main__":
    main()
