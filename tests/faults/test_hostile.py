"""X, C: files made to do harm do none."""

import json
import os
import pickle
import pty
import re
import shutil
import struct
import subprocess
import sys
import tomllib
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import DATA, blocks, layer_bytes, write_raster
from runs import Ended, Nursery, Subject

from agriseg.demo.reference_models import random_network

ROOT = Path(__file__).parents[2]
Traced = Callable[..., Ended]


@pytest.mark.fault("X08", "C07")
@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch pwn']",
        "$import os; os.system('touch pwn')",
        "{{ cycler.__init__.__globals__ }}",
    ],
)
@pytest.mark.parametrize("command", ["run", "train"])
def test_code_in_a_configuration(nursery: Nursery, subject: Subject, tmp_path: Path, text: str, command: str) -> None:
    config = tmp_path / "c.toml"
    config.write_text(text)
    args = ["run", subject.image, "-c", config] if command == "run" else ["train", config, "-o", tmp_path / "out"]
    ended = nursery.run(*args, cwd=tmp_path)
    assert (ended.code, ended.one_line) == (78, True), ended.err
    assert not (tmp_path / "pwn").exists()


@pytest.mark.fault("C07")
def test_code_in_the_card_stays_text(nursery: Nursery, subject: Subject, tmp_path: Path) -> None:
    model = random_network("fcn_small")
    about = {"licence": "$import os", "note": "{{ 7*7 }}", "x": "!!python/object/apply:os.abort"}
    type(model)(**{**{name: getattr(model, name) for name in ("network", "legend", "bands", "scale", "mean", "std", "stride", "align", "halo")},
                   "architecture": "fcn_small", "about": about}).save(tmp_path / "m.safetensors")  # fmt: skip
    ended = nursery.run("model", "show", tmp_path / "m.safetensors")
    assert ended.code == 0, ended.err
    assert "49" not in ended.out.split("note")[-1]


def header(entries: dict[str, Any], size: int | None = None) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text


LIES = {
    "a header of 200 MB": header({}, 200 * 2**20),
    "a header of 2^63": struct.pack("<Q", 2**63) + b"{}",
    "10^12 numbers": header({"w": {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4 * 10**12]}}),
    "tensors that overlap": header({
        "a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}, "b": {"dtype": "F32", "shape": [4], "data_offsets": [8, 24]},
    }) + bytes(24),
    "a hole": header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [8, 12]}}) + bytes(12),
    "less data than told": header({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}) + bytes(8),
    "no JSON": struct.pack("<Q", 9) + b"not json!",
}  # fmt: skip


@pytest.mark.fault("C03")
@pytest.mark.parametrize("lie", LIES)
def test_a_model_file_that_lies(nursery: Nursery, subject: Subject, tmp_path: Path, lie: str) -> None:
    model = tmp_path / "m.safetensors"
    model.write_bytes(LIES[lie])
    ended = nursery.run("run", subject.image, "-m", model, "-o", tmp_path / "out", headroom=2**30)
    assert (ended.code, ended.one_line) == (78, True), ended.err


class Payload:
    """Touches a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.fault("X16", "X14")
def test_a_working_folder_that_was_prepared(nursery: Nursery, subject: Subject, tmp_path: Path) -> None:
    """Somebody puts a store with a pickling filter where ours will be: nothing of it is used."""
    out, owned = tmp_path / "out", tmp_path / "owned"
    child = nursery.start(*subject.command(out), patches=[["hold", 20]])
    child.held()
    child.signal(9)
    child.ended()
    for layer in ("classes", "confidence"):
        folder = out / ".a.agriseg" / "blocks" / layer
        (folder / "zarr.json").unlink()
        (folder / ".zarray").write_text(json.dumps({
            "zarr_format": 2, "shape": [1, 330, 290], "chunks": [1, 330, 290], "dtype": "|O", "fill_value": None,
            "order": "C", "filters": [{"id": "pickle"}], "compressor": None,
        }))  # fmt: skip
        (folder / "0.0.0").write_bytes(pickle.dumps(Payload(owned)))
    assert nursery.run(*subject.command(out)).code == 0
    assert subject.same(out)
    assert not owned.exists()


@pytest.mark.fault("X14")
def test_links_where_our_files_go(nursery: Nursery, subject: Subject, tmp_path: Path) -> None:
    """Every name that a run uses for a while, met before as a link to something dear."""
    log = set()
    out = tmp_path / "first"
    child = nursery.start(*subject.command(out), patches=[["hold", 20]])
    child.held()
    log |= {path.name for path in out.iterdir()}
    child.go_on()
    assert child.ended().code == 0
    log |= {f".{path.stem}.part{path.suffix}" for path in map(Path, [*layer_bytes(out), "a_run.json", "a_report.html"])}
    assert {".a.agriseg", ".a.agriseg.lock"} <= log
    for number, name in enumerate(sorted(log)):
        out, victim, room = (tmp_path / f"{what}{number}" for what in ("out", "victim", "room"))
        out.mkdir()
        room.mkdir()
        for dear in (victim, room / "dear"):
            dear.write_text("dear")
        (out / name).symlink_to(room if name == ".a.agriseg" else victim)
        ended = nursery.run(*subject.command(out))
        assert victim.read_text() == "dear", name
        assert [path.name for path in room.iterdir()] == ["dear"], name
        assert (room / "dear").read_text() == "dear"
        assert subject.whole(out)
        assert (out / "a_run.json").exists() if ended.code == 0 else ended.one_line, ended.err


@pytest.mark.fault("X12")
@pytest.mark.parametrize("name", ["\x1b[31mred.tif", "a\rb.tif", "two\nlines.tif", "bell\x07.tif"])
def test_control_characters_are_escaped(nursery: Nursery, subject: Subject, tmp_path: Path, name: str) -> None:
    ended = nursery.run("run", name, "-m", subject.model, cwd=tmp_path)
    assert (ended.code, ended.one_line) == (66, True)
    assert ended.err.rstrip("\n").isprintable()


@pytest.mark.fault("X12")
def test_a_terminal_obeys_no_name(subject: Subject, tmp_path: Path) -> None:
    """Paths and progress on a real terminal: what is not agriseg's own way of wiping a line is spelt out."""
    evil = tmp_path / "a\x1b]0;owned\x07\x1b[2J.tif"
    shutil.copy(subject.image, evil)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "agriseg", *subject.command(tmp_path / "out")]
    command = [str(evil) if word == str(subject.image) else word for word in command if word != "-q"]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL) as child:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # how Linux says that the other end is closed
            while part := os.read(ours, 65536):
                shown += part
    os.close(ours)
    assert child.returncode == 0, shown
    assert b"\\x1b]0;owned\\x07" in shown
    assert b"\x1b]" not in shown
    assert b"\x07" not in shown
    assert set(re.findall(rb"\x1b\[\d*[A-Za-z]", shown)) <= {b"\x1b[K"}


@pytest.mark.fault("X06")
@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:9/x.tif",
        "s3://bucket/x.tif",
        "zip+http://127.0.0.1:9/a.zip!x.tif",
        "/vsicurl/http://127.0.0.1:9/x.tif",
        "ftp://127.0.0.1/x.tif",
        "file:///etc/passwd",
    ],
)
def test_addresses_are_no_files(
    nursery: Nursery, subject: Subject, tmp_path: Path, traced: Traced, address: str
) -> None:
    log = tmp_path / "log"
    ended = traced("run", address, "-m", subject.model, flags=["-e", "trace=connect"], log=log)
    assert (ended.code, ended.one_line) == (2, True), ended.err
    assert "AF_INET" not in log.read_text()


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a0 "ha">'
    + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    + "]><PAMDataset><Metadata><MDI key='x'>&a11;</MDI></Metadata></PAMDataset>"
)


@pytest.mark.fault("X17")
def test_a_sidecar_that_explodes(nursery: Nursery, subject: Subject, tmp_path: Path) -> None:
    """Refused in one line, or the map is that of the raster without it."""
    image = write_raster(tmp_path / "a.tif", blocks(70, 90))
    command = ("run", image, "-m", subject.model, "-q", "-o")
    assert nursery.run(*command, tmp_path / "plain").code == 0
    Path(f"{image}.aux.xml").write_text(BOMB)
    ended = nursery.start(*command, tmp_path / "out", headroom=2**30).ended()
    if ended.code == 0:
        assert ended.err == ""
        assert layer_bytes(tmp_path / "out") == layer_bytes(tmp_path / "plain")
    else:
        assert (ended.code, ended.one_line) == (65, True), ended.err


@pytest.mark.fault("X15", "X05")
def test_gdals_environment_is_not_believed(subject: Subject, tmp_path: Path) -> None:
    """A hostile configuration and a hostile plugin in the working folder."""
    import subprocess
    import sys

    (tmp_path / "gdal_evil.so").write_bytes(b"\x7fELF no library")
    (tmp_path / "gdalrc").write_text(
        "[directives]\nignore-env-variables=yes\n[configoptions]\nGDAL_SKIP=GTiff\nCPL_VSIL_CURL_ALLOWED_EXTENSIONS=.tif\n"
    )
    hostile = {
        "GDAL_DRIVER_PATH": ".", "GDAL_CONFIG_FILE": "gdalrc", "GDAL_VRT_ENABLE_PYTHON": "YES", "GDAL_SKIP": "",
        "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".tif",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "agriseg", *subject.command(tmp_path / "out")], cwd=tmp_path, env={**os.environ, **hostile},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert subject.same(tmp_path / "out")


OPENED = re.compile(r'openat\([^,]+, "([^"]*)", ([A-Z_|]+)')
LIBRARIES = ("/usr/", "/lib", "/etc/", "/proc/", "/sys/", "/dev/", "/opt/", "/run/")


@pytest.mark.fault("X07")
def test_no_connection_and_no_foreign_file(
    nursery: Nursery,
    subject: Subject,
    tmp_path: Path,
    traced: Traced,
    record_property: Callable[[str, object], None],
) -> None:
    """Over the corpus: what is opened lies beside the input, in the output, with the model, or in libraries."""
    corpus = sorted(path for path in (DATA / "odd").iterdir() if path.suffix in (".tif", ".tiff"))
    log = tmp_path / "log"
    own = (str(tmp_path), str(subject.model.parent), str(ROOT), sys.base_prefix, *filter(None, sys.path), *LIBRARIES)
    for number, path in enumerate(corpus, 1):
        traced(
            "run",
            path,
            "-m",
            subject.model,
            "-o",
            tmp_path / "out" / path.stem,
            "-q",
            flags=["-e", "trace=connect,openat"],
            log=log,
            cwd=tmp_path,
        )
        text = log.read_text(errors="replace")
        assert "AF_INET" not in text, path
        foreign = [name for name, _ in OPENED.findall(text) if name.startswith("/") and not name.startswith(own)]
        foreign = [name for name in foreign if name != "/" and not name.startswith(f"{Path.home()}/.gdal")]
        assert not foreign, (path, foreign)
        record_property("tries", number)


UNSAFE = re.compile(r"\bpickle\.loads?\b|(?<![.\w])(eval|exec)\(|shell=True|os\.system|yaml\.load\(|weights_only=False")


@pytest.mark.fault("X18", "C02")
def test_floors_and_forbidden_calls() -> None:
    """torch 2.10 (CVE-2026-24747, CVE-2025-32434), distributed 2024.8.3 (CVE-2024-10096), filelock 3.20.1 (CVE-2025-68146)."""
    floors = {"torch": (2, 10), "distributed": (2024, 8, 3), "dask": (2024, 8, 3), "filelock": (3, 20, 1)}
    for name, floor in floors.items():
        found = version(name)
        assert tuple(int(part) for part in re.findall(r"\d+", found)[: len(floor)]) >= floor, f"{name} {found}"
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert "torch>=2.10" in wanted
    for path in (ROOT / "agriseg").rglob("*.py"):
        assert not UNSAFE.search(path.read_text()), path
    assert UNSAFE.search("torch.load(path, weights_only=False)")
    assert torch.__version__ >= "2.1"
