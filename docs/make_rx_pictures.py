"""Draw the pictures of docs/rx.md: the sheet and the curve of a prescription for the potato field, in Chromium.

python docs/make_rx_pictures.py ../shared/data
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent / "benchmarks"))

from rx_curve import placed  # noqa: E402

FLAGS = [
    "--spot", "weed", "--rate", "200", "--unit", "l/ha", "--cell", "0.5m", "--min-area", "0cm2", "--doubtful", "treat",
    "--machine", "isoxml", "--max-missed", "5%", "--product", "Product",
]  # fmt: skip


def agriseg(*words: object) -> None:
    """Run a command."""
    subprocess.run([sys.executable, "-m", "agriseg", *map(str, words)], check=True)  # noqa: S603  (words of this file)


def main() -> None:
    """Map the columns 8 to 10, make the prescription, and take the pictures."""
    field = Path(sys.argv[1]) / "potato_weed_uav" / "field"
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        image, labels = (placed(field / f"field_cols00-10{end}.tif", folder) for end in ("", "_labels"))
        maps, out = folder / "maps", folder / "rx"
        agriseg("run", image, "-m", "potato-weed", "--probabilities", "-o", maps)
        agriseg("rx", maps, *FLAGS, "--validation", maps, labels, "-o", out)
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 820, "height": 1160})
        page.goto((out / f"{image.stem}_sheet.html").as_uri())
        page.screenshot(path=DOCS / "rx_sheet.png", full_page=True)
        page.goto((out / f"{image.stem}_rx_report.html").as_uri())
        page.locator("svg.misses").screenshot(path=DOCS / "rx_curve.png")
        browser.close()


if __name__ == "__main__":
    main()
