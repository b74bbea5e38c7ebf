"""A night of many rasters: what is taken, what is isolated, what is remembered, what is told."""

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
from pathlib import Path
from typing import Any

import click
import pytest
from clusters import cluster
from conftest import TIMED, blocks, layer_bytes, write_raster

from agriseg import segment
from agriseg.cli import cli
from agriseg.errors import ModelError, StorageError
from agriseg.jobs.joblist import read_jobs
from agriseg.jobs.ledger import Entry, Ledger
from agriseg.jobs.oracle import random_network

NOW = ["--settle", "0s"]


@pytest.fixture
def flights(tmp_path: Path) -> Path:
    """Three good rasters of two days, each of its own pixels."""
    for seed, name in enumerate(("2026-05-01/north.tif", "2026-05-01/south.tif", "2026-05-08/north.tif")):
        path = tmp_path / "flights" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_raster(path, blocks(120, 140, seed=seed, low=1))
    return tmp_path / "flights"


def batch(*args: Any, patch: str | None = None, seconds: float = 120) -> subprocess.CompletedProcess[str]:
    """`agriseg batch` in a process of its own; `patch` is Python that its workers run before anything else."""
    env = dict(os.environ)
    if patch is not None:
        env["PYTHONPATH"] = patch
    command = [sys.executable, "-m", "agriseg", "batch", *(str(arg) for arg in args), *NOW]
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=env, check=False)


def rows_of(out: Path) -> dict[str, dict[str, Any]]:
    summary = json.loads((out / "summary.json").read_text())
    return {row["name"]: row for row in summary["rows"]}


def maps_of(out: Path) -> dict[str, bytes]:
    """Every file of every map but those that hold times."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.parent != out and not path.name.endswith(TIMED)
    }


# the night


@pytest.mark.fault("B07", "K11")
def test_a_night_and_the_same_night_again(flights: Path, model_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "maps"
    done = batch(flights, "-o", out, "-m", model_file)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), "quiet on success"
    for path in flights.rglob("*.tif"):
        straight = tmp_path / "straight" / path.parent.name
        segment(path, model_file, straight)
        got = {name: data for name, data in layer_bytes(out / path.parent.name).items() if name.startswith(path.stem)}
        expected = {name: data for name, data in layer_bytes(straight).items() if name.startswith(path.stem)}
        assert got == expected
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*_run.json")}
    again = batch(flights, "-o", out, "-m", model_file, patch=no_model(tmp_path))
    assert (again.returncode, again.stderr) == (0, "")
    assert times == {path: path.stat().st_mtime_ns for path in out.rglob("*_run.json")}
    assert all(row["unchanged"] for row in rows_of(out).values())


def no_model(folder: Path) -> str:
    """A process that loads torch ends."""
    (folder / "sitecustomize.py").write_text(
        "import sys\nclass Refuse:\n    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch': raise SystemExit('torch is loaded')\n"
        "sys.meta_path.insert(0, Refuse())\n"
    )
    return str(folder)


@pytest.mark.fault("X10", "X11", "B02")
def test_the_readers_can_be_trusted(flights: Path, model_file: Path, tmp_path: Path) -> None:
    """The summaries of a night with good, bad and evil names: the right rows, no formula, no markup."""
    evil = ["=cmd|' &C calc'!A1.tif", "<img src=x onerror=alert(1)>.tif"]
    for name in evil:
        (flights / name).write_bytes(b"")
    out = tmp_path / "maps"
    done = batch(flights, "-o", out, "-m", model_file)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 2
    assert all(line.startswith("agriseg: failed: ") for line in done.stderr.splitlines())
    with (out / "summary.csv").open(newline="", encoding="utf-8-sig") as lines:
        table = list(csv.DictReader(lines))
    assert len(table) == 5
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in table for cell in row.values())
    assert {row["status"] for row in table} == {"done", "failed"}
    north = next(row for row in table if row["name"] == "2026-05-01/north.tif")
    assert float(north["class 0 ha"]) >= 0
    assert int(north["predicted"]) == 120 * 140
    tags = Tags()
    tags.feed((out / "summary.html").read_text())
    assert not {"script", "link", "iframe"} & set(tags.names)
    assert tags.links == [
        "2026-05-01/north_report.html",
        "2026-05-01/south_report.html",
        "2026-05-08/north_report.html",
    ]
    assert all((out / link).is_file() for link in tags.links)
    assert all(source.startswith("data:image/png") for source in tags.sources)
    assert len(tags.sources) == 3
    events = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events].count("failed") == 2
    assert events[-1]["event"] == "summary"
    assert events[-1]["exit_code"] == 3
    assert all(event["ts"].endswith("Z") for event in events)


def test_a_catalogue_of_a_night(flights: Path, model_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "maps"
    assert batch(flights, "-o", out, "-m", model_file, "--stac", "--lang", "zh").returncode == 0
    told = json.loads((out / "collection.json").read_text())
    items = [link["href"] for link in told["links"] if link["rel"] == "item"]
    assert len(items) == 3
    assert all((out / item).is_file() for item in items)
    assert 'lang="zh-Hans"' in (out / "2026-05-01" / "north_report.html").read_text()


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
def test_all_bad_and_none_at_all(tmp_path: Path, model_file: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    assert batch(folder, "-o", tmp_path / "none", "-m", model_file).returncode == 0
    assert "<b>0</b> files" in (tmp_path / "none" / "summary.html").read_text()
    for name in ("a.tif", "b.tif"):
        (folder / name).write_text("no raster")
    assert batch(folder, "-o", tmp_path / "out", "-m", model_file).returncode == 65
    again = batch(folder, "-o", tmp_path / "out", "-m", model_file, patch=no_model(tmp_path))
    assert again.returncode == 65, "known to be bad, and told again"
    assert again.stderr.count("failed: ") == 2


def spoil(folder: Path, name: str, act: str) -> str:
    """A patch for workers: when they come to the raster of that name they act otherwise."""
    (folder / "sitecustomize.py").write_text(
        "import os, sys, time, importlib.abc\n"
        "class After(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, fullname, path=None, target=None):\n"
        "        if fullname != 'agriseg.jobs.turn': return None\n"
        "        sys.meta_path.remove(self)\n"
        "        import agriseg.jobs.segment as segment\n"
        "        from agriseg.engine.device import Forward\n"
        "        from agriseg.engine import answers\n"
        "        plain, call, begin = segment.run, Forward.__call__, answers.Answers.begin\n"
        "        at = []\n"
        "        def note(self, tile): at[:] = [tile.window]; begin(self, tile)\n"
        "        answers.Answers.begin = note\n"
        f"        name, act = {name!r}, {act!r}\n"
        "        def run(prepared, outputs, *rest, **flags):\n"
        "            def spoilt(self, x):\n"
        "                if prepared.info.path.name == name and at: exec(act)\n"
        "                return call(self, x)\n"
        "            Forward.__call__ = spoilt\n"
        "            return plain(prepared, outputs, *rest, **flags)\n"
        "        segment.run = run\n"
        "        return None\n"
        "sys.meta_path.insert(0, After())\n"
    )
    return str(folder)


@pytest.mark.fault("B02", "B09", "W02")
def test_a_raster_that_kills_its_worker(flights: Path, model_file: Path, tmp_path: Path) -> None:
    """The tile is named; the others finish."""
    (flights / "2026-05-01" / "south.tif").rename(flights / "2026-05-01" / "poison.tif")
    act = "if at[0].col_off == 64 and at[0].row_off == 32: os.abort()"
    flags = ["--tile", "64", "--overlap", "32", "--margin", "8"]
    done = batch(flights, "-o", tmp_path / "out", "-m", model_file, *flags, patch=spoil(tmp_path, "poison.tif", act))
    assert done.returncode == 3, done.stderr
    rows = rows_of(tmp_path / "out")
    assert {name for name, row in rows.items() if row["status"] == "done"} == {
        "2026-05-01/north.tif",
        "2026-05-08/north.tif",
    }
    bad = rows["2026-05-01/poison.tif"]
    assert (bad["status"], bad["code"], bad["tries"]) == ("failed", 75, 2)
    assert "window 64,32,64,64" in bad["reason"]
    again = batch(flights, "-o", tmp_path / "out", "-m", model_file, *flags)
    assert again.returncode == 0, again.stderr
    assert rows_of(tmp_path / "out")["2026-05-01/poison.tif"]["status"] == "done"


@pytest.mark.fault("B06")
def test_a_raster_over_which_the_worker_hangs(flights: Path, model_file: Path, tmp_path: Path) -> None:
    patch = spoil(tmp_path, "south.tif", "time.sleep(3600)")
    done = batch(flights, "-o", tmp_path / "out", "-m", model_file, "--timeout", "25s", patch=patch)
    assert done.returncode == 3, done.stderr
    rows = rows_of(tmp_path / "out")
    assert [name for name, row in rows.items() if row["status"] != "done"] == ["2026-05-01/south.tif"]
    assert "stopped; raise --timeout" in rows["2026-05-01/south.tif"]["reason"]


@pytest.mark.fault("B05")
def test_a_file_that_goes_away_before_its_turn(flights: Path, model_file: Path, tmp_path: Path) -> None:
    south = flights / "2026-05-01" / "south.tif"
    patch = spoil(tmp_path, "north.tif", f"import pathlib; pathlib.Path({str(south)!r}).unlink(missing_ok=True)")
    done = batch(flights, "-o", tmp_path / "out", "-m", model_file, patch=patch)
    assert done.returncode == 3, done.stderr
    rows = rows_of(tmp_path / "out")
    assert {row["status"] for name, row in rows.items() if "south" not in name} == {"done"}
    assert rows["2026-05-01/south.tif"]["code"] == 66


# the ledger


def test_a_ledger_keeps_what_it_was_given(tmp_path: Path) -> None:
    entry = Entry("a/b.tif", "5 7", "abc", "key", {"status": "done", "hectares": {"weed": 0.1}})
    with Ledger(tmp_path / "l.sqlite") as ledger:
        assert ledger.find("a/b.tif") is None
        ledger.put(entry)
        ledger.put(Entry("c.tif", "", "", "key", {}))
    with Ledger(tmp_path / "l.sqlite") as ledger:
        assert ledger.find("a/b.tif") == entry


def test_what_is_no_ledger_is_said(tmp_path: Path) -> None:
    (tmp_path / "l.sqlite").write_text("no ledger at all, but long enough to be taken for one" * 100)
    with pytest.raises(StorageError, match="the ledger cannot be used"):
        Ledger(tmp_path / "l.sqlite")


@pytest.mark.parametrize("change", ["pixels", "touched", "model", "flag", "output gone"])
def test_what_has_changed_is_mapped_again_and_nothing_else(
    flights: Path, model_file: Path, tmp_path: Path, change: str
) -> None:
    out, flags = tmp_path / "out", []
    assert batch(flights, "-o", out, "-m", model_file).returncode == 0
    image, model = flights / "2026-05-01" / "south.tif", model_file
    if change == "pixels":
        write_raster(image, blocks(120, 140, seed=9, low=1))
    elif change == "touched":
        image.touch()
    elif change == "model":
        model = tmp_path / "other.safetensors"
        random_network("fcn_small", seed=1).save(model)
    elif change == "flag":
        flags = ["--probabilities"]
    else:
        (out / "2026-05-01" / "south_confidence.tif").unlink()
    done = batch(flights, "-o", out, "-m", model, *flags)
    assert done.returncode == 0, done.stderr
    again = {name for name, row in rows_of(out).items() if not row.get("unchanged")}
    everything = {path.relative_to(flights).as_posix() for path in flights.rglob("*.tif")}
    expected: dict[str, set[str]] = {"touched": set(), "model": everything, "flag": everything}
    assert again == expected.get(change, {"2026-05-01/south.tif"})


def test_maps_of_somebody_else_are_left_alone(flights: Path, model_file: Path, tmp_path: Path) -> None:
    """In this night and in the next one."""
    segment(flights / "2026-05-01" / "south.tif", model_file, tmp_path / "out" / "2026-05-01")
    before = layer_bytes(tmp_path / "out" / "2026-05-01")
    for _ in range(2):
        done = batch(flights, "-o", tmp_path / "out", "-m", model_file, "--probabilities")
        assert done.returncode == 3
        assert rows_of(tmp_path / "out")["2026-05-01/south.tif"]["code"] == 73
    after = layer_bytes(tmp_path / "out" / "2026-05-01")
    assert {name: after[name] for name in before} == before


@pytest.mark.fault("B04")
def test_a_file_that_may_still_grow_waits(flights: Path, model_file: Path, tmp_path: Path) -> None:
    """It was written a moment ago, and is written again while it waits: it is put off, not mapped."""
    south = flights / "2026-05-01" / "south.tif"
    for path in flights.rglob("*.tif"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    south.touch()
    patch = spoil(tmp_path, "north.tif", f"open({str(south)!r}, 'ab').write(b'more')")
    command = [sys.executable, "-m", "agriseg", "batch", flights, "-o", tmp_path / "out", "-m", model_file]
    env = {**os.environ, "PYTHONPATH": patch}
    done = subprocess.run([*map(str, command), "--settle", "8s"], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 75, done.stderr
    assert rows_of(tmp_path / "out")["2026-05-01/south.tif"]["status"] == "deferred"
    assert not (tmp_path / "out" / "2026-05-01" / "south_classes.tif").exists()
    assert batch(flights, "-o", tmp_path / "out", "-m", model_file).returncode == 0


def test_two_rasters_that_would_write_the_same_files(flights: Path, model_file: Path, tmp_path: Path) -> None:
    write_raster(flights / "2026-05-01" / "south.tiff", blocks(90, 90))
    done = batch(flights, "-o", tmp_path / "out", "-m", model_file)
    assert done.returncode == 3
    row = rows_of(tmp_path / "out")["2026-05-01/south.tiff"]
    assert row["code"] == 2
    assert "2026-05-01/south.tif would write the same files" in row["reason"]


def test_shards_share_the_work(flights: Path, model_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for part in (1, 2):
        assert batch(flights, "-o", out, "-m", model_file, "--shard", f"{part}/2").returncode == 0
    names = [
        {row["name"] for row in json.loads((out / f"summary-{part}of2.json").read_text())["rows"]} for part in (1, 2)
    ]
    assert not names[0] & names[1]
    assert len(names[0] | names[1]) == 3
    for number in range(9):  # a raster stays with its shard when others come
        write_raster(flights / f"new{number}.tif", blocks(20, 20))
    for part, before in enumerate(names, 1):
        plan = batch(flights, "-o", out, "-m", model_file, "--shard", f"{part}/2", "--dry-run", "--json")
        assert {name for name, what in json.loads(plan.stdout).items() if what == "unchanged"} == before
    assert len(list(out.rglob("*_classes.tif"))) == 3


def test_only_recent_flights(flights: Path, model_file: Path, tmp_path: Path) -> None:
    done = batch(flights, "-o", tmp_path / "out", "-m", model_file, "--since", "2026-05-02", "--dry-run")
    assert done.stdout.split() == ["to", "map", "2026-05-08/north.tif"]
    assert not (tmp_path / "out").exists()


def test_jobs_of_a_file(flights: Path, model_file: Path, tmp_path: Path) -> None:
    """Two cameras, each with its own model and flags; and a command at the end."""
    shutil.copy(model_file, flights / "small.safetensors")
    (flights / "night.toml").write_text(
        '[[job]]\ntitle = "may1"\nimages = "2026-05-01"\nmodel = "small.safetensors"\n'
        'run = {bands = "red=3,green=2,blue=1"}\n'
        '[[job]]\ntitle = "may8"\nimages = "2026-05-08"\nmodel = "small.safetensors"\nglob = "*.TIF"\n'
    )
    say = "import os, pathlib; pathlib.Path('said').write_text(os.environ['AGRISEG_EXIT_CODE'])"
    out = tmp_path / "out"
    done = batch(flights / "night.toml", "-o", out, "--on-done", f'{sys.executable} -c "{say}"', "--json")
    assert done.returncode == 0, done.stderr
    assert Path("said").read_text() == "0"
    Path("said").unlink()
    assert json.loads(done.stdout)["rasters"] == {"done": 3}
    assert {path.parent.name for path in out.rglob("*_classes.tif")} == {"may1", "may8"}
    record = json.loads((out / "may1" / "north_run.json").read_text())
    assert record["parameters"]["bands"] == {"red": 3, "green": 2, "blue": 1}


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
    (tmp_path / "night.toml").write_text(text)
    with pytest.raises(ModelError, match=says.replace("[", r"\[").replace("]", r"\]")):
        read_jobs(tmp_path / "night.toml", tmp_path / "out")


# workers


@pytest.mark.fault("W07")
def test_any_workers_the_same_bytes(flights: Path, model_file: Path, tmp_path: Path) -> None:
    results = {}
    with cluster(tmp_path) as file:
        for name, flags in {"1": [], "2": ["--workers", "2"], "cluster": ["--scheduler-file", file]}.items():
            flags = [*flags, "--cpu-threads", "1"]
            done = batch(flights, "-o", tmp_path / name, "-m", model_file, *flags)
            assert done.returncode == 0, done.stderr
            results[name] = maps_of(tmp_path / name)
    assert results["1"] == results["2"] == results["cluster"]
    assert len(results["1"]) == 3 * 8


def test_a_scheduler_that_is_not_there(flights: Path, model_file: Path, tmp_path: Path) -> None:
    done = batch(flights, "-o", tmp_path / "out", "-m", model_file, "--scheduler-file", tmp_path / "none.json")
    assert done.returncode == 69
    assert done.stderr.count("\n") == 1


def test_a_red_map_is_kept_out_of_the_published_folder(flights: Path, model_file: Path, tmp_path: Path) -> None:
    """Here nobody may trust a map that is doubted at all, and this network doubts all of its own."""
    flags = ["--limit", "doubtful=0%:0.1%", "--fail-on", "red"]
    for _ in range(2):
        done = batch(flights, "-o", tmp_path / "out", "-m", model_file, *flags)
        assert done.returncode == 3, done.stderr
        assert done.stderr.count("red: the network doubts") == 3
        rows = rows_of(tmp_path / "out")
        assert all((row["code"], row["verdict"]["colour"]) == (3, "red") for row in rows.values())
        assert all(name.startswith("quarantine/") for row in rows.values() for name in row["files"])
    assert len(list((tmp_path / "out" / "quarantine").rglob("*_classes.tif"))) == 3
    assert not list((tmp_path / "out").glob("20*/*.tif"))
    assert all(row["unchanged"] for row in rows.values())
    published = batch(flights, "-o", tmp_path / "out", "-m", model_file)
    assert published.returncode == 0, published.stderr
    assert len(list((tmp_path / "out").glob("20*/*_classes.tif"))) == 3


# examples/night

NIGHT = Path(__file__).parents[1] / "examples" / "night"


def commands_of_examples() -> list[str]:
    """Every line that calls agriseg, with its variables as words."""
    text = "\n".join(path.read_text() for path in sorted(NIGHT.iterdir())).replace("\\\n", " ")
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
    assert subprocess.run(["sh", "-n", NIGHT / name], check=False).returncode == 0


def test_the_units_of_the_examples(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on this machine")
    program = tmp_path / "agriseg"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for name in ("agriseg-night.service", "agriseg-night.timer"):
        text = (NIGHT / name).read_text().replace("/srv/farm/.venv/bin/agriseg", str(program))
        (tmp_path / name).write_text(text.replace("WorkingDirectory=/srv/farm", f"WorkingDirectory={tmp_path}"))
    units = [str(tmp_path / name) for name in ("agriseg-night.service", "agriseg-night.timer")]
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
        runpy.run_path(str(NIGHT / "airflow_dag.py"))
        assert made[1]["bash_command"].startswith("agriseg batch ")
    else:
        assert "dag" in runpy.run_path(str(NIGHT / "airflow_dag.py"))


def test_the_night_of_the_examples(model_file: Path, tmp_path: Path) -> None:
    shutil.copy(NIGHT / "night.toml", tmp_path)
    for folder, name in (("rgb/north/2026-05-01", "a.tif"), ("multispectral", "b_reflectance.tif")):
        (tmp_path / "flights" / folder).mkdir(parents=True)
        write_raster(tmp_path / "flights" / folder / name, blocks(20, 20))
    rgb, multi = read_jobs(tmp_path / "night.toml", tmp_path / "maps")
    assert [(each.field, each.date) for each in rgb.found.rasters] == [("north", "2026-05-01")]
    assert [each.name for each in multi.found.rasters] == ["b_reflectance.tif"]
