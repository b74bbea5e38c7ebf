"""Does this raster fit this model? Checked before the first tile; what does not fit is refused, never guessed."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from rasterio.enums import ColorInterp

from agriseg.config import RunOptions
from agriseg.errors import DataError, UsageError
from agriseg.grid import Window
from agriseg.jobs.bands import ALPHA, check_numbers, listed, named, validity_hints
from agriseg.model import SegmentationModel
from agriseg.raster.info import RasterInfo
from agriseg.raster.reader import Source
from agriseg.raster.sample import Sample, take_sample
from agriseg.raster.validity import ValidityRule, check_nodata
from agriseg.units import human_metres

_SAME_GSD = 0.01  # a factor nearer to 1 than this is no reason to resample
_FAR_GSD = 2.0
_FULL_SCALE = ("uint8", "uint16")  # types whose largest number is white, or nearly
_SCALED_RANGE = (0.03, 100.0)  # where scaled numbers end that were meant to be shares of full scale
_MOST_DEVIATIONS = 300.0  # of a white pixel from the mean; 8-bit ImageNet has 3


@dataclass(frozen=True)
class Contract:
    """How a model reads a raster.

    Args:
        source: bands in the model's order, validity, working grid.
        roi: window that is mapped, in the working grid.
        mapping: role to band number.
        factor: raster's GSD to working GSD along rows and columns; (1, 1) at native resolution.
        sample: pixels looked at.
        warnings: what a reader should know before trusting the map.
    """

    source: Source
    roi: Window
    mapping: dict[str, int]
    factor: tuple[float, float]
    sample: Sample
    warnings: tuple[str, ...]


def agree(info: RasterInfo, model: SegmentationModel, options: RunOptions) -> Contract:
    """Match a raster to a model.

    Raises:
        DataError: bands that are missing, unnamed or of the wrong kind; numbers that do not fit the scale.
        UsageError: a flag that does not fit the raster.
    """
    where = info.georeference
    if options.require_crs and not (where.crs or where.gcp_crs):
        raise DataError(f"{info.path}: no coordinate reference system, and --require-crs; assign one with gdal_edit")
    mapping, alpha, said = _map_bands(info, model, options)
    if options.nodata is not None:
        check_nodata(options.nodata, info.dtype)
    rule = ValidityRule.of(info, nodata=options.nodata, alpha=alpha)
    bands = tuple(mapping.values())
    salvage = options.on_read_error == "nodata"
    sample = take_sample(Source(info, bands, rule, info.width, info.height, salvage))
    _check_scale(info, model, sample)
    width, height, warned = _working_size(info, model, options)
    factor = (info.width / width, info.height / height)
    warnings = (*info.notes, *said, *validity_hints(info, rule, sample), *warned)
    return Contract(
        Source(info, bands, rule, width, height, salvage), _roi(info, options, width, height), mapping, factor,
        sample, warnings,
    )  # fmt: skip


def _map_bands(
    info: RasterInfo, model: SegmentationModel, options: RunOptions
) -> tuple[dict[str, int], tuple[int, ...], list[str]]:
    """Role to band number for the model's bands, user-declared alpha bands, and what to say about it."""
    given = options.bands
    alpha: tuple[int, ...] = ()
    if isinstance(given, tuple):
        if len(given) != len(model.bands):
            raise UsageError(
                f"--bands gives {len(given)} numbers, model {model.name!r} has bands {', '.join(model.bands)}"
            )
        given = dict(zip(model.bands, given, strict=True))
    if given is None:
        mapping = _by_name(info, model)
    else:
        alpha = tuple(number for role, number in given.items() if role == ALPHA and ALPHA not in model.bands)
        mapping = _by_name(info, model) if set(given) == {ALPHA} and alpha else _by_flag(model, given)
    check_numbers(info, [*mapping.items(), *((ALPHA, number) for number in alpha)])
    return mapping, alpha, _check_palette(info, mapping, explicit=given is not None)


def _by_flag(model: SegmentationModel, given: Mapping[str, int]) -> dict[str, int]:
    unknown = [role for role in given if role not in model.bands and role != ALPHA]
    missing = [role for role in model.bands if role not in given]
    if unknown or missing:
        raise UsageError(
            f"--bands names {', '.join(given)}; model {model.name!r} wants {', '.join(model.bands)}; name just these"
        )
    return {role: given[role] for role in model.bands}


def _by_name(info: RasterInfo, model: SegmentationModel) -> dict[str, int]:
    """Find each role by what the file says of its bands; a lone band by being alone."""
    known = named(info)
    data = [number for number in range(1, info.count + 1) if number not in info.alpha]
    if len(model.bands) == len(data) == 1:
        known.setdefault(model.bands[0].lower(), data[0])
    if not all(role.lower() in known for role in model.bands):
        raise DataError(_unnamed(info, model))
    return {role: known[role.lower()] for role in model.bands}


def _unnamed(info: RasterInfo, model: SegmentationModel) -> str:
    wants = f"{info.path}: model {model.name!r} wants bands {', '.join(model.bands)}; the file has {listed(info)}"
    if info.count < len(model.bands):
        return f"{wants}. Use a model for these bands"
    example = ",".join(f"{role}={i}" for i, role in enumerate(model.bands, 1))
    return f"{wants}. Say which is which, such as --bands {example}"


def _check_palette(info: RasterInfo, mapping: dict[str, int], *, explicit: bool) -> list[str]:
    """A palette's numbers are no colours: refused unless the band was asked for by number."""
    said = []
    for role, number in mapping.items():
        if info.colours[number - 1] != ColorInterp.palette:
            continue
        if not explicit and role != f"b{number}":
            raise DataError(
                f"{info.path}: band {number} holds palette entries, not {role}; "
                "expand it with gdal_translate -expand rgb"
            )
        said.append(f"band {number} is paletted: the network sees the entries' numbers, not their colours")
    return said


def _check_scale(info: RasterInfo, model: SegmentationModel, sample: Sample) -> None:
    """Numbers that the model's constants take far away from what it was trained on are of another kind.

    A scale of 1 with mean 0 and deviation 1 says nothing about the stored numbers, and nothing is checked.
    """
    highest = float(np.iinfo(info.dtype).max) if info.dtype in _FULL_SCALE else sample.highest
    scaled = abs(highest * model.scale)
    seen = max((scaled - mean) / std for mean, std in zip(model.mean, model.std, strict=True))
    told = any(mean != 0 for mean in model.mean) or any(std != 1 for std in model.std)
    out_of_scale = model.scale != 1 and not _SCALED_RANGE[0] <= scaled <= _SCALED_RANGE[1]
    if sample.valid_share > 0 and (out_of_scale or (told and seen > _MOST_DEVIATIONS)):
        raise DataError(
            f"{info.path}: {info.dtype} numbers up to {highest:g} do not fit model {model.name!r}, which expects "
            f"numbers up to about {1 / model.scale:.4g}; convert the raster to the model's units"
        )


def _working_size(info: RasterInfo, model: SegmentationModel, options: RunOptions) -> tuple[int, int, list[str]]:
    """Pixels of the working grid, and what to say about the ground resolution."""
    native = info.width, info.height
    if options.gsd == "native":
        return *native, []
    wanted = model.gsd if options.gsd == "auto" else float(options.gsd)
    if wanted is None:
        return *native, [f"model {model.name!r} does not know its ground resolution: running at the raster's own"]
    if info.gsd is None:
        if options.gsd != "auto":
            raise DataError(
                f"{info.path}: its ground resolution is unknown, so --gsd {options.gsd} means nothing; use native"
            )
        return *native, ["the raster's ground resolution is unknown: running at its own, whatever the model's is"]
    factors = [wanted / own for own in info.gsd]
    if all(abs(factor - 1) <= _SAME_GSD for factor in factors):
        return *native, []
    width, height = (max(1, round(length / factor)) for length, factor in zip(native, factors, strict=True))
    said = [f"resampled from {human_metres(info.gsd[0])} to {human_metres(wanted)} per pixel"]
    if max(factors) > _FAR_GSD or min(factors) < 1 / _FAR_GSD:
        said.append(
            f"the raster's {human_metres(info.gsd[0])} per pixel is far from {human_metres(wanted)}: "
            "expect a worse map; a factor of 2 is the most that models bear"
        )
    return width, height, said


def _roi(info: RasterInfo, options: RunOptions, width: int, height: int) -> Window:
    """The mapped window in the working grid: all of it, or the whole pixels that the user's window touches."""
    if options.window is None:
        return Window(0, 0, width, height)
    asked = options.window
    if asked.col_stop > info.width or asked.row_stop > info.height:
        raise UsageError(f"--{asked} reaches beyond the raster of {info.width} x {info.height} px; keep it inside")
    across, down = width / info.width, height / info.height
    left, top = int(asked.col_off * across), int(asked.row_off * down)
    right = min(width, int(np.ceil(asked.col_stop * across)))
    bottom = min(height, int(np.ceil(asked.row_stop * down)))
    return Window(left, top, right - left, bottom - top)
