"""The command line: one module per command, loaded when it is used, so that `--help` needs click alone."""

from collections.abc import Sequence
from functools import cache
from importlib import import_module

import click

from agriseg.cli.common.errors import ProcessEdge

_COMMANDS = (
    "run", "batch", "layers", "rx", "report", "change", "index", "verify", "inspect", "training.labels",
    "training.label", "training.suggest", "training.train", "training.quickstart", "training.evaluate",
    "training.model", "export", "demo", "selftest",
)  # fmt: skip
"""Modules of the commands, in the order of `--help`."""
_MODULES = {module.rpartition(".")[2]: module for module in _COMMANDS}


class _Lazy(click.Group):
    """A group of commands: modules of this package, each with a function named `command`, loaded when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _MODULES:
            return None
        return _load(cmd_name)


@cache
def _load(name: str) -> click.Command:
    """A command, with the option `-c` for its defaults."""
    from agriseg.cli.common.defaults import config_option, leaves

    command: click.Command = import_module(f"agriseg.cli.{_MODULES[name]}").command
    for leaf in dict(leaves(click.Context(command))).values() or [command]:
        leaf.params.append(config_option())
    return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "AGRISEG"})
@click.version_option(package_name="agriseg", message="%(prog)s %(version)s")
def cli() -> None:
    """Crop-health maps from field rasters of any size.

    \b
    Example:
      agriseg demo
      agriseg inspect field.tif
      agriseg run field.tif -m model.safetensors -o maps

    Exit codes: 0 ok, 2 usage, 3 some rasters failed, 65 bad input data, 66 no such input, 69 no such device,
    70 internal error, 73 output exists, 74 disk, 75 busy, 77 permission, 78 bad model or config, 130 interrupted,
    143 terminated.
    """


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    with ProcessEdge():
        code = cli.main(args=None if args is None else list(args), prog_name="agriseg", standalone_mode=False)
        raise SystemExit(code if isinstance(code, int) else 0)
