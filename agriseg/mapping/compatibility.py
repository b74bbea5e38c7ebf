"""Does this raster fit this model? Checked before the first tile; what does not fit is refused, never guessed."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from rasterio.enums import ColorInterp

from agriseg.errors import DataError, UsageError
from agriseg.grid import Window
from agriseg.model import SegmentationModel
from agriseg.options.run import RunOptions
from agriseg.raster.band_roles import ALPHA, check_numbers, find_bands, is_number, listed, misnamed, validity_hints
from agriseg.raster.header import RasterInfo
from agriseg.raster.pixel_sample import Sample, take_sample
from agriseg.raster.reader import Source
from agriseg.raster.valid_mask import ValidityRule, check_nodata
from agriseg.units import human_metres

_SAME_GSD = 0.01  # a factor nearer to 1 than this is no reason to resample
_FAR_GSD = 2.0
_EIGHT_BIT_WHITE = 255.0  # 8-bit numbers are that kind however dark a picture is
_LEAST_WHITE = 0.03  # where scaled numbers end, at least, that were meant to be shares of full scale
_ALL_LIGHT = 1.5  # share of full scale that no raster has on average
_FAR_TIMES = 30.0  # by which all numbers lie below the mean of the training: not darkness, another unit
_FAR = (10.0, 100.0)  # means of the training, and deviations from it, that a mean lies beyond: another unit


@dataclass(frozen=True)
class ModelInput:
    """How a model reads a raster.

    Args:
        source: bands in the model's order, validity, working grid.
        roi: window that is mapped, in the working grid.
        factor: raster's GSD to working GSD along rows and columns; (1, 1) at native resolution.
        sample: pixels of the mapped window that are checked.
        raster_mean: stored numbers, mean per band of the whole raster; None without valid pixels.
        hints: what to know of its bands and their numbers.
        empty: what looks like no data, and counts as data.
        notes: what to know of the file, and of the ground resolution.
    """

    source: Source
    roi: Window
    mapping: dict[str, int]
    factor: tuple[float, float]
    sample: Sample
    raster_mean: tuple[float, ...] | None
    hints: tuple[str, ...]
    empty: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader should know before trusting the map."""
        return (*self.notes, *self.hints, *self.empty)


def check_compatibility(info: RasterInfo, model: SegmentationModel, options: RunOptions) -> ModelInput:
    """Match a raster to a model.

    Raises:
        DataError: bands that are missing, unnamed or of the wrong kind; numbers that do not fit the scale.
        UsageError: a flag that does not fit the raster.
    """
    where = info.georeference
    if options.require_crs and not (where.crs or where.gcp_crs):
        raise DataError(f"{info.path}: no coordinate reference system, and --require-crs; assign one with gdal_edit")
    mapping, alpha, remarks = _map_bands(info, model, options)
    if options.nodata is not None:
        check_nodata(options.nodata, info.dtype)
    rule = ValidityRule.of(info, nodata=options.nodata, alpha=alpha)
    bands = tuple(mapping.values())
    salvage = options.on_read_error == "nodata"
    width, height, warned = working_size(info, model, options)
    roi = _roi(info, options, width, height)
    native = Source(info, bands, rule, info.width, info.height, salvage)
    sample = take_sample(native, options.window)
    whole = take_sample(native) if options.window and model.normalize_by == "raster" else sample
    _check_scale(info, model, whole)
    empty = (*validity_hints(rule, sample), *_as_trained(info, model, rule))
    return ModelInput(
        Source(info, bands, rule, width, height, salvage), roi, mapping, (info.width / width, info.height / height),
        sample, whole.mean, (*remarks, *_tags(info, bands)), empty, (*info.notes, *warned),
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
        mapping = dict(zip(model.bands, given, strict=True))
    elif given is None:
        mapping = _by_name(info, model)
    else:
        alpha = tuple(number for role, number in given.items() if role == ALPHA and ALPHA not in model.bands)
        mapping = _by_name(info, model) if set(given) == {ALPHA} and alpha else _by_flag(model, given)
    check_numbers(info, [*mapping.items(), *((ALPHA, number) for number in alpha)])
    remarks = misnamed(info, model.bands) if given is None else []
    return mapping, alpha, [*remarks, *_check_palette(info, mapping, explicit=given is not None)]


def _by_flag(model: SegmentationModel, given: Mapping[str, int]) -> dict[str, int]:
    unknown = [role for role in given if role not in model.bands and role != ALPHA]
    missing = [role for role in model.bands if role not in given]
    if unknown or missing:
        raise UsageError(
            f"--bands names {', '.join(given)}; model {model.name!r} wants {', '.join(model.bands)}; name just these"
        )
    numbers = [given[role] for role in model.bands]
    for role, number in zip(model.bands, numbers, strict=True):
        if is_number(role) and role.lower() != f"b{number}":
            raise UsageError(
                f"--bands {role}={number}, but {role} is band {role[1:]} always; give the numbers alone, in the "
                f"model's order: --bands {','.join(map(str, numbers))}"
            )
    return dict(zip(model.bands, numbers, strict=True))


def _by_name(info: RasterInfo, model: SegmentationModel) -> dict[str, int]:
    """Find each role by what the file says of its bands; a lone band by being alone."""
    found = find_bands(info, model.bands)
    data = [number for number in range(1, info.count + 1) if number not in info.alpha]
    if len(model.bands) == len(data) == 1:
        found.setdefault(model.bands[0], data[0])
    if len(found) < len(model.bands):
        raise DataError(_unnamed(info, model))
    return {role: found[role] for role in model.bands}


def _unnamed(info: RasterInfo, model: SegmentationModel) -> str:
    wants = f"{info.path}: model {model.name!r} wants bands {', '.join(model.bands)}; the file has {listed(info)}"
    if remarks := misnamed(info, model.bands):
        return f"{wants}. {remarks[0]}; say which is which with --bands, by numbers in the model's order"
    if info.count < len(model.bands):
        return f"{wants}. Use a model for these bands"
    example = ",".join(f"{role}={i}" for i, role in enumerate(model.bands, 1))
    return f"{wants}. Say which is which, such as --bands {example}"


def _check_palette(info: RasterInfo, mapping: dict[str, int], *, explicit: bool) -> list[str]:
    """A palette's numbers are no colours: refused unless the band was asked for by number."""
    remarks = []
    for role, number in mapping.items():
        if info.colours[number - 1] != ColorInterp.palette:
            continue
        if not explicit and role != f"b{number}":
            raise DataError(
                f"{info.path}: band {number} holds palette entries, not {role}; "
                "expand it with gdal_translate -expand rgb"
            )
        remarks.append(f"band {number} is paletted: the network sees the entries' numbers, not their colours")
    return remarks


def _as_trained(info: RasterInfo, model: SegmentationModel, rule: ValidityRule) -> list[str]:
    """What to say where training left out pixels that count as data here."""
    data = model.about.get("data")
    data = data if isinstance(data, dict) else {}
    remarks = []
    value, alpha = data.get("nodata"), data.get("alpha")
    if value is not None and all(value != own for _, own in rule.nodata):
        remarks.append(
            f"the model was trained with {value:.17g} as no data, which is data here: add --nodata {value:.17g}"
        )
    if alpha is not None and alpha <= info.count and alpha not in rule.alpha:
        remarks.append(
            f"the model was trained with band {alpha} as alpha: add alpha={alpha} to --bands if it is one here"
        )
    return remarks


def _tags(info: RasterInfo, bands: tuple[int, ...]) -> list[str]:
    """What to say of the file's own scale and offset: a model's scale is of stored numbers."""
    if not info.tagged(bands):
        return []
    tags = {(info.scales[band - 1], info.offsets[band - 1]) for band in bands}
    listed = ", ".join(f"{scale:g} and {offset:g}" for scale, offset in sorted(tags))
    return [f"the file says a scale and offset ({listed}); the network takes the stored numbers without them"]


def _check_scale(info: RasterInfo, model: SegmentationModel, sample: Sample) -> None:
    """Numbers that lie far from those that the model's constants are made for are of another unit.

    A scale of 1 with mean 0 and deviation 1 says nothing about the stored numbers, and nothing is checked. A model that
    normalizes by the raster takes light in any unit.
    """
    if sample.mean is None:
        return
    if model.normalize_by == "raster":
        if min(sample.mean) <= 0:
            listed = ", ".join(f"{value:.4g}" for value in sample.mean)
            raise DataError(
                f"{info.path}: means of the bands are {listed}; model {model.name!r} expects numbers from 0 on that "
                "grow with the light; use unscaled numbers, or declare what is empty with --nodata"
            )
        return
    if not (_too_small(info, model, sample) or _too_large(model, sample.mean)):
        return
    step = "convert the raster to the model's units"
    if sample.collar:
        step = f"if its plain border is empty, add --nodata {sample.collar.value}; else {step}"
    raise DataError(
        f"{info.path}: {info.dtype} numbers up to {max(sample.highest):g} do not fit model {model.name!r}, which "
        f"expects numbers up to about {_expected_top(model):.4g}; {step}"
    )


def _too_small(info: RasterInfo, model: SegmentationModel, sample: Sample) -> bool:
    """Whether the largest number is far below what the model takes for bright, or even for middling."""
    white = max(*sample.highest, _EIGHT_BIT_WHITE) if info.dtype == "uint8" else max(sample.highest)
    scaled = white * model.scale
    least = _LEAST_WHITE if model.scale != 1 else -np.inf
    return scaled < max(least, max(model.mean) / _FAR_TIMES if _is_normalized(model) else -np.inf)


def _too_large(model: SegmentationModel, stored: tuple[float, ...]) -> bool:
    """Whether a band's mean is more than all light, or far beyond that of the training."""
    mean, trained = np.array(stored) * model.scale, np.array(model.mean)
    share = model.scale != 1 and trained.max() <= 1
    times, deviations = _FAR
    far = (mean > times * trained) & (mean - trained > deviations * np.array(model.std))
    return bool((share and mean.max() > _ALL_LIGHT) or (_is_normalized(model) and far.any()))


def _is_normalized(model: SegmentationModel) -> bool:
    """Whether mean and deviation say something of the numbers."""
    return any(mean != 0 for mean in model.mean) or any(std != 1 for std in model.std)


def _expected_top(model: SegmentationModel) -> float:
    """A bright stored number, for a reader."""
    bright = 1.0 if model.scale != 1 else max(m + 3 * s for m, s in zip(model.mean, model.std, strict=True))
    return bright / model.scale


def working_size(info: RasterInfo, model: SegmentationModel, options: RunOptions) -> tuple[int, int, list[str]]:
    """Pixels of the working grid, and what to say about the ground resolution."""
    native = info.width, info.height
    if options.gsd == "native":
        return *native, []
    wanted = model.gsd if options.gsd == "auto" else float(options.gsd)
    if wanted is None and "gsd_range" in model.about:
        return *native, []
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
    remarks = [f"resampled from {human_metres(info.gsd[0])} to {human_metres(wanted)} per pixel"]
    if max(factors) > _FAR_GSD or min(factors) < 1 / _FAR_GSD:
        remarks.append(
            f"the raster's {human_metres(info.gsd[0])} per pixel is far from {human_metres(wanted)}: "
            "expect a worse map; a factor of 2 is the most that models bear"
        )
    return width, height, remarks


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
