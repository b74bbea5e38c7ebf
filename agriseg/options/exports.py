"""The options of the report and of the files for other programs."""

from dataclasses import dataclass
from pathlib import Path

from agriseg.options.table import Options, option

LANGUAGES = ("en", "zh")


@dataclass(frozen=True)
class ExportOptions(Options):
    """What is made of a finished map beside its layers; the fields are flags of `agriseg report`.

    `previous` is the folder or the record of an earlier map of the field.
    """

    lang: str = option("en", "Language of the report; default en.", choices=LANGUAGES)
    previous: Path | None = option(None, "An earlier map of the field, for the trend.", "FOLDER|RECORD", parse=Path)
    stac: bool = option(False, "Also write STAC items of the map and its model (needs agriseg[stac]).", kind=bool)
    zarr: bool = option(False, "Also write the map as zarr, for xarray.", kind=bool)

    def __post_init__(self) -> None:
        self.check_choices()
