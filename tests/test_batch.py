"""A night of many rasters: what is isolated, what is remembered, what is told.

Rasters of most nights are mapped in forks, which begin in milliseconds; one night has workers of each kind.
"""

import csv
import html.parser
import importlib.util
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from clusters import cluster
from conftest import TIMED, blocks, layer_bytes, started_with, write_raster
from runs import Ended, Nursery

from agriseg import segment
from agriseg.batch.job_file import read_jobs
from agriseg.batch.state_db import BatchRow, Entry, StateDatabase
from agriseg.batch.task import MapFacts
from agriseg.cli import cli
from agriseg.demo.reference_models import random_network
from agriseg.errors import ModelError, StorageError, UsageError
from agriseg.maps.record import PixelTotals
from agriseg.options.layers import LayerOptions
from agriseg.options.request import MappingRequest
from agriseg.verdict import Reason, Verdict

Batch = Callable[..., Ended]

NAMES = ("2026-05-01/north.tif", "2026-05-01/south.tif", "2026-05-08/north.tif")
TILES = ["--tile", "64", "--overlap", "32", "--margin", "8"]


@dataclass
class Farm:
    """Three good rasters of two days, each of its own pixels, and where their maps go."""

    flights: Path
    out: Path

    @classmethod
    def at(cls, folder: Path) -> "Farm":
        for seed, name in enumerate(NAMES):
            path = folder / "flights" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_raster(path, blocks(96, 104, seed=seed, low=1))
        return cls(folder / "flights", folder / "out")

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in json.loads((self.out / "summary.json").read_text())["rows"]}

    @property
    def fresh(self) -> set[str]:
        """Rasters that the last night has looked at anew."""
        return {name for name, row in self.rows.items() if not row.get("unchanged")}


@pytest.fixture
def farm(tmp_path: Path) -> Farm:
    return Farm.at(tmp_path)


@pytest.fixture(scope="session")
def a_night(tmp_path_factory: pytest.TempPathFactory, nursery: Nursery, model_file: Path) -> Farm:
    """A farm whose rasters are mapped; nobody changes it."""
    farm = Farm.at(tmp_path_factory.mktemp("night"))
    asked = ["batch", farm.flights, "-o", farm.out, "-m", model_file, "--settle", "0s", *TILES]
    done = nursery.run(*asked, patches=[["forks"]])
    assert (done.code, done.out, done.err) == (0, "", ""), "quiet on success"
    return farm


@pytest.fixture
def mapped(a_night: Farm, tmp_path: Path) -> Farm:
    """The same for a test of its own."""
    shutil.copytree(a_night.flights, tmp_path / "flights")
    shutil.copytree(a_night.out, tmp_path / "out")
    return Farm(tmp_path / "flights", tmp_path / "out")


@pytest.fixture
def batch(nursery: Nursery, tmp_path: Path) -> Batch:
    """`agriseg batch` in a fork; `act` is a raster's name and Python that is run before each of its tiles."""

    def run(*args: Any, act: tuple[str, str] | None = None, settle: str = "0s") -> Ended:
        patches = [["forks"], *([["before_tile", *act]] if act else [])]
        return nursery.start("batch", *args, "--settle", settle, cwd=tmp_path, patches=patches).ended(120)

    return run


def maps_of(out: Path) -> dict[str, bytes]:
    """Every file of every map but those that hold times."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.parent != out and not path.name.endswith(TIMED)
    }


# the night


@pytest.mark.fault("B07", "K11")
def test_a_night_and_the_same_night_again(mapped: Farm, model_file: Path, tmp_path: Path) -> None:
    for path in mapped.flights.rglob("*.tif"):
        straight = tmp_path / "straight" / path.parent.name
        segment(path, model_file, straight, tile=64, overlap=32, margin=8)
        got = {
            name: data
            for name, data in layer_bytes(mapped.out / path.parent.name).items()
            if name.startswith(path.stem)
        }
        expected = {name: data for name, data in layer_bytes(straight).items() if name.startswith(path.stem)}
        assert got == expected
    times = {path: path.stat().st_mtime_ns for path in mapped.out.rglob("*_run.json")}
    again = without_torch(tmp_path, mapped.flights, "-o", mapped.out, "-m", model_file, *TILES)
    assert (again.returncode, again.stderr) == (0, "")
    assert times == {path: path.stat().st_mtime_ns for path in mapped.out.rglob("*_run.json")}
    assert not mapped.fresh


def without_torch(folder: Path, *args: Any) -> subprocess.CompletedProcess[str]:
    """`agriseg batch` in a process that ends when it loads torch: a night without work is quick."""
    env = started_with(
        folder,
        "import sys\nclass Refuse:\n    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch': raise SystemExit('torch is loaded')\n"
        "sys.meta_path.insert(0, Refuse())\n",
    )
    command = [sys.executable, "-m", "agriseg", "batch", *map(str, args), "--settle", "0s"]
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


@pytest.mark.fault("X10", "X11", "B02", "B03")
def test_the_readers_can_be_trusted(mapped: Farm, model_file: Path, batch: Batch) -> None:
    """The summaries of a night with good, bad and evil names: the right rows, no formula, no markup."""
    for name in ("=cmd|' &C calc'!A1.tif", "<img src=x onerror=alert(1)>.tif"):
        (mapped.flights / name).write_bytes(b"")
    write_raster(mapped.flights / "2026-05-01" / "south.tiff", blocks(90, 90))
    out = mapped.out
    for _ in range(2):  # what is known to be bad is told again
        done = batch(mapped.flights, "-o", out, "-m", model_file, *TILES, "--stac")
        assert done.code == 3
        assert done.err.count("\n") == 3
        assert all(line.startswith("agriseg: failed: ") for line in done.err.splitlines())
    with (out / "summary.csv").open(newline="", encoding="utf-8-sig") as lines:
        table = list(csv.DictReader(lines))
    assert len(table) == 6
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in table for cell in row.values())
    assert {row["status"] for row in table} == {"done", "failed"}
    north = next(row for row in table if row["name"] == NAMES[0])
    assert float(north["class 0 ha"]) >= 0
    assert int(north["predicted"]) == 96 * 104
    tags = Tags()
    tags.feed((out / "summary.html").read_text())
    assert not {"script", "link", "iframe"} & set(tags.names)
    assert tags.links == [name.replace(".tif", "_report.html") for name in NAMES]
    assert all((out / link).is_file() for link in tags.links)
    assert all(source.startswith("data:image/png") for source in tags.sources)
    assert len(tags.sources) == 3
    clash = mapped.rows["2026-05-01/south.tiff"]
    assert (clash["code"], "2026-05-01/south.tif would write the same files" in clash["reason"]) == (2, True)
    events = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events].count("failed") == 4, (
        "the two empty ones once, the clash in both nights"
    )
    assert (events[-1]["event"], events[-1]["exit_code"]) == ("summary", 3)
    assert all(event["ts"].endswith("Z") for event in events)
    assert all(event["seconds"] > 0 for event in events if event["event"] == "done")
    told = json.loads((out / "collection.json").read_text())
    items = [link["href"] for link in told["links"] if link["rel"] == "item"]
    assert len(items) == 3
    assert all((out / item).is_file() for item in items)


class Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.sources: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        assert not any(name.startswith("on") for name, _ in attrs)
        self.sources += [value or "" for name, value in attrs if name == "src"]
        self.links += [value or "" for name, value in attrs if name == "href"]


@pytest.mark.fault("B03")
def test_all_bad_and_none_at_all(tmp_path: Path, model_file: Path, batch: Batch) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    assert batch(folder, "-o", tmp_path / "none", "-m", model_file).code == 0
    assert "<b>0</b> files" in (tmp_path / "none" / "summary.html").read_text()
    for name in ("a.tif", "b.tif"):
        (folder / name).write_text("no raster")
    for _ in range(2):
        done = batch(folder, "-o", tmp_path / "out", "-m", model_file)
        assert (done.code, done.err.count("failed: ")) == (65, 2), "known to be bad, and told again"


@pytest.mark.fault("B02", "B09", "W02")
def test_a_raster_that_kills_its_worker(farm: Farm, model_file: Path, batch: Batch) -> None:
    """The tile is named; the others finish; one whose worker hangs is stopped."""
    asked = [farm.flights, "-o", farm.out, "-m", model_file, *TILES]
    poison = (farm.flights / NAMES[1]).rename(farm.flights / "2026-05-01" / "poison.tif")
    act = "if (window.col_off, window.row_off) == (40, 32): os.kill(os.getpid(), signal.SIGKILL)"
    done = batch(*asked, act=("poison.tif", act))
    assert done.code == 3, done.err
    assert {name for name, row in farm.rows.items() if row["status"] == "done"} == {NAMES[0], NAMES[2]}
    bad = farm.rows["2026-05-01/poison.tif"]
    assert (bad["status"], bad["code"], bad["tries"]) == ("failed", 75, 2)
    assert "window 40,32,64,64" in bad["reason"]
    hung = batch(*asked, "--timeout", "1s", act=("poison.tif", "time.sleep(3600)"))
    assert hung.code == 3, hung.err
    assert "stopped; raise --timeout" in farm.rows["2026-05-01/poison.tif"]["reason"]
    assert farm.fresh == {"2026-05-01/poison.tif"}
    assert batch(*asked).code == 0
    assert farm.rows["2026-05-01/poison.tif"]["status"] == "done"
    assert poison.is_file()


@pytest.mark.fault("B04", "B05")
def test_files_that_go_away_or_grow_before_their_turn(mapped: Farm, model_file: Path, batch: Batch) -> None:
    """Two new rasters that are written again, or deleted, while another is mapped: one is put off, one has gone."""
    asked = [mapped.flights, "-o", mapped.out, "-m", model_file, *TILES]
    first, grows, goes = (mapped.flights / f"new{number}.tif" for number in range(3))
    for path in (first, grows, goes):
        write_raster(path, blocks(96, 104))
        os.utime(path, (1_700_000_000, 1_700_000_000))
    act = f"open({str(grows)!r}, 'ab').write(b'more'); pathlib.Path({str(goes)!r}).unlink(missing_ok=True)"
    done = batch(*asked, act=("new0.tif", act), settle="1h")
    assert done.code == 3, done.err
    rows = {name: (row["status"], row["code"]) for name, row in mapped.rows.items() if name.startswith("new")}
    assert rows == {"new0.tif": ("done", 0), "new1.tif": ("deferred", 0), "new2.tif": ("failed", 66)}
    assert not (mapped.out / "new1_classes.tif").exists()
    write_raster(grows, blocks(96, 104))
    os.utime(grows, (1_700_000_000, 1_700_000_000))
    assert batch(*asked, settle="1h").code == 0
    assert mapped.rows["new1.tif"]["status"] == "done"
    assert "new2.tif" not in mapped.rows, "it is not there, and has no map"
    grows.unlink()
    assert batch(*asked, settle="1h").code == 0
    assert mapped.rows["new1.tif"]["status"] == "gone"
    assert "its map is of an earlier batch" in mapped.rows["new1.tif"]["reason"]
    assert '<b>1</b> <span class="status">gone</span>' in (mapped.out / "summary.html").read_text()


# the ledger


def test_a_ledger_keeps_what_it_was_given(tmp_path: Path) -> None:
    verdict = Verdict("amber", ("odd",), (Reason("gsd_ratio", 3.0, 1.0, 4.0),), ("distance",), None, 3.0, 0.0, 0.0, 0.0)
    facts = MapFacts(
        "0", "1", "2", PixelTotals(9, 9, 0, 0), 1, {"weed": 0.1}, {"weed": 1.0}, 3.5, ("hot",), verdict,
        ("a/b_classes.tif", "a/b_run.json"), "a/b_report.html", "data:",
    )  # fmt: skip
    rows = [
        BatchRow("a/b.tif", "done", "a", None, seconds=3.5, map=facts, own=True, image="/a/b.tif"),
        BatchRow("c.tif", "failed", "c", "2026-05-01", 65, "no raster", 2, unchanged=True),
    ]
    with StateDatabase(tmp_path / "l.sqlite") as database:
        assert database.find("a/b.tif") is None
        for row in rows:
            database.put(Entry(row.name, "5 7", "abc", "key", row))
    with StateDatabase(tmp_path / "l.sqlite") as database:
        assert [entry.row for entry in database.entries()] == rows


def test_a_summary_has_no_state(mapped: Farm) -> None:
    """Whose the files are, where the raster lies on this machine, and the picture of the page."""
    assert mapped.rows
    assert all(not {"own", "image", "thumbnail"} & row.keys() for row in mapped.rows.values())


def test_what_is_no_ledger_is_said(tmp_path: Path) -> None:
    (tmp_path / "l.sqlite").write_text("no ledger at all, but long enough to be taken for one" * 100)
    with pytest.raises(StorageError, match="the state database cannot be used"):
        StateDatabase(tmp_path / "l.sqlite")


def test_what_has_changed_is_mapped_again_and_nothing_else(
    mapped: Farm, model_file: Path, batch: Batch, tmp_path: Path
) -> None:
    """Night after night in one folder, each with another change."""
    asked = [mapped.flights, "-o", mapped.out, *TILES]
    south, other = mapped.flights / NAMES[1], tmp_path / "other.safetensors"
    random_network("fcn_small", seed=1).save(other)

    def again(*flags: Any) -> set[str]:
        done = batch(*asked, *(flags or ("-m", model_file)))
        assert done.code == 0, done.err
        return mapped.fresh

    south.touch()
    assert again() == set()
    write_raster(south, blocks(96, 104, seed=9, low=1))
    assert again() == {NAMES[1]}
    (mapped.out / "2026-05-01" / "south_confidence.tif").unlink()
    assert again() == {NAMES[1]}
    segment(south, other, mapped.out / "2026-05-01", overwrite=True)
    assert again() == {NAMES[1]}, "somebody has put another map in the place of the night's"
    record = json.loads((mapped.out / "2026-05-01" / "south_run.json").read_text())
    assert record["verdict"] == mapped.rows[NAMES[1]]["verdict"]
    assert again("-m", other) == set(NAMES)
    assert again("-m", other, "--limit", "doubtful=0.1%:0.2%") == set(NAMES)
    assert {row["verdict"]["colour"] for row in mapped.rows.values()} == {"red"}


def test_maps_of_somebody_else_are_left_alone(farm: Farm, model_file: Path, batch: Batch) -> None:
    """In this night and in the next one."""
    segment(farm.flights / NAMES[1], model_file, farm.out / "2026-05-01")
    before = layer_bytes(farm.out / "2026-05-01")
    (farm.flights / NAMES[2]).unlink()
    for _ in range(2):
        assert batch(farm.flights, "-o", farm.out, "-m", model_file, "--probabilities").code == 3
        assert farm.rows[NAMES[1]]["code"] == 73
    after = layer_bytes(farm.out / "2026-05-01")
    assert {name: after[name] for name in before} == before


def test_shards_share_the_work(farm: Farm, model_file: Path, batch: Batch) -> None:
    asked = [farm.flights, "-o", farm.out, "-m", model_file]
    for part in (1, 2):
        assert batch(*asked, "--shard", f"{part}/2").code == 0
    names = [
        {row["name"] for row in json.loads((farm.out / f"summary-{part}of2.json").read_text())["rows"]}
        for part in (1, 2)
    ]
    assert not names[0] & names[1]
    assert names[0] | names[1] == set(NAMES)
    for number in range(9):  # a raster stays with its shard when others come
        write_raster(farm.flights / f"new{number}.tif", blocks(20, 20))
    for part, before in enumerate(names, 1):
        plan = batch(*asked, "--shard", f"{part}/2", "--dry-run", "--json")
        assert {name for name, what in json.loads(plan.out).items() if what == "unchanged"} == before
    assert len(list(farm.out.rglob("*_classes.tif"))) == 3


def test_only_recent_flights(farm: Farm, model_file: Path, batch: Batch) -> None:
    done = batch(farm.flights, "-o", farm.out, "-m", model_file, "--since", "2026-05-02", "--dry-run")
    assert done.out.split() == ["to", "map", NAMES[2]]
    assert not farm.out.exists()


def test_jobs_of_a_file(farm: Farm, model_file: Path, batch: Batch, tmp_path: Path) -> None:
    """Two cameras, each with its own model and flags; and a command at the end."""
    flights, out = farm.flights, farm.out
    shutil.copy(model_file, flights / "small.safetensors")
    (flights / "jobs.toml").write_text(
        '[[job]]\ntitle = "may1"\nimages = "2026-05-01"\nmodel = "small.safetensors"\n'
        'run = {bands = "red=3,green=2,blue=1"}\n'
        '[[job]]\ntitle = "may8"\nimages = "2026-05-08"\nmodel = "small.safetensors"\nglob = "*.TIF"\n'
    )
    say = "import os, pathlib; pathlib.Path('said').write_text(os.environ['AGRISEG_EXIT_CODE'])"
    asked = [flights / "jobs.toml", "-o", out, "--on-done", f'{sys.executable} -c "{say}"', "--json", "--lang", "zh"]
    done = batch(*asked)
    assert done.code == 0, done.err
    assert (tmp_path / "said").read_text() == "0"
    assert json.loads(done.out)["rasters"] == {"done": 3}
    assert {path.parent.name for path in out.rglob("*_classes.tif")} == {"may1", "may8"}
    record = json.loads((out / "may1" / "north_run.json").read_text())
    assert record["parameters"]["bands"] == {"red": 3, "green": 2, "blue": 1}
    assert 'lang="zh-Hans"' in (out / "may1" / "north_report.html").read_text()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[jobs]]\n", "did you mean 'job'"),
        ("", "no [[job]]"),
        ('[[job]]\nimages = "x"\n', "needs model"),
        ('[[job]]\nimages = "."\nmodel = "m"\nimage = 1\n', "did you mean 'images'"),
        ('[[job]]\nimages = "."\nmodel = "m"\ntitle = "../x"\n', "one word"),
        ('[[job]]\nimages = "."\nmodel = "m"\n[[job]]\nimages = "."\nmodel = "m"\n', "a title of its own"),
        ("not toml", "cannot be read as TOML"),
    ],
)
def test_jobs_that_make_no_sense(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "jobs.toml").write_text(text)
    with pytest.raises(ModelError, match=says.replace("[", r"\[").replace("]", r"\]")):
        read_jobs(tmp_path / "jobs.toml", tmp_path / "out", MappingRequest())


# workers


@pytest.mark.long
@pytest.mark.fault("W07")
def test_any_workers_the_same_bytes(a_night: Farm, model_file: Path, tmp_path: Path) -> None:
    """Forks, two processes of ours, a cluster of somebody else's."""
    with cluster(tmp_path, workers=1) as file:
        for name, flags in {"2": ["--workers", "2"], "cluster": ["--scheduler-file", file]}.items():
            asked = [
                "batch",
                a_night.flights,
                "-o",
                tmp_path / name,
                "-m",
                model_file,
                "--settle",
                "0s",
                *TILES,
                *flags,
            ]
            command = [sys.executable, "-m", "agriseg", *map(str, asked), "--cpu-threads", "1"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    made = [maps_of(out) for out in (a_night.out, tmp_path / "2", tmp_path / "cluster")]
    assert made[0] == made[1] == made[2]
    assert len(made[0]) == 3 * 8


def test_a_scheduler_that_is_not_there(farm: Farm, model_file: Path, nursery: Nursery, tmp_path: Path) -> None:
    asked = ["batch", farm.flights, "-o", farm.out, "-m", model_file, "--settle", "0s"]
    done = nursery.run(*asked, "--scheduler-file", tmp_path / "none.json")
    assert (done.code, done.one_line) == (69, True)


def test_a_red_map_is_kept_out_of_the_published_folder(mapped: Farm, model_file: Path, batch: Batch) -> None:
    """Here nobody may trust a map that is doubted at all, and this network doubts all of its own; last night's go."""
    out = mapped.out
    flags = ["--limit", "doubtful=0%:0.1%", "--fail-on", "red"]
    assert len(list(out.glob("20*/*_classes.tif"))) == 3
    for _ in range(2):
        done = batch(mapped.flights, "-o", out, "-m", model_file, *TILES, *flags)
        assert done.code == 3, done.err
        assert done.err.count("% of the pixels have a low confidence") == 3
        assert all((row["code"], row["verdict"]["colour"]) == (3, "red") for row in mapped.rows.values())
        assert all(name.startswith("quarantine/") for row in mapped.rows.values() for name in row["files"])
        assert not list(out.glob("20*/*.*"))
    assert len(list((out / "quarantine").rglob("*_classes.tif"))) == 3
    assert not mapped.fresh
    published = batch(mapped.flights, "-o", out, "-m", model_file, *TILES)
    assert published.code == 0, published.err
    assert len(list(out.glob("20*/*_classes.tif"))) == 3
    assert not list((out / "quarantine").rglob("*.*"))


# layers and exports


def test_a_batch_makes_the_layers_and_exports_of_run(
    farm: Farm, model_file: Path, batch: Batch, nursery: Nursery, tmp_path: Path
) -> None:
    """The same files; they belong to the row, so one that is lost is made again, and other options make others."""
    flags = ["--layers", "--affected", "class 1", "--format", "geojson", "--zarr", "-m", model_file, *TILES]
    for name in NAMES[1:]:
        (farm.flights / name).unlink()
    done = batch(farm.flights, "-o", farm.out, *flags)
    assert done.code == 0, done.err
    alone = nursery.run("run", farm.flights / NAMES[0], "-o", tmp_path / "alone", "-q", "--cpu-threads", "1", *flags)
    assert alone.code == 0, alone.err
    made, expected = maps_of(farm.out), maps_of(tmp_path)
    for name in ("north_area.csv", "north_classes.geojson", "north.zarr/.zmetadata", "north_severity.tif"):
        assert any(path.endswith(name) for path in made), sorted(made)
    rows = farm.rows[NAMES[0]]
    assert {"2026-05-01/north_classes.geojson", "2026-05-01/north.zarr"} <= set(rows["files"])
    assert rows["files"][-1] == "2026-05-01/north_run.json"
    contents = [
        json.loads(files.pop(f"{folder}/north_layers.json"))["contents"]
        for files, folder in ((made, "2026-05-01"), (expected, "alone"))
    ]
    assert contents[0] == contents[1], "hashes of all layers, but for times"
    same = {name.removeprefix("alone/"): data for name, data in expected.items() if name.startswith("alone/")}
    got = {name.removeprefix("2026-05-01/"): data for name, data in made.items()}
    assert {name for name in same if got.get(name) != same[name]} <= {"north.gpkg"}
    assert got.keys() == same.keys()
    (farm.out / "2026-05-01" / "north_classes.geojson").unlink()
    masked = (farm.out / "2026-05-01" / "north_classes.tif").stat().st_mtime_ns
    assert batch(farm.flights, "-o", farm.out, *flags).code == 0
    assert farm.fresh == {NAMES[0]}
    assert (farm.out / "2026-05-01" / "north_classes.geojson").is_file()
    assert (farm.out / "2026-05-01" / "north_classes.tif").stat().st_mtime_ns == masked, "the map is not made again"
    assert batch(farm.flights, "-o", farm.out, *flags).code == 0
    assert not farm.fresh
    assert batch(farm.flights, "-o", farm.out, *flags, "--mmu", "0.2m2").code == 0
    assert farm.fresh == {NAMES[0]}


def test_layers_of_a_job_file(farm: Farm, model_file: Path, tmp_path: Path) -> None:
    """Files are relative to the job file; a key that is no option is refused."""
    text = '[[job]]\nimages = "flights"\nmodel = "m"\nlayers = {affected = "weed", fields = "farm.geojson"}\n'
    (tmp_path / "jobs.toml").write_text(text)
    (job,) = read_jobs(tmp_path / "jobs.toml", farm.out, MappingRequest())
    assert job.request.layers == LayerOptions(affected={"weed": 100.0}, fields=tmp_path / "farm.geojson")
    (tmp_path / "jobs.toml").write_text(text.replace("affected", "afected"))
    with pytest.raises(UsageError, match="did you mean 'affected'"):
        read_jobs(tmp_path / "jobs.toml", farm.out, MappingRequest())


# examples/scheduled

SCHEDULED = Path(__file__).parents[1] / "examples" / "scheduled"


def commands_of_examples() -> list[str]:
    """Every line that calls agriseg, with its variables as words."""
    text = "\n".join(path.read_text() for path in sorted(SCHEDULED.iterdir())).replace("\\\n", " ")
    calls = re.findall(r"agriseg ((?:batch|run) [^\n#:]*?)(?:\",|:::|&&|$)", text, re.MULTILINE)
    return [call.replace("{/.}", "a").replace("{}", "a.tif").replace("$SLURM_ARRAY_TASK_ID/8", "1/8") for call in calls]


def test_the_examples_call_agriseg_as_it_is() -> None:
    calls = commands_of_examples()
    assert len(calls) == 5
    for call in calls:
        name, *words = shlex.split(call.replace("$SLURM_CPUS_PER_TASK", "4"))
        group = click.Context(cli, **cli.context_settings)  # click keeps the help that a command first had
        command = cli.get_command(group, name)
        assert command
        command.make_context(name, words, parent=group)


@pytest.mark.parametrize("name", ["slurm.sh", "parallel.sh"])
def test_the_shell_of_the_examples(name: str) -> None:
    assert subprocess.run(["sh", "-n", SCHEDULED / name], check=False).returncode == 0


def test_the_units_of_the_examples(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on this machine")
    program = tmp_path / "agriseg"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for name in ("agriseg-batch.service", "agriseg-batch.timer"):
        text = (SCHEDULED / name).read_text().replace("/srv/farm/.venv/bin/agriseg", str(program))
        (tmp_path / name).write_text(text.replace("WorkingDirectory=/srv/farm", f"WorkingDirectory={tmp_path}"))
    units = [str(tmp_path / name) for name in ("agriseg-batch.service", "agriseg-batch.timer")]
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_dag_of_the_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow is not installed with agriseg: what the DAG asks of it stands in."""
    if importlib.util.find_spec("airflow") is None:
        made: list[dict[str, Any]] = []

        class Stand:
            def __init__(self, *_: object, **given: Any) -> None:
                made.append(given)

            def __enter__(self) -> "Stand":
                return self

            def __exit__(self, *_: object) -> None:
                pass

        for name, holds in {
            "airflow": "DAG",
            "airflow.operators": "",
            "airflow.operators.bash": "BashOperator",
        }.items():
            module = types.ModuleType(name)
            if holds:
                setattr(module, holds, Stand)
            monkeypatch.setitem(sys.modules, name, module)
        runpy.run_path(str(SCHEDULED / "airflow_dag.py"))
        assert made[1]["bash_command"].startswith("agriseg batch ")
    else:
        assert "dag" in runpy.run_path(str(SCHEDULED / "airflow_dag.py"))


def test_the_job_file_of_the_examples(model_file: Path, tmp_path: Path) -> None:
    shutil.copy(SCHEDULED / "jobs.toml", tmp_path)
    for folder, name in (("rgb/north/2026-05-01", "a.tif"), ("multispectral", "b_reflectance.tif")):
        (tmp_path / "flights" / folder).mkdir(parents=True)
        write_raster(tmp_path / "flights" / folder / name, blocks(20, 20))
    rgb, multi = read_jobs(tmp_path / "jobs.toml", tmp_path / "maps", MappingRequest())
    assert [(each.field, each.date) for each in rgb.discovery.rasters] == [("north", "2026-05-01")]
    assert [each.name for each in multi.discovery.rasters] == ["b_reflectance.tif"]
