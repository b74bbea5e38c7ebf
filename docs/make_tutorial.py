"""Run the commands of docs/tutorial.md and write what they print into it, with the pictures.

    python docs/make_tutorial.py

A ```console block holds commands, each after `$ `, and what they print. They run in order, in a folder of their own
that holds the repository's examples, and in fp32 whatever the processor has. `tests/test_docs.py` runs them too, and
compares what they print:

- words must be the same, but blanks count as one, and lines of progress, which a terminal wipes away, as none;
  paths are seen from the folder;
- numbers may differ by 2 %, or by one in their last digit, as sums of another processor do; degrees by 0.00001;
- where the comment `<!-- trained here: ... -->` stands before a block, numbers up to one may differ by 0.1 and larger
  ones by a quarter, and another step may be the best: a training carries the rounding of its processor on. Of the
  rows of its patches, which are few, only class and size count.
"""

import io
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from PIL import Image

import agriseg.backends.choose_backend
from agriseg.cli import main

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "tutorial.md"
PICTURES = ROOT / "docs" / "tutorial"
_BLOCK = re.compile(r"(?:<!-- (trained here): [^\n]*-->\n)?```console\n(.*?)```", re.DOTALL)
_COMMAND = re.compile(r"^\$ (.+)$", re.MULTILINE)
_SHOWN = re.compile(r"!\[[^]]*\]\(tutorial/([^)]+)\)<!-- (\S+) at (\d+) px -->")
_PROGRESS = re.compile(r"^(\S+: +\d+%, \d+ of \d+ \w+, .* left|step \d+: loss .* left)\n", re.MULTILINE)
_FP32 = patch.object(agriseg.backends.choose_backend, "_has_bf16", return_value=False)
"""The page's numbers are those of fp32 on any processor."""
_DEGREES = 6
"""Decimals from which on a number is a longitude or a latitude."""
_NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?")
_PATCHES = re.compile(r"^(  \w+ +[\d.]+ (?:mm|cm|m|px) ).*$", re.MULTILINE)


@dataclass(frozen=True)
class Step:
    """A command of the tutorial.

    Args:
        command: as it is typed.
        printed: what the page says that it prints.
        trained: whether its numbers come from a training.
    """

    command: str
    printed: str
    trained: bool


def steps(text: str) -> list[Step]:
    """The commands of a page, in order."""
    found = []
    for trained, block in _BLOCK.findall(text):
        _, *parts = _COMMAND.split(block)
        found += [Step(command, printed.strip("\n"), bool(trained)) for command, printed in _pairs(parts)]
    return found


def filled(text: str, printed: list[str]) -> str:
    """The page with other outputs, one a command."""
    outputs = iter(printed)

    def block(found: re.Match[str]) -> str:
        commands = _COMMAND.findall(found[2])
        lines = [line for command in commands for line in (f"$ {command}", next(outputs)) if line]
        return found[0].replace(found[2], "\n".join(lines) + "\n")

    return _BLOCK.sub(block, text)


def difference(step: Step, printed: str) -> str | None:
    """What is wrong with what a command printed; None if nothing is."""
    texts = [_PATCHES.sub(r"\1", text) if step.trained else text for text in (step.printed, printed)]
    if _words(texts[0], trained=step.trained) != _words(texts[1], trained=step.trained):
        return f"$ {step.command}\nprinted\n{printed}\nexpected\n{step.printed}"
    for one, two in zip(*map(_NUMBER.findall, texts), strict=True):
        if not _near(one, two, trained=step.trained):
            return f"$ {step.command}\nprinted {two}, expected {one}, in\n{printed}"
    return None


def run(command: str) -> str:
    """Run a command in this process, or in a shell if it is none of agriseg's; what it prints."""
    program, *words = shlex.split(command)
    if program == "cd":
        os.chdir(words[0])
        return ""
    if program != "agriseg":
        done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)  # noqa: S602
        return (done.stdout + done.stderr).strip("\n")
    heard = io.StringIO()
    with redirect_stdout(heard), redirect_stderr(heard), suppress(SystemExit), _FP32:
        main(words)
    return _PROGRESS.sub("", heard.getvalue()).replace(f"{Path.cwd()}/", "").strip("\n")


def lay_out() -> None:
    """Stand where the first command is typed: in the repository, as far as the tutorial needs it, in a folder."""
    shutil.copytree(ROOT / "examples", "agriseg/examples")
    os.chdir("agriseg")


def pictures(text: str) -> list[tuple[str, str, int]]:
    """Of each picture that a page shows its name, the file that it was made of, and its longest side (px)."""
    return [(name, made, int(side)) for name, made, side in _SHOWN.findall(text)]


def write() -> None:
    """Run the page's commands and write the page and its pictures anew."""
    text = PAGE.read_text("utf-8")
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        lay_out()
        PAGE.write_text(filled(text, [run(step.command) for step in steps(text)]), "utf-8")
        for name, made, side in pictures(text):
            _keep(PICTURES / name, Path(made), side)


def _words(text: str, *, trained: bool) -> str:
    """A text without its numbers; which step of a training was the best is one too."""
    return _NUMBER.sub("#", " ".join(text.replace(", best", "" if trained else ", best").split()))


def _pairs(parts: list[str]) -> Iterator[tuple[str, str]]:
    return zip(parts[::2], parts[1::2], strict=True)


def _near(expected: str, got: str, *, trained: bool) -> bool:
    one, two = (float(text.replace(",", "")) for text in (expected, got))
    decimals = len(expected.partition(".")[2])
    if decimals >= _DEGREES:
        allowed = 1e-5
    elif trained:
        allowed = 0.1 if max(one, two) <= 1 else 0.25 * one
    else:
        allowed = max(0.02 * one, 10**-decimals if decimals else 0)
    return abs(one - two) <= allowed * (1 + 1e-9)


def _keep(path: Path, made: Path, side: int) -> None:
    """A picture small enough for a repository."""
    with Image.open(made) as picture:
        layers = picture.convert("RGBA")
        paper = Image.new("RGBA", layers.size, "white")
        paper.alpha_composite(layers)
    paper.thumbnail((side, side))
    paper.convert("RGB").quantize(256).save(path, optimize=True)


if __name__ == "__main__":
    write()
