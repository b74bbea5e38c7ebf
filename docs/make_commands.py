"""Write docs/commands.md and docs/commands/: a page for each command, from what its `--help` says.

    python docs/make_commands.py

`tests/test_docs.py` compares the pages with what this gives now.
"""

from collections.abc import Iterator
from pathlib import Path

import click

from agriseg.cli import cli

DOCS = Path(__file__).parent
WIDTH = 100
"""Columns of the help, whatever the terminal has."""
_MADE = "<!-- python docs/make_commands.py writes this page -->"


def pages() -> dict[str, str]:
    """Path below docs to text: a page for each command, and the list of them."""
    root = _root()
    found = list(_commands(root))
    return {"commands.md": _list(root, found), **{_file(context): _page(context) for context in found}}


def write() -> None:
    """Write the pages, and remove those of commands that are gone."""
    texts = pages()
    (DOCS / "commands").mkdir(exist_ok=True)
    for path in (DOCS / "commands").glob("*.md"):
        if f"commands/{path.name}" not in texts:
            path.unlink()
    for name, text in texts.items():
        (DOCS / name).write_text(text, "utf-8")


def _root() -> click.Context:
    settings = {**cli.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    return click.Context(cli, info_name="agriseg", **settings)


def _commands(parent: click.Context) -> Iterator[click.Context]:
    """The commands below a group, a group before its own."""
    group = parent.command
    if not isinstance(group, click.Group):
        return
    for name in group.list_commands(parent):
        command = group.get_command(parent, name)
        if command is not None and not command.hidden:
            context = click.Context(command, info_name=name, parent=parent)
            yield context
            yield from _commands(context)


def _words(context: click.Context) -> list[str]:
    """The command without the program's name."""
    return context.command_path.split()[1:]


def _file(context: click.Context) -> str:
    return f"commands/{'-'.join(_words(context))}.md"


def _summary(context: click.Context) -> str:
    return context.command.get_short_help_str(limit=200).rstrip(".")


def _help(context: click.Context) -> str:
    """As a terminal of `WIDTH` columns shows it."""
    return f"```text\n{context.get_help()}\n```"


def _page(context: click.Context) -> str:
    """The summary as title, and the help."""
    return f"# {context.command_path}: {_summary(context)}\n\n{_help(context)}\n\n{_MADE}\n"


def _list(root: click.Context, commands: list[click.Context]) -> str:
    """Every command with its summary, and the help of the program itself."""
    rows = [f"| [{each.command_path}]({_file(each)}) | {_summary(each)} |" for each in commands]
    tree = [f"{' '.join(_words(each))} <{_file(each).removesuffix('.md')}>" for each in commands]
    head = ["# Commands", "", "The `--help` text of every command.", "", "| command | |", "|---|---|"]
    return "\n".join([*head, *rows, "", "```{toctree}", ":hidden:", "", *tree, "```", "", _help(root), "", _MADE, ""])


if __name__ == "__main__":
    write()
