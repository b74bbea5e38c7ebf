"""The report of a finished map, and its files for other programs: STAC, zarr."""

from importlib.util import find_spec
from pathlib import Path

from agriseg.errors import UsageError
from agriseg.maps.reader import find_records
from agriseg.options.exports import ExportOptions
from agriseg.reports.report import write_report


def check_exports(options: ExportOptions) -> None:
    """Refuse, before a map is made, exports that cannot be made of it.

    Raises:
        InputMissing: there is no earlier map.
        UsageError: a package that an export needs is not installed.
    """
    if options.previous is not None:
        find_records(options.previous)
    if options.stac and find_spec("pystac") is None:
        raise UsageError("STAC needs the package pystac; install agriseg[stac]")


def write_exports(record: Path, options: ExportOptions) -> list[Path]:
    """Write the exports of a finished map, over earlier ones of the same map.

    Returns:
        The files, the report first.

    Raises:
        AgrisegError: its subclasses say what went wrong.
    """
    written = [write_report(record, options.lang, options.previous)]
    if options.zarr:
        from agriseg.export.zarr import write_zarr

        written.append(write_zarr(record, overwrite=True))
    if options.stac:
        from agriseg.export.stac import write_item
        from agriseg.export.stac_model import write_model_item

        written += [write_model_item(record), write_item(record)]
    return written
