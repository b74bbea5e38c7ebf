"""A working store and inputs on an S3 server: a real one, started here."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore
import pytest
from conftest import blocks, layer_bytes, record_of, write_raster
from moto.server import ThreadedMotoServer
from obstore.store import S3Store
from runs import Nursery

from agriseg import load_model
from agriseg.backends.torch_backend import TorchBackend
from agriseg.cli import main
from agriseg.errors import InputMissing, StorageError, UsageError
from agriseg.mapping.outputs import Outputs
from agriseg.mapping.prepare import prepare
from agriseg.mapping.run import Execution, run
from agriseg.options.run import RunOptions
from agriseg.storage.base import FolderStorage, Storage, storage_at
from agriseg.storage.download import download

TILES = {"tile": 64, "overlap": 32, "margin": 8}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    started = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    started.start()
    host, port = started.get_host_and_port()
    yield f"http://{host}:{port}"
    started.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    """An empty bucket named `field`, and the environment that leads to it."""
    for name, value in {
        "AWS_ENDPOINT_URL": server, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    import urllib.request

    urllib.request.urlopen(urllib.request.Request(f"{server}/moto-api/reset", method="POST"))
    urllib.request.urlopen(urllib.request.Request(f"{server}/field", method="PUT"))
    return S3Store("field", client_options={"allow_http": True})


def names_in(store: S3Store) -> list[str]:
    return [each["path"] for batch in obstore.list(store) for each in batch]


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return FolderStorage(tmp_path)
    request.getfixturevalue("bucket")
    return storage_at("s3://field/work/a")


def test_a_place_gives_back_what_was_put(place: Storage) -> None:
    assert place.get("answers/1/2") is None
    assert place.names("answers") == []
    for name in ("answers/1/2", "answers/1/10", "answers/12/3", "key"):
        place.put(name, name.encode())
    place.put("key", b"again")
    assert (place.get("answers/1/2"), place.get("key")) == (b"answers/1/2", b"again")
    assert sorted(place.names("answers")) == ["1", "12"]
    assert sorted(place.names("answers/1")) == ["10", "2"]
    place.delete("answers/1")
    assert (place.names("answers"), place.get("answers/1/2"), place.get("answers/12/3")) == (
        ["12"],
        None,
        b"answers/12/3",
    )
    place.delete("key")
    place.delete("key")
    assert place.get("key") is None
    assert storage_at(place.address).get("answers/12/3") == b"answers/12/3"


def mapped(image: Path, model_file: Path, out: Path, work: str | None) -> dict[str, bytes]:
    prepared = prepare(image, load_model(model_file), RunOptions.of(**TILES))
    run(prepared, Outputs(out, image.stem, with_probabilities=False), execution=Execution(work=work))
    return layer_bytes(out)


def test_a_run_over_a_bucket_is_stopped_and_goes_on(
    tmp_path: Path, model_file: Path, bucket: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = write_raster(tmp_path / "a.tif", blocks(260, 200, low=1), nodata=0)
    expected = mapped(image, model_file, tmp_path / "straight", None)
    plain, ran = TorchBackend.logits, [0]

    def call(self: TorchBackend, x: Any) -> Any:
        ran[0] += 1
        if stop and ran[0] > 20:
            raise KeyboardInterrupt
        return plain(self, x)

    monkeypatch.setattr(TorchBackend, "logits", call)
    stop = True
    with pytest.raises(KeyboardInterrupt):
        mapped(image, model_file, tmp_path / "out", "s3://field/work")
    assert any("a.agriseg/journal/" in name for name in names_in(bucket))
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == [".a.agriseg"]
    stop, ran = False, [0]
    assert mapped(image, model_file, tmp_path / "out", "s3://field/work") == expected
    tiles = record_of(tmp_path / "straight")["tiles_run"]
    assert ran[0] == 1 + tiles - 19, "tiles of the first run were computed again"
    assert names_in(bucket) == []


@pytest.mark.long
def test_workers_over_a_bucket(tmp_path: Path, model_file: Path, bucket: S3Store, nursery: Nursery) -> None:
    image = write_raster(tmp_path / "a.tif", blocks(260, 200, low=1), nodata=0)
    flags = ["-m", str(model_file), "--tile", "64", "--overlap", "32", "--margin", "8", "--cpu-threads", "1", "-q"]
    alone = nursery.run("run", image, *flags, "-o", tmp_path / "alone")
    assert alone.code == 0, alone.err
    command = [sys.executable, "-m", "agriseg", "run", str(image), *flags, "-o", str(tmp_path / "workers")]
    done = subprocess.run(
        [*command, "--workers", "2", "--work", "s3://field/w"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert layer_bytes(tmp_path / "alone") == layer_bytes(tmp_path / "workers")
    assert names_in(bucket) == []


def test_a_raster_from_a_bucket(
    tmp_path: Path, model_file: Path, bucket: S3Store, capsys: pytest.CaptureFixture[str]
) -> None:
    image = write_raster(tmp_path / "a.tif", blocks(90, 90, low=1))
    obstore.put(bucket, "2026/far.tif", image)
    command = ["run", "s3://field/2026/far.tif", "-m", str(model_file), "-o", str(tmp_path / "out")]
    for flags, code in ([], 2), (["--allow-remote"], 0):
        with pytest.raises(SystemExit) as left:
            main([*command, *flags])
        assert left.value.code == code, capsys.readouterr().err
    assert (tmp_path / "out" / "far.tif").read_bytes() == image.read_bytes()
    assert (tmp_path / "out" / "far_classes.tif").exists()
    other = write_raster(tmp_path / "b.tif", blocks(90, 90, low=1, seed=1))
    assert other.stat().st_size == image.stat().st_size
    obstore.put(bucket, "2026/far.tif", other)
    fetched = download("s3://field/2026/far.tif", tmp_path / "out" / "far.tif", lambda *_: None)
    assert fetched.read_bytes() == other.read_bytes()


def test_what_a_bucket_cannot_do(
    tmp_path: Path, model_file: Path, bucket: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputMissing, match=r"s3://field/none\.tif: cannot be fetched"):
        download("s3://field/none.tif", tmp_path / "none.tif", lambda *_: None)
    assert not list(tmp_path.glob("*none*"))
    for address in ("s3://", "s3://field", "s3:///x"):
        with pytest.raises(UsageError, match="expected s3://BUCKET/PREFIX"):
            storage_at(address)
    with pytest.raises(StorageError, match="does not answer as it should"):
        storage_at("s3://no-such-bucket/x").put("a", b"a")
    image = write_raster(tmp_path / "a.tif", blocks(90, 90, low=1))
    with pytest.raises(StorageError, match="does not answer as it should"):
        mapped(image, model_file, tmp_path / "out", "s3://no-such-bucket/x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(StorageError, match="does not answer as it should"):
        storage_at("s3://field/x").names("a")
