"""One prescription, from a finished map to files for a machine, a sheet, a report and a record."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from agriseg import files
from agriseg.errors import DataError, UsageError
from agriseg.json_text import json_document
from agriseg.machine_files.profiles import load_profile
from agriseg.machine_files.write import MachineFiles, write_machine_files
from agriseg.maps.reader import FinishedMap
from agriseg.options.labels import LabelOptions
from agriseg.options.prescription import RxOptions
from agriseg.prescription.balance import Balance
from agriseg.prescription.measured.cell_sizes import CellSize, cell_sizes
from agriseg.prescription.measured.curve import CurvePoint, MissCurve
from agriseg.prescription.measured.labelled_maps import labelled_maps
from agriseg.prescription.pages import page_paths, write_pages
from agriseg.prescription.plan import prescribe, spot_rule
from agriseg.prescription.sheet import MadePrescription
from agriseg.reports.translations import Translator

QGIS = "geopackage"
"""Profile whose file is always written, for people."""


@dataclass(frozen=True)
class RxRequest:
    """A prescription that is asked for.

    Args:
        machine: id of its profile.
        validation: finished maps, a record or a folder, each with the labels of their images.
        max_missed: share of the plants that may be missed at most; it chooses the threshold. None takes that of the
            options.
        lang: of the pages, en or zh.
        despite_verdict: whether a red map is taken.
    """

    options: RxOptions
    machine: str
    validation: tuple[tuple[Path, Path], ...] = ()
    labels: LabelOptions = field(default_factory=LabelOptions)
    max_missed: float | None = None
    lang: str = "en"
    despite_verdict: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.max_missed is not None and not self.validation:
            raise UsageError("--max-missed without --validation; name maps with labels, which show what is missed")
        if self.validation and not self.options.spot:
            raise UsageError("--validation without --spot; what is missed is counted for spots alone")
        Translator(self.lang)


@dataclass(frozen=True)
class RxRecord:
    """What `<stem>_rx.json` says.

    Args:
        map: record of the map, and its SHA-256.
        amount_unit: of the amount.
        files: name and SHA-256 of each file for machines.
        chosen: what is sprayed and missed on the labelled maps; None without any.
        floor_sprayed: share of the field that perfect knowledge would spray there, missing no more.
        cell_sizes: the same with cells of other sizes.
        losses: what the form of the files changed.
    """

    map: tuple[str, str]
    verdict: str
    machine: str
    options: Mapping[str, Any]
    balance: Balance
    amount_unit: str
    files: Mapping[str, str]
    chosen: CurvePoint | None
    floor_sprayed: float | None
    cell_sizes: tuple[CellSize, ...]
    labelled_maps: tuple[str, ...]
    doubts: tuple[str, ...]
    losses: tuple[str, ...]


@dataclass(frozen=True)
class RxResult:
    """Files of a prescription, and its record."""

    made: MadePrescription
    record: RxRecord
    paths: tuple[Path, ...]


def make_prescription(record: Path, folder: Path, request: RxRequest) -> RxResult:
    """Make the prescription of the map of a record, in a folder.

    Raises:
        DataError: the map is red, and the request does not take it; or as `prescribe` and `write_machine_files`.
        UsageError, InputMissing, OutputError, StorageError: as these two, and `labelled_maps`.
    """
    map_ = FinishedMap.of(record)
    page_record = folder / f"{map_.stem}_rx.json"
    pages = page_paths(folder, map_.stem)
    _check_verdict(map_, request)
    _check_folder(map_, folder, (*pages, page_record), request)
    former = _former_files(page_record)
    profile = load_profile(request.machine)
    curve, sizes = _measured(map_, request)
    options = request.options if curve is None else replace(request.options, threshold=curve.chosen.threshold)
    plan = prescribe(map_, options, lonlat=profile.grid == "lonlat")
    written = write_machine_files(plan.prescription, profile, folder, overwrite=request.overwrite)
    paths = written.paths
    if profile.id != QGIS:
        paths += write_machine_files(plan.prescription, load_profile(QGIS), folder, overwrite=request.overwrite).paths
    made = MadePrescription(map_, options, plan, curve, sizes, profile, written)
    write_pages(folder, made, request.lang)
    kept = _record(made, record, written, paths)
    files.write_text(page_record, json_document(asdict(kept)))
    for name in former - set(kept.files):
        (folder / name).unlink(missing_ok=True)  # its rates are those of before
    return RxResult(made, kept, (*paths, *pages, page_record))


def _check_verdict(map_: FinishedMap, request: RxRequest) -> None:
    verdict = map_.record.verdict
    if verdict.colour == "red" and not request.despite_verdict:
        raise DataError(
            f"{map_.stem}: the verdict is red ({verdict.reasons[0]}), so no machine should act on it; map it again "
            "with a model that knows such fields, or give --despite-verdict"
        )


def _check_folder(map_: FinishedMap, folder: Path, made: Sequence[Path], request: RxRequest) -> None:
    if folder.resolve() == map_.folder.resolve():
        raise UsageError(
            f"-o {folder}: the folder of the map, where a newer map would leave these files beside it; give another, "
            f"such as {folder / 'rx'}"
        )
    for path in made:
        if path.exists() and not request.overwrite:
            raise files.exists_error(path)


def _former_files(page_record: Path) -> set[str]:
    """Names of the files of the prescription that is replaced; DataError where its record is damaged."""
    if not page_record.exists():
        return set()
    try:
        names = set(json.loads(page_record.read_text("utf-8"))["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{page_record}: is damaged, so the files of before are unknown; move them away") from error
    return {name for name in names if Path(name).name == name}


def _measured(map_: FinishedMap, request: RxRequest) -> tuple[MissCurve | None, tuple[CellSize, ...]]:
    """What the labelled maps show; None and nothing without any."""
    rule = spot_rule(map_, request.options)
    if not request.validation or rule is None:
        return None, ()
    with tempfile.TemporaryDirectory(prefix="agriseg-") as temporary:
        labelled = [
            each
            for maps, labels in request.validation
            for each in labelled_maps(map_, maps, labels, request.labels, Path(temporary))
        ]
    side = float(request.options.cell or 0)
    curve = MissCurve.of(labelled, side, rule, request.max_missed)
    return curve, cell_sizes(labelled, side, replace(rule, threshold=curve.chosen.threshold))


def _record(made: MadePrescription, record: Path, written: MachineFiles, paths: tuple[Path, ...]) -> RxRecord:
    curve = made.curve
    return RxRecord(
        (record.name, files.file_hash(record)), made.map.record.verdict.colour, made.profile.id,
        {name: _plain(value) for name, value in asdict(made.options).items()}, made.plan.balance,
        made.plan.prescription.unit.amount, {path.name: files.file_hash(path) for path in paths},
        None if curve is None else curve.chosen, None if curve is None else curve.floor_sprayed,
        made.cell_sizes, () if curve is None else curve.maps, () if curve is None else curve.doubts, written.losses,
    )  # fmt: skip


def _plain(value: object) -> object:
    """A value of an option as JSON has it."""
    if isinstance(value, Path):
        return str(value)
    return [_plain(each) for each in value] if isinstance(value, tuple) else value
