"""Zip files whose bytes depend on their content alone."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

_DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip can hold


def write_archive(path: Path, members: Mapping[str, bytes]) -> None:
    """Write files, by their path within the archive, in the given order."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), data, zipfile.ZIP_DEFLATED)
