"""The record of a run as a value, and the identity by which a run is taken up, skipped or verified."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from conftest import blocks, write_raster
from maps import RECORD

from agriseg import SegmentationModel, segment
from agriseg.errors import DataError
from agriseg.grid import Window
from agriseg.mapping.prepare import prepare
from agriseg.mapping.record import identity_of
from agriseg.maps.record import RunRecord, options_json
from agriseg.maps.run_identity import HARMLESS, RunIdentity
from agriseg.options.run import RunOptions
from agriseg.options.verdict import PublishPolicy, VerdictLimits

OTHER: dict[str, Any] = {
    "tolerance": 0.01,
    "blend": "fast", "tile": 64, "overlap": 0.25, "margin": 3, "batch": 2, "device": "cpu", "precision": "fp32",
    "max_memory": 10**9, "window": Window(0, 0, 9, 9), "bands": (3, 2, 1), "gsd": 0.2, "nodata": 7.0,
    "probabilities": True, "threads": 5, "band_rows": 2, "on_read_error": "nodata", "require_crs": True,
    "tta": "d4", "backend": "openvino", "min_confidence": 0.6,
}  # fmt: skip
"""Another value than the default for each option."""


@pytest.fixture
def record(tmp_path: Path) -> RunRecord:
    (tmp_path / "a_run.json").write_text(json.dumps(RECORD))
    return RunRecord.read(tmp_path / "a_run.json")


@pytest.fixture
def planned(record: RunRecord) -> RunIdentity:
    return RunIdentity.of_record(record)


def test_each_option_counts_or_is_harmless_for_a_reason(planned: RunIdentity) -> None:
    names = {option.name for option in fields(RunOptions)}
    assert names == OTHER.keys(), "give a new option another value here"
    assert HARMLESS.keys() < names
    assert all(HARMLESS.values())
    changed = {name for name in names if with_option(planned, name).key != planned.key}
    assert changed == names - HARMLESS.keys()


def with_option(identity: RunIdentity, name: str) -> RunIdentity:
    return replace(identity, options=replace(identity.options, **{name: OTHER[name]}))


@pytest.mark.parametrize("name", OTHER)
def test_every_option_counts_before_a_raster_is_planned(planned: RunIdentity, name: str) -> None:
    batch = replace(planned, parameters=None)
    assert with_option(batch, name).key != batch.key


def test_everything_else_counts(planned: RunIdentity) -> None:
    assert planned.parameters is not None
    others = [
        replace(planned, **change)
        for change in (
            {"model": "other"}, {"threads": 7}, {"versions": {**planned.versions, "torch": "0"}}, {"input": ("a", "1")},
            {"policy": PublishPolicy()}, {"policy": PublishPolicy(fail_on=("red",))},
            {"policy": PublishPolicy(VerdictLimits({"doubtful": (0.2, 0.3)}))},
            *({"parameters": replace(planned.parameters, **{name: 77})} for name in ("tile_px", "batch", "device")),
        )
    ]  # fmt: skip
    assert len({planned.key, *(each.key for each in others)}) == len(others) + 1


@pytest.mark.parametrize("flags", [{}, {"nodata": 7.0}, {"window": "5,6,60,50", "bands": "red=2,green=1,blue=3"}])
def test_a_run_is_found_in_its_record(tmp_path: Path, small: SegmentationModel, flags: dict[str, Any]) -> None:
    image = write_raster(tmp_path / "a.tif", blocks(96, 96))
    path = segment(image, small, tmp_path / "out", tile=64, **flags).record
    record, planned = RunRecord.read(path), identity_of(prepare(image, small, RunOptions.of(tile=64, **flags)))
    assert replace(planned, policy=PublishPolicy()).key == record.run
    found = RunIdentity.of_record(record)
    assert found.difference(planned) is None
    assert found.is_same_machine(planned)
    other = identity_of(prepare(image, small, RunOptions.of(tile=48, **flags)))
    assert found.difference(other) == "tile_px"
    record.write(tmp_path / "copy.json")
    assert (tmp_path / "copy.json").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("part", [name for name in RECORD if name != "format"])
def test_a_record_without_a_part_is_none(tmp_path: Path, part: str) -> None:
    path = tmp_path / "a_run.json"
    path.write_text(json.dumps({name: value for name, value in RECORD.items() if name != part}))
    with pytest.raises(DataError, match=f"a_run.json: no record of a run, it has no '{part}'"):
        RunRecord.read(path)
    path.write_text(json.dumps({**RECORD, part: [[1]]}))
    with pytest.raises(DataError, match=rf"'{part}.*' is damaged|has no '{part}"):
        RunRecord.read(path)


def test_options_come_back_from_json() -> None:
    options = RunOptions(**OTHER)
    assert RunOptions.of(**json.loads(json.dumps(options_json(options)))) == options
