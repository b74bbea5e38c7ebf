"""`agriseg rx` from a finished map to its files, its pages and what it says is missed."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pyproj
import pytest
import shapely
from browser import opened
from conftest import blocks, write_raster
from hypothesis import given, settings
from hypothesis import strategies as st
from maps import finished
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser

from agriseg.cli import cli
from agriseg.errors import AgrisegError, DataError, OutputError, UsageError
from agriseg.maps.reader import FinishedMap
from agriseg.prescription.measured.cell_sizes import cell_sizes
from agriseg.prescription.measured.curve import MissCurve
from agriseg.prescription.measured.labelled_maps import LabelledMap
from agriseg.prescription.spots import SpotRule

SIDE = 400  # px, 0.1 m each
FLAGS = [
    "--spot",
    "weed",
    "--rate",
    "200",
    "--unit",
    "l/ha",
    "--cell",
    "2m",
    "--min-area",
    "0cm2",
    "--doubtful",
    "skip",
]
SHAPEFILE = [*FLAGS, "--machine", "shapefile"]


def field(seed: int = 0, side: int = SIDE) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Class ids and confidence: soil, rows of crop, and weeds in nests; a corner has no data."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((side, side), np.uint8)
    mask[:, ::12] = 1
    for row, col in rng.normal(side / 2, side / 6, (max(4, side // 12), 2)).clip(6, side - 7).astype(int):
        size = int(rng.integers(1, 5))
        mask[row - size : row + size, col - size : col + size] = 2
    confidence = rng.integers(130, 251, mask.shape).astype(np.uint8)
    mask[: side // 8, : side // 8] = confidence[: side // 8, : side // 8] = 255
    return mask, confidence


def mapped(folder: Path, seed: int = 0, **record: Any) -> FinishedMap:
    """A finished map, and its image."""
    mask, confidence = field(seed)
    (folder / "images").mkdir(parents=True)
    image = write_raster(folder / "images" / "field.tif", blocks(SIDE, SIDE))
    whole = {"window": [0, 0, SIDE, SIDE], "working_size": [SIDE, SIDE]}
    return finished(
        folder / "maps", mask, confidence, record={"input": {"path": str(image)}, "parameters": whole, **record}
    )


def rx(*words: object) -> None:
    cli.main(args=["rx", *map(str, words)], prog_name="agriseg", standalone_mode=False)


def of_geopackage(path: Path) -> tuple[float, float]:
    """Hectares with a rate, and the amount, by OGR and by geographiclib."""
    meta, _, shapes, columns = pyogrio.raw.read(path, layer=0)
    rates = dict(zip(meta["fields"], columns, strict=True))["rate"]
    to_lonlat = pyproj.Transformer.from_crs(meta["crs"], "EPSG:4326", always_xy=True)
    hectares = []
    for shape in shapely.from_wkb(shapes):
        dense = shapely.segmentize(shape, 10)
        lonlat = shapely.transform(dense, lambda xy: np.transpose(to_lonlat.transform(xy[:, 0], xy[:, 1])))
        hectares.append(abs(pyproj.Geod(ellps="WGS84").geometry_area_perimeter(lonlat)[0]) / 1e4)
    areas = np.array(hectares)
    return float(areas[rates > 0].sum()), float((areas * rates).sum())


def test_the_numbers_are_those_of_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mapped(tmp_path)
    rx(tmp_path / "maps", *SHAPEFILE, "--heading", "30", "-o", tmp_path / "rx")
    said = capsys.readouterr().out
    balance = json.loads((tmp_path / "rx" / "field_rx.json").read_text())["balance"]
    hectares, litres = of_geopackage(tmp_path / "rx" / "field_prescription.gpkg")
    assert hectares == pytest.approx(balance["treated_hectares"], rel=1e-3)
    assert litres == pytest.approx(balance["amount"], rel=1e-3)
    assert f"{balance['amount']:.2f} l" in said
    assert "nobody has measured what it misses" in said
    for path in said.splitlines()[-5:]:
        assert Path(path).is_file()


@pytest.mark.parametrize("machine", ["isoxml", "shapefile", "john-deere", "dji-agras", "geopackage"])
def test_each_form_has_its_file_the_sheet_and_the_record(tmp_path: Path, machine: str) -> None:
    mapped(tmp_path)
    rx(tmp_path / "maps", *FLAGS, "--machine", machine, "-o", tmp_path / "rx")
    names = {path.name for path in (tmp_path / "rx").iterdir()}
    own = set() if machine == "geopackage" else {f"field_{machine}.zip"}
    pages = {"field_prescription.gpkg", "field_sheet.html", "field_rx_report.html", "field_rx.json"}
    assert names >= pages
    assert len(names - pages) == len(own)
    record = json.loads((tmp_path / "rx" / "field_rx.json").read_text())
    assert record["machine"] == machine
    assert set(record["files"]) == names - {"field_sheet.html", "field_rx_report.html", "field_rx.json"}


def test_again_gives_the_same_bytes_and_only_if_allowed(tmp_path: Path) -> None:
    mapped(tmp_path)
    command = [tmp_path / "maps", *FLAGS, "--machine", "isoxml", "-o", tmp_path / "rx"]
    rx(*command)
    first = {path.name: path.read_bytes() for path in (tmp_path / "rx").iterdir()}
    with pytest.raises(OutputError):
        rx(*command)
    rx(*command, "--overwrite")
    again = {path.name: path.read_bytes() for path in (tmp_path / "rx").iterdir()}
    assert {name for name in first if first[name] != again[name]} <= {"field_prescription.gpkg", "field_rx.json"}


def test_another_machine_replaces_the_files_of_the_one_before(tmp_path: Path) -> None:
    """Rates of before would lie beside the sheet of now; files of others stay."""
    mapped(tmp_path)
    rx(tmp_path / "maps", *FLAGS, "--machine", "isoxml", "-o", tmp_path / "rx")
    (tmp_path / "rx" / "mine.zip").write_text("mine")
    with pytest.raises(DataError):
        rx(tmp_path / "maps", *FLAGS, "--rate", "1e9", "--machine", "isoxml", "-o", tmp_path / "rx", "--overwrite")
    assert (tmp_path / "rx" / "field_isoxml.zip").exists(), "nothing is removed before the new files are there"
    rx(tmp_path / "maps", *FLAGS, "--machine", "john-deere", "-o", tmp_path / "rx", "--overwrite")
    names = {path.name for path in (tmp_path / "rx").glob("*.zip")}
    assert names == {"mine.zip", "field_l_per_ha_john-deere.zip"}
    (tmp_path / "rx" / "field_rx.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        rx(tmp_path / "maps", *FLAGS, "--machine", "isoxml", "-o", tmp_path / "rx", "--overwrite")


def test_a_red_map_is_refused(tmp_path: Path) -> None:
    causes = [{"what": "doubtful", "value": 0.5, "amber": 0.1, "red": 0.3, "miou": None, "own_miou": None}]
    reasons = ["50.0% of the pixels have a low confidence"]
    mapped(tmp_path, verdict={"colour": "red", "reasons": reasons, "causes": causes})
    command = [tmp_path / "maps", *SHAPEFILE, "-o", tmp_path / "rx"]
    with pytest.raises(DataError, match=r"verdict is red .*low confidence.*--despite-verdict"):
        rx(*command)
    assert not (tmp_path / "rx").exists()
    rx(*command, "--despite-verdict")
    sheet = (tmp_path / "rx" / "field_sheet.html").read_text()
    assert "Red: do not act on it" in sheet
    assert "50.0% of the pixels have a low confidence" in sheet


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--max-missed", "5%"], "--max-missed without --validation"),
        (["--spot", "thistle"], "thistle"),
        (["--machine", "tractor"], "tractor.*isoxml"),
        (["--cell", "5cm"], "cells of 0.05 m"),
        (["--fields", "nowhere.gpkg"], "nowhere.gpkg"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(tmp_path: Path, flags: list[str], says: str) -> None:
    mapped(tmp_path)
    with pytest.raises(AgrisegError, match=says):
        rx(tmp_path / "maps", *SHAPEFILE, *flags, "-o", tmp_path / "rx")
    assert not (tmp_path / "rx").exists()


def test_the_folder_of_the_map_keeps_no_prescription(tmp_path: Path) -> None:
    """A newer map would replace the map alone, and old rates would lie beside it."""
    map_ = mapped(tmp_path)
    there = set(map_.folder.iterdir())
    with pytest.raises(UsageError, match="the folder of the map"):
        rx(map_.folder, *SHAPEFILE, "-o", tmp_path / "maps" / ".." / "maps")
    assert set(map_.folder.iterdir()) == there


# what is missed


def labelled(folder: Path, seed: int, truth: NDArray[np.uint8]) -> LabelledMap:
    mask, confidence = field(seed, 200)
    return LabelledMap(finished(folder, mask, confidence, stem=f"f{seed}"), truth, None)


RULE = SpotRule(frozenset({2}), 0.7, treat_doubtful=False)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000))
def test_more_spray_misses_no_more(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    folder = tmp_path_factory.mktemp("curve")
    truth, _ = field(seed + 1, 200)
    curve = MissCurve.of([labelled(folder, seed, truth)], 2.0, RULE)
    for treat in (False, True):
        own = sorted((p for p in curve.points if p.treat_doubtful == treat), key=lambda point: point.threshold)
        sprayed, missed = [p.sprayed for p in own], [p.plants.share for p in own]
        assert sprayed == sorted(sprayed, reverse=not treat)
        assert missed == sorted(missed, reverse=treat)
    for point in curve.points:
        least = curve.floor.sprayed_at(point.plants.share or 0)
        assert least is not None
        assert least <= point.sprayed + 0.02, "perfect knowledge sprays no more"


def test_a_perfect_map_misses_nothing(tmp_path: Path) -> None:
    mask, _ = field(3, 200)
    map_ = finished(tmp_path, mask, np.where(mask == 255, 255, 250).astype(np.uint8))
    curve = MissCurve.of([LabelledMap(map_, mask, None)], 1.0, RULE)
    assert curve.chosen.plants.part == 0
    assert curve.chosen.area == 0
    swapped = np.where(mask == 2, 1, np.where(mask == 1, 2, mask)).astype(np.uint8)
    worst = MissCurve.of([LabelledMap(map_, swapped, None)], 0.3, RULE)
    assert worst.chosen.area > 0.5, "the check can fail"


def test_unlabelled_ground_counts_nowhere(tmp_path: Path) -> None:
    mask, confidence = field(4, 200)
    map_ = finished(tmp_path, mask, confidence)
    half = mask.copy()
    half[:, 100:] = 255
    cut = finished(tmp_path / "half", half[:, :100], np.where(half == 255, 255, confidence).astype(np.uint8)[:, :100])
    one = MissCurve.of([LabelledMap(map_, half, None)], 1.0, RULE)
    two = MissCurve.of([LabelledMap(cut, half[:, :100], None)], 1.0, RULE)
    assert one.chosen.plants.whole == two.chosen.plants.whole
    assert one.chosen.plants.part == two.chosen.plants.part
    assert one.chosen.sprayed == pytest.approx(two.chosen.sprayed)


def test_other_cells_are_measured_as_if_they_were_chosen(tmp_path: Path) -> None:
    maps = [labelled(tmp_path, 7, field(8, 200)[0])]
    sizes = cell_sizes(maps, 0.5, RULE)
    assert [each.side for each in sizes] == [0.25, 0.5, 1.0, 2.0]
    for each in sizes:
        curve = MissCurve.of(maps, each.side, RULE)
        assert (each.point, each.floor_sprayed) == (curve.chosen, curve.floor_sprayed)
    assert [each.side for each in cell_sizes(maps, 0.2, RULE)] == [0.2, 0.4, 0.8], "cells of one pixel are none"


def test_the_threshold_is_chosen_by_what_may_be_missed(tmp_path: Path) -> None:
    mask, confidence = field(5)
    maps = [LabelledMap(finished(tmp_path, mask, confidence), mask, None)]
    for most in (0.5, 0.3, 0.15):
        curve = MissCurve.of(maps, 1.0, RULE, most)
        upper = curve.chosen.plants.share_95[1]
        assert upper is not None
        assert upper <= most
        others = [p for p in curve.points if not p.treat_doubtful and (p.plants.share_95[1] or 1) <= most]
        assert curve.chosen.sprayed == min(p.sprayed for p in others)
    shifted = [LabelledMap(maps[0].map, np.roll(mask, 40, 0), None)]
    with pytest.raises(
        UsageError, match=r"--max-missed 0\.01: the best threshold, .* --doubtful skip; try --doubtful treat"
    ):
        MissCurve.of(shifted, 1.0, RULE, 0.01)


def test_labels_are_read_as_evaluate_reads_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    map_ = mapped(tmp_path)
    mask, _ = field(0)
    truth = np.where(mask == 255, 255, mask).astype(np.uint8)
    (tmp_path / "labels").mkdir()
    Image.fromarray(truth).save(tmp_path / "labels" / "field.png")
    command = [tmp_path / "maps", *SHAPEFILE, "--validation", map_.folder, tmp_path / "labels", "-o", tmp_path / "rx"]
    rx(*command, "--threshold", "0.55")
    said = capsys.readouterr()
    record = json.loads((tmp_path / "rx" / "field_rx.json").read_text())
    chosen, balance = record["chosen"], record["balance"]
    assert chosen["sprayed"] == pytest.approx(balance["treated_hectares"] / balance["field_hectares"], rel=0.05)
    assert "of the plants" in said.out
    assert "nobody could check whether m has learnt field" in said.err, "the record names no model file"
    assert "this prescription" in (tmp_path / "rx" / "field_rx_report.html").read_text()


def test_a_map_of_another_model_is_no_validation(tmp_path: Path) -> None:
    mapped(tmp_path)
    mapped(tmp_path / "other", model={"fingerprint": "02" * 32})
    with pytest.raises(UsageError, match="a map of model m, but field is of m; map the labelled images with the same"):
        rx(tmp_path / "maps", *SHAPEFILE, "--validation", tmp_path / "other" / "maps", tmp_path, "-o", tmp_path / "rx")


# the pages


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_sheet_is_one_page_of_a4(tmp_path: Path, browser: Browser, lang: str) -> None:
    mask, _ = field(0)
    map_ = mapped(tmp_path)
    write_raster(tmp_path / "labels.tif", mask[None])
    rx(
        map_.folder, *FLAGS, "--machine", "isoxml", "--product", "Product <b>", "--lang", lang, "--validation",
        map_.folder, tmp_path / "labels.tif", "-o", tmp_path / "rx",
    )  # fmt: skip
    with opened(browser, tmp_path / "rx" / "field_sheet.html") as (page, wrong):
        text = page.inner_text("body")
        assert wrong == []
        printed = page.pdf(format="A4", prefer_css_page_size=True)
    assert "Product <b>" in text
    assert ("What nobody checked" in text) == (lang == "en")
    assert ("无人检查的事项" in text) == (lang == "zh")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 1
    with opened(browser, tmp_path / "rx" / "field_rx_report.html") as (page, wrong):
        assert page.locator("svg.misses circle").count() > 20
        assert page.locator("table.sortable").count() == 2
        assert page.locator("table.sortable tbody tr").count() > 20
        assert wrong == []
