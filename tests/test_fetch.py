"""A file behind an address is taken from the disk only if it is what the server has now."""

import http.server
import os
import threading
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from agriseg.cli import main
from agriseg.errors import InputMissing, OutputError
from agriseg.storage.download import download


class Site(http.server.ThreadingHTTPServer):
    """Answers with `pages`: path to headers and bytes; `asked` are those whose bytes went out whole."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages: dict[str, tuple[dict[str, str], bytes]] = {}
        self.cut = 0
        self.date = formatdate(usegmt=True)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        headers, data = self.server.pages.get(self.path, ({}, b""))
        self.send_response_only(302 if "Location" in headers else 200 if self.path in self.server.pages else 404)
        for name, value in {"Date": self.server.date, "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[: len(data) - self.server.cut])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    server = Site()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


OLD = formatdate(1_700_000_000, usegmt=True)


def got(site: Site, address: str, path: Path) -> tuple[bytes, bool]:
    """What a fetch leaves, and whether its bytes came over the network."""
    told: list[int] = []
    assert download(site.url(address), path, lambda done, _: told.append(done)) == path
    return path.read_bytes(), bool(told)


@pytest.mark.parametrize("headers", [{"ETag": '"1"'}, {"Last-Modified": OLD}], ids=str)
def test_what_is_the_same_is_fetched_once(site: Site, tmp_path: Path, headers: dict[str, str]) -> None:
    site.pages["/f.tif"] = headers, b"one"
    assert got(site, "/f.tif", tmp_path / "f.tif") == (b"one", True)
    assert got(site, "/f.tif", tmp_path / "f.tif") == (b"one", False)


CHANGES = {
    "another address": ("/a/f.tif", {"ETag": '"1"'}, "/b/f.tif", {"ETag": '"1"'}, b"two"),
    "another query": ("/f.tif?v=1", {"ETag": '"1"'}, "/f.tif?v=2", {"ETag": '"1"'}, b"two"),
    "another ETag": ("/f.tif", {"ETag": '"1"'}, "/f.tif", {"ETag": '"2"'}, b"two"),
    "a later time": ("/f.tif", {"Last-Modified": OLD}, "/f.tif", {"Last-Modified": formatdate(1_700_000_001, usegmt=True)}, b"two"),
    "another length": ("/f.tif", {"ETag": '"1"'}, "/f.tif", {"ETag": '"1"'}, b"three"),
    "a weak ETag": ("/f.tif", {"ETag": 'W/"1"'}, "/f.tif", {"ETag": 'W/"1"'}, b"two"),
    "no validator": ("/f.tif", {}, "/f.tif", {}, b"two"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_law_what_may_be_another_is_fetched_again(site: Site, tmp_path: Path, change: str) -> None:
    first, headers, second, later, data = CHANGES[change]
    site.pages[first] = headers, b"one"
    assert got(site, first, tmp_path / "f.tif") == (b"one", True)
    site.pages[second] = later, data
    assert got(site, second, tmp_path / "f.tif") == (data, True)


def test_a_file_that_has_just_been_written_may_be_written_again_in_the_same_second(site: Site, tmp_path: Path) -> None:
    for data in (b"one", b"two"):
        site.pages["/f.tif"] = {"Last-Modified": site.date}, data
        assert got(site, "/f.tif", tmp_path / "f.tif") == (data, True)


def test_a_redirection_that_leads_elsewhere(site: Site, tmp_path: Path) -> None:
    for name in ("one", "two"):
        site.pages["/f.tif"] = {"Location": f"/{name}.tif?key=secret"}, b""
        site.pages[f"/{name}.tif?key=secret"] = {"ETag": '"1"'}, name.encode()
        assert got(site, "/f.tif", tmp_path / "f.tif") == (name.encode(), True)
    assert "secret" not in (tmp_path / ".f.tif.fetched").read_text()


def test_a_download_that_ends_early_leaves_what_was_there(site: Site, tmp_path: Path) -> None:
    site.pages["/f.tif"] = {"ETag": '"1"'}, b"one"
    got(site, "/f.tif", tmp_path / "f.tif")
    site.pages["/f.tif"], site.cut = ({"ETag": '"2"'}, b"three"), 2
    with pytest.raises(InputMissing, match=r"cannot be fetched .*f\.tif is what was fetched before"):
        got(site, "/f.tif", tmp_path / "f.tif")
    assert (tmp_path / "f.tif").read_bytes() == b"one"
    site.cut = 0
    assert got(site, "/f.tif", tmp_path / "f.tif") == (b"three", True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".f.tif.fetched", "f.tif"]


def test_nobody_elses_file_is_written_over(site: Site, tmp_path: Path) -> None:
    site.pages["/f.tif"] = {"ETag": '"1"'}, b"one"
    (tmp_path / "f.tif").write_bytes(b"mine")
    with pytest.raises(OutputError, match="is not what was fetched"):
        got(site, "/f.tif", tmp_path / "f.tif")
    (tmp_path / "f.tif").unlink()
    got(site, "/f.tif", tmp_path / "f.tif")
    (tmp_path / "f.tif").write_bytes(b"two")
    os.utime(tmp_path / "f.tif", ns=(5, 5))
    with pytest.raises(OutputError, match="is not what was fetched"):
        got(site, "/f.tif", tmp_path / "f.tif")
    assert (tmp_path / "f.tif").read_bytes() == b"two"


def test_a_mask_of_another_raster_is_not_read_with_it(site: Site, tmp_path: Path) -> None:
    site.pages["/f.tif"] = {"ETag": '"1"'}, b"one"
    (tmp_path / "f.tif.msk").write_bytes(b"mask")
    with pytest.raises(OutputError, match=r"f\.tif\.msk: would be read with"):
        got(site, "/f.tif", tmp_path / "f.tif")


def test_two_of_one_name_are_refused_before_either_is_fetched(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["run", site.url("/a/f.tif"), site.url("/b/f.tif"), "--allow-remote", "-o", str(tmp_path / "out")])
    assert left.value.code == 2
    assert "/a/f.tif and http" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
