"""`farm.gpkg:fields`: a layer of a GeoPackage, named behind its file."""

import re
from pathlib import Path

_LAYERED = re.compile(r"(.+?\.gpkg):(.+)", re.IGNORECASE | re.DOTALL)


def layered(path: Path) -> tuple[Path, str | None]:
    """The file and its layer; None where no layer is named.

    >>> layered(Path("farm.gpkg:fields"))[1]
    'fields'
    """
    match = _LAYERED.fullmatch(str(path))
    return (path, None) if match is None or path.exists() else (Path(match[1]), match[2])
