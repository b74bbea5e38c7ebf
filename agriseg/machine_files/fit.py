"""A prescription brought within the limits of a machine; what is lost by it is said in numbers.

A rate never gets onto ground where nothing is applied, and ground with a rate keeps one.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agriseg.errors import DataError, UsageError
from agriseg.machine_files.dbf import DECIMALS, LARGEST
from agriseg.machine_files.prescription import Prescription, RateUnit
from agriseg.machine_files.profiles import MachineProfile
from agriseg.units import HECTARE

_DDI_COUNTS = {RateUnit.LITRES: 10_000, RateUnit.KILOGRAMS: 100}  # of a l/ha, a kg/ha
_COUNTS = 2**31 - 1
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")  # XML has no room for these
_FLOAT32 = 1e-6  # relative, below which rounding is no loss
_SHORT_NAME = 8
_LONGEST_NAME = 60  # characters of a file's name, with room for what is added


class BeyondLimit(DataError):
    """A set of files that is beyond a limit of its machine, which fewer rates may help. Exit code 65."""


@dataclass(frozen=True)
class Fitted:
    """A prescription as the files hold it.

    Args:
        prescription: with the rates that are written.
        stem: of the files in the set.
        losses: sentences, with numbers.
    """

    prescription: Prescription
    stem: str
    losses: tuple[str, ...]


def fitted(prescription: Prescription, profile: MachineProfile) -> Iterator[Fitted]:
    """The prescription within the limits that need no file, then with fewer and fewer rates.

    Raises:
        DataError: a limit that nothing can be merged for.
    """
    _check_unit(prescription, profile)
    _check_hectares(prescription, profile)
    stem, name_losses = _stem(prescription, profile)
    text_losses = _text_losses(prescription, profile)
    different = len(np.unique(prescription.rates[prescription.rates > 0]))
    for count in _counts(different, profile.limits.rates):
        merged = prescription.rates if count == different else _merged(prescription, count)
        rates = _rounded(prescription, merged, profile)
        same = np.array_equal(rates, prescription.rates)
        written = prescription if same else replace(prescription, rates=rates)
        yield Fitted(written, stem, (*name_losses, *text_losses, *_rate_losses(prescription, written)))


def _counts(different: int, limit: int | None) -> Iterator[int]:
    """Numbers of rates to try, from the most."""
    most = min(different, limit or different)
    yield most
    yield from (2**power for power in range(int(most).bit_length(), -1, -1) if 2**power < most)


def _merged(prescription: Prescription, count: int) -> NDArray[np.float64]:
    """Rates of equal steps between the least and the largest as their mean by area, so that the amount stays."""
    treated = prescription.rates > 0
    rates, areas = prescription.rates[treated], prescription.cell_areas()[treated]
    low, high = rates.min(), rates.max()
    group = np.minimum((rates - low) / max(high - low, np.finfo(float).tiny) * count, count - 1).astype(int)
    means = np.bincount(group, rates * areas) / np.maximum(np.bincount(group, areas), np.finfo(float).tiny)
    merged = np.zeros_like(prescription.rates)
    merged[treated] = means[group]
    return merged


def _rounded(prescription: Prescription, rates: NDArray[np.float64], profile: MachineProfile) -> NDArray[np.float64]:
    """The rates as the format stores them.

    Raises:
        DataError: a rate that is less than its step, or more than it holds.
    """
    per_unit, least, most = _numbers(profile, prescription.unit)
    inside: NDArray[np.float64] = np.minimum(rates, most)
    if per_unit:
        stored = np.rint(inside * per_unit) / per_unit
    else:
        stored = inside.astype(np.float32).astype(np.float64) if profile.format == "agras" else inside
    if rates.max() > most or ((stored > 0) != (rates > 0)).any():
        raise DataError(
            f"{prescription.name}: rates of {rates[rates > 0].min():g} to {rates.max():g} {prescription.unit.value}, "
            f"{profile.id} holds {least:g} to {most:g}; give a rate between them"
        )
    return stored


def _numbers(profile: MachineProfile, unit: RateUnit) -> tuple[int, float, float]:
    """Steps of a unit, 0 for floating point, the least rate above 0, and the largest."""
    if profile.format == "taskdata":
        per_unit = _DDI_COUNTS[unit]
        return per_unit, 1 / per_unit, _COUNTS / per_unit
    if profile.format == "shapefile":
        return 10**DECIMALS, 10.0**-DECIMALS, LARGEST
    limits = np.finfo(np.float32) if profile.format == "agras" else np.finfo(np.float64)
    return 0, float(limits.tiny), float(limits.max)


def _rate_losses(prescription: Prescription, written: Prescription) -> list[str]:
    """How far the rates differ from what was wanted."""
    wanted, given = prescription.rates, written.rates
    differs = np.abs(given - wanted) > _FLOAT32 * wanted
    if not differs.any():
        return []
    before, after = (len(np.unique(rates[rates > 0])) for rates in (wanted, given))
    most = float(np.abs(given - wanted)[differs].max())
    share = float((np.abs(given - wanted)[differs] / wanted[differs]).max())
    hectares = float(prescription.cell_areas()[differs].sum()) / HECTARE
    dose = written.amount / prescription.amount - 1
    return [
        f"{after:,} different rates instead of {before:,}: a rate changes by at most {most:.4g} "
        f"{prescription.unit.value} ({share:.2%}) on {hectares:.4g} ha, the amount by {dose:+.3%}"
    ]


def _check_unit(prescription: Prescription, profile: MachineProfile) -> None:
    unit = prescription.unit.value
    if unit not in profile.units:
        raise DataError(
            f"{prescription.name}: rates in {unit}, {profile.id} takes {', '.join(profile.units)}; "
            "choose another machine"
        )


def _check_hectares(prescription: Prescription, profile: MachineProfile) -> None:
    limit = profile.limits.hectares
    if limit is None:
        return
    hectares = float(prescription.cell_areas().sum()) / HECTARE
    if hectares > limit:
        raise DataError(
            f"{prescription.name}: the cells cover {hectares:.1f} ha, {profile.id} takes {limit:g} ha; "
            "cut the field into parts"
        )


def _stem(prescription: Prescription, profile: MachineProfile) -> tuple[str, list[str]]:
    """Name of the files, and what happens to the wanted one."""
    for what, text in (("name", prescription.name), ("product", prescription.product)):
        if not prescription.name.strip() or _UNWRITABLE.search(text):
            raise UsageError(f"{what} {text!r} is empty or holds control characters; give another, such as north_field")
    if profile.limits.short_names:
        plain = re.sub(r"[^A-Z0-9]", "", prescription.name.upper())[:_SHORT_NAME] or "FIELD"
    else:
        plain = re.sub(r"[^A-Za-z0-9_-]", "_", prescription.name)[:_LONGEST_NAME]
    losses = [] if plain == prescription.name else [f"the files are named {plain} instead of {prescription.name}"]
    unit = prescription.unit.value.replace("/", "_per_")
    return (f"{plain}_{unit}" if profile.unit_in_name else plain), losses


def _text_losses(prescription: Prescription, profile: MachineProfile) -> list[str]:
    limit = profile.limits.text_length
    texts = [text for text in (prescription.name, prescription.product) if limit and len(text) > limit]
    return [f"the text {text!r} becomes {text[:limit]!r}" for text in texts]
