"""Write the tables of machines in docs/prescription.md from agriseg/data/machines.toml.

    python docs/make_machines.py

`tests/test_machine_files.py` compares the page with what this gives now.
"""

from pathlib import Path

from agriseg.machine_files.profiles import MachineProfile, profiles

PAGE = Path(__file__).parent / "prescription.md"
START, END = "<!-- python docs/make_machines.py writes from here -->", "<!-- to here -->"
_FORMS = {"shapefile": "zip with a shapefile", "agras": "zip with a GeoTIFF", "geopackage": "GeoPackage"}


def page(text: str) -> str:
    """The page with the tables as they are now."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n\n{tables()}\n\n{END}{after}"


def tables() -> str:
    """Files and limits of each machine, then the source of each rule."""
    head = ["| machine | for | files | cells | limits |", "|---|---|---|---|---|"]
    rows = [
        f"| `{each.id}` | {each.title} | {_files(each)} | {_cells(each)} | {_limits(each)} |" for each in profiles()
    ]
    rules = ["| machine | rule | as specified by |", "|---|---|---|"]
    sources = [
        f"| `{each.id}` | {source.rule} | {_linked(source.source)} |" for each in profiles() for source in each.sources
    ]
    return "\n".join([*head, *rows, "", *rules, *sources])


def _files(profile: MachineProfile) -> str:
    if profile.format == "taskdata":
        return "zip with `TASKDATA/TASKDATA.XML` and `GRD00001.bin`"
    folder = f" in `{profile.folder}/`" if profile.folder else ""
    column = f", column `{profile.column}`" if profile.column else ""
    unit = ", unit in the name" if profile.unit_in_name else ""
    return f"{_FORMS[profile.format]}{folder}{column}{unit}"


def _cells(profile: MachineProfile) -> str:
    return "along the degrees" if profile.grid == "lonlat" else "turned to the line of work"


def _limits(profile: MachineProfile) -> str:
    limits = profile.limits
    told = {
        "features": f"{limits.features} areas", "rates": f"{limits.rates} rates above 0",
        "columns": f"{limits.columns} columns of numbers", "hectares": f"{limits.hectares} ha",
        "text_length": f"names of {limits.text_length} characters", "short_names": "file names of 8.3 characters",
    }  # fmt: skip
    size = [f"{limits.bytes / 1e6:g} MB"] if limits.bytes else []
    unit = [] if len(profile.units) > 1 else list(profile.units)
    return ", ".join([*unit, *size, *(text for name, text in told.items() if getattr(limits, name))]) or "none stated"


def _linked(source: str) -> str:
    return " ".join(
        f"<{word.rstrip(',')}>{',' * word.endswith(',')}" if word.startswith("https:") else word
        for word in source.split()
    )


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
