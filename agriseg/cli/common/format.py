"""Texts that commands print: results, plans and scores."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from agriseg.json_text import json_line
from agriseg.units import HECTARE, human_bytes, human_metres

if TYPE_CHECKING:
    from agriseg.evaluation.patches import PatchScores
    from agriseg.evaluation.scores import Scores
    from agriseg.mapping.prepare import MappingJob
    from agriseg.mapping.run import RunReport
    from agriseg.maps.publish import PublishedFiles
    from agriseg.maps.record import RunSeconds
    from agriseg.raster.header import RasterInfo
    from agriseg.training_facts import PixelSize


_SURE = 0.9  # coverage whose accuracy is printed


def show_report(report: "RunReport") -> str:
    """Hectares, pixel counts, verdict and files of a run."""
    lines = [f"  {'class':20} {'share':>7} {'pixels':>14} {'hectares':>12}"]
    predicted = max(1, report.pixels.predicted)
    for count in report.counts:
        area = "unknown" if count.hectares is None else f"{count.hectares:,.4f}"
        lines.append(f"  {count.name:20} {count.pixels / predicted:7.2%} {count.pixels:14,} {area:>12}")
    counts = ", ".join(f"{name} {pixels:,}" for name, pixels in vars(report.pixels).items())
    lines.append(f"  pixels: {counts}; {report.tiles} tiles run")
    lines.append(f"  verdict: {report.verdict.colour}")
    lines += [f"    {reason}" for reason in report.verdict.reasons]
    lines += [f"    not checked: {what}" for what in report.verdict.unchecked]
    lines += [str(path) for path in report.files]
    return "\n".join(lines)


def show_seconds(seconds: "RunSeconds") -> str:
    """Wall-clock time of a run by stage; the stages of worker processes are sums over them."""
    from agriseg.timing.stages import Stage

    spent = {Stage(name): each for name, each in seconds.stages.items()}
    in_turn = [(stage.text, each) for stage, each in spent.items() if not stage.is_beside]
    beside = [(stage.text, each) for stage, each in spent.items() if stage.is_beside]
    if seconds.workers:
        title = f"time, stages of mapping summed over {seconds.workers} worker processes"
    else:
        title = "time"
        in_turn.append(("other", seconds.total - sum(each for _, each in in_turn)))
    lines = [f"  {title:24} {'seconds':>9} {'share':>7}", *(_timed(*row, seconds.total) for row in in_turn)]
    lines += [_timed("wall clock", seconds.total, seconds.total), "  beside these, in other threads"]
    return "\n".join([*lines, *(_timed(*row, seconds.total) for row in beside)])


def _timed(text: str, seconds: float, total: float) -> str:
    return f"  {text:24} {seconds:9.2f} {seconds / max(total, 1e-9):7.1%}"


def show_layers(made: "PublishedFiles") -> str:
    """Areas of each class and field, the facts of all other layers, and the files."""
    lines = [f"  {'field':20} {'class':20} {'area':>14} {'by validation, 95 %':>40} {'share':>7}"]
    for row in made.facts["areas"]:
        ends = [_area(row[name], row["high_ha"]) for name in ("adjusted_ha", "low_ha", "high_ha")]
        span = "" if row["adjusted_ha"] is None else "{} ({} to {})".format(*ends)
        share = "" if row["share_of_field"] is None else f"{row['share_of_field']:.2%}"
        lines.append(f"  {row['field']:20} {row['class']:20} {_area(row['hectares']):>14} {span:>40} {share:>7}")
    for name, facts in made.facts.items():
        rows = facts if isinstance(facts, list) else [facts]
        if name not in ("areas", "run", "options", "warnings") and any(rows):
            lines += [f"  {name}", *(f"    {line}" for line in _columns(rows))]
    return "\n".join([*lines, *(str(path) for path in made.files)])


def _columns(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Rows of a layer as lines below their names, without the texts that are for map viewers."""
    names = [name for name in rows[0] if name not in ("name", "desc")]
    cells = [names, *([_fact(name, row[name]) for name in names] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]


def _fact(name: str, value: object) -> str:
    """A value of a layer; degrees keep six decimals."""
    if isinstance(value, float):
        return f"{value:.6f}" if name in ("lat", "lon") else f"{value:.4g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _area(hectares: float | None, largest: float | None = None) -> str:
    """Hectares, or square metres where the area, or the largest beside it, is less than a tenth of a hectare."""
    if hectares is None:
        return "unknown"
    return f"{hectares:,.3f} ha" if (largest or hectares) >= 0.1 else f"{HECTARE * hectares:,.2f} m2"


def show_raster(info: "RasterInfo") -> list[tuple[str, str]]:
    """Names and texts of the header of a raster."""
    from agriseg.raster.georeference import crs_name

    where = info.georeference
    bands = [f"{i} {d or c.name}" for i, (d, c) in enumerate(zip(info.descriptions, info.colours, strict=True), 1)]
    gsd = "unknown" if info.gsd is None else " x ".join(human_metres(side) for side in info.gsd)
    geodesic = where.crs is not None and where.crs.is_geographic
    return [
        ("raster", f"{info.path}, {info.width} x {info.height} px, {info.dtype}"),
        ("bands", ", ".join(bands)),
        ("CRS", crs_name(where.crs) if where.crs else "none"),
        ("GSD", f"{gsd} per pixel{' (geodesic, at the middle)' if geodesic else ''}"),
    ]


def show_prepared(prepared: "MappingJob", *, as_json: bool) -> None:
    """Print the plan of a run."""
    from agriseg.mapping.record import describe_network, describe_plan, describe_raster

    sample = prepared.model_input.sample
    if as_json:
        record: dict[str, Any] = {
            "input": asdict(describe_raster(prepared.info)), "model": asdict(describe_network(prepared)),
            "parameters": asdict(describe_plan(prepared)),
            "tiling": prepared.certificate and asdict(prepared.certificate),
            "runtime": prepared.runtime and asdict(prepared.runtime), "warnings": prepared.warnings,
            "valid_share": sample.valid_share, "valid_share_is_exact": sample.complete,
            "hectares": prepared.hectares, **asdict(_pixel_size(prepared)),
        }  # fmt: skip
        click.echo(json_line(record))
        return
    for name, text in [*show_raster(prepared.info), *_plan_lines(prepared)]:
        click.echo(f"{name:>8}  {text}")
    for text in prepared.warnings:
        click.echo(f"{'warning':>8}  {text}")


def _plan_lines(prepared: "MappingJob") -> list[tuple[str, str]]:
    plan, model, model_input = prepared.plan, prepared.model, prepared.model_input
    rows, memory, sample = plan.grid.rows, plan.memory, prepared.model_input.sample
    about = "" if sample.complete else "about "
    area = (
        ""
        if prepared.hectares is None
        else f", {about}{prepared.hectares * sample.valid_share:,.2f} of {prepared.hectares:,.2f} ha"
    )
    mapping = ", ".join(f"{role} from band {number}" for role, number in model_input.mapping.items())
    working = f"{model_input.source.width} x {model_input.source.height} px"
    resampled = (
        "its own resolution"
        if model_input.source.native
        else f"resampled by {model_input.factor[0]:.3g} x {model_input.factor[1]:.3g}"
    )
    blend = "equal to an untiled run" if plan.exact else "blended"
    parts = ", ".join(f"{name} {human_bytes(size)}" for name, size in vars(memory).items())
    return [
        ("valid", f"{about}{sample.valid_share:.1%}{area}"),
        ("model", f"{model.name}: {', '.join(model.legend.names)}"),
        ("mapping", mapping),
        ("grid", f"{working}, {resampled}"),
        ("tiles", f"{plan.tiles} of {rows.tile} px, overlap {rows.overlap}, margin {rows.margin}, {blend}"),
        *(("chosen", text) for text in prepared.choices),
        ("device", f"{prepared.backend.device}, {prepared.backend.precision}, batches of {plan.batch}"),
        ("memory", f"{human_bytes(memory.total)} above the program ({parts})"),
        *_pixel_lines(prepared),
    ]  # fmt: skip


def _pixel_lines(prepared: "MappingJob") -> list[tuple[str, str]]:
    """The curve of the model over GSD, how large the pixels are beside those of the training, and what that means."""
    size = _pixel_size(prepared)
    lines = [] if size.gsd_curve is None else [("curve", size.gsd_curve.text)]
    if size.gsd_ratio is not None:
        score = "" if size.foretold_miou is None else f": mean IoU {size.foretold_miou:.3f} by the curve"
        lines.append(("pixels", f"{size.gsd_ratio:.2f} times as large, or as small, as in the training{score}"))
    return lines


def _pixel_size(prepared: "MappingJob") -> "PixelSize":
    from agriseg.mapping.record import training_facts
    from agriseg.training_facts import PixelSize

    return PixelSize.of(training_facts(prepared.model), prepared.info.gsd, prepared.options.gsd)


def show_evaluation(scores: "Scores") -> str:
    """The scores of a map as a table, the rarest class first."""
    lines = [f"  {'class':<18}{'IoU':>7}{'95 %':>17}{'prec.':>8}{'recall':>8}{'F1':>8}{'edge IoU':>10}{'pixels':>13}"]
    for entry in scores.classes:
        lines.append(
            f"  {entry.name:<18}{_score(entry.iou):>7}{_interval(entry.iou_95):>17}"
            + "".join(f"{_score(number):>8}" for number in (entry.precision, entry.recall, entry.f1))
            + f"{_score(entry.boundary_iou):>10}{entry.support:>13,}"
        )
    some = f" of {scores.miou_classes} of {len(scores.classes)} classes" if scores.absent else ""
    lines.append(
        f"  mIoU {_score(scores.miou)}{some} ({_interval(scores.miou_95)} by {scores.blocks} blocks), "
        f"calibration error {_score(scores.expected_calibration_error)}"
    )
    if scores.surest:
        sure = min(scores.surest, key=lambda each: abs(each.coverage - _SURE))
        lines.append(
            f"  accuracy {_score(scores.surest[0].accuracy)}; of the surest {sure.coverage:.0%} of the pixels, "
            f"those of confidence {sure.confidence:.2f} and more, {_score(sure.accuracy)}"
        )
    return "\n".join([*lines, *_patch_lines(scores.patches)])


def _patch_lines(patches: "Sequence[PatchScores]") -> list[str]:
    """How many patches are found and how many are wrong, by class and size; empty without any."""
    head = (
        f"  {'patches of':<18}{'from':>9}{'labelled':>10}{'found':>8}{'95 %':>17}{'mapped':>9}{'wrong':>8}{'95 %':>17}"
    )
    lines = [
        f"  {each.name:<18}{each.size:>9}"
        f"{each.found.whole:>10,}{_score(each.found.share):>8}{_interval(each.found.share_95):>17}"
        f"{each.wrong.whole:>9,}{_score(each.wrong.share):>8}{_interval(each.wrong.share_95):>17}"
        for each in patches
    ]
    return [head, *lines] if lines else []


def _interval(ends: Sequence[float | None]) -> str:
    return "no interval" if None in ends else " to ".join(map(_score, ends))


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
