"""The house: floors, sizes of modules, and what the README says."""

import re
import shlex
import shutil
import subprocess
import sys
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


@pytest.mark.parametrize("path", sorted((ROOT / "agriseg").rglob("*.py")), ids=lambda path: path.name)
def test_a_module_has_one_concept(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


def forbidden_words() -> set[str]:
    """The metaphors of the glossary in docs/design.md, each of which has a term of the field in its place."""
    section = (ROOT / "docs" / "design.md").read_text().split("### Words that are not used")[1].split("\n## ")[0]
    return {word for cell in re.findall(r"^\| ([a-z, ]+) \|", section, re.MULTILINE)[1:] for word in cell.split(", ")}


def test_no_module_has_a_forbidden_name() -> None:
    words = forbidden_words()
    assert {"night", "ledger", "door", "utils"} <= words
    paths = (path.relative_to(ROOT / "agriseg").with_suffix("") for path in (ROOT / "agriseg").rglob("*.py"))
    assert not [str(path) for path in paths for part in path.parts if words & set(part.split("_"))]


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
