"""The table of faults: which are survived, how many times each was tried, and which could not be tried here."""

import csv
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

CATALOGUE = Path(__file__).with_name("catalogue.tsv")


def catalogue() -> dict[str, tuple[str, str | None]]:
    """By id the fault, and why agriseg cannot meet it, if so."""
    with CATALOGUE.open(newline="") as lines:
        return {row["id"]: (row["fault"], row["absent"]) for row in csv.DictReader(lines, delimiter="\t")}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="try each fault as often as it takes to believe it")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: left out by make test; make faults runs it")
    config.addinivalue_line("markers", "fault(id, ...): the test tries these faults of tests/faults/catalogue.tsv")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--long") and "long" not in config.getoption("markexpr"):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("long")])
        items[:] = [item for item in items if not item.get_closest_marker("long")]
    for item in items:
        ids = [each for mark in item.iter_markers("fault") for each in mark.args]
        if unknown := set(ids) - set(catalogue()):
            raise pytest.UsageError(f"{item.nodeid}: no fault {', '.join(unknown)} in the catalogue")
        item.user_properties.append(("faults", tuple(ids)))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if not config.getoption("--long"):
        return
    tries: dict[str, int] = defaultdict(int)
    passes: dict[str, int] = defaultdict(int)
    why: dict[str, str] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, ()):
            told = dict(report.user_properties)
            for fault in told.get("faults", ()):
                number = int(told.get("tries", 1))
                if outcome == "skipped":
                    why[fault] = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
                    continue
                tries[fault] += number
                passes[fault] += number if outcome == "passed" else 0
    terminalreporter.section("faults")
    met = {fault: what for fault, (what, absent) in catalogue().items() if not absent}
    for fault, (what, absent) in catalogue().items():
        count = f"{passes[fault]} of {tries[fault]}" if tries[fault] else f"not tried: {why.get(fault, 'no test')}"
        terminalreporter.write_line(f"{fault}  {absent or count:>14}  {what}")
    good = sum(1 for fault in met if tries[fault] and passes[fault] == tries[fault])
    terminalreporter.write_line(f"{good} of {len(met)} faults survived in every try")
