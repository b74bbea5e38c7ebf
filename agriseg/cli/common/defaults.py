"""Defaults of every command from `agriseg.toml`: `-c FILE`, or the nearest file upward."""

from collections.abc import Iterator
from pathlib import Path

import click

from agriseg.options.table import find_config, read_config


def config_option() -> click.Option:
    """The option `-c FILE` of each command."""
    return click.Option(
        ["-c", "--config"], metavar="FILE", is_eager=True, expose_value=False, callback=_set_defaults,
        help="TOML file with defaults; else the nearest agriseg.toml upward.",
    )  # fmt: skip


def leaves(context: click.Context, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """The commands of a group and of its groups, with dotted names: `run`, `labels.check`."""
    group = context.command
    if not isinstance(group, click.Group):
        return
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from leaves(click.Context(command), f"{prefix}{name}.")
        elif command:
            yield f"{prefix}{name}", command


def _set_defaults(context: click.Context, _param: click.Parameter, value: str | None) -> None:
    path = Path(value) if value else find_config(Path.cwd())
    if path is None or context.resilient_parsing:
        return
    known = {
        name: [option.name for option in leaf.params if isinstance(option, click.Option) and option.name]
        for name, leaf in leaves(context.find_root())
    }
    dotted = ".".join(context.command_path.split()[1:])
    context.default_map = read_config(path, known).get(dotted, {})
