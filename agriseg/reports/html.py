"""HTML pages in one file: templates, style, scripts, and a content-security policy that fetches nothing.

The policy allows the style and the scripts whose hashes it names, and pictures within the page.
"""

import hashlib
from base64 import b64encode
from dataclasses import dataclass
from functools import cache
from importlib.resources import files as package_files

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from agriseg.reports.translations import Translator

GENERATOR = '<meta name="generator" content="agriseg">'
"""Marks the pages of agriseg."""

Cell = tuple[str | float | None, str]
"""Value that a table is sorted by, and text that is shown."""


@dataclass(frozen=True)
class Table:
    """A table that a reader can sort."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def render(name: str, words: Translator, script: str | None = None, rules: str = "", **context: object) -> str:
    """A page from a template and its values, with its style, its scripts and the policy that allows only these.

    The script and the style rules are added to those of all pages.
    """
    style, code = package_text("page.css") + rules, package_text("table.js") + (package_text(script) if script else "")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(code)}'; base-uri 'none'; "
        "form-action 'none'"
    )
    return template(name).render(t=words, generator=GENERATOR, policy=policy, style=style, code=code, **context)


@cache
def package_text(name: str) -> str:
    """A text file of the package's data."""
    return package_files("agriseg").joinpath("data", name).read_text("utf-8")


@cache
def template(name: str) -> Template:
    """A template of the package's data, compiled."""
    around = Environment(
        loader=PackageLoader("agriseg", "data"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    return around.get_template(name)


def _hash(text: str) -> str:
    return "sha256-" + b64encode(hashlib.sha256(text.encode()).digest()).decode()
