"""The bands of a raster that indices are computed from, checked before the first index is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from agriseg.errors import DataError, UsageError
from agriseg.options.index import IndexOptions
from agriseg.raster.band_roles import ALPHA, check_numbers, find_bands, known_bands, listed, validity_hints
from agriseg.raster.header import RasterInfo
from agriseg.raster.pixel_sample import Sample, take_sample
from agriseg.raster.reader import Source
from agriseg.raster.valid_mask import Use, ValidityRule, check_nodata
from agriseg.vegetation.formulas import ROLES, Index
from agriseg.vegetation.reflectance import Units, doubts
from agriseg.vegetation.sensors import Sensor, get_sensor


@dataclass(frozen=True)
class IndexSource:
    """A raster as the input of indices: band number by role, and units of the stored numbers by name of the index."""

    info: RasterInfo
    bands: Mapping[str, int]
    rule: ValidityRule
    units: Mapping[str, Units]
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, info: RasterInfo, options: IndexOptions, indices: Sequence[Index]) -> "IndexSource":
        """Check a raster for all indices.

        Raises:
            UsageError: an option does not fit the raster.
            DataError: a band is missing, or the numbers are no reflectance.
        """
        if unknown := [role for role in options.roles if role not in ROLES]:
            raise UsageError(f"--bands {unknown[0]}, expected roles of {', '.join((*ROLES, ALPHA))}")
        if options.nodata is not None:
            check_nodata(options.nodata, info.dtype)
        camera = None if options.sensor is None else get_sensor(options.sensor)
        bands, warnings = _choose_bands(info, options, camera, [role for index in indices for role in index.roles])
        for index in indices:
            _require(info, index, bands)
        used = {role: bands[role] for index in indices for role in index.roles}
        rule = ValidityRule.of(info, nodata=options.nodata, alpha=options.alpha, use=Use.INDEX)
        sample = take_sample(Source(info, tuple(used.values()), rule, info.width, info.height))
        warnings += [*info.notes, *validity_hints(rule, sample)]
        units = {}
        for index in indices:
            numbers = [bands[role] for role in index.roles]
            units[index.name] = Units.of(index, info, numbers, options.scale, camera)
            warnings += doubts(index, info, _sample_of(sample, list(used), index), units[index.name])
        if options.scale is not None and info.tagged(used.values()):
            warnings.append(f"--scale {options.scale:g} takes the place of the scale and offset that the file says")
        return cls(info, bands, rule, units, tuple(warnings))

    def bands_of(self, index: Index) -> dict[str, int]:
        """Role to band number, in the order of the index."""
        return {role: self.bands[role] for role in index.roles}

    def source(self, index: Index) -> Source:
        """The bands of an index on the raster's own grid."""
        return Source(self.info, tuple(self.bands_of(index).values()), self.rule, self.info.width, self.info.height)


def _sample_of(sample: Sample, roles: Sequence[str], index: Index) -> Sample:
    """The bands of one index in a sample of more bands."""
    places = [roles.index(role) for role in index.roles]
    mean = None if sample.mean is None else tuple(sample.mean[place] for place in places)
    return replace(sample, highest=tuple(sample.highest[place] for place in places), mean=mean)


def _choose_bands(
    info: RasterInfo, options: IndexOptions, camera: Sensor | None, roles: Sequence[str]
) -> tuple[dict[str, int], list[str]]:
    """Role to band number by the user, the camera or the file's tags, and warnings."""
    check_numbers(info, (options.bands or {}).items())
    if options.roles:
        return options.roles, _alpha_warnings(info, options)
    if camera is None:
        return find_bands(info, roles), []
    return _camera_bands(info, options, camera)


def _camera_bands(info: RasterInfo, options: IndexOptions, camera: Sensor) -> tuple[dict[str, int], list[str]]:
    """Role to band number of a camera, and warnings where the file's tags or its number of bands differ."""
    tagged = {role: numbers[0] for role, numbers in known_bands(info).items() if role in ROLES}
    hidden = {*info.alpha, *options.alpha}
    data = [number for number in range(1, info.count + 1) if number not in hidden]
    bands = camera.mapping(data)
    warnings = [f"--sensor {camera.name}: {camera.caution}"] if camera.caution and not info.tagged(data) else []
    if len(data) > len(bands):
        warnings.append(f"--sensor {camera.name} has {len(bands)} bands, the file {len(data)}: are the first its own?")
    if differ := [role for role, number in bands.items() if tagged.get(role, number) != number]:
        role = differ[0]
        warnings.append(
            f"--sensor {camera.name} has {role} as band {bands[role]}, the file tags band {tagged[role]} so"
        )
    return bands, warnings


def _alpha_warnings(info: RasterInfo, options: IndexOptions) -> list[str]:
    """Warnings about alpha bands that the user has given a role."""
    return [
        f"band {number} is tagged alpha and is taken as {role}; where it is 0 there is no data"
        for role, number in options.roles.items()
        if number in info.alpha
    ]


def _require(info: RasterInfo, index: Index, bands: Mapping[str, int]) -> None:
    """Refuse an index whose bands are missing."""
    missing = [role for role in index.roles if role not in bands]
    if missing:
        example = ",".join(f"{role}={bands.get(role, '?')}" for role in index.roles)
        raise DataError(
            f"{info.path}: {index.name} needs {', '.join(index.roles)}; no band is known as {', '.join(missing)} among "
            f"{listed(info)}. Say which is which: --bands {example}, or --sensor"
        )
