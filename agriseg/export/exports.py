"""Exports of a finished map: the report, STAC items, zarr."""

from dataclasses import dataclass, replace
from pathlib import Path

from agriseg.maps.reader import find_records
from agriseg.reports.report import write_report
from agriseg.reports.translations import Translator


@dataclass(frozen=True)
class Exports:
    """What is wanted of finished maps; the fields are flags of `agriseg report`.

    Args:
        lang: of the report: en or zh.
        previous: folder or record of an earlier map of the field.
        stac: items of the map and of its model.
        zarr: the map as zarr.
    """

    lang: str = "en"
    previous: Path | None = None
    stac: bool = False
    zarr: bool = False

    def __post_init__(self) -> None:
        Translator(self.lang)
        if self.previous is not None:
            find_records(self.previous)  # what is not there is said before the map is made, not after it
        if self.stac:
            import agriseg.export.stac  # noqa: F401  (says so if its package is not installed)

    def since(self, previous: Path | None) -> "Exports":
        """The same with an earlier map, unless the user has named one."""
        return self if self.previous or previous is None else replace(self, previous=previous)

    def make(self, record: Path) -> list[Path]:
        """Make it, over what was made of the same map before.

        Returns:
            The files, the report first.

        Raises:
            AgrisegError: its children say what went wrong.
        """
        made = [write_report(record, self.lang, self.previous)]
        if self.zarr:
            from agriseg.export.zarr import write_zarr

            made.append(write_zarr(record, overwrite=True))
        if self.stac:
            from agriseg.export.stac import write_item, write_model_item

            made += [write_model_item(record), write_item(record)]
        return made
