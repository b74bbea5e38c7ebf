"""One table of options: each field of an options class carries its flag, help, parser and choices.

The flags of the command line, the keys of TOML files and the names of environment variables follow from it.
"""

import difflib
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Self

from agriseg.errors import ModelError, UsageError


@dataclass(frozen=True)
class Flag:
    """How a user writes the value of a field.

    Args:
        help: of the flag, one sentence.
        names: of the flag, if they are not the field's name with hyphens; the field's name stays the key in TOML.
        kind: of the value on the command line; bool for a switch without value.
        span: least and greatest integer.
        multiple: whether the flag may be repeated.
        parse: turns text, or a value that is already parsed, into the value of the field.
    """

    help: str
    metavar: str | None = None
    names: tuple[str, ...] = ()
    kind: type = str
    choices: tuple[str, ...] = ()
    span: tuple[int, int | None] | None = None
    multiple: bool = False
    parse: Callable[[Any], Any] | None = None


def option(default: Any, text: str, metavar: str | None = None, **flag: Any) -> Any:
    """A field of an options class; `text` is the help, `flag` are other fields of `Flag`."""
    return field(default=default, metadata={"flag": Flag(text, metavar, **flag)})


def flags_of(table: type["Options"]) -> dict[str, Flag]:
    """Field name to flag, in the order of the fields."""
    return {each.name: each.metadata["flag"] for each in fields(table) if "flag" in each.metadata}


class Options:
    """Base of the options classes: dataclasses with fields made by `option`."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @classmethod
    def of(cls, **values: Any) -> Self:
        """Options from values as users write them, such as `gsd="5cm"`; None means the default.

        Raises:
            UsageError: an option is unknown, or its value cannot be parsed.
        """
        flags = flags_of(cls)
        for name in values:
            if name not in flags:
                raise UsageError(f"unknown option {name!r}; {nearest(name, flags)}")
        return cls(
            **{
                name: parse(value) if (parse := flags[name].parse) else value
                for name, value in values.items()
                if value is not None
            }
        )

    def check_choices(self) -> None:
        """Refuse a value that is not among the choices of its field.

        Raises:
            UsageError: it is not.
        """
        for each in fields(self):
            flag, value = each.metadata.get("flag"), getattr(self, each.name)
            if flag and flag.choices and value not in (*flag.choices, each.default):
                raise UsageError(f"{each.name} {value!r}, expected {', '.join(flag.choices)}")


def nearest(word: str, words: Collection[str]) -> str:
    """A hint for a misspelt word: the nearest known one, or all of them."""
    near = difflib.get_close_matches(word, list(words), 1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(words))}"


CONFIG_NAME = "agriseg.toml"


def find_config(start: Path) -> Path | None:
    """The nearest `agriseg.toml` in this folder or above it."""
    return next((folder / CONFIG_NAME for folder in (start, *start.parents) if (folder / CONFIG_NAME).is_file()), None)


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as TOML: {error}") from error


def read_config(path: Path, known: Mapping[str, Collection[str]]) -> dict[str, dict[str, Any]]:
    """Read a TOML file with one table per command, such as `[run]` or `[labels.check]`.

    Args:
        known: command to the keys it knows.

    Returns:
        Command to its table.

    Raises:
        ModelError: no TOML, or a key that no command knows; the nearest one is named.
    """
    groups = {command.partition(".")[0] for command in known if "." in command}
    tables: dict[str, Any] = {}
    for name, table in read_toml(path).items():
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
