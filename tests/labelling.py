"""A field, `agriseg label` on it as a process of its own, and its page in Chromium."""

import io
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import rasterio
from conftest import write_raster
from PIL import Image
from playwright.sync_api import Browser, Page, expect

CLASSES = ("soil", "crop", "weed")
WIDTH, HEIGHT, RADIUS = 1000, 800, 12
GROUND, PADDING = rasterio.Affine(0.01, 0, 500_000, 0, -0.01, 5_400_000), 24


def plants() -> list[tuple[int, int, str]]:
    """Centres x and y of the plants of the field, and what they are."""
    rng = np.random.default_rng(11)
    xs, ys = np.meshgrid(np.arange(60, WIDTH - 40, 90), np.arange(60, HEIGHT - 40, 90))
    kinds = rng.choice(CLASSES[1:], xs.size)
    return [
        (int(x), int(y), str(kind))
        for x, y, kind in zip(
            xs.ravel() + rng.integers(-8, 9, xs.size), ys.ravel() + rng.integers(-8, 9, xs.size), kinds, strict=True
        )
    ]


def write_field(path: Path) -> Path:
    """Dark green and light green discs on brown ground."""
    rng = np.random.default_rng(12)
    pixels = np.array([130, 100, 75], np.int64)[:, None, None] + rng.integers(-12, 13, (3, HEIGHT, WIDTH))
    rows, cols = np.mgrid[:HEIGHT, :WIDTH]
    for x, y, kind in plants():
        disc = (cols - x) ** 2 + (rows - y) ** 2 <= RADIUS**2
        colour = (30, 110, 40) if kind == "crop" else (120, 190, 60)
        pixels[:, disc] = np.array(colour)[:, None] + rng.integers(-10, 11, (3, int(disc.sum())))
    return write_raster(path, pixels.clip(0, 255).astype(np.uint8), transform=GROUND)


@dataclass(frozen=True)
class Served:
    """A server that runs: its address, and the folder of its labels."""

    process: subprocess.Popen[str]
    address: str
    folder: Path

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.address + path) as answer:
            return json.load(answer)

    def post(self, path: str, body: object) -> Any:
        origin = "/".join(self.address.split("/")[:3])
        headers = {"Content-Type": "application/json", "Origin": origin}
        asked = urllib.request.Request(self.address + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(asked) as answer:
            return json.load(answer)

    @property
    def labels(self) -> list[tuple[str, str | None, list[list[float]]]]:
        """Kind, class and corners of each, as the server has them."""
        return [(each["kind"], each["class"], each["xy"]) for each in self.get("state")["labels"]]

    def cleared(self) -> Self:
        """Without labels."""
        state = self.get("state")
        remove = [each["id"] for each in state["labels"]]
        if remove:
            self.post("labels", {"version": state["version"], "add": [], "remove": remove})
        return self

    def until_it_answers(self) -> None:
        """The address is printed a moment before."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                self.get("state")
                return
            except urllib.error.URLError:
                assert self.process.poll() is None
        raise AssertionError("no answer")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def served(image: Path, folder: Path) -> Iterator[Served]:
    """`agriseg label` until the block ends."""
    command = [sys.executable, "-m", "agriseg", "label", image, "--classes", ",".join(CLASSES), "-o", folder]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            server = Served(process, process.stdout.readline().strip(), folder)
            server.until_it_answers()
            yield server
        finally:
            process.terminate()


@contextmanager
def labelling(browser: Browser, server: Served, **context: Any) -> Iterator[tuple[Page, list[str]]]:
    """The page, and what went wrong with it so far: requests elsewhere, errors, what its policy stopped."""
    wrong: list[str] = []
    around = browser.new_context(
        **{"viewport": {"width": 1200, "height": 800}, "locale": "en-GB", "reduced_motion": "reduce", **context}
    )
    page = around.new_page()
    own = (server.address, "data:", "blob:" + "/".join(server.address.split("/")[:3]))
    page.on("request", lambda request: None if request.url.startswith(own) else wrong.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if "Content Security" in message.text else None)
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(server.address)
    expect(page.locator("#classes button")).not_to_have_count(0)
    yield page, wrong
    around.close()


def scale(page: Page) -> float:
    """Screen pixels a raster pixel when the whole field is shown."""
    box = page.locator("#map").bounding_box()
    assert box is not None
    return min((box["width"] - 2 * PADDING) / WIDTH, (box["height"] - 2 * PADDING) / HEIGHT)


def on_screen(page: Page, x: float, y: float) -> tuple[float, float]:
    """Where a place of the raster is while the whole field is shown."""
    box, size = page.locator("#map").bounding_box(), scale(page)
    assert box is not None
    return (
        box["x"] + box["width"] / 2 + (x - WIDTH / 2) * size,
        box["y"] + box["height"] / 2 + (y - HEIGHT / 2) * size,
    )


def click(page: Page, x: float, y: float) -> None:
    page.mouse.click(*on_screen(page, x, y))


def drag(page: Page, *places: tuple[float, float]) -> None:
    """Press at the first place of the raster, go along the others, and let go."""
    page.mouse.move(*on_screen(page, *places[0]))
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*on_screen(page, *place), steps=12)
    page.mouse.up()


def until_saved(page: Page) -> None:
    expect(page.locator("#saved")).to_have_class("saved")


def until(page: Page, true: Callable[[], bool], seconds: float = 60) -> None:
    """Look again and again until something is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it does not become true"
        page.wait_for_timeout(50)


def picture(page: Page) -> np.ndarray:
    """(H, W, 3) int, what is on the screen."""
    with Image.open(io.BytesIO(page.screenshot())) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def greenness(pixels: np.ndarray) -> np.ndarray:
    """Twice green less red and blue."""
    return np.asarray(2 * pixels[..., 1] - pixels[..., 0] - pixels[..., 2])
