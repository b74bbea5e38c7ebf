"""The house: floors, sizes of modules, and what the README says."""

import ast
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import click
import pytest
from conftest import blocks, record_of, write_raster

from agriseg.cli import cli, main

ROOT = Path(__file__).parents[1]


def floors(folder: Path) -> subprocess.CompletedProcess[str]:
    linter = Path(sys.executable).with_name("lint-imports")
    return subprocess.run([linter, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False)


def test_imports_point_down_the_floors() -> None:
    done = floors(ROOT)
    assert done.returncode == 0, done.stdout


def test_an_import_that_points_up_is_found(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "agriseg", tmp_path / "agriseg")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "agriseg" / "errors.py").open("a") as module:
        module.write("\nimport agriseg.cli\n")
    done = floors(tmp_path)
    assert done.returncode == 1
    assert "agriseg.errors -> agriseg.cli" in done.stdout


MODULES = sorted((ROOT / "agriseg").rglob("*.py"))


def test_a_module_has_one_concept() -> None:
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in MODULES}
    assert {path: number for path, number in lines.items() if number > 300} == {}


def test_a_room_has_few_modules() -> None:
    rooms = Counter(path.parent for path in MODULES if path.stem not in ("__init__", "__main__"))
    assert {str(room): number for room, number in rooms.items() if number > 15} == {}


def circles(graph: dict[str, set[str]]) -> list[str] | None:
    """A circle of modules that import each other, if there is one."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return None


def imports(names: dict[str, Path]) -> dict[str, set[str]]:
    """What each module imports of agriseg, also within functions; what is only for types left out."""
    graph: dict[str, set[str]] = {}
    for name, path in names.items():
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                node.body = []
        graph[name] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                wanted = {f"{node.module}.{each.name}" for each in node.names}
                graph[name] |= {each if each in names else node.module for each in wanted} & names.keys()
            elif isinstance(node, ast.Import):
                graph[name] |= {each.name for each in node.names} & names.keys()
    return graph


def test_no_modules_import_each_other() -> None:
    dotted = (".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in MODULES)
    graph = imports(dict(zip(dotted, MODULES, strict=True)))
    del graph["agriseg"]  # it loads what it exports when it is asked for
    assert sum(map(len, graph.values())) > 800
    assert circles(graph) is None
    assert circles({**graph, "agriseg.errors": {"agriseg.cli"}}), "a circle is found"


def functions() -> Iterator[tuple[Path, ast.FunctionDef]]:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                yield path.relative_to(ROOT / "agriseg"), node


def test_a_function_is_short() -> None:
    """At most 40 lines with its docstring; a command has its options above it."""
    long = {
        f"{path}:{node.name}": lines
        for path, node in functions()
        if (lines := node.end_lineno - node.lineno + 1) > 40  # type: ignore[operator]
        and not any(".command(" in ast.unparse(each) for each in node.decorator_list)
    }
    assert long == {}


def test_a_function_has_few_parameters() -> None:
    """At most six, outside the command line."""
    many = {}
    for path, node in functions():
        given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        number = len([each for each in given if each.arg not in ("self", "cls")])
        if path.parts[0] != "cli" and number > 6:
            many[f"{path}:{node.name}"] = number
    assert many == {}


JSON_BORDERS = frozenset({
    "analysis/area_interval.py", "analysis/record.py",
    "batch/job_file.py", "batch/summary.py", "change/compare.py",
    "cli/change.py", "cli/common/options.py",
    "cli/training/train.py",
    "labels/learnt_images.py", "mapping/run.py", "maps/index_maps.py", "maps/publish.py", "maps/record.py",
    "maps/run_identity.py", "maps/stem.py", "options/request.py", "options/table.py",
    "training/config.py", "training/model_card.py",
})  # fmt: skip
"""Modules that read or write JSON, TOML, or the keywords of click and Dask."""


def test_data_cross_borders_as_types() -> None:
    """A function that takes or returns `dict[str, Any]` reads or writes JSON or its like; there are no more of them."""
    loose = Counter[str]()
    for path, node in functions():
        taken = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        kinds = [ast.unparse(each) for each in (*(each.annotation for each in taken), node.returns) if each]
        if any("dict[str, Any]" in kind or "Mapping[str, Any]" in kind for kind in kinds):
            loose[path.as_posix()] += 1
    assert loose.keys() <= JSON_BORDERS
    assert loose.total() <= 30, loose


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that these words reach, and the words left."""
    command: click.Command = cli
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words[0])
        assert found, f"agriseg has no command {words[0]}"
        command, words = found, words[1:]
    return command, words


def readme_commands() -> list[str]:
    blocks = re.findall(r"```(?:sh|bash|console)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip().startswith("agriseg ")]


def test_the_readme_shows_commands() -> None:
    assert len(readme_commands()) >= 5


@pytest.mark.parametrize("line", readme_commands())
def test_a_command_of_the_readme_exists(line: str) -> None:
    command, words = command_of(shlex.split(line, comments=True)[1:])
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}
    assert {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)} <= known


def test_make_test_is_what_runs_everywhere() -> None:
    """The README, the Makefile and the continuous check name one command."""
    readme = (ROOT / "README.md").read_text()
    assert "make test" in readme
    assert "make demo" in readme
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    makefile = (ROOT / "Makefile").read_text()
    assert all(
        re.search(rf"^{name}:", makefile, re.MULTILINE) for name in ("install", "demo", "test", "check", "bench")
    )


def test_the_example_config_runs(tmp_path: Path) -> None:
    image = write_raster(tmp_path / "field.tif", blocks(60, 60))
    command = ["run", str(image), "-o", str(tmp_path / "out"), "-q", "-c", str(ROOT / "configs" / "agriseg.toml")]
    with pytest.raises(SystemExit) as left:
        main(command)
    assert left.value.code == 0
    assert record_of(tmp_path / "out")["parameters"]["tile_px"] == 512


def test_whoever_hands_out_a_night_does_not_load_torch() -> None:
    """It takes seconds, and workers load it themselves."""
    told = "import sys, agriseg.batch.dispatcher; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", told], check=False).returncode == 0
