"""What a night writes: cheap however many rasters there are, whole at any instant, right at the end."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from agriseg import files
from agriseg.batch.state_db import BatchRow, Status
from agriseg.batch.summary import BatchLog
from agriseg.batch.task import MapFacts
from agriseg.maps.record import PixelTotals
from agriseg.verdict import Verdict


def a_row(name: str, status: Status, rng: np.random.Generator) -> BatchRow:
    """As a raster of two classes has it, with a small picture."""
    hectares, share = ({"soil": rng.random(), "crop": rng.random()} for _ in range(2))
    files = tuple(f"{name}_{kind}" for kind in ("classes.tif", "confidence.tif", "classes.qml", "run.json"))
    verdict, thumbnail = Verdict("green", (), (), (), None, None, 0, 0, 0), f"data:image/png;base64,{'x' * 400}"
    facts = MapFacts(
        "0" * 64, "0" * 64, "0" * 64, PixelTotals(9, 9, 0, 0), 1, hectares, share, 3.0, (), verdict, files, "x.html", thumbnail
    )  # fmt: skip
    return BatchRow(name, status, name, "2026-05-01", 65 if status == "failed" else 0, seconds=3.0, map=facts)


@pytest.mark.parametrize("number", [1, 2, 7, 100, 129, 1600])
def test_the_summaries_of_a_night_cost_three_times_the_last_one(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that are written, the log among them. At any moment each file is whole, at the end each is right."""
    written, plain = [0], files.write_bytes

    def count(path: Path, data: bytes) -> None:
        written[0] += len(data)
        plain(path, data)

    monkeypatch.setattr(files, "write_bytes", count)
    rng = np.random.default_rng(number)
    names = [f"field{each}.tif" for each in range(number)]
    order, looks = rng.permutation(number), set(rng.integers(number, size=3).tolist())
    with BatchLog(tmp_path, "", names, {}) as diary:
        diary.write()
        for place, each in enumerate(order):
            diary.add(a_row(names[each], "failed" if each % 5 == 3 else "done", rng))
            if place in looks:
                told = json.loads((tmp_path / "summary.json").read_text())
                settled = [row for row in told["rows"] if row["status"] != "waiting"]
                assert len(told["rows"]) == number
                assert len(settled) <= place + 1 <= max(1, 2 * len(settled) + 1)
                assert (tmp_path / "summary.html").read_text().endswith("</html>")
    ends = [tmp_path / f"summary.{end}" for end in ("json", "csv", "html")]
    size = sum(path.stat().st_size for path in ends)
    if number >= 100:
        assert written[0] + (tmp_path / "log.jsonl").stat().st_size <= 3 * size
    told = json.loads(ends[0].read_text())
    assert [row["name"] for row in told["rows"]] == names
    failed = len([each for each in range(number) if each % 5 == 3])
    assert told["rasters"] == {"done": number - failed, **({"failed": failed} if failed else {})}
    assert told["exit_code"] == (3 if failed else 0)
    with ends[1].open(newline="", encoding="utf-8-sig") as lines:
        assert [row["name"] for row in csv.DictReader(lines)] == names
    assert ends[2].read_text().count("<tr class=") == number
    events = [json.loads(line)["event"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert sorted(set(events) - {"start", "summary"}) == sorted({"done", *(["failed"] if failed else [])})
    assert len(events) == number + 2
