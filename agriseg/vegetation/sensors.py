"""Cameras: which band of their mosaics is which, and how the numbers in them become reflectance."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agriseg.errors import DataError, UsageError


@dataclass(frozen=True)
class Sensor:
    """What a camera's mosaic holds.

    Args:
        name: as in `--sensor`.
        roles: of the bands, in their order.
        scale: reflectance of one count of 16-bit numbers; None where it depends on who made the mosaic. Numbers with
            a point are reflectance already.
        source: title and address of the document that defines it.
        caution: what may be otherwise in a mosaic of another maker.
    """

    name: str
    title: str
    roles: tuple[str, ...]
    scale: float | None
    source: str
    caution: str = ""

    def mapping(self, data_bands: Sequence[int]) -> dict[str, int]:
        """Role to band number, from the numbers of the file's bands that are not alpha.

        Raises:
            DataError: these are too few to be this camera's.
        """
        if len(data_bands) < len(self.roles):
            raise DataError(
                f"--sensor {self.name} has {len(self.roles)} bands ({', '.join(self.roles)}), the file has "
                f"{len(data_bands)} beside alpha; say which is which with --bands"
            )
        return dict(zip(self.roles, data_bands, strict=False))  # bands that follow are none of the camera's


_ATLAS = (
    "MicaSense, What are the units of the Atlas GeoTIFF output?, "
    "https://support.micasense.com/hc/en-us/articles/215460518"
)
_ATLAS_SCALE = 1 / 32768  # the same page: 32768 is 100 % reflectance
_BY_FILE = (
    "in mosaics stacked by the numbers of the camera's files near infrared comes before red edge; then use --bands"
)
_BGR = ("blue", "green", "red")

SENSORS: Mapping[str, Sensor] = {
    sensor.name: sensor
    for sensor in (
        Sensor("rgb", "any colour camera", ("red", "green", "blue"), None, "the order of colour images in GeoTIFF"),
        Sensor("rgbn", "any camera with near infrared last", ("red", "green", "blue", "nir"), None, "by its name"),
        Sensor("rededge", "MicaSense RedEdge, RedEdge-M, RedEdge-MX", (*_BGR, "red_edge", "nir"), _ATLAS_SCALE,
               _ATLAS, _BY_FILE),
        Sensor("altum", "MicaSense Altum", (*_BGR, "red_edge", "nir", "lwir"), _ATLAS_SCALE,
               f"as RedEdge with the thermal band last; {_ATLAS}", _BY_FILE),
        Sensor("sequoia", "Parrot Sequoia", ("green", "red", "red_edge", "nir"), _ATLAS_SCALE, _ATLAS),
        Sensor("p4m", "DJI P4 Multispectral", (*_BGR, "red_edge", "nir"), None,
               "DJI, P4 Multispectral User Manual 2019, p. 19, https://www.dji.com/p4-multispectral/downloads"),
        Sensor("m3m", "DJI Mavic 3 Multispectral", ("green", "red", "red_edge", "nir"), None,
               "DJI, Mavic 3M User Manual 2023, p. 91 (SensorIndex), https://ag.dji.com/mavic-3-m/downloads"),
        Sensor("naip", "USDA NAIP, four bands", ("red", "green", "blue", "nir"), None,
               "NAIP: National Agriculture Imagery Program, https://planetarycomputer.microsoft.com/dataset/naip"),
        Sensor("sentinel2", "Sentinel-2 L2A, the 10 m bands B02, B03, B04, B08", (*_BGR, "nir"), 1e-4,
               "Copernicus, SentiWiki, S2 Products, https://sentiwiki.copernicus.eu/web/s2-products",
               "products of baseline 04.00 and later (2022 on) hold 1000 more, unless harmonised: then first "
               "gdal_translate -scale 1000 11000 0 10000"),
    )
}  # fmt: skip
"""Name to camera. The bands of mosaics are the makers'; `--bands` sets another order."""


def get_sensor(name: str) -> Sensor:
    """The camera of this name, in capitals or not.

    Raises:
        UsageError: there is none; the message has the nearest name.
    """
    wanted = name.strip().lower()
    if wanted not in SENSORS:
        near = difflib.get_close_matches(wanted, list(SENSORS), 1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(SENSORS)}"
        raise UsageError(f"no sensor {name.strip()!r}; {hint}")
    return SENSORS[wanted]
