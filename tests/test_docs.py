"""The documentation does what it says: its commands run, its tables are those of the code, its links lead somewhere."""

import ast
import csv
import importlib.util
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
import types
from collections.abc import Iterator
from contextlib import chdir, suppress
from pathlib import Path

import click
import pytest
import torch
from conftest import examples_in
from safetensors import safe_open
from shelf import Shelf

import agriseg.errors
import agriseg.vegetation.formulas
from agriseg import TrainConfig, load_model, train
from agriseg.cli import cli, main
from agriseg.demo.reference_models import random_network
from agriseg.legend import CONFIDENCE_STEP, DOUBTFUL, NODATA

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in [*DOCS.glob("*.md"), *DOCS.glob("design/*.md")] if path.name != "tutorial.md")
COMMANDS = runpy.run_path(str(DOCS / "make_commands.py"))
TUTORIAL = runpy.run_path(str(DOCS / "make_tutorial.py"))


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("shelf"))


def call(*words: str) -> int:
    """Exit code of agriseg with these words, in this process."""
    with pytest.raises(SystemExit) as left:
        main(words)
    assert isinstance(left.value.code, int)
    return left.value.code


# a page for each command


def stale(kept: dict[str, str]) -> list[str]:
    """Pages that are not what the commands say now: changed, missing, or of a command that is gone."""
    now = COMMANDS["pages"]()
    return sorted(name for name in now.keys() | kept.keys() if now.get(name) != kept.get(name))


def test_the_pages_of_the_commands_are_what_they_say_now() -> None:
    paths = [DOCS / "commands.md", *DOCS.glob("commands/*")]
    kept = {path.relative_to(DOCS).as_posix(): path.read_text() for path in paths}
    assert not stale(kept), f"{', '.join(stale(kept))}: run python docs/make_commands.py"
    without = {name: text for name, text in kept.items() if name != "commands/run.md"}
    altered = {"commands/train.md": kept["commands/train.md"].replace("--folds", "--parts"), "commands/gone.md": ""}
    assert stale({**without, **altered}) == ["commands/gone.md", "commands/run.md", "commands/train.md"]


def test_each_command_has_a_page() -> None:
    pages = COMMANDS["pages"]()
    for words in (["run"], ["model"], ["model", "init"], ["labels", "check"]):
        text = pages[f"commands/{'-'.join(words)}.md"]
        assert text.startswith(f"# agriseg {' '.join(words)}: ")
        assert f"Usage: agriseg {' '.join(words)} " in text
    assert "--help" in pages["commands/run.md"]


# the tutorial


def test_the_tutorial_prints_what_it_shows(tmp_path: Path) -> None:
    text = TUTORIAL["PAGE"].read_text()
    with chdir(tmp_path):
        TUTORIAL["lay_out"]()
        wrong = [TUTORIAL["difference"](step, TUTORIAL["run"](step.command)) for step in TUTORIAL["steps"](text)]
        made = {name: Path(file).is_file() for name, file, _ in TUTORIAL["pictures"](text)}
    assert not any(wrong), (
        "\n\n".join(filter(None, wrong)) + "\n\nrun python docs/make_tutorial.py, and read what it says"
    )
    assert made
    assert all(made.values())


def test_pictures_of_the_tutorial_are_there_and_small() -> None:
    shown = {name for name, _, _ in TUTORIAL["pictures"](TUTORIAL["PAGE"].read_text())}
    assert shown == {path.name for path in TUTORIAL["PICTURES"].iterdir()}
    assert all((TUTORIAL["PICTURES"] / name).stat().st_size < 300_000 for name in shown)


def test_a_tutorial_that_shows_something_else_is_found() -> None:
    """Every line that is missing, every word and every number that is another, in every output of the page."""
    difference, steps = TUTORIAL["difference"], TUTORIAL["steps"](TUTORIAL["PAGE"].read_text())
    assert len(steps) > 10
    for step in steps:
        assert difference(step, step.printed) is None
        assert difference(step, f"{step.printed}\nmore")
        lines = step.printed.splitlines()
        for k, line in enumerate(lines):
            assert difference(step, "\n".join(lines[:k] + lines[k + 1 :])), line
            for word in re.findall(r"[A-Za-z]{3,}", TUTORIAL["_PATCHES"].sub(r"\1", line) if step.trained else line):
                if not (step.trained and word == "best"):
                    assert difference(step, "\n".join([*lines[:k], line.replace(word, "altered"), *lines[k + 1 :]])), (
                        word
                    )


@pytest.mark.parametrize(
    ("trained", "shown", "printed", "same"),
    [
        (False, "0.53 m2", "0.54 m2", True),
        (False, "0.53 m2", "0.55 m2", False),
        (False, "93,318 px", "93,320 px", True),
        (False, "93,318 px", "96,000 px", False),
        (False, "9 tiles", "10 tiles", False),
        (False, "48.752997, 9.000009", "48.752990, 9.000010", True),
        (False, "48.752997, 9.000009", "48.752970, 9.000009", False),
        (False, "verdict: green", "verdict: amber", False),
        (False, "a   b", "a b", True),
        (True, "weed 0.494, best", "weed 0.541", True),
        (True, "weed 0.494", "weed 0.620", False),
        (True, "52,514 px", "61,000 px", True),
        (True, "52,514 px", "90,000 px", False),
    ],
)
def test_what_may_differ(trained: bool, shown: str, printed: str, same: bool) -> None:
    assert (TUTORIAL["difference"](TUTORIAL["Step"]("x", shown, trained), printed) is None) == same


def test_the_page_is_written_as_it_is_read() -> None:
    text = TUTORIAL["PAGE"].read_text()
    steps = TUTORIAL["steps"](text)
    assert TUTORIAL["filled"](text, [step.printed for step in steps]) == text
    told = TUTORIAL["filled"](text, [str(number) for number in range(len(steps))])
    assert [step.printed for step in TUTORIAL["steps"](told)] == [str(number) for number in range(len(steps))]


# command lines

NOT_RUN = {
    r"^make ": "it installs, or does what is tested elsewhere",
    r"^torchrun ": "tests/test_ranks.py trains in two processes",
    r"^(pip|export) ": "the machine's own",
    r"^(openssl|cat node.key) ": "below, one after the other",
    r"^dask ": "tests/test_spread.py runs a raster over such a cluster",
    r"--scheduler": "an address; tests/test_spread.py and tests/test_bucket.py have a cluster and a bucket",
    r"run s3://": "an address; tests/test_bucket.py fetches from a bucket",
    r"^python benchmarks/": "takes minutes to hours",
    r"^python examples/": "below, with less to do",
    r"potato_weed|coffee_leaf|field_cols|transplant": "data or weights that are not in the repository",
    r"train examples/": "below, a few steps of it",
    r"--timeout 2h|\{\}|\$SLURM": "tests/test_batch.py looks at examples/scheduled",
    r"^agriseg selftest": "tests/test_cli.py runs it, and lets it fail",
    r"^agriseg export|weeds(_int8)?\.onnx|--backend o": "optional packages; test_export_model.py, test_int8.py, test_backends.py",
    r"^agriseg label |^ssh |field_labels/": "it serves until it is ended; tests/test_label_server.py asks it",
    r"^agriseg rx ": "cells of a drone's pixels and labelled maps; tests/test_rx.py makes each form of files",
    r"^agriseg quickstart": "it takes as long as it is given; tests/test_quickstart.py runs it",
}
"""Command lines that are not run, and why; their flags are looked at all the same."""

SHORTENED = {
    r"train --image": ["--time", "1s", "--arch", "fcn_small"],
    r"--folds 5": ["--folds", "2"],
    r"^agriseg batch (?!flights -m weeds.safetensors -o maps$)": ["--dry-run"],  # a worker takes seconds to start
    r"--workers 4": ["--dry-run"],  # and each of these
}
"""What is added to command lines that would take long; what they do at length is tested where it belongs."""


def fenced(text: str, *languages: str) -> list[str]:
    """Blocks of code in these languages."""
    return re.findall(rf"^```(?:{'|'.join(languages)})\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def lines_of(path: Path) -> Iterator[str]:
    """Command lines of a page, or of what an example says or does."""
    text = path.read_text().replace("\\\n", " ")
    if path.suffix == ".md":
        yield from "".join(fenced(text, "sh", "bash", "console")).splitlines()
    elif path.suffix == ".py" and path.parent.name == "examples":
        yield from re.findall(r"`(python examples/[^`]*)`", text)
    else:
        yield from (line.removesuffix('",') for line in re.findall(r"agriseg (?:batch|run|train) [^:\n`]*", text))


def command_lines() -> list[str]:
    """Each once, without comments and spare blanks."""
    examples = [
        path
        for path in sorted((ROOT / "examples").glob("**/*"))
        if path.is_file() and path.suffix not in (".tif", ".md", ".pyc")
    ]
    lines = [line for path in (ROOT / "README.md", *PAGES, *examples) for line in lines_of(path)]
    bare = [" ".join(re.sub(r"(^| )# .*$", "", line).split()) for line in lines]
    return list(dict.fromkeys(filter(None, bare)))


def reason(line: str) -> list[str]:
    return [why for pattern, why in NOT_RUN.items() if re.search(pattern, line)]


LINES = command_lines()
RUN = [line for line in LINES if not reason(line)]


def parsed(line: str) -> None:
    """Let click read the words of a command line, without running it."""
    command: click.Command = cli
    context = click.Context(cli, info_name="agriseg")
    words = shlex.split(line)[1:]
    while isinstance(command, click.Group):
        found = command.get_command(context, words[0])
        assert found, f"agriseg has no command {words[0]}"
        command, words = found, words[1:]
    with suppress(click.exceptions.Exit):  # a flag that prints something and leaves
        command.make_context(command.name, words, parent=context)


def test_there_are_many_command_lines() -> None:
    assert len(LINES) > 70
    assert len(RUN) > 30
    assert all(line.startswith("agriseg ") for line in RUN), (
        "only agriseg's own are run; say in NOT_RUN why not the others"
    )


def test_each_exception_is_one() -> None:
    for pattern in (*NOT_RUN, *SHORTENED):
        assert any(re.search(pattern, line) for line in LINES), pattern


@pytest.mark.parametrize(
    "line", [line for line in LINES if "agriseg " in line and not line.startswith(("pip", "export"))]
)
def test_a_command_line_has_flags_that_there_are(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parsed("agriseg " + re.sub(r"\$\w+", "1", line.split("agriseg ", 1)[1].split(":::")[0]))


def test_the_examples_of_the_help_have_flags_that_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = "".join(COMMANDS["pages"]().values())
    lines = set(re.findall(r"^    (?:torchrun .* -m )?(agriseg \S+.*)$", shown, re.MULTILINE))
    assert len(lines) > 30
    for line in lines:
        parsed(line)


@pytest.mark.parametrize(
    "line", ["agriseg run field.tif --tiel 4", "agriseg rnu field.tif", "agriseg run f.tif --batch x"]
)
def test_a_flag_that_is_none_is_found(line: str) -> None:
    with pytest.raises((click.UsageError, AssertionError)):
        parsed(line)


def files_in(folder: Path) -> set[Path]:
    """Files below a folder; one whose folder is an output itself counts as that."""
    found = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return {next((above for above in path.parents if above.suffix == ".zarr"), path) for path in found}


def told_of() -> re.Pattern[str]:
    """Names of files as docs/outputs.md has them."""
    indices = "|".join(name.lower() for name in agriseg.vegetation.formulas.INDICES)
    parts = {"<stem>": ".+", "<model>": ".+", "<index>": f"({indices})", "*": ".+"}
    names = re.findall(r"`([^` ]+\.\w+)`", (DOCS / "outputs.md").read_text())
    shapes = [re.sub(r"<\w+>|\*|[^<*]+", lambda part: parts.get(part[0]) or re.escape(part[0]), name) for name in names]
    return re.compile("|".join(f"(?:{shape})" for shape in shapes))


@pytest.mark.parametrize("line", RUN)
def test_a_command_line_runs(line: str, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends with 0, and docs/outputs.md tells of each file that it leaves."""
    shelf.lay(line, tmp_path)
    monkeypatch.chdir(tmp_path)
    words, there = shlex.split(line)[1:], files_in(tmp_path)
    more = [word for pattern, added in SHORTENED.items() if re.search(pattern, line) for word in added]
    assert call(*words, *more) == 0
    made = {path for path in files_in(tmp_path) - there if str(path) not in words}
    assert not [str(path) for path in made if not told_of().fullmatch(path.name)], (
        "docs/outputs.md does not tell of these"
    )


def test_every_file_of_a_run_is_told(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = (
        "run field.tif -m weeds.safetensors -o maps --probabilities --layers --affected weed --fields farm.gpkg --plots "
        "trial.geojson --plot-id plot --zones 2 --width 12m --format geojson --format fgb --format parquet --stac --zarr"
    )
    shelf.lay(line, tmp_path)
    monkeypatch.chdir(tmp_path)
    there = files_in(tmp_path)
    assert call(*line.split()) == 0
    made = files_in(tmp_path) - there
    assert len(made) >= 30
    assert not [str(path) for path in made if not told_of().fullmatch(path.name)]
    assert not told_of().fullmatch("field_other.tif")


def test_the_certificates_of_the_page(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine")
    lines = [line for line in LINES if line.startswith(("openssl ", "cat "))]
    assert len(lines) == 4
    script = " && ".join([*lines, "openssl verify -CAfile ca.pem node.pem"])
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# Python


def python_of_pages() -> list[str]:
    return [code for path in (ROOT / "README.md", *PAGES) for code in fenced(path.read_text(), "python")]


@pytest.mark.parametrize("code", python_of_pages())
def test_the_python_of_a_page_runs(code: str, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.lay(re.sub(r'(segment\("\S+", "\S+"), "\S+"', r"\1", code), tmp_path)  # the third is where the map goes
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "page", "exec"), {"network": random_network("fcn_small", 2).network})


def shortened(config: TrainConfig) -> TrainConfig:
    """The same training, of two steps."""
    return config.model_copy(
        update={"recipe": config.recipe.model_copy(update={"steps": 2, "minutes": None, "validate_every": 2})}
    )


CONFIGS = [*sorted((ROOT / "examples").glob("*.toml")), ROOT / "configs" / "train.toml"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_an_example_of_a_training_is_one(path: Path) -> None:
    config = TrainConfig.of(tomllib.loads(path.read_text()), path.parent)
    assert config.data.images.parent.is_relative_to(path.parent)


def test_the_examples_with_data_are_trained(tmp_path: Path) -> None:
    """One by the tutorial, the other here, on a quarter of its image."""
    here = [path for path in CONFIGS if "polygon_field/field.tif" in path.read_text()]
    assert [path.stem for path in here] == ["finetune", "polygon_field"]
    assert any("polygon_field.toml" in step.command for step in TUTORIAL["steps"](TUTORIAL["PAGE"].read_text()))
    config = shortened(TrainConfig.of(tomllib.loads(here[0].read_text()), here[0].parent))
    part = examples_in(tmp_path) / "polygon_field" / "field.tif"
    smaller = {
        "data": config.data.model_copy(update={"images": part}),
        "validation": config.validation.model_copy(update={"block": config.validation.block // 2}),
    }
    assert train(config.model_copy(update=smaller), tmp_path / "out").evaluation.miou > 0


def module_of(name: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_of_five_bands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_of("five_bands")
    monkeypatch.setattr(module, "SIDE", 256)
    monkeypatch.setattr(module, "train", lambda config, folder: train(shortened(config), folder))
    module.main(tmp_path / "five_bands")
    assert (tmp_path / "five_bands" / "map" / "field_classes.tif").is_file()


def test_the_example_that_makes_the_demonstrations_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_of("train_demo_model")
    monkeypatch.setattr(module, "STEPS", 2)
    monkeypatch.setattr(module, "SEEDS", range(1000, 1001))
    try:
        module.main(str(tmp_path / "demo.safetensors"))
    finally:
        torch.use_deterministic_algorithms(False)
    assert load_model(tmp_path / "demo.safetensors").name == "demo"


# tables of the pages


def table(page: Path, *header: str) -> dict[str, list[str]]:
    """Rows of the tables with these first columns: the words of the first cell, each to the other cells."""
    rows: dict[str, list[str]] = {}
    inside = False
    for line in page.read_text().splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))]
        if not line.startswith("|"):
            inside = False
        elif inside:
            rows |= {word.strip("` "): cells[1:] for word in cells[0].split(",") if set(word) - set("-")}
        else:
            inside = cells[: len(header)] == list(header)
    return rows


def test_exit_codes_are_those_of_the_errors() -> None:
    found = table(DOCS / "exit-codes.md", "code", "exception")
    told = {name: int(code) for code, cells in found.items() for name in re.findall(r"`(\w+)`", cells[0])}
    raised = {
        name: kind.exit_code
        for name, kind in vars(agriseg.errors).items()
        if isinstance(kind, type) and issubclass(kind, agriseg.errors.AgrisegError)
    }
    del raised["WorkerFailed"]  # has the code of the worker
    assert told == raised
    assert {int(code) for code in found} == {0, 3, *raised.values()}


def test_the_readme_and_the_help_have_the_same_codes() -> None:
    codes = set(table(DOCS / "exit-codes.md", "code", "exception"))
    assert set(table(ROOT / "README.md", "code")) == codes
    assert cli.help
    assert set(re.findall(r"\b\d+\b", cli.help.split("Exit codes:")[1])) == codes


def test_the_keys_of_a_model_file_are_told(shelf: Shelf) -> None:
    with safe_open(shelf.get("weeds") / "best.safetensors", "pt") as file:
        card = json.loads(file.metadata()["agriseg"])
    found = table(DOCS / "model-file.md", "key", "what")
    about = card["about"]
    optional = {"colours", "gsd_range", "purpose", "limits"}
    assert set(found) - optional == card.keys() | about.keys() | about["evaluation"].keys()
    for entry in about["evaluation"]["classes"]:
        assert all(f"`{key}`" in found["classes"][0] for key in entry if key != "name")


def test_the_columns_of_the_area_table_are_told(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.lay("maps", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert call("layers", "maps", "-q") == 0
    with (tmp_path / "maps" / "field_area.csv").open(newline="", encoding="utf-8-sig") as lines:
        columns = next(csv.reader(lines))
    assert list(table(DOCS / "outputs.md", "column", "what")) == columns


def test_the_values_of_a_map_are_told() -> None:
    text = (DOCS / "outputs.md").read_text()
    assert f"**{NODATA} no data**" in text
    assert f"**times {CONFIDENCE_STEP}**" in text
    assert f"a confidence below {DOUBTFUL}" in text


# what is guaranteed


def defined_in(path: Path) -> set[str]:
    if not path.is_file():
        return set()
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def missing(text: str) -> list[str]:
    """Tests and benchmarks that a page names and that are not there."""
    tests = [
        f"{path}::{name}"
        for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
        if name not in defined_in(ROOT / path)
    ]
    return tests + [
        path for path in re.findall(r"`((?:tests|benchmarks)/[\w/]+\.py)", text) if not (ROOT / path).is_file()
    ]


def left_out(text: str) -> list[str]:
    """Tests that a page names and that `make test` leaves out or skips always."""
    found = []
    for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text):
        tree = ast.parse((ROOT / path).read_text())
        marks = [
            mark
            for node in tree.body
            if isinstance(node, ast.FunctionDef) and node.name == name
            for mark in map(ast.unparse, node.decorator_list)
        ]
        whole = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Assign)]
        if any(re.match(r"pytest\.mark\.(long|skip|skipif|xfail)\b", mark) for mark in marks) or any(
            text.startswith("pytestmark") for text in whole
        ):
            found.append(f"{path}::{name}")
    return found


def test_each_guarantee_is_a_law_that_make_test_runs() -> None:
    """And nothing but laws: each section names at least one, and no benchmark stands in for one."""
    text = (DOCS / "guarantees.md").read_text()
    assert not left_out(text)
    assert left_out("`tests/test_shared.py::test_large_real_raster`") == [
        "tests/test_shared.py::test_large_real_raster"
    ]
    for section in text.split("\n## ")[1:]:
        assert re.search(r"`tests/[\w/]+\.py::\w+`", section), section.partition("\n")[0]
    assert (
        "-m"
        not in re.search(r"^TESTS := OMP.*$", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].partition("pytest")[2]
    )
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["testpaths"] == [
        "tests"
    ]


def test_each_named_test_exists() -> None:
    for path in (ROOT / "README.md", *PAGES, TUTORIAL["PAGE"]):
        assert not missing(path.read_text()), path.name
    assert missing("`tests/test_docs.py::test_nothing`") == ["tests/test_docs.py::test_nothing"]
    assert missing("`benchmarks/nothing.py`") == ["benchmarks/nothing.py"]


def missing_paths(text: str) -> list[str]:
    """Files of the product that a page names, from the root or below agriseg/, and that are not there."""
    named = re.findall(r"`((?:[\w.]+/)+[\w.]*)`", text)
    return [path for path in named if not any((root / path).exists() for root in (ROOT, ROOT / "agriseg"))]


@pytest.mark.parametrize("path", [DOCS / "contributing.md", DOCS / "design.md", *DOCS.glob("design/*.md")])
def test_each_named_path_exists(path: Path) -> None:
    assert not missing_paths(path.read_text())
    assert missing_paths("`agriseg/nothing.py` and `raster/nothing.py`") == ["agriseg/nothing.py", "raster/nothing.py"]


def test_the_rooms_of_the_design_are_those_of_the_tree() -> None:
    """Each room on its floor, with modules that it has."""
    layers = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]["layers"]
    floors = {name: str(floor) for floor, layer in enumerate(reversed(layers)) for name in layer.split(" : ")}
    lines = (DOCS / "design.md").read_text().split("## Rooms and floors")[1].splitlines()
    shown = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if re.match(r"\| \d", line)]
    rooms = {name: floor for floor, cell, *_ in shown for name in re.findall(r"`(\w+)/?`", cell)}
    assert rooms == floors
    for _, cell, _, modules in shown:
        for name in re.findall(r"`(\w+)`", modules):
            room = ROOT / "agriseg" / re.findall(r"`(\w+)/`", cell)[0]
            assert list(room.glob(f"**/{name}.py")), f"{room.name} has no module {name}"


def test_contributing_has_the_tasks() -> None:
    tasks = table(DOCS / "contributing.md", "task", "open first", "also change")
    assert len(tasks) >= 12
    assert all(re.search(r"`agriseg/[\w/]+", cells[0]) for cells in tasks.values())


def test_each_promise_of_the_readme_has_its_tests() -> None:
    promised = re.findall(r"^- \*\*(.+?)\.?\*\*", (ROOT / "README.md").read_text(), re.MULTILINE)
    sections = dict(
        re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", (DOCS / "guarantees.md").read_text(), re.DOTALL | re.MULTILINE)
    )
    assert len(promised) == 7
    assert all("tests/" in sections[promise] for promise in promised)


# links, flags, the site


@pytest.mark.parametrize("path", [ROOT / "README.md", *PAGES, TUTORIAL["PAGE"]], ids=lambda path: path.stem)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", path.read_text()):
        place, _, section = target.partition("#")
        found = path.parent / place if place else path
        assert place.startswith("http") or found.exists(), target
        if section:
            heads = re.findall(r"^#+ (.+)$", found.read_text(), re.MULTILINE)
            assert section in {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}, target


def flags_of(group: click.Group) -> set[str]:
    """Every flag of a group's commands."""
    found: set[str] = set()
    with click.Context(group) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command
            found |= flags_of(command) if isinstance(command, click.Group) else set()
            found |= {flag for option in command.params for flag in (*option.opts, *option.secondary_opts)}
    return found


FOREIGN = {"--help", "--version", "--protocol", "--bf16", "--rules"}
"""Flags of click, of dask and of benchmarks."""


def test_each_flag_that_is_named_is_one() -> None:
    known = flags_of(cli) | FOREIGN
    for path in (ROOT / "README.md", *PAGES, TUTORIAL["PAGE"]):
        prose = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
        named = set(
            re.findall(r"(?<!benchmarks/empty\.py )(--[a-z][a-z0-9-]+)", " ".join(re.findall(r"`([^`]+)`", prose)))
        )
        assert named <= known, path.name


def test_the_site_is_made_without_a_warning(tmp_path: Path) -> None:
    words = ["-W", "--keep-going", "-n", "-q", "-b", "html", "-d", tmp_path / "doctrees", DOCS, tmp_path / "html"]
    done = subprocess.run([sys.executable, "-m", "sphinx", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "html" / "tutorial.html").read_text()
    assert "Areas and scouting points" in page
    assert not re.findall(r'(?:src|<link[^>]* href)="https?://', page), "the site fetches something"
