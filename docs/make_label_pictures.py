"""Take the pictures of `docs/label.md`: the states of the page of `agriseg label`.

    python docs/make_label_pictures.py

Labels examples/polygon_field, by a point in each of its outlined plants and points of soil, in Debian's Chromium.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import numpy as np
import pyogrio
import rasterio
import shapely
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from rasterio.warp import transform as warp

ROOT = Path(__file__).parents[1]
FIELD = ROOT / "examples" / "polygon_field"
CLASSES = ("soil", "potato", "weed")
_SCREEN = {"width": 1280, "height": 800}
_COLOURS = 128  # of the indexed PNG
_SOIL = 24  # points
_LABELLED = 900  # rows with labels, of 1,280


def labels() -> list[dict[str, object]]:
    """A point in each plant, and points of soil away from all of them, as the page sends them."""
    with rasterio.open(FIELD / "field.tif") as source:
        to_pixel, crs, (height, width) = ~source.transform, source.crs, source.shape
    _, _, shapes, columns = pyogrio.raw.read(FIELD / "plants.geojson", columns=["class"])

    def in_pixels(lonlat: np.ndarray) -> np.ndarray:
        return np.stack(to_pixel @ np.array(warp("EPSG:4326", crs, *lonlat.T)), 1)

    plants = shapely.transform(shapely.from_wkb(shapes), in_pixels)
    found = [(str(name), shapely.point_on_surface(plant)) for name, plant in zip(columns[0], plants, strict=True)]
    around, rng = shapely.union_all(plants).buffer(12), np.random.default_rng(0)
    while sum(name == CLASSES[0] for name, _ in found) < _SOIL:
        point = shapely.Point(rng.uniform(0, width), rng.uniform(0, height))
        if not around.contains(point):
            found.append((CLASSES[0], point))
    return [
        {"id": f"l{number}", "kind": "point", "class": name, "xy": [[point.x, point.y]]}
        for number, (name, point) in enumerate(found)
        if name in CLASSES and point.y < _LABELLED
    ]


def send(address: str, path: str, values: object) -> None:
    """A request of the page."""
    origin = "/".join(address.split("/")[:3])
    headers = {"Content-Type": "application/json", "Origin": origin}
    with urllib.request.urlopen(urllib.request.Request(address + path, json.dumps(values).encode(), headers)) as answer:  # noqa: S310
        answer.read()


def take(page: Page, name: str) -> None:
    """A picture of the page as it is."""
    path = ROOT / "docs" / f"label_{name}.png"
    page.wait_for_timeout(700)
    page.screenshot(path=path)
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(_COLOURS).save(path, optimize=True)


def states(page: Page, address: str) -> None:
    """Go through the states of the page."""
    take(page, "start")
    with urllib.request.urlopen(address + "state") as answer:  # noqa: S310
        version = json.load(answer)["version"]
    send(address, "labels", {"version": version, "add": labels(), "remove": []})
    page.wait_for_selector("#map[data-head]", timeout=120_000)
    page.wait_for_function("() => !/not counted/.test(document.querySelector('#score').textContent)", timeout=120_000)
    take(page, "map")
    page.keyboard.press("n")
    page.wait_for_function("() => document.querySelector('#why').textContent !== ''", timeout=60_000)
    take(page, "next")
    page.click("[data-lang=zh]")
    take(page, "zh")
    page.click("[data-lang=en]")
    page.fill("#minutes", "3")
    page.click("#finish")
    page.wait_for_function(
        "() => !document.querySelector('#job').hidden && document.querySelector('#running').hidden", timeout=600_000
    )
    page.keyboard.press("0")
    take(page, "finished")


def main() -> None:
    """Start the command, and take the pictures."""
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        options = ["--classes", ",".join(CLASSES), "-o", str(Path(name) / "labels")]
        command = [sys.executable, "-m", "agriseg", "label", str(FIELD / "field.tif"), *options]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
            try:
                address = next(iter(process.stdout or ())).strip()
                browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
                page = browser.new_page(viewport=_SCREEN, locale="en-GB", reduced_motion="reduce")
                page.goto(address)
                page.wait_for_selector("#classes button")
                states(page, address)
                browser.close()
            finally:
                process.terminate()


if __name__ == "__main__":
    main()
