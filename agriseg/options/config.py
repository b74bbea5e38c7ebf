"""`agriseg.toml`: defaults of the commands."""

import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from agriseg.errors import ModelError
from agriseg.options.table import nearest

CONFIG_NAME = "agriseg.toml"


def find_config(start: Path) -> Path | None:
    """The nearest `agriseg.toml` in this folder or above it."""
    return next((folder / CONFIG_NAME for folder in (start, *start.parents) if (folder / CONFIG_NAME).is_file()), None)


def read_config(path: Path, known: Mapping[str, Collection[str]]) -> dict[str, dict[str, Any]]:
    """Read a TOML file with one table per command, such as `[run]` or `[labels.check]`.

    Args:
        path: the file.
        known: command to the keys it knows.

    Returns:
        Command to its table.

    Raises:
        ModelError: no TOML, or a key that no command knows; the nearest one is named.
    """
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as TOML: {error}") from error
    groups = {command.partition(".")[0] for command in known if "." in command}
    tables: dict[str, Any] = {}
    for name, table in content.items():
        nested = name in groups and isinstance(table, dict)
        tables |= {f"{name}.{child}": values for child, values in table.items()} if nested else {name: table}
    for command, table in tables.items():
        if command not in known:
            raise ModelError(f"{path}: unknown table [{command}]; {nearest(command, known)}")
        if not isinstance(table, dict):
            raise ModelError(f"{path}: {command!r} must be a table; write [{command}] above its keys")
        for key in table:
            if key not in known[command]:
                raise ModelError(f"{path}: unknown key {key!r} in [{command}]; {nearest(key, known[command])}")
    return tables
