"""JSON that every reader takes, from whatever numbers a run has met."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import noise, write_raster
from hypothesis import given
from hypothesis import strategies as st

from agriseg import SegmentationModel, load_model, segment
from agriseg.batch.worker import _is_done
from agriseg.demo.reference_models import random_network
from agriseg.json_text import json_document, json_line, nodata_value
from agriseg.mapping.outputs import Outputs
from agriseg.mapping.prepare import prepare
from agriseg.mapping.record import identity_of
from agriseg.mapping.verify import verify
from agriseg.options.run import RunOptions
from agriseg.options.verdict import PublishPolicy

ROOT = Path(__file__).parents[1]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def strict(text: str) -> Any:
    """JSON by its standard; Python's own reader takes NaN and Infinity too."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def known(value: Any) -> Any:
    """The value with None for what is no number."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: known(each) for name, each in value.items()}
    return [known(each) for each in value] if isinstance(value, list | tuple) else value


@given(VALUES)
def test_any_values_become_json(value: Any) -> None:
    assert strict(json_document(value)) == strict(json_line(value)) == known(value)
    assert "\n" not in json_line(value)


def test_names_that_are_no_utf8_are_told() -> None:
    assert strict(json_document({"path": "a\udcff"}).encode().decode()) == {"path": "a\udcff"}


@given(st.floats() | st.none())
def test_a_nodata_value_is_read_back(value: float | None) -> None:
    found = strict(json_line([nodata_value(value)]))[0]
    if value is None:
        assert found is None
    else:
        np.testing.assert_equal(float(found), value)


def test_nothing_else_makes_json() -> None:
    """One place says what a number that is none becomes; GeoJSON is written feature by feature, and refuses it."""
    makers = {
        path.name for path in (ROOT / "agriseg").rglob("*.py") if re.search(r"\bjson\.dumps?\(", path.read_text())
    }
    assert makers == {"json_text.py", "geojson.py"}


@pytest.mark.parametrize("flags", [{}, {"nodata": float("nan")}], ids=["declared", "flag"])
def test_a_record_is_json_and_its_map_verified(tmp_path: Path, flags: dict[str, float]) -> None:
    """A raster whose nodata is NaN, and a model whose card holds NaN; both come back from the record."""
    pixels = noise(40, 48).astype(np.float32)
    pixels[:, :9] = np.nan
    declared = {} if flags else {"nodata": math.nan}
    image = write_raster(tmp_path / "a.tif", pixels, photometric="RGB", **declared)
    random_network("fcn_small").save(tmp_path / "m.safetensors")
    model = load_model(tmp_path / "m.safetensors")
    model = replace(model, about={"evaluation": {"miou": math.nan, "classes": [], "shares": (math.inf,)}})
    report = segment(image, model, tmp_path / "out", **flags)
    record = strict(report.record.read_text())
    assert record["parameters"]["nodata"] == [[band, "nan"] for band in (1, 2, 3)]
    assert record["model"]["evaluation"] == {"miou": None, "classes": [], "shares": [None]}
    assert [finding.wrong for finding in verify(tmp_path / "out")] == [None] * (len(report.files) + 1)
    outputs = Outputs(tmp_path / "out", "a", with_probabilities=False)
    prepared = prepare(image, model, RunOptions.of(**flags))
    assert _is_done(prepared, outputs, identity_of(prepared, PublishPolicy()).key)


def test_a_card_is_json(tmp_path: Path, oracle: SegmentationModel) -> None:
    path = tmp_path / "m.safetensors"
    replace(random_network("fcn_small"), about={"loss": math.nan}).save(path)
    head = path.read_bytes()
    strict(json.loads(head[8 : 8 + int.from_bytes(head[:8], "little")])["__metadata__"]["agriseg"])
    assert load_model(path).about == {"loss": None}
