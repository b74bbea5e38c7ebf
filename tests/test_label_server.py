"""The server of `agriseg label`: what the page asks is answered, and nobody else gets anything."""

import io
import json
import random
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from conftest import write_raster
from label_server import LabelServer, label_server
from PIL import Image
from test_clicks import field, spread

CLASSES = ("soil", "crop", "weed")


@pytest.fixture(scope="module")
def truth() -> tuple[np.ndarray, np.ndarray]:
    return field(700, 900, [(k, x * 2, y * 2, r) for k, x, y, r in spread(60, 350, np.random.default_rng(0))], 0)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory, truth: tuple[np.ndarray, np.ndarray]) -> Path:
    pixels = truth[0].copy()
    pixels[:, :40, :60] = 0
    return write_raster(
        tmp_path_factory.mktemp("raster") / "field.tif", pixels, photometric="rgb", crs="EPSG:32632", nodata=0,
        transform=(0.01, 0, 500000, 0, -0.01, 5400000),
    )  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, image: Path) -> Iterator[LabelServer]:
    with label_server(image, tmp_path_factory.mktemp("out") / "labels", "--classes", ",".join(CLASSES)) as running:
        yield running


def test_labels_become_a_map(server: LabelServer, truth: tuple[np.ndarray, np.ndarray]) -> None:
    state = server.get("state")
    assert (state["width"], state["height"]) == (900, 700)
    assert [each["name"] for each in state["classes"]] == list(CLASSES)
    status, answer = server.post("labels", {"version": state["version"], "add": clicks(truth[1]), "remove": []})
    assert status == 200
    learnt = server.learnt(answer["version"])
    assert learnt["needs"] is None
    assert all(learnt["counts"][name]["labels"] > 5 for name in CLASSES)
    found = whole_map(server, learnt["head"], 900, 700)
    valid = np.ones(truth[1].shape, bool)
    valid[:40, :60] = False
    assert (found[~valid] == 255).all()
    assert (found[valid] == truth[1][valid]).mean() > 0.9
    status, place = server.post("next", {"left": 0, "top": 0, "right": 300, "bottom": 200})
    assert status == 200
    assert {"x", "y", "width", "height", "why"} == place.keys()


def clicks(truth: np.ndarray) -> list[dict[str, object]]:
    rng = np.random.default_rng(1)
    found = []
    for class_id, name in enumerate(CLASSES):
        rows, cols = np.nonzero(truth == class_id)
        for number in rng.choice(len(rows), 14, replace=False):
            xy = [[float(cols[number]) + 0.5, float(rows[number]) + 0.5]]
            found.append({"id": f"{name}{number}", "kind": "point", "class": name, "xy": xy})
    return found


def whole_map(server: LabelServer, head: int, width: int, height: int) -> np.ndarray:
    """(height, width) classes, from the tiles."""
    found = np.full((height, width), 255, np.uint8)
    for row in range(-(-height // 256)):
        for col in range(-(-width // 256)):
            status, body = server.ask("GET", f"map/{head}/1/{col}/{row}")
            assert status == 200
            tile = np.asarray(Image.open(io.BytesIO(body)))
            place = found[row * 256 : row * 256 + 256, col * 256 : col * 256 + 256]
            place[:] = tile[: place.shape[0], : place.shape[1]]
    return found


def test_tiles_show_the_raster(server: LabelServer, truth: tuple[np.ndarray, np.ndarray]) -> None:
    factors = server.get("state")["factors"]
    for factor in factors:
        status, body = server.ask("GET", f"image/{factor}/0/0")
        assert status == 200
        tile = np.asarray(Image.open(io.BytesIO(body)).convert("RGBA"), float)
        assert (tile[: 40 // factor, : 60 // factor, 3] == 0).all()
        shown = truth[0][1, : 256 * factor, : 256 * factor].astype(float)
        side = min(256, shown.shape[0] // factor), min(256, shown.shape[1] // factor)
        means = shown[: side[0] * factor, : side[1] * factor].reshape(side[0], factor, side[1], factor).mean((1, 3))
        inside = np.s_[45 // factor : side[0], 65 // factor : side[1]]
        assert (
            np.corrcoef(tile[: side[0], : side[1], 1][inside].ravel(), means[inside].ravel())[0, 1] > 0.95
        )  # shown between the 2nd and the 98th percentile
    assert server.ask("GET", "image/1/40/40")[0] == 204


def test_a_second_window_is_told(server: LabelServer) -> None:
    version = server.get("state")["version"]
    label = {"id": "twice", "kind": "point", "class": "crop", "xy": [[5.0, 5.0]]}
    assert server.post("labels", {"version": version, "add": [label], "remove": []})[0] == 200
    status, answer = server.post("labels", {"version": version, "add": [label | {"id": "late"}], "remove": []})
    assert status == 409
    assert answer["version"] == version + 1
    server.post("labels", {"version": version + 1, "add": [], "remove": ["twice"]})


def test_another_process_in_the_folder_is_refused(
    server: LabelServer, image: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from agriseg.cli import main

    with pytest.raises(SystemExit) as left:
        main(["label", str(image), "--classes", "soil,crop,weed", "-o", str(server.folder)])
    assert left.value.code == 75
    assert "another" in capfd.readouterr().err


def hostile(server: LabelServer, rng: random.Random) -> tuple[str, str, bytes | None, dict[str, str]]:
    """A request that must be refused: one thing of a good one is wrong."""
    version = server.get("state")["version"]
    label = {"id": f"bad{rng.random()}", "kind": "point", "class": "crop", "xy": [[5.0, 5.0]]}
    good = {"version": version, "add": [label], "remove": []}
    headers = {"Content-Type": "application/json", "Origin": f"http://{server.host}"}
    key = urlsplit(server.address).path

    def changed(**values: object) -> bytes:
        return json.dumps({**good, "add": [label | values]}).encode()

    body = json.dumps(good).encode()
    kinds = [
        lambda: ("POST", "labels", body, headers | {"Host": rng.choice(["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "localhost.evil"])}),
        lambda: ("POST", "labels", body, headers | {"Origin": rng.choice(["http://evil.example", "null", "https://127.0.0.1", "http://localhost:1"])}),
        lambda: ("POST", "labels", body, {"Content-Type": "application/json"}),
        lambda: ("POST", "labels", body, headers | {"Content-Type": rng.choice(["text/plain", "application/x-www-form-urlencoded", ""])}),
        lambda: ("POST", "labels", body, headers | {"Sec-Fetch-Site": "cross-site"}),
        lambda: ("POST", f"/{'x' * rng.randint(1, 60)}/labels", body, headers),
        lambda: ("POST", key[:-2] + "/labels", body, headers),
        lambda: ("POST", "/labels", body, headers),
        lambda: (rng.choice(["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"]), "labels", body, headers),
        lambda: ("GET", rng.choice(["../labels.gpkg", "..%2f..%2fetc/passwd", "page/../../label_file.py", "%2e%2e/labels.gpkg", "labels.gpkg", "page/%2e%2e/session.py"]), None, {}),
        lambda: ("GET", rng.choice(["image/3/0/0", "image/1/x/0", "image/1/-1/0", "image/99999999999/0/0", "status/x", "image/1/0", "map/1/2"]), None, {}),
        lambda: ("POST", "labels", rng.randbytes(rng.randint(0, 400)), headers),
        lambda: ("POST", "labels", body[: rng.randint(0, len(body) - 1)], headers),
        lambda: ("POST", "labels", changed(xy=rng.choice([[], [[1]], [[1, 2, 3]], [["a", "b"]], [[1e308, 1e308]], [[1e9, 0]], 5, None, [[1, 2], [3, 4]]])), headers),
        lambda: ("POST", "labels", changed(kind=rng.choice(["circle", "", None, 3, "area"])), headers),
        lambda: ("POST", "labels", changed(**{"class": rng.choice(["maize", None, "", 5, "crop;"])}), headers),
        lambda: ("POST", "labels", changed(id=rng.choice(["", "../x", "a" * 65, 7, None, "a b", "<b>"])), headers),
        lambda: ("POST", "labels", json.dumps({**good, rng.choice(["path", "file", "sql"]): "/etc/passwd"}).encode(), headers),
        lambda: ("POST", "labels", json.dumps({**good, "version": rng.choice([0, -1, 10**30, "1", None, 1.5])}).encode(), headers),
        lambda: ("POST", "labels", json.dumps({**good, "remove": ["nothing"]}).encode(), headers),
        lambda: ("POST", rng.choice(["improve", "finish"]), json.dumps({"minutes": rng.choice([0, -1, "x", None, 1e9, float("nan")])}).encode(), headers),
        lambda: ("POST", rng.choice(["view", "next"]), json.dumps({"left": rng.choice(["x", None, float("inf")]), "top": 0, "right": 1, "bottom": 1}).encode(), headers),
        lambda: ("POST", rng.choice(["state", "image/1/0/0", "page/label.js"]), body, headers),
        lambda: ("GET", "labels", None, {}),
    ]  # fmt: skip
    return rng.choice(kinds)()


def test_hostile_requests_are_refused(server: LabelServer) -> None:
    rng = random.Random(0)
    before = server.get("state")["labels"], (server.folder / "labels.gpkg").read_bytes()
    files = sorted(path.name for path in server.folder.iterdir())
    for number in range(200):
        request = hostile(server, rng)
        status, body = server.ask(*request)
        assert 400 <= status < 500, (number, request, status, body[:200])
    assert (server.get("state")["labels"], (server.folder / "labels.gpkg").read_bytes()) == before
    assert sorted(path.name for path in server.folder.iterdir()) == files


@pytest.mark.parametrize(
    "sent",
    [
        b"POST {key}labels HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nContent-Type: application/json\r\nContent-Length: 999999999\r\n\r\n",
        b"POST {key}labels HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"POST {key}labels HTTP/1.1\r\nHost: {host}\r\nHost: evil\r\nOrigin: http://{host}\r\nContent-Length: 2\r\n\r\n{}",
        b"GET {key}state HTTP/1.0\r\n\r\n",
        b"GET {key}state HTTP/1.1\r\nHost: {host}\r\nX: " + b"y" * 300_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00" + bytes(100),
        b"POST {key}labels HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{\"ver",
    ],
)  # fmt: skip
def test_broken_requests_are_refused(server: LabelServer, sent: bytes) -> None:
    """Too long, without an end, two hosts, no host, no HTTP, a body that never comes: refused, and the server lives."""
    path = urlsplit(server.address).path.encode()
    host, _, port = server.host.partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(sent.replace(b"{key}", path).replace(b"{host}", server.host.encode()))
        try:
            answer = connection.recv(4096)
        except ConnectionError:
            answer = b""
    assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4"))
    assert server.get("state")["name"] == "field.tif"


def test_headers_keep_others_out(server: LabelServer) -> None:
    connection = __import__("http.client", fromlist=["client"]).HTTPConnection(server.host)
    connection.request("GET", urlsplit(server.address).path)
    headers = dict(connection.getresponse().getheaders())
    connection.close()
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
    assert not {"server", "access-control-allow-origin"} & headers.keys()


def test_the_labels_stay_when_it_is_killed(image: Path, tmp_path: Path) -> None:
    options = "--classes", "soil,crop,weed"
    with label_server(image, tmp_path / "labels", *options) as running:
        version = running.get("state")["version"]
        label = {"id": "kept", "kind": "line", "class": "weed", "xy": [[5.0, 50.0], [9.5, 80.0]]}
        assert running.post("labels", {"version": version, "add": [label], "remove": []})[0] == 200
        running.process.kill()
        running.process.wait()
    with label_server(image, tmp_path / "labels", *options) as running:
        assert running.get("state")["labels"] == [label]
    assert not list((tmp_path / "labels").glob(".features*"))
