"""The picture of a prescription over the image of its field."""

import io
from base64 import b64encode
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image
from rasterio.warp import transform as warp

from agriseg.machine_files.prescription import Prescription
from agriseg.maps.reader import FinishedMap
from agriseg.reports.map_figure import MapPicture, outline

_ALONE = "#d81b60"  # of a single rate: no plant and no soil has it
_RAMP = ((255, 213, 79), (211, 47, 47), (74, 20, 140))  # no plant and no soil has these either
_OPACITY = 190  # of 255


@dataclass(frozen=True)
class RatesPicture:
    """Pictures of one size (px).

    Args:
        photo: data URI of the image; None without its quick look.
        rates: data URI of the rates, transparent where nothing is applied.
        boundary: path of the outline of the field in an SVG of this size.
        north: degrees clockwise from up; None if unknown.
        bar: metres of a scale bar, and its share of the width; None if unknown.
    """

    width: int
    height: int
    photo: str | None
    rates: str
    boundary: str
    north: float | None
    bar: tuple[float, float] | None

    @classmethod
    def of(cls, run: FinishedMap, prescription: Prescription) -> "RatesPicture":
        """The picture in the frame of the map."""
        photo = run.folder / f"{run.stem}_image.png"
        drawn = MapPicture.of(run, run.classes, photo if photo.is_file() else None)
        rates = _rates_at_pixels(run, prescription, drawn.height, drawn.width)
        boundary = shapely.transform(prescription.boundary, lambda xy: _of_lonlat(run, xy))
        path = outline(run, boundary, drawn.width, drawn.height)
        return cls(drawn.width, drawn.height, drawn.photo, _coloured(rates), path, drawn.north, drawn.scale_bar)


def rate_colours(rates: NDArray[np.float64]) -> dict[float, str]:
    """Colour of each rate above 0, as #rrggbb, ascending: from yellow over red to violet."""
    distinct = np.unique(rates[rates > 0])
    if len(distinct) == 1:
        return {float(distinct[0]): _ALONE}
    places = np.linspace(0, len(_RAMP) - 1, len(distinct))
    channels = np.stack([np.interp(places, range(len(_RAMP)), channel) for channel in zip(*_RAMP, strict=True)], axis=1)
    return {float(rate): f"#{bytes(row).hex()}" for rate, row in zip(distinct, channels.astype(np.uint8), strict=True)}


def _of_lonlat(run: FinishedMap, xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 2) longitude and latitude in the CRS of the map."""
    return np.transpose(warp("OGC:CRS84", run.georeference.crs, xy[:, 0], xy[:, 1]))


def _rates_at_pixels(run: FinishedMap, prescription: Prescription, height: int, width: int) -> NDArray[np.float64]:
    """(height, width) rate at the centre of each pixel of a picture of the map."""
    cols, rows = np.meshgrid(
        (np.arange(width) + 0.5) * run.width / width, (np.arange(height) + 0.5) * run.height / height
    )
    x, y = run.georeference.transform @ (cols, rows)
    where = prescription.georeference
    if where.crs != run.georeference.crs:
        x, y = np.reshape(warp(run.georeference.crs, where.crs, x.ravel(), y.ravel()), (2, *x.shape))
    col, row = (np.floor(each) for each in ~where.transform @ (x, y))
    inside = (row >= 0) & (row < prescription.rates.shape[0]) & (col >= 0) & (col < prescription.rates.shape[1])
    found = np.zeros((height, width))
    found[inside] = prescription.rates[row[inside].astype(int), col[inside].astype(int)]
    return found


def _coloured(rates: NDArray[np.float64]) -> str:
    """PNG as a data URI."""
    pixels = np.zeros((*rates.shape, 4), np.uint8)
    for rate, colour in rate_colours(rates).items():
        pixels[rates == rate] = [*bytes.fromhex(colour[1:]), _OPACITY]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(buffer.getvalue()).decode()}"
