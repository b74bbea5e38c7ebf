"""Take the pictures of the report that the tutorial shows, in both languages.

    python docs/make_screenshots.py

Maps examples/polygon_field with the bundled model, makes its layers and its report, and opens it in Debian's Chromium.
"""

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from agriseg.cli import main

ROOT = Path(__file__).parents[1]
FIELD = ROOT / "examples" / "polygon_field"
_WIDTH, _HEIGHT = 1200, 1180  # px
_SHOWN = 900  # px across of the picture in the page
_COLOURS = 96  # of the indexed PNG, a fifth of a full one


def agriseg(*words: str) -> None:
    """Run a command."""
    with suppress(SystemExit):
        main(list(words))


def take(lang: str, folder: Path) -> None:
    """The upper part of the report in a language."""
    agriseg("report", str(folder), "--lang", lang, "-q")
    path = ROOT / "docs" / f"report_{lang}.png"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": _WIDTH, "height": _HEIGHT})
        page.goto((folder / "field_report.html").as_uri())
        page.wait_for_selector("html.ready")
        page.screenshot(path=path)
        browser.close()
    with Image.open(path) as picture:
        small = picture.convert("RGB").resize((_SHOWN, round(_SHOWN * picture.height / picture.width)))
        small.quantize(_COLOURS).save(path, optimize=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        maps = Path(name) / "maps"
        agriseg("run", str(FIELD / "field.tif"), "-o", str(maps), "-q")
        agriseg("layers", str(maps), "--affected", "weed", "--fields", str(FIELD / "strips.geojson"), "-q")
        for language in ("en", "zh"):
            take(language, maps)
