"""The report: in a real browser, as text, and against the map that it shows."""

import html.parser
import io
import json
import re
from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from browser import opened
from conftest import blocks, read, write_raster
from maps import finished
from PIL import Image
from playwright.sync_api import Browser, Page
from rasterio.warp import transform as warp

from agriseg import Legend, SegmentationModel, segment
from agriseg.analysis.build import make_layers
from agriseg.cli import main
from agriseg.errors import InputMissing, OutputError, UsageError
from agriseg.export.exports import check_exports
from agriseg.figures.quicklook import quicklook_size
from agriseg.options.exports import ExportOptions
from agriseg.options.layers import LayerOptions
from agriseg.reports.map_figure import MapPicture, pattern
from agriseg.reports.report import write_report
from agriseg.reports.translations import Translator, catalogue

ROOT = Path(__file__).parents[1]
HOSTILE = ("<img src=x onerror=alert(1)>", '"><script>alert(2)</script>', "javascript:alert(3)")


def fields(folder: Path) -> Path:
    """Two fields side by side over a raster of 0.1 m pixels at the UTM corner of the tests."""

    def square(name: str, left: float) -> dict[str, Any]:
        x, y = [left, left + 15, left + 15, left, left], [0, 0, -28, -28, 0]
        ring = np.stack(
            warp("EPSG:32632", "OGC:CRS84", [500_000 + v for v in x], [5_400_000 + v for v in y]), 1
        ).tolist()
        return {"type": "Feature", "properties": {"name": name}, "geometry": {"type": "Polygon", "coordinates": [ring]}}

    path = folder / "fields.geojson"
    path.write_text(
        json.dumps({"type": "FeatureCollection", "features": [square("north", 0.5), square("a-south", 16)]})
    )
    return path


@pytest.fixture(scope="module")
def run(oracle: SegmentationModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Record of a map of four classes with layers: fields, zones, places to walk to."""
    folder = tmp_path_factory.mktemp("report")
    pixels = blocks(300, 340, side=9, low=1)
    pixels[:, :20, :30] = 0
    image = write_raster(folder / "north_2026-05-01.tif", pixels, nodata=0)
    record = segment(image, oracle, folder / "maps").record
    names = oracle.legend.names
    make_layers(record, LayerOptions.of(affected=names[2], zones=2, fields=fields(folder)))
    write_report(record)
    return record


def page_of(record: Path) -> Path:
    return record.with_name(record.name.replace("_run.json", "_report.html"))


def mask_of(record: Path) -> np.ndarray:
    stem = record.name.removesuffix("_run.json")
    clean = record.with_name(f"{stem}_clean.tif")
    return read(clean if clean.exists() else record.with_name(f"{stem}_classes.tif"))[0]


def at(page: Page, across: float, down: float) -> None:
    """Move the mouse to a place of the map, by shares of its width and height."""
    box = page.evaluate(
        """([x, y]) => { const m = document.querySelector('svg.sheet').getScreenCTM(), d = JSON.parse(document.querySelector('#data').textContent);
        const p = new DOMPoint(x * d.width, y * d.height).matrixTransform(m); return [p.x, p.y] }""",
        [across, down],
    )  # fmt: skip
    page.mouse.move(*box)


# in a browser


def test_it_opens_from_a_file_and_asks_for_nothing(browser: Browser, run: Path) -> None:
    with opened(browser, page_of(run)) as (page, wrong):
        page.wait_for_selector("html.ready")
        for label in page.locator("label.toggle").all():
            label.click()
        page.locator(".zoom button").first.click()
        assert wrong == []


def test_a_page_that_asks_for_something_is_found(browser: Browser, run: Path, tmp_path: Path) -> None:
    """The check can fail: the policy stops a script and a picture that are not the page's, and both are told."""
    text = (
        page_of(run)
        .read_text()
        .replace("</body>", '<script>alert(1)</script><img src="http://127.0.0.1:9/x.png"></body>')
    )
    (tmp_path / "spoilt.html").write_text(text)
    with opened(browser, tmp_path / "spoilt.html") as (page, wrong):
        page.wait_for_selector("html.ready")
        assert sum("Content Security Policy" in text for text in wrong) >= 2


def test_the_map_is_the_mask(browser: Browser, run: Path) -> None:
    """At 20 places what is told under the cursor is what the file has: class, pixel, both coordinates."""
    mask, names = mask_of(run), json.loads(run.read_text())["classes"]
    with rasterio.open(run.with_name(run.name.replace("run.json", "classes.tif"))) as dataset:
        transform = dataset.transform
    rng = np.random.default_rng(3)
    with opened(browser, page_of(run), viewport={"width": 1300, "height": 1400}) as (page, wrong):
        page.wait_for_selector("html.ready")
        page.locator("svg.sheet").scroll_into_view_if_needed()
        seen = set()
        for _ in range(20):
            row, col = int(rng.integers(mask.shape[0])), int(rng.integers(mask.shape[1]))
            at(page, (col + 0.5) / mask.shape[1], (row + 0.5) / mask.shape[0])
            told = page.locator(".readout").inner_text()
            name = "no data" if mask[row, col] == 255 else names[mask[row, col]]["name"]
            seen.add(name)
            assert told.startswith(f"{name} · ")
            assert told.endswith(f"column {col}, row {row}")
            x, y = transform @ (col + 0.5, row + 0.5)
            lon, lat = (each[0] for each in warp("EPSG:32632", "OGC:CRS84", [x], [y]))
            found = re.search(r"([\d.]+), ([\d.]+) · EPSG:32632 ([\d.]+), ([\d.]+)", told)
            assert found
            np.testing.assert_allclose([float(each) for each in found.groups()[:2]], [lat, lon], atol=1e-6)
            np.testing.assert_allclose([float(each) for each in found.groups()[2:]], [x, y], atol=0.06)
        assert len(seen) >= 4
        assert wrong == []


def test_its_pixels_have_the_legends_colours(browser: Browser, run: Path) -> None:
    """Fully opaque and without patterns, a screenshot of the map shows the mask."""
    mask = mask_of(run)
    with rasterio.open(run.with_name(run.name.replace("run.json", "classes.tif"))) as dataset:
        colours = np.array([dataset.colormap(1)[k][:3] for k in range(256)])
    with opened(browser, page_of(run), viewport={"width": 1300, "height": 1400}) as (page, _):
        page.wait_for_selector("html.ready")
        for name in ("lines", "doubt", "fields", "pins"):
            page.locator(f"#{name}").uncheck()
        page.locator("#opacity").fill("100")
        sheet = page.locator("svg.sheet")
        pixels = np.array(Image.open(io.BytesIO(sheet.screenshot())).convert("RGB"))
        height, width = pixels.shape[:2]
        scale = min(width / mask.shape[1], height / mask.shape[0])
        left, top = (width - scale * mask.shape[1]) / 2, (height - scale * mask.shape[0]) / 2
        rows, cols = np.meshgrid(np.arange(45, 250, 5), np.arange(40, 280, 5), indexing="ij")
        shown = pixels[(top + (rows + 0.5) * scale).astype(int), (left + (cols + 0.5) * scale).astype(int)]
        known = mask[rows, cols] != 255
        assert known.sum() > 1000
        assert (shown == colours[mask[rows, cols]]).all(-1)[known].mean() > 0.99  # edges fall between screen pixels
        name = json.loads(run.read_text())["classes"][0]["name"]
        page.locator("#t0").uncheck()
        assert page.locator(".c0").is_hidden(), name
        assert page.locator(".c1").is_visible()


def test_opacity_zoom_and_pan(browser: Browser, run: Path) -> None:
    with opened(browser, page_of(run)) as (page, _):
        page.wait_for_selector("html.ready")
        page.locator("#opacity").fill("20")
        assert page.locator(".classes").get_attribute("opacity") == "0.2"
        view = lambda: [float(each) for each in page.locator("svg.sheet").get_attribute("viewBox").split()]  # noqa: E731
        bar = lambda: page.locator(".bar span").inner_text()  # noqa: E731
        whole, length = view(), bar()
        page.locator("[data-do=in]").click()
        near = view()
        assert near[2] == pytest.approx(0.6 * whole[2])
        assert near[2] / near[3] == pytest.approx(whole[2] / whole[3])
        for _ in range(3):
            page.locator("[data-do=in]").click()
        assert bar() != length
        page.locator("svg.sheet").focus()
        before = view()
        page.keyboard.press("ArrowRight")
        assert view()[0] > before[0]
        page.keyboard.press("0")
        assert view() == whole
        page.locator("ol.walk button").first.click()
        x, y, w, h = view()
        pin = page.locator(".pin").first
        assert x <= float(pin.get_attribute("data-x")) <= x + w
        assert y <= float(pin.get_attribute("data-y")) <= y + h


def test_tables_sort(browser: Browser, run: Path) -> None:
    with opened(browser, page_of(run)) as (page, _):
        page.wait_for_selector("html.ready")
        table = page.locator("section", has=page.get_by_role("heading", name="Fields")).locator("table")

        def column(k):
            return [row.locator("td").nth(k).get_attribute("data-value") for row in table.locator("tbody tr").all()]

        table.get_by_role("button", name="Field").click()
        assert column(0) == ["a-south", "north"]
        table.get_by_role("button", name="Field").click()
        assert column(0) == ["north", "a-south"]
        table.get_by_role("button", name="Affected").click()
        areas = [float(each) for each in column(2)]
        assert areas == sorted(areas)


def test_pins_stand_where_the_places_are(browser: Browser, run: Path) -> None:
    layers = json.loads(run.with_name(run.name.replace("_run", "_layers")).read_text())
    with opened(browser, page_of(run), viewport={"width": 1300, "height": 1400}) as (page, _):
        page.wait_for_selector("html.ready")
        data = json.loads(page.locator("#data").inner_text())
        assert page.locator(".pin").count() == len(layers["scout"]) > 1
        for point, pin in zip(layers["scout"], page.locator(".pin").all(), strict=True):
            at(
                page,
                float(pin.get_attribute("data-x")) / data["width"],
                float(pin.get_attribute("data-y")) / data["height"],
            )
            told = page.locator(".readout").inner_text()
            assert told.startswith(point["class"])
            lat, lon = re.search(r"([\d.]+), ([\d.]+)", told).groups()
            assert (float(lat), float(lon)) == pytest.approx((point["lat"], point["lon"]), abs=2e-6)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_on_a_phone_nothing_runs_off_the_page(browser: Browser, run: Path, lang: str, tmp_path: Path) -> None:
    write_report(run, lang)
    try:
        with opened(browser, page_of(run), viewport={"width": 360, "height": 740}) as (page, wrong):
            page.wait_for_selector("html.ready")
            assert page.evaluate("document.documentElement.scrollWidth") <= 360
            assert page.locator("svg.sheet").bounding_box()["width"] > 250
            smallest = page.evaluate(
                "Math.min(...[...document.querySelectorAll('p, td, li, small, span')].map(e => parseFloat(getComputedStyle(e).fontSize)))"
            )
            assert smallest >= 11
            assert wrong == []
            assert page.locator("html").get_attribute("lang") == {"en": "en", "zh": "zh-Hans"}[lang]
    finally:
        write_report(run)


def test_it_prints(browser: Browser, run: Path) -> None:
    """On A4, all of it, with the map in colour."""
    with opened(browser, page_of(run)) as (page, _):
        page.wait_for_selector("html.ready")
        data = page.pdf(prefer_css_page_size=True)
        assert data.startswith(b"%PDF")
        assert re.search(rb"/MediaBox \[0 0 59\d(\.\d+)? 84\d(\.\d+)?\]", data)
        assert 2 <= len(re.findall(rb"/Type /Page\b", data)) <= 6
        page.emulate_media(media="print")
        assert page.locator(".zoom").is_hidden()
        assert page.locator("svg.sheet").is_visible()


def test_without_scripts_the_map_and_its_classes_are_there(browser: Browser, run: Path) -> None:
    with opened(browser, page_of(run), java_script_enabled=False) as (page, wrong):
        assert page.locator("svg.sheet").bounding_box()["height"] > 300
        assert page.locator("svg.sheet .ruler text").is_visible()
        assert page.locator("#opacity").is_hidden()
        page.locator("#t1").uncheck()
        assert page.locator(".c1").is_hidden()
        assert wrong == []


@pytest.mark.fault("X10")
def test_names_that_are_scripts_do_nothing(browser: Browser, tmp_path: Path) -> None:
    """In class names, file, model, CRS, warnings and fields: nothing runs, and the names read as they are."""
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 3, (60, 80)).astype(np.uint8)
    record = {
        "warnings": [HOSTILE[0]], "model": {"name": HOSTILE[1], "architecture": HOSTILE[0], "fingerprint": HOSTILE[2]},
        "input": {"path": f"/x/{HOSTILE[1]}.tif", "crs": HOSTILE[0], "width": 80, "height": 60, "bands": 3, "dtype": HOSTILE[1]},
        "verdict": {"colour": "red", "reasons": [HOSTILE[1]]}, "versions": {HOSTILE[0]: HOSTILE[1]},
        "finished": "2026-05-01T00:00:00+00:00", "parameters": {"bands": {HOSTILE[0]: 1}},
    }  # fmt: skip
    map_ = finished(tmp_path, mask, names=HOSTILE, stem="<img src=x onerror=alert(4)>", record=record)
    path = map_.folder / f"{map_.stem}_run.json"
    make_layers(path, LayerOptions.of(affected={HOSTILE[0]: 100.0}))
    page_path = write_report(path)
    tags = Tags()
    tags.feed(page_path.read_text())
    assert tags.names.count("script") == 2
    assert tags.names.count("iframe") == tags.names.count("object") == 0
    assert not any(name.startswith("on") for name in tags.attributes)
    assert all(link.startswith(("data:image/", "geo:")) for link in tags.links)
    with opened(browser, page_path) as (page, wrong):
        page.wait_for_selector("html.ready")
        for label in page.locator("label.toggle").all():
            label.click()
        at(page, 0.5, 0.5)
        assert page.locator(".readout b").inner_text() in HOSTILE
        assert HOSTILE[1] in page.locator("body").inner_text()
        assert wrong == []


@pytest.mark.fault("X10")
def test_a_season_of_names_that_are_scripts(browser: Browser, tmp_path: Path) -> None:
    for day in ("2026-05-01", "2026-06-01"):
        image = {
            "path": f"/x/{HOSTILE[0]}.tif",
            "acquired": day,
            "width": 40,
            "height": 30,
            "bands": 3,
            "dtype": "uint8",
        }
        record = {"input": image, "verdict": {"colour": "red"}}
        mask = np.random.default_rng(0).integers(0, 3, (30, 40)).astype(np.uint8)
        finished(tmp_path / day, mask, names=HOSTILE, stem='"><script>alert(5)<', record=record)
        Image.fromarray(mask).convert("P").save(tmp_path / day / '"><script>alert(5)<_classes.png')
    assert called("report", tmp_path, "-q") == 0
    tags = Tags()
    tags.feed((tmp_path / "season.html").read_text())
    assert tags.names.count("script") == 1
    assert not any(name.startswith("on") for name in tags.attributes)
    with opened(browser, tmp_path / "season.html") as (page, wrong):
        assert page.locator("h1").inner_text() == "Fields: 1, flights: 2"
        assert HOSTILE[2] in page.locator("body").inner_text()
        assert wrong == []


class Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += [name for name, _ in attrs]
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action")]


# what it says


def test_the_same_run_gives_the_same_bytes(run: Path) -> None:
    first = page_of(run).read_bytes()
    write_report(run)
    assert page_of(run).read_bytes() == first
    assert len(first) <= 3_000_000


def test_the_answer_comes_from_the_layers(run: Path) -> None:
    layers = json.loads(run.with_name(run.name.replace("_run", "_layers")).read_text())
    rows = {row["class"]: row for row in layers["areas"][:4]}
    (name,) = layers["options"]["affected"]
    text = page_of(run).read_text()
    words = Translator("en")
    assert f"<em>{words.area(rows[name]['hectares'])}</em> affected by {name}" in text
    assert f"That is {words.percent(rows[name]['share_of_field'])} of what is mapped." in text
    assert words.area(layers["largest"]["area_m2"] / 10_000) in text
    assert "Flown 2026-05-01" in text
    assert f"affected {name}; cell 2 m; zones 2; scout 5" in text, "options as a user writes them"


def test_a_trend_is_told_and_its_doubts_too(oracle: SegmentationModel, tmp_path: Path) -> None:
    names = oracle.legend.names
    records = []
    for day, size in (("05-01", 200), ("06-01", 200), ("07-01", 260)):
        pixels = np.full((3, size, 200), 5, np.uint8)
        pixels[:, : 20 * int(day[1]), :] = 130
        image = write_raster(tmp_path / f"a_2026-{day}.tif", pixels)
        records.append(segment(image, oracle, tmp_path / day).record)
    which = names[int(np.bincount(mask_of(records[1])[:100].ravel(), minlength=4)[:4].argmax())]
    for record in records:
        make_layers(record, LayerOptions.of(affected=which))
    grown = write_report(records[1], previous=records[0]).read_text()
    assert "Since 2026-05-01" in grown
    assert re.search(r"▲ \+4[01] m²", grown)  # 20 rows of 200 px of 0.1 m; 40 m2 and a little
    assert "cover different areas" not in grown
    other = write_report(records[2], previous=records[1]).read_text()
    assert "cover different areas" in other
    with pytest.raises(UsageError, match="is the map itself"):
        write_report(records[0], previous=records[0])


def test_layers_of_an_earlier_run_are_left_out(run: Path, tmp_path: Path) -> None:
    for path in run.parent.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    record = tmp_path / run.name
    record.write_text(record.read_text().replace("{", "{ ", 1))
    text = write_report(record).read_text()
    assert "are of an earlier run and left out" in text
    assert "Where to walk" not in text


def test_a_file_that_is_no_report_stays(run: Path, tmp_path: Path) -> None:
    for path in run.parent.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    page = page_of(tmp_path / run.name)
    page.write_text("mine")
    with pytest.raises(OutputError, match="no report of agriseg"):
        write_report(tmp_path / run.name)
    assert page.read_text() == "mine"


def test_a_map_without_place_layers_or_pictures_has_a_report(tmp_path: Path) -> None:
    map_ = finished(tmp_path, np.zeros((40, 50), np.uint8), crs=None, transform=rasterio.Affine.identity())
    text = write_report(tmp_path / "field_run.json").read_text()
    assert "unknown" in text
    assert MapPicture.of(map_, map_.classes, None).gsd is None


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_each_sentence_has_its_languages(lang: str) -> None:
    """Whatever the pages say is in the catalogue, with the same values; and nothing else is."""
    used = set()
    for path in [*(ROOT / "agriseg" / "data").glob("*.j2"), *(ROOT / "agriseg" / "layers").glob("*.py")]:
        text = path.read_text()
        used |= set(re.findall(r"""\b(?:t|words|self)(?:\.around)?\(\s*"((?:[^"\\]|\\.)*)\"""", text))
        used |= set(re.findall(r"""\bt\(\s*'((?:[^'\\]|\\.)*)'""", text))
    for text in used:
        assert text in catalogue(), text
    for english, chinese in catalogue().items():
        assert set(re.findall(r"{(\w+)", english)) == set(re.findall(r"{(\w+)", chinese)), english
    assert Translator(lang).area(0.02) in {"200 m²", "200 平方米"}
    assert Translator(lang).area(0, 0.02) in {"0 m²", "0 平方米"}, "both ends of an interval have one unit"
    assert Translator(lang).area(0.02, 0.5) in {"0.020 ha", "0.020 公顷"}
    with pytest.raises(UsageError, match="expected en or zh"):
        Translator("de")


# its pictures


@pytest.mark.long
def test_a_noisy_map_stays_a_small_page(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = tuple(f"class {k}" for k in range(12))
    mask = rng.integers(0, 12, (1500, 1600)).astype(np.uint8)
    map_ = finished(tmp_path, mask, rng.integers(0, 251, mask.shape).astype(np.uint8), names=names)
    Image.fromarray(rng.integers(0, 256, (1500, 1600, 3), np.uint8)).save(tmp_path / "field_image.png")
    assert write_report(map_.folder / "field_run.json").stat().st_size <= 3_000_000


def test_pictures_partition_the_map(run: Path) -> None:
    """Each pixel is in the picture of its class alone, and its lines lie within it."""
    text = page_of(run).read_text()
    mask = mask_of(run)
    total = np.zeros(mask.shape, int)
    for number, area, lines in re.findall(
        r'data-id="(\d+)" href="data:image/png;base64,([^"]+)".*?class="lines" href="data:image/png;base64,([^"]+)"',
        text,
    ):
        inside, marked = (
            np.array(Image.open(io.BytesIO(b64decode(data))).convert("RGBA"))[..., 3] > 0 for data in (area, lines)
        )
        np.testing.assert_array_equal(inside, mask == int(number))
        assert not (marked & ~inside).any()
        total += inside
    np.testing.assert_array_equal(total, mask != 255)


def test_patterns_differ() -> None:
    legend = Legend.from_names([str(k) for k in range(8)])
    drawn = [pattern(entry, 16, 16) for entry in legend]
    for k, one in enumerate(drawn):
        assert not any(np.array_equal(one, other) for other in drawn[:k])


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1, 1), (1, 1)), ((1600, 3), (1600, 3)), ((1601, 900), (801, 450)), ((32768, 100), (1024, 4))],
)
def test_the_size_of_a_quick_look(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert quicklook_size(*size) == expected


def test_quick_looks_hold_the_layers_numbers(run: Path) -> None:
    stem = run.name.removesuffix("_run.json")
    with Image.open(run.with_name(f"{stem}_classes.png")) as picture:
        np.testing.assert_array_equal(np.array(picture), read(run.with_name(f"{stem}_classes.tif"))[0])
    with Image.open(run.with_name(f"{stem}_confidence.png")) as picture:
        counts, stepped = read(run.with_name(f"{stem}_confidence.tif"))[0].astype(int), np.array(picture).astype(int)
    known = counts != 255
    np.testing.assert_array_equal(stepped[~known], 255)
    assert ((counts - stepped)[known] < 5).all()
    assert ((counts - stepped)[known] >= 0).all()


@pytest.mark.parametrize("window", [None, "33,17,150,90", "1000,900,1400,800"])
def test_the_quick_look_of_the_image_is_the_ground_of_the_map(
    small: SegmentationModel, tmp_path: Path, window: str | None
) -> None:
    """Means of the image's pixels under each pixel of the quick look, by numpy; also of a window, with nodata."""
    pixels = blocks(1800, 2600, side=40, low=1)
    pixels[:, 100:300, 50:900] = 0
    image = write_raster(tmp_path / "a.tif", pixels, nodata=0, tiled=True)
    report = segment(image, small, tmp_path / "out", **({"window": window} if window else {}))
    left, top, width, height = map(int, window.split(",")) if window else (0, 0, 2600, 1800)
    part = pixels[:, top : top + height, left : left + width].astype(float)
    with Image.open(report.record.with_name("a_image.png")) as picture:
        shown = np.array(picture.convert("RGBA")).astype(float)
    across, down = quicklook_size(width, height)
    assert shown.shape[:2] == (down, across)
    side = round(width / across)
    valid = (part != 0).any(0)

    def cells(values):
        return (
            values[..., : down * side, : across * side]
            .reshape(*values.shape[:-2], down, side, across, side)
            .mean((-3, -1))
        )

    whole = cells(valid.astype(float)) == 1
    low, high = np.percentile(
        (cells(part * valid) / np.maximum(cells(valid * 1.0), 1e-9))[:, cells(valid * 1.0) > 0], (1, 99)
    )
    expected = np.clip((cells(part) - low) / (high - low), 0, 1) * 255
    assert np.abs(shown[..., :3].transpose(2, 0, 1) - expected)[:, whole].max() <= 2
    np.testing.assert_array_equal(shown[..., 3] > 0, cells(valid * 1.0) > 0)


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:3857", "EPSG:4326", "EPSG:3035"])
def test_nodes_give_each_pixel_its_place(crs: str, tmp_path: Path) -> None:
    """Bilinear means of the nodes against PROJ, anywhere on a map of 100 km."""
    (x,), (y,) = warp("EPSG:4326", crs, [10.0], [50.0])
    size = 0.001 if crs == "EPSG:4326" else 100.0
    transform = rasterio.Affine(size, 0, x, 0, -size, y)
    map_ = finished(tmp_path, np.zeros((1000, 1000), np.uint8), crs=crs, transform=transform)
    position = MapPicture.of(map_, map_.classes, None).position
    across, down = np.random.default_rng(0).random((2, 500))
    last = len(position.lon) - 1
    col, row = (np.minimum(last - 1, (each * last).astype(int)) for each in (across, down))
    u, v = across * last - col, down * last - row
    lon, lat = (
        (1 - v) * ((1 - u) * grid[row, col] + u * grid[row, col + 1]) + v * ((1 - u) * grid[row + 1, col] + u * grid[row + 1, col + 1])
        for grid in map(np.array, (position.lon, position.lat))
    )  # fmt: skip
    true = np.array(warp(crs, "OGC:CRS84", *(transform @ (across * 1000, down * 1000))))
    metres = np.hypot((lon - true[0]) * 111_320 * np.cos(np.radians(true[1])), (lat - true[1]) * 111_320)
    assert metres.max() < 51  # half a pixel of 100 m


def test_north_of_a_turned_map(tmp_path: Path) -> None:
    turned = (
        rasterio.Affine.translation(500_000, 5_400_000)
        @ rasterio.Affine.rotation(30)
        @ rasterio.Affine.scale(0.1, -0.1)
    )
    map_ = finished(tmp_path, np.zeros((50, 50), np.uint8), transform=turned)
    assert MapPicture.of(map_, map_.classes, None).north == pytest.approx(
        30, abs=0.2
    )  # the columns run to the north-west


# the command


def called(*words: Any) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return int(left.value.code or 0)


@pytest.fixture
def season(oracle: SegmentationModel, tmp_path: Path) -> Path:
    """Two fields on two days each."""
    for day in ("2026-05-01", "2026-06-01"):
        (tmp_path / day).mkdir()
        for seed, field in enumerate(("north", "south")):
            image = write_raster(tmp_path / day / f"{field}.tif", blocks(80, 90, seed=seed))
            segment(image, oracle, tmp_path / "maps" / day)
    return tmp_path / "maps"


def test_a_season(
    browser: Browser, season: Path, oracle: SegmentationModel, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called("report", season, "--layers", "--affected", oracle.legend.names[1], "-q") == 0
    printed = capsys.readouterr().out.split()
    assert printed[0] == str(season / "season.html")
    assert len(printed) == 5
    with opened(browser, season / "season.html", viewport={"width": 1100, "height": 900}) as (page, wrong):
        assert page.locator("h1").inner_text() == "Fields: 2, flights: 4"
        assert page.locator("table.grid img").count() == 4
        assert page.locator("svg.curves path").count() == 2
        page.locator("table.grid a").first.click()
        page.wait_for_selector("html.ready")
        assert page.locator("h1").inner_text() == "north"
        wrong[:] = [text for text in wrong if not text.startswith("file:")]
        assert wrong == []
    assert "Since 2026-05-01" in (season / "2026-06-01" / "north_report.html").read_text()
    assert "Since" not in (season / "2026-05-01" / "north_report.html").read_text()


def test_a_pattern_names_fields_and_days(season: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        called(
            "report",
            season,
            "--pattern",
            r"(?P<date>\d{4}-\d\d-\d\d)/(?P<field>\w)",
            "-o",
            season / "s.html",
            "-q",
            "--lang",
            "zh",
        )
        == 0
    )
    capsys.readouterr()
    text = (season / "s.html").read_text()
    assert Translator("zh")("Fields: {fields}, flights: {flights}", fields=2, flights=4) in text
    assert '<th scope="row">n</th>' in text


def test_the_report_makes_layers_anew_as_they_were(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in run.parent.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    record = tmp_path / run.name
    layers = tmp_path / run.name.replace("_run", "_layers")
    before = json.loads(layers.read_text())
    layers.unlink(missing_ok=False)
    layers.write_text(json.dumps({**before, "areas": []}))
    assert called("report", record, "--layers", "-q") == 0
    capsys.readouterr()
    assert json.loads(layers.read_text()) == before
    assert page_of(record).read_bytes() == page_of(run).read_bytes()


def test_what_a_run_hands_over(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    image = write_raster(tmp_path / "a.tif", blocks(60, 70))
    assert called("run", image, "-m", model_file, "-o", tmp_path / "out", "--stac", "--zarr", "--open", "-q") == 0
    assert "no desktop here" in capsys.readouterr().err
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"a_report.html", "a_stac.json", "a.zarr"} <= made
    assert any(name.endswith("_mlm.json") for name in made)
    assert not [name for name in made if name.startswith(".")]


def test_flags_that_mean_nothing_are_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert called("report", run, "--affected", "x") == 2
    assert "--affected without --layers" in capsys.readouterr().err
    assert called("report", run, "-o", "x.html") == 2
    assert "names the page of several maps" in capsys.readouterr().err
    assert called("report", run.parent / "nowhere") == 66
    with pytest.raises(UsageError):
        ExportOptions("fr")
    with pytest.raises(InputMissing, match="nowhere"):  # before a run of hours, not after it
        check_exports(ExportOptions(previous=run.parent / "nowhere"))
