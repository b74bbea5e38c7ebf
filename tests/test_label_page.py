"""The page of `agriseg label` in Chromium, by pointers and keys, on its server."""

import json
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import scipy.ndimage
from axe_playwright_python.sync_playwright import Axe
from labelling import (
    HEIGHT,
    WIDTH,
    Served,
    click,
    drag,
    greenness,
    labelling,
    on_screen,
    picture,
    plants,
    scale,
    served,
    until,
    until_saved,
    write_field,
)
from playwright.sync_api import Browser, CDPSession, Page, Route, expect

PAGE = Path(__file__).parents[1] / "agriseg" / "labelling" / "page"
HOSTILE = "<img src=x onerror=alert(1)>.tif"


@pytest.fixture(scope="module")
def started(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("label")
    with served(write_field(folder / HOSTILE), folder / "labels") as server:
        yield server


@pytest.fixture
def server(started: Served) -> Served:
    return started.cleared()


def close(found: object, wanted: object, within: float) -> bool:
    return np.shape(found) == np.shape(wanted) and bool(np.abs(np.subtract(found, wanted)).max() <= within)


def two_classes(page: Page) -> None:
    """Enough labels for a map, and the map of the screen."""
    for key, kind in (("2", "crop"), ("3", "weed")):
        page.keyboard.press(key)
        for x, y, _ in [plant for plant in plants() if plant[2] == kind][:5]:
            click(page, x, y)
    page.keyboard.press("1")
    for x, y, _ in plants()[:6]:
        click(page, x + 45, y + 45)
    until_saved(page)
    page.wait_for_selector("#map[data-head]", timeout=120_000)


# pointers


def test_a_click_is_a_point_where_it_is_seen(browser: Browser, server: Served) -> None:
    """At a plant: the place of the raster to a screen pixel, in the file before the page says that it is saved."""
    with labelling(browser, server) as (page, wrong):
        page.keyboard.press("2")
        for x, y, _ in plants()[:6]:
            click(page, x, y)
        until_saved(page)
        assert {(kind, name) for kind, name, _ in server.labels} == {("point", "crop")}
        assert close([xy[0] for _, _, xy in server.labels], [(x, y) for x, y, _ in plants()[:6]], 1 / scale(page))
        expect(page.locator("[data-choose='1'] output")).to_have_text("6")
        assert wrong == []


def test_the_picture_lies_where_its_pixels_are(browser: Browser, server: Served) -> None:
    """The middle of the green that is seen is the middle of the plant by the readout, in all and eight times nearer."""
    x, y, _ = plants()[30]
    with labelling(browser, server) as (page, _):
        for presses in (0, 3):
            page.mouse.move(*on_screen(page, x, y))
            for _ in range(presses):
                page.mouse.wheel(0, -240)
            across, down = on_screen(page, x, y)
            until(page, lambda: bool(greenness(picture(page))[round(down), round(across)] > 60))  # noqa: B023
            plots, _ = scipy.ndimage.label(greenness(picture(page)) > 40)
            rows, cols = np.nonzero(plots == plots[round(down), round(across)])
            page.mouse.move(float(cols.mean()) + 0.5, float(rows.mean()) + 0.5)
            told = re.search(r"x (\d+), y (\d+)", page.locator("#place").inner_text())
            assert told is not None
            assert close([int(told[1]), int(told[2])], [x, y], 2)


def test_pixels_are_seen_as_pixels(browser: Browser, server: Served) -> None:
    """At 8 screen pixels a raster pixel each block of 8 x 8 has one colour."""
    with labelling(browser, server) as (page, _):
        for _ in range(6):
            page.keyboard.press("+")
        page.mouse.move(10, 400)
        until(page, lambda: np.ptp(picture(page)[300:500, 300:500], axis=(0, 1)).min() > 5)
        part = picture(page)[300:500, 300:500]
        steps = np.abs(np.diff(part, axis=1)).sum((0, 2))
        assert np.count_nonzero(steps) <= 200 // 8 + 1


def test_strokes_polygons_and_boxes(browser: Browser, server: Served) -> None:
    square = [(600.0, 300.0), (700.0, 300.0), (700.0, 400.0), (600.0, 400.0)]
    with labelling(browser, server) as (page, wrong):
        page.keyboard.press("1")
        page.keyboard.press("s")
        drag(page, (100, 100), (300, 120), (300, 300))
        page.keyboard.press("3")
        page.keyboard.press("g")
        for corner in [*square, square[0]]:
            click(page, *corner)
        drag(page, (100, 500), (200, 500), (200, 600), (100, 600), (102, 505))
        page.keyboard.press("b")
        drag(page, (800, 700), (500, 500))
        until_saved(page)
        stroke, polygon, free, area = server.labels
        assert stroke[:2] == ("line", "soil")
        assert close([stroke[2][0], stroke[2][-1]], [(100, 100), (300, 300)], 2)
        assert min(np.hypot(x - 300, y - 120) for x, y in stroke[2]) < 8
        assert polygon[:2] == ("polygon", "weed")
        assert close(polygon[2], square, 1.5)
        assert free[:2] == ("polygon", "weed")
        assert 4 <= len(free[2]) < 20
        assert area[:2] == ("area", None)
        assert close(np.sort(area[2], axis=0), [(500, 500), (500, 500), (800, 700), (800, 700)], 1.5)
        assert wrong == []


def test_the_eraser_takes_what_it_comes_over(browser: Browser, server: Served) -> None:
    with labelling(browser, server) as (page, _):
        for x in range(100, 900, 100):
            click(page, x, 300)
        page.keyboard.press("e")
        drag(page, (360, 300), (640, 300))
        click(page, 800, 300)
        click(page, 850, 600)
        expect(page.locator("#message")).to_have_text("There is no label here.")
        until_saved(page)
        assert sorted(round(xy[0][0], -2) for _, _, xy in server.labels) == [100, 200, 300, 700]
        page.keyboard.press("Control+z")
        page.keyboard.press("Control+z")
        until_saved(page)
        assert len(server.labels) == 8


def test_a_click_beside_the_raster_is_none(browser: Browser, server: Served) -> None:
    with labelling(browser, server) as (page, _):
        click(page, WIDTH + 10, 100)
        expect(page.locator("#message")).to_have_text("This place is outside the image.")
        assert server.labels == []


@pytest.mark.parametrize("how", ["middle button", "space", "tool", "drag of the click tool"])
def test_the_image_is_moved(browser: Browser, server: Served, how: str) -> None:
    with labelling(browser, server) as (page, _):
        button = "middle" if how == "middle button" else "left"
        page.mouse.move(*on_screen(page, 500, 400))
        if how == "space":
            page.keyboard.press("s")
            page.keyboard.down(" ")
        if how == "tool":
            page.keyboard.press("h")
        page.mouse.down(button=button)
        page.mouse.move(*on_screen(page, 600, 450), steps=5)
        page.mouse.up(button=button)
        page.keyboard.up(" ")
        page.mouse.move(*on_screen(page, 300, 300))
        expect(page.locator("#place")).to_contain_text(re.compile(r"x (199|200), y (249|250)"))
        assert server.labels == []


# fingers and pen


def touch(fingers: CDPSession, kind: str, *places: tuple[float, float]) -> None:
    points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(places)]
    fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


def test_one_finger_labels_and_two_move(browser: Browser, server: Served) -> None:
    with labelling(browser, server, has_touch=True) as (page, wrong):
        fingers = page.context.new_cdp_session(page)
        page.touchscreen.tap(*on_screen(page, 200, 200))
        page.keyboard.press("s")
        touch(fingers, "touchStart", on_screen(page, 300, 300))
        for x in range(320, 500, 20):
            touch(fingers, "touchMove", on_screen(page, x, 300))
        touch(fingers, "touchEnd")
        until_saved(page)
        assert [kind for kind, _, _ in server.labels] == ["point", "line"]

        touch(fingers, "touchStart", on_screen(page, 400, 400))
        touch(fingers, "touchMove", on_screen(page, 410, 400))
        touch(fingers, "touchStart", on_screen(page, 400, 400), on_screen(page, 600, 400))
        for step in range(11):
            touch(fingers, "touchMove", on_screen(page, 400 - 10 * step, 400), on_screen(page, 600 + 10 * step, 400))
        touch(fingers, "touchEnd")
        page.mouse.move(*on_screen(page, 700, 400))
        expect(page.locator("#place")).to_contain_text(re.compile(r"x (599|600|601), y (399|400)"))
        until_saved(page)
        assert len(server.labels) == 2
        assert wrong == []


def test_a_pen_draws(browser: Browser, server: Served) -> None:
    with labelling(browser, server) as (page, _):
        pen = page.context.new_cdp_session(page)
        page.keyboard.press("s")

        def put(kind: str, x: float, y: float) -> None:
            across, down = on_screen(page, x, y)
            state = {"button": "left", "buttons": 1, "pointerType": "pen", "force": 0.5}
            pen.send("Input.dispatchMouseEvent", {"type": kind, "x": across, "y": down, **state})

        put("mousePressed", 300, 300)
        for x in range(310, 420, 10):
            put("mouseMoved", x, 300)
        put("mouseReleased", 410, 300)
        until_saved(page)
        assert [kind for kind, _, _ in server.labels] == ["line"]


# keys alone


def test_everything_by_keys(browser: Browser, server: Served) -> None:
    """A point, a polygon and a box at the crosshair; undone and done again."""
    with labelling(browser, server) as (page, _):
        page.keyboard.press("3")
        page.keyboard.press("ArrowRight")
        expect(page.locator("#crosshair")).to_be_visible()
        page.keyboard.press("Enter")
        page.keyboard.press("g")
        for key in ("ArrowRight", "ArrowDown", "ArrowLeft"):
            page.keyboard.press("Enter")
            page.keyboard.press(key)
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
        page.keyboard.press("b")
        page.keyboard.press("Enter")
        for key in ("ArrowUp", "ArrowUp", "ArrowLeft"):
            page.keyboard.press(key)
        page.keyboard.press("Enter")
        until_saved(page)
        step, (x, y) = 80 / scale(page), (WIDTH / 2 + 80 / scale(page), HEIGHT / 2)
        point, polygon, area = server.labels
        assert point[:2] == ("point", "weed")
        assert close(point[2], [(x, y)], 0.6)
        assert close(polygon[2], [(x, y), (x + step, y), (x + step, y + step), (x, y + step)], 0.6)
        assert area[0] == "area"
        assert close(np.ptp(area[2], axis=0), [step, 2 * step], 0.6)
        page.keyboard.press("Control+z")
        page.keyboard.press("Control+z")
        page.keyboard.press("Control+Shift+z")
        until_saved(page)
        assert [kind for kind, _, _ in server.labels] == ["point", "polygon"]


def test_escape_and_steps_back_within_a_drawing(browser: Browser, server: Served) -> None:
    with labelling(browser, server) as (page, _):
        page.keyboard.press("g")
        for corner in ((100, 100), (200, 100), (300, 100)):
            click(page, *corner)
        page.keyboard.press("Escape")
        for corner in ((400, 400), (500, 400), (500, 500), (600, 600)):
            click(page, *corner)
        page.keyboard.press("Control+z")
        page.mouse.dblclick(*on_screen(page, 400, 500))
        until_saved(page)
        ((_, _, xy),) = server.labels
        assert close(xy, [(400, 400), (500, 400), (500, 500), (400, 500)], 1.5)


def test_the_list_of_keys(browser: Browser, server: Served) -> None:
    with labelling(browser, server) as (page, _):
        page.keyboard.press("?")
        expect(page.locator("#help")).to_be_visible()
        page.keyboard.press("n")  # no key of the page while the list is open
        page.keyboard.press("Escape")
        expect(page.locator("#help")).to_be_hidden()


def test_undo_and_redo_without_end(browser: Browser, server: Served) -> None:
    """After each of 40 steps back, and forth, the server has what it had then."""
    with labelling(browser, server) as (page, _):
        had, rng = [server.labels], np.random.default_rng(4)
        for _ in range(40):
            if len(had[-1]) > 3 and rng.random() < 0.3:
                page.keyboard.press("e")
                click(page, *had[-1][int(rng.integers(len(had[-1])))][2][0])
            else:
                page.keyboard.press(str(rng.integers(1, 4)))
                click(page, *(float(each) for each in rng.uniform(40, 760, 2)))
            until_saved(page)
            had.append(server.labels)
        for key, states in (("Control+z", had[-2::-1]), ("Control+Shift+z", had[1:])):
            for state in states:
                page.keyboard.press(key)
                until_saved(page)
                assert sorted(server.labels, key=str) == sorted(state, key=str)


# saving


def test_saved_is_said_after_the_answer(browser: Browser, server: Served) -> None:
    held: list[Route] = []
    with labelling(browser, server) as (page, _):
        page.route("**/labels", lambda route: held.append(route))
        click(page, 300, 300)
        expect(page.locator("[data-choose='0'] output")).to_have_text("1")
        until(page, lambda: len(held) == 1)
        expect(page.locator("#saved")).to_contain_text("Saving…")
        assert server.labels == []
        held[0].continue_()
        expect(page.locator("#saved")).to_contain_text("Saved in labels.gpkg")
        assert len(server.labels) == 1
        layers = [name for name, _ in pyogrio.list_layers(server.folder / "labels.gpkg")]
        assert sum(pyogrio.read_info(server.folder / "labels.gpkg", layer=name)["features"] for name in layers) == 1


def test_what_cannot_be_saved_is_said_and_sent_again(browser: Browser, server: Served) -> None:
    with labelling(browser, server) as (page, _):
        refused = {"status": 500, "content_type": "application/json", "body": json.dumps({"error": "the disk is full"})}
        page.route("**/labels", lambda route: route.fulfill(**refused))
        click(page, 300, 300)
        expect(page.locator("#saved")).to_contain_text("Not saved: the disk is full")
        click(page, 400, 300)
        page.unroute("**/labels")
        page.locator("#retry").click()
        until_saved(page)
        assert len(server.labels) == 2


def test_a_label_that_is_refused_goes_away(browser: Browser, server: Served) -> None:
    with labelling(browser, server) as (page, _):
        refused = {"status": 400, "content_type": "application/json", "body": json.dumps({"error": "no such class"})}
        page.route("**/labels", lambda route: route.fulfill(**refused))
        click(page, 300, 300)
        expect(page.locator("#message")).to_have_text("This label is not taken: no such class")
        expect(page.locator("[data-choose='0'] output")).to_have_text("0")


def test_changes_wait_while_the_server_is_away(browser: Browser, server: Served) -> None:
    with labelling(browser, server) as (page, _):
        page.context.set_offline(True)
        for x in (300, 400, 500):
            click(page, x, 300)
        page.keyboard.press("Control+z")
        expect(page.locator("#alert")).to_contain_text("The server has ended")
        expect(page.locator("#saved")).to_contain_text("Not saved")
        page.context.set_offline(False)
        until_saved(page)
        expect(page.locator("#alert")).to_be_hidden()
        assert [round(xy[0][0], -2) for _, _, xy in server.labels] == [300, 400]


def test_a_server_that_is_killed_loses_nothing_that_was_saved(browser: Browser, tmp_path: Path) -> None:
    field = write_field(tmp_path / "field.tif")
    with served(field, tmp_path / "labels") as server, labelling(browser, server) as (page, _):
        click(page, 300, 300)
        until_saved(page)
        server.kill()
        click(page, 400, 300)
        expect(page.locator("#alert")).to_contain_text("Start agriseg label again")
        expect(page.locator("#saved")).to_contain_text("Not saved: the server has ended")
        with served(field, tmp_path / "labels") as again:
            assert again.address == server.address, "an open page goes on"
            assert stat.S_IMODE((tmp_path / "labels" / ".address").stat().st_mode) == 0o600
            until_saved(page)
            assert [round(xy[0][0], -2) for _, _, xy in again.labels] == [300, 400]
    (tmp_path / "labels" / ".address").chmod(0o644)
    with served(field, tmp_path / "labels") as third, labelling(browser, third) as (page, _):
        assert third.address.split("/")[3] != server.address.split("/")[3], "a key that others could read is not used"
        expect(page.locator("[data-choose='0'] output")).to_have_text("2")


def test_two_windows_have_the_same_labels(browser: Browser, server: Served) -> None:
    with labelling(browser, server) as (one, _), labelling(browser, server) as (other, _):
        click(one, 300, 300)
        expect(other.locator("[data-choose='0'] output")).to_have_text("1")
        click(other, 400, 300)
        click(one, 500, 300)  # perhaps before it has heard of the other's
        for page in (one, other):
            expect(page.locator("[data-choose='0'] output")).to_have_text("3")
            until_saved(page)
        one.keyboard.press("Control+z")
        one.keyboard.press("Control+z")
        expect(other.locator("[data-choose='0'] output")).to_have_text("1")
        assert [round(xy[0][0], -2) for _, _, xy in server.labels] == [400]


def test_a_change_on_top_of_another_window_s(browser: Browser, server: Served) -> None:
    """The other's change comes while this one's is on its way: both are kept."""
    held: list[Route] = []
    with labelling(browser, server) as (page, _):
        page.route("**/labels", lambda route: route.continue_() if held else held.append(route))
        click(page, 300, 300)
        until(page, lambda: len(held) == 1)
        label = {"id": "f" * 32, "kind": "point", "class": "weed", "xy": [[500, 500]]}
        server.post("labels", {"version": server.get("state")["version"], "add": [label], "remove": []})
        held[0].continue_()
        until_saved(page)
        expect(page.locator("[data-choose='2'] output")).to_have_text("1")
        assert {name for _, name, _ in server.labels} == {"soil", "weed"}


# the map


def test_the_map_is_shown_and_hidden(browser: Browser, server: Served) -> None:
    with labelling(browser, server) as (page, wrong):
        bare = picture(page)
        two_classes(page)
        until(page, lambda: np.abs(picture(page) - bare)[100:700, 100:800].mean() > 5)
        page.mouse.move(*on_screen(page, -30, 400))
        shown = picture(page)
        page.keyboard.press("m")
        hidden = picture(page)
        assert np.abs(shown - hidden)[100:700, 100:800].mean() > 5
        page.keyboard.press("m")
        page.locator("[data-outline=true]").click()
        assert (
            0
            < np.abs(picture(page) - hidden)[100:700, 100:800].mean()
            < np.abs(shown - hidden)[100:700, 100:800].mean()
        )
        expect(page.locator("#sure")).to_contain_text("%")
        assert wrong == []


def test_the_old_map_stays_until_the_new_one_is_there(browser: Browser, server: Served) -> None:
    with labelling(browser, server) as (page, _):
        two_classes(page)
        page.locator("#opacity").fill("100")
        page.keyboard.press("Escape")
        expect(page.locator("#known")).to_have_text("100 % of the field", timeout=120_000)
        until(page, lambda: page.get_attribute("#map", "data-head") == str(server.get("status/0")["head"]))
        held: list[Route] = []
        page.route("**/map/**", lambda route: held.append(route))
        before = picture(page)[100:700, 100:800]
        click(page, 500, 400)
        until(page, lambda: len(held) > 0, 120)
        changed = np.argwhere(np.abs(picture(page)[100:700, 100:800] - before).sum(-1) > 30)
        x, y = on_screen(page, 500, 400)
        assert np.abs(changed + 100 - [y, x]).max() < 20  # the label alone


def test_the_next_place_is_shown(browser: Browser, server: Served) -> None:
    with labelling(browser, server) as (page, _):
        expect(page.locator("#next")).to_be_disabled()
        two_classes(page)
        for _ in range(2):
            page.keyboard.press("+")
        page.keyboard.press("n")
        expect(page.locator("#why")).not_to_be_empty(timeout=60_000)


# words


def test_every_sentence_has_its_chinese() -> None:
    """Whatever the page marks, or says, is in the catalogue; what the catalogue has, is used."""
    said = set(re.findall(r'data-(?:word|title|name)="([^"]+)"', (PAGE / "index.html").read_text()))
    scripts = [path.read_text() for path in PAGE.glob("*.js") if path.name != "ol.js"]
    known = json.loads((PAGE / "words.json").read_text())["page"]
    for text in scripts:
        said |= set(re.findall(r'say\(\s*"([^"]+)"', text)) | {
            word for word in re.findall(r'"([^"\n]+)"', text) if word in known
        }
    assert said == set(known)
    for english, chinese in known.items():
        assert set(re.findall(r"\{\w+\}", english)) == set(re.findall(r"\{\w+\}", chinese))


def test_it_speaks_chinese(browser: Browser, server: Served) -> None:
    with labelling(browser, server, locale="zh-CN") as (page, wrong):
        click(page, 300, 300)
        expect(page.locator("#saved")).to_contain_text("已保存到 labels.gpkg")
        expect(page.locator("#needs")).to_have_text("请标注两个或更多类别")
        left = re.sub(
            r"agriseg label|labels\.gpkg|soil|crop|weed|EN|<.*?>\.tif", "", page.locator("aside").inner_text()
        )
        assert re.findall(r"[A-Za-z]{2,}", left) == []
        page.locator("[data-lang=en]").click()
        expect(page.locator("#saved")).to_contain_text("Saved in labels.gpkg")
        assert page.evaluate("document.documentElement.lang") == "en"
        assert wrong == []


# for everybody


@pytest.mark.parametrize(
    "context", [{}, {"locale": "zh-CN", "color_scheme": "dark"}, {"viewport": {"width": 800, "height": 1200}}]
)
def test_no_fault_of_accessibility(browser: Browser, server: Served, context: dict[str, object]) -> None:
    with labelling(browser, server, **context) as (page, _):
        two_classes(page)
        for keys in ("Escape", "?"):
            page.keyboard.press(keys)
            faults = [
                (each["id"], [node["html"] for node in each["nodes"]])
                for each in Axe().run(page).response["violations"]
                if each["impact"] in ("serious", "critical")
            ]
            assert faults == []


def test_a_click_on_a_label_changes_its_class(browser: Browser, server: Served) -> None:
    with labelling(browser, server) as (page, _):
        click(page, 300, 300)
        page.keyboard.press("3")
        click(page, 303, 300)
        until_saved(page)
        ((kind, name, xy),) = server.labels
        assert (kind, name) == ("point", "weed")
        assert close(xy, [(300, 300)], 1 / scale(page))
        page.keyboard.press("Control+z")
        until_saved(page)
        assert [name for _, name, _ in server.labels] == ["soil"]


def test_a_page_that_is_loaded_again_stands_where_it_stood(browser: Browser, server: Served) -> None:
    with labelling(browser, server) as (page, _):
        page.keyboard.press("+")
        page.keyboard.press("ArrowRight")
        page.locator("[data-lang=zh]").click()
        bar = page.locator("#length").inner_text()
        page.reload()
        expect(page.locator("#length")).to_have_text(bar)
        expect(page.locator("[data-lang=zh]")).to_have_attribute("aria-pressed", "true")
