"""What the sheet for the driver and the report of a prescription say, in the words of one language."""

from dataclasses import dataclass

import numpy as np

from agriseg.machine_files.profiles import MachineProfile
from agriseg.machine_files.write import MachineFiles
from agriseg.maps.reader import FinishedMap
from agriseg.options.prescription import TREAT, RxOptions
from agriseg.prescription.measured.cell_sizes import CellSize
from agriseg.prescription.measured.curve import CurvePoint, MissCurve
from agriseg.prescription.plan import Plan
from agriseg.prescription.rates_picture import rate_colours
from agriseg.reports.translations import Translator
from agriseg.units import HECTARE

_CM2 = 1e4  # of a square metre


@dataclass(frozen=True)
class MadePrescription:
    """All that the pages are made of.

    Args:
        options: that were used, with the threshold that was chosen.
        curve: None without a labelled map.
        cell_sizes: what the same threshold does with other cells; empty without a labelled map.
        written: files for the machine.
    """

    map: FinishedMap
    options: RxOptions
    plan: Plan
    curve: MissCurve | None
    cell_sizes: tuple[CellSize, ...]
    profile: MachineProfile
    written: MachineFiles


@dataclass(frozen=True)
class RateRow:
    """A row of the table of rates: its colour on the map, the rate and the amount as text, and the ground."""

    colour: str
    rate: str
    hectares: float
    amount: str


@dataclass(frozen=True)
class Sheet:
    """What both pages say.

    Args:
        causes: why the map is not green.
        missed: what is missed, as a sentence; None if nobody has measured it, or there are no spots.
        has_spots: whether spots are treated, and not zones alone.
        untreated: reasons for which spots of the map are not treated, and their hectares.
        unchecked: what nobody has checked.
    """

    title: str
    product: str
    flown: str | None
    mapped: str
    model: str
    verdict: str
    causes: tuple[str, ...]
    amount: str
    treated: float
    hectares: float
    missed: str | None
    has_spots: bool
    rates: tuple[RateRow, ...]
    machine: str
    files: tuple[str, ...]
    settings: tuple[tuple[str, str], ...]
    untreated: tuple[tuple[str, float], ...]
    unchecked: tuple[str, ...]

    @classmethod
    def of(cls, made: MadePrescription, t: Translator) -> "Sheet":
        """The words for a prescription."""
        balance, record, prescription = made.plan.balance, made.map.record, made.written.written
        reasons = (t(cause.sentence, **vars(cause)) for cause in record.verdict.causes)
        return cls(
            prescription.name, prescription.product, record.input.acquired, record.finished[:10], record.model.name,
            record.verdict.colour, tuple(f"{reason[0].upper()}{reason[1:]}" for reason in reasons),
            amount_text(prescription.amount, prescription.unit.amount), prescription.treated_hectares,
            balance.field_hectares, None if made.curve is None else missed_text(made.curve.chosen, t),
            bool(made.options.spot), _rates(made),
            made.profile.title, tuple(path.name for path in made.written.paths), _settings(made, t),
            _untreated(made.plan, t), _unchecked(made, t),
        )  # fmt: skip


def amount_text(amount: float, unit: str) -> str:
    """Litres or kilograms with three digits at least: `82.3 l`, `1,240 kg`."""
    digits = 0 if amount >= 1000 else 1 if amount >= 10 else 2
    return f"{amount:,.{digits}f} {unit}"


def missed_text(point: CurvePoint, t: Translator) -> str:
    """What is missed, in plain words."""
    share, (low, high) = t.percent(point.plants.share), point.plants.share_95
    if low is None or high is None:
        return t("Misses {share} of the plants on the labelled ground; too little ground for an interval.", share=share)
    return t("Misses {share} of the plants, {low} to {high}.", share=share, low=t.percent(low), high=t.percent(high))


def _rates(made: MadePrescription) -> tuple[RateRow, ...]:
    prescription = made.written.written
    hectares, unit = prescription.cell_areas() / HECTARE, prescription.unit
    rows = []
    for rate, colour in rate_colours(prescription.rates).items():
        ground = float(np.sum(hectares, where=prescription.rates == rate))
        rows.append(RateRow(colour, f"{rate:g} {unit.value}", ground, amount_text(ground * rate, unit.amount)))
    return tuple(rows)


def _settings(made: MadePrescription, t: Translator) -> tuple[tuple[str, str], ...]:
    """What the user chose, and what the map was made of."""
    options, model = made.options, made.map.record.model
    rows = [(t("Cell"), t.length(options.cell or 0))]
    if options.spot:
        rows += [
            (t("Treated classes"), ", ".join(options.spot)),
            (t("Least area of plants in a cell"), f"{_CM2 * (options.min_area or 0):g} cm²"),
            (t("Margin around plants"), t.length(options.margin)),
            (t("Threshold of confidence"), t.percent(options.threshold)),
            (t("Doubtful pixels"), t("treated") if options.doubtful == TREAT else t("skipped")),
        ]
    if options.exclude:
        names = ", ".join(path.name for path in options.exclude)
        rows.append((t("Excluded"), f"{names} + {t.length(options.exclude_buffer)}"))
    if made.curve is not None and (floor := made.curve.floor_sprayed) is not None:
        rows.append((t("Perfect knowledge would spray, on the labelled ground"), t.percent(floor)))
    return *rows, (t("Map"), made.map.classes.name), (t("Model"), f"{model.name} {model.fingerprint[:12]}")


def _untreated(plan: Plan, t: Translator) -> tuple[tuple[str, float], ...]:
    left = plan.balance.left_out
    return (
        (t("outside the field"), left.outside), (t("in cells across the edge of the field"), left.edge),
        (t("too near to excluded ground"), left.excluded), (t("in no zone, or in one with a rate of 0"), left.no_rate),
        (t("less than the least area in the cell"), left.below_min_area),
    )  # fmt: skip


def _unchecked(made: MadePrescription, t: Translator) -> tuple[str, ...]:
    texts = [
        t("Whether the map lies right on the ground: a shifted map shifts the treatment. Compare a corner by GPS."),
        t("Whether the machine takes the files: they are as specified and were read back, but not by a machine."),
        t("Whether the product suits these plants at their size."),
    ]
    if made.options.spot and made.curve is None:
        texts.insert(0, t("What it misses: no labelled map of the same model was given."))
    doubts = () if made.curve is None else made.curve.doubts
    warnings = (text for text in made.plan.warnings if text not in made.map.doubts)  # which the sheet has above
    found = (*doubts, *made.map.record.verdict.unchecked, *warnings, *made.written.losses)
    return *texts, *(f"{text[0].upper()}{text[1:]}" for text in found)
