"""The options of vegetation indices: bands and units of the raster."""

from collections.abc import Mapping
from dataclasses import dataclass

from agriseg import units
from agriseg.errors import UsageError
from agriseg.options.table import Options, option

_ALPHA = "alpha"  # the role of a validity band


def _bands(text: str | Mapping[str, int]) -> Mapping[str, int]:
    bands = units.bands(text)
    if isinstance(bands, tuple):
        raise UsageError(f"--bands {text}, expected roles, such as red=1,green=2,nir=4")
    return bands


@dataclass(frozen=True)
class IndexOptions(Options):
    """Bands and units of a raster; the fields are flags of `agriseg index`.

    Raises:
        UsageError: a scale that is not above 0, or both a camera and bands.
    """

    bands: Mapping[str, int] | None = option(
        None, "Band numbers by role: red=3,nir=4; alpha=5: validity band. Default: the tags of the file.", "LIST",
        names=("-b", "--bands"), parse=_bands,
    )  # fmt: skip
    sensor: str | None = option(
        None, "Camera with these bands, instead of --bands: m3m, rededge, sentinel2, ...; see --list.", "NAME"
    )
    scale: float | None = option(
        None, "Reflectance of one count of the stored numbers, such as 0.0001; default: scale and offset of the file.",
        "VALUE", kind=float,
    )  # fmt: skip
    nodata: float | None = option(None, "Nodata value, in addition to the one the file declares.", "VALUE", kind=float)

    def __post_init__(self) -> None:
        if self.scale is not None and not 0 < self.scale < float("inf"):
            raise UsageError(f"--scale {self.scale:g}, expected a number above 0, such as 0.0001")
        if self.sensor is not None and self.roles:
            raise UsageError(f"--sensor {self.sensor} and --bands with {', '.join(self.roles)}; give one of them")

    @property
    def roles(self) -> dict[str, int]:
        """Role to band number of `bands`, without alpha."""
        return {role: number for role, number in (self.bands or {}).items() if role != _ALPHA}

    @property
    def alpha(self) -> tuple[int, ...]:
        """Numbers of the alpha bands in `bands`."""
        return tuple(number for role, number in (self.bands or {}).items() if role == _ALPHA)
