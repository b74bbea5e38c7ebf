"""--min-confidence: pixels of a lower confidence are of the class `unsure`, in the map and in all that is made of it."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import zarr
from conftest import UTM, blocks, noise, read, record_of, write_raster
from maps import finished

from agriseg import SegmentationModel, segment
from agriseg.analysis.build import make_layers
from agriseg.analysis.postprocess import clean
from agriseg.change.pair import check_trend, comparability_warnings, limit_warnings
from agriseg.change.transitions import MapPair
from agriseg.cli import main
from agriseg.demo.reference_models import random_network
from agriseg.errors import UsageError
from agriseg.evaluation.evaluate import evaluate
from agriseg.legend import CONFIDENCE_STEP, Legend
from agriseg.mapping.verify import verify
from agriseg.maps.reader import FinishedMap
from agriseg.options.layers import LayerOptions
from agriseg.options.run import RunOptions

NAMES = ("soil", "crop", "weed", "unsure")
CUT = {"options": {"min_confidence": 0.7}}
"""Part of the record of a map with unsure pixels."""


@pytest.fixture(scope="session")
def sharp() -> SegmentationModel:
    """A network with confidences from a guess to certainty."""
    return replace(random_network("fcn_small"), temperature=0.002)


@pytest.fixture(scope="session")
def sharp_file(sharp: SegmentationModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sharp") / "sharp.safetensors"
    sharp.save(path)
    return path


def unsure_map(folder: Path, mask: np.ndarray, **more: Any) -> FinishedMap:
    return finished(folder, mask, np.where(mask == 3, 100, np.where(mask == 255, 255, 200)).astype(np.uint8), names=NAMES,
                    record=CUT, **more)  # fmt: skip


def random_mask(seed: int, height: int = 60, width: int = 80) -> np.ndarray:
    """Ids 0 to 3 and nodata in patches."""
    coarse = np.random.default_rng(seed).choice([0, 1, 2, 3, 255], (-(-height // 4), -(-width // 4)))
    return coarse.repeat(4, 0).repeat(4, 1)[:height, :width].astype(np.uint8)


def code_of(args: list[str]) -> Any:
    """Exit code of a command."""
    with pytest.raises(SystemExit) as ended:
        main(args)
    return ended.value.code or 0


# the map


@pytest.mark.parametrize("seed", range(3))
def test_a_pixel_is_unsure_just_where_its_confidence_is_below_the_limit(
    tmp_path: Path, sharp: SegmentationModel, sharp_file: Path, seed: int
) -> None:
    """And the rest of the map, with the verdict on it, is as without the option."""
    image = write_raster(tmp_path / "a.tif", blocks(150, 170, seed=seed), nodata=0)
    tiles = {"tile": 96, "overlap": 48, "margin": 16}
    plain = segment(image, sharp, tmp_path / "plain", **tiles)
    (classes,), (counts,) = read(plain.classes), read(plain.confidence)
    values = np.unique(counts[counts < 255])
    chosen = [int(np.quantile(values, share)) for share in (0.2, 0.5, 0.8)]
    limits = ["1", "0.05", *(f"{4 * each / 1000:g}" for each in chosen), f"{4 * chosen[1] / 1000 + 0.0001:g}"]
    for limit in limits:
        cut = segment(image, sharp, tmp_path / limit, min_confidence=limit, **tiles)
        below = np.array([Fraction(4 * each, 1000) < Fraction(limit) for each in range(251)] + [False] * 5)[counts]
        expected = np.where(below, len(sharp.legend), classes)
        assert np.array_equal(read(cut.classes)[0], expected), limit
        assert cut.confidence.read_bytes() == plain.confidence.read_bytes()
        assert [each.pixels for each in cut.counts] == np.bincount(expected.ravel(), minlength=256)[:-1][:5].tolist()
        hectares = [[each.hectares or 0 for each in report.counts] for report in (plain, cut)]
        assert sum(hectares[1]) == pytest.approx(sum(hectares[0]), rel=1e-12)
        assert cut.counts[-1].hectares == pytest.approx(below.sum() * 0.1**2 / 1e4, rel=2e-3)
        assert 0 < plain.verdict.doubtful < 1
        assert (cut.verdict, cut.seam_ratio, cut.pixels) == (plain.verdict, plain.seam_ratio, plain.pixels)
        assert all(each.wrong is None for each in verify(tmp_path / limit, model=sharp_file, tiles=2))


def test_verify_tells_another_limit(tmp_path: Path, sharp: SegmentationModel, sharp_file: Path) -> None:
    image = write_raster(tmp_path / "a.tif", blocks(96, 96))
    record = segment(image, sharp, tmp_path / "out", tile=64, min_confidence=0.4).record
    values = json.loads(record.read_text())
    values["options"]["min_confidence"] = 0.5
    record.write_text(json.dumps(values))
    findings = list(verify(tmp_path / "out", model=sharp_file, tiles=4))
    assert any(each.wrong and "of another class" in each.wrong for each in findings)


def test_files_name_the_class(tmp_path: Path, sharp: SegmentationModel) -> None:
    image = write_raster(tmp_path / "a.tif", blocks(96, 96))
    out = tmp_path / "out"
    report = segment(image, sharp, out, tile=64, min_confidence=0.6, probabilities=True, zarr=True, stac=True)
    size = len(sharp.legend)
    with rasterio.open(report.classes) as mask, rasterio.open(report.probabilities or "") as probabilities:
        tags = mask.tags(1)
        assert (tags[f"CLASS_{size}"], tags["UNSURE_CLASS"]) == ("unsure", str(size))
        assert mask.colormap(1)[size][:3] == (128, 128, 128)
        assert probabilities.descriptions == sharp.legend.names
    assert "<Category>unsure</Category></CategoryNames>" in (out / "a_classes.tif.aux.xml").read_text()
    assert f'value="{size}" color="#808080" alpha="255" label="unsure"' in (out / "a_classes.qml").read_text()
    map_ = FinishedMap.of(report.record)
    assert map_.legend == sharp.legend.with_unsure()
    assert map_.legend.decided == sharp.legend
    group = zarr.open_group(out / "a.zarr", mode="r")
    assert group["class"].attrs["class_names"] == [*sharp.legend.names, "unsure"]
    assert group["class_index"].attrs["class_names"] == list(sharp.legend.names)
    item = json.loads((out / "a_stac.json").read_text())
    assert item["assets"]["classes"]["classification:classes"][-1]["name"] == "unsure"
    page = (out / "a_report.html").read_text()
    share = report.counts[-1].pixels / report.pixels.predicted
    assert f"{100 * share:.1f} % of what is mapped: confidence below 60.0 %, so no class" in page


def test_without_the_option_nothing_speaks_of_it(tmp_path: Path, sharp: SegmentationModel) -> None:
    image = write_raster(tmp_path / "a.tif", blocks(96, 96))
    report = segment(image, sharp, tmp_path / "out", tile=64, stac=True)
    texts = [path.read_bytes() for path in report.files if path != report.record] + [report.exports[0].read_bytes()]
    assert not any(word in text for text in texts for word in (b"unsure", b"UNSURE", b"Unsure"))


@pytest.mark.parametrize(
    ("names", "says"),
    [(["soil", "Unsure "], "has one of this name"), ([f"c{k}" for k in range(255)], "to the 255 of the model")],
)
def test_a_model_that_has_no_room_for_the_class_is_refused(
    tmp_path: Path, names: list[str], says: str, agriseg_cli: Callable[..., Any]
) -> None:
    model = random_network("fcn_small", classes=len(names))
    replace(model, legend=Legend.from_names(names)).save(tmp_path / "m.safetensors")
    write_raster(tmp_path / "a.tif", blocks(64, 64))
    flags = ("a.tif", "-m", "m.safetensors", "--tile", "64", "-o", "out")
    ended = agriseg_cli("run", *flags, "--min-confidence", "0.7")
    assert (ended.code, ended.one_line) == (2, True)
    assert says in ended.err
    assert agriseg_cli("run", *flags).code == 0  # as the message says


@pytest.mark.parametrize("text", ["0", "1.5", "nan", "inf", "-0.1", "text", "", "120%"])
def test_a_limit_that_is_none_is_refused_in_one_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(["run", "a.tif", "--min-confidence", text]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--min-confidence" in error
    assert "such as 0.7 or 70%" in error


def test_suggestions_have_no_map(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(["suggest", "a.tif", "-o", "todo.gpkg", "--min-confidence", "0.7"]) == 2
    assert "--min-confidence is part of a map" in capsys.readouterr().err


@pytest.mark.parametrize("value", [0, 1.5, float("nan"), [1], "x"])
def test_python_refuses_it_too(value: Any) -> None:
    with pytest.raises(UsageError, match="min-confidence"):
        RunOptions.of(min_confidence=value)


def test_a_file_of_options_and_the_printed_table(
    tmp_path: Path, sharp_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_raster(tmp_path / "a.tif", blocks(96, 96))
    (tmp_path / "agriseg.toml").write_text('[run]\nmin_confidence = "40%"\n[batch]\nmin_confidence = 0.4\n')
    monkeypatch.chdir(tmp_path)
    assert code_of(["run", "a.tif", "-m", str(sharp_file), "--tile", "64", "-o", "out", "-q"]) == 0
    assert any(line.split()[:1] == ["unsure"] for line in capsys.readouterr().out.splitlines())
    assert record_of(tmp_path / "out")["options"]["min_confidence"] == 0.4
    (tmp_path / "in").mkdir()
    write_raster(tmp_path / "in" / "b.tif", blocks(96, 96))
    assert code_of(["batch", "in", "-o", "maps", "-m", str(sharp_file), "--tile", "64", "--settle", "0s"]) == 0
    (row,) = csv.DictReader((tmp_path / "maps" / "summary.csv").read_text("utf-8-sig").splitlines())
    counts = {each["name"]: each["hectares"] for each in record_of(tmp_path / "maps")["classes"]}
    assert float(row["unsure ha"]) == pytest.approx(counts["unsure"])
    assert counts["unsure"] > 0


# layers


@pytest.mark.parametrize("seed", range(3))
def test_layers_take_unsure_pixels_for_neither_plants_nor_ground(tmp_path: Path, seed: int) -> None:
    mask = random_mask(seed)
    map_ = unsure_map(tmp_path, mask)
    options = LayerOptions.of(affected="weed", ground="soil", cell="0.8m", plots=plot_file(tmp_path))
    made = make_layers(tmp_path / "field_run.json", options)
    pixels = np.bincount(mask.ravel(), minlength=256)[:4]
    rows = {row["class"]: row for row in made.facts["areas"]}
    assert [rows[name]["pixels"] for name in NAMES] == pixels.tolist()
    assert sum(row["share_of_field"] for row in rows.values()) == pytest.approx(1)
    assert sum(row["hectares"] for row in rows.values()) == pytest.approx(pixels.sum() * 1e-6, rel=2e-3)
    assert rows["unsure"]["share_of_canopy"] is rows["soil"]["share_of_canopy"] is None
    canopy = pixels[1] + pixels[2]
    assert rows["weed"]["share_of_canopy"] == pytest.approx(pixels[2] / canopy, rel=1e-5)
    severity = made.facts["severity"]
    assert severity["field_percent"] == pytest.approx(100 * pixels[2] / pixels[:3].sum(), rel=1e-5)
    assert severity["canopy_percent"] == pytest.approx(100 * pixels[2] / canopy, rel=1e-5)
    assert any("unsure pixels are left out" in text for text in made.warnings)
    plots = {row["trait"]: row["value"] for row in table(tmp_path / "field_plots.csv")}
    assert float(plots["unsure cover"]) == pytest.approx(100 * pixels[3] / pixels.sum(), rel=1e-4)
    assert float(plots["severity of field"]) == pytest.approx(severity["field_percent"], rel=1e-4)
    assert float(plots["severity of canopy"]) == pytest.approx(severity["canopy_percent"], rel=1e-4)
    cells = read(tmp_path / "field_severity.tif")
    whole = mask.reshape(-1, 8, mask.shape[1] // 8, 8)[: mask.shape[0] // 8] if mask.shape[0] % 8 == 0 else None
    assert whole is None or np.isnan(cells[0][(whole > 2).all((1, 3))]).all()
    assert map_.legend.unsure == 3


def plot_file(folder: Path) -> Path:
    corner = UTM["transform"]
    left, top, right, bottom = corner.c, corner.f, corner.c + 8, corner.f - 6
    ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}
    shape = {"type": "Feature", "properties": {"name": "p"}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    path = folder / "plots.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": [shape]}))
    return path


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text("utf-8-sig").splitlines()))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("how", [{"smooth_px": 2}, {"mmu_m2": 0.5}, {"mmu_m2": 0.5, "smooth_px": 1}], ids=str)
def test_clean_up_neither_makes_nor_removes_unsure_pixels(tmp_path: Path, seed: int, how: dict[str, Any]) -> None:
    """The other pixels are as where the unsure ones have no data."""
    mask = random_mask(seed)
    bare = np.where(mask == 3, 255, mask).astype(np.uint8)
    cleaned = []
    for name, map_ in (("cut", unsure_map(tmp_path / "a", mask)), ("bare", finished(tmp_path / "b", bare))):
        (tmp_path / name).mkdir()
        source = clean(map_, tmp_path / name, **how, rows=16)
        cleaned.append((source.read(0, 60).mask, np.concatenate([strip.mask for strip in source.strips(16)])))
    (found, by_strips), (expected, _) = cleaned
    assert np.array_equal(found, by_strips)
    assert np.array_equal(found == 3, mask == 3)
    assert np.array_equal(np.where(found == 3, 255, found), expected)
    assert not np.array_equal(expected, bare)


@pytest.mark.parametrize("flags", [{"affected": "unsure"}, {"ground": "soil,unsure"}])
def test_unsure_pixels_are_no_class_to_name(tmp_path: Path, flags: dict[str, str]) -> None:
    unsure_map(tmp_path, random_mask(0))
    with pytest.raises(UsageError, match="unsure: these pixels have no class"):
        make_layers(tmp_path / "field_run.json", LayerOptions.of(**flags))


def test_no_hectares_by_validation(tmp_path: Path) -> None:
    agreement = {"share": np.eye(3).tolist(), "covariance": np.zeros((3, 3, 3)).tolist(), "pixels": 99, "blocks": 9}
    mask, model = random_mask(0), {"evaluation": {"agreement": agreement}}
    for name, options, names in (("cut", {"min_confidence": 0.7}, NAMES), ("plain", {}, NAMES[:3])):
        ids = mask if options else np.where(mask == 3, 0, mask).astype(np.uint8)
        finished(tmp_path / name, ids, names=names, record={"options": options, "model": model})
        made = make_layers(tmp_path / name / "field_run.json", LayerOptions())
        assert (made.facts["areas"][0]["adjusted_ha"] is None) == bool(options)
        assert any("leaves unsure pixels out" in text for text in made.warnings) == bool(options)


# two dates


@pytest.mark.parametrize("cut", [(True, True), (True, False), (False, True)])
def test_a_pixel_that_is_unsure_at_one_date_neither_changes_nor_stays(tmp_path: Path, cut: tuple[bool, bool]) -> None:
    masks, maps = [], []
    for date, with_unsure in enumerate(cut):
        mask = random_mask(date)
        if not with_unsure:
            mask = np.where(mask == 3, 1, mask).astype(np.uint8)
        maps.append((unsure_map if with_unsure else finished)(tmp_path / str(date), mask))
        masks.append(np.where(mask == 3, 255, mask).astype(np.uint8))
    bare = [finished(tmp_path / f"bare{date}", mask) for date, mask in enumerate(masks)]
    found, expected = (counted(*pair) for pair in (maps, bare))
    assert np.array_equal(found.pixels, expected.pixels)
    assert found.legend.names == NAMES[:3]
    texts = comparability_warnings(*maps)
    assert len([text for text in texts if "of class unsure (--min-confidence 0.7) are not compared" in text]) == sum(
        cut
    )
    check_trend(*maps)
    assert len(limit_warnings(*maps)) == (cut[0] != cut[1])


def counted(before: FinishedMap, after: FinishedMap) -> Any:
    with MapPair(before, after, (0.0, 0.0)) as pair:
        return pair.count()


# scores


@pytest.mark.parametrize("names", [NAMES, NAMES[:3]], ids=["with it", "without"])
def test_a_finished_mask_is_scored_without_its_unsure_pixels(
    tmp_path: Path, names: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    mask, labels = random_mask(0), np.random.default_rng(9).integers(0, 3, (60, 80), np.uint8)
    write_raster(tmp_path / "a.tif", noise(60, 80, low=1))
    write_raster(tmp_path / "labels.tif", labels[None])
    unsure_map(tmp_path, mask)
    for path, ids in (("field_classes.tif", mask), ("bare.tif", np.where(mask == 3, 255, mask).astype(np.uint8))):
        write_raster(tmp_path / path, ids[None], nodata=255)
    with rasterio.open(tmp_path / "field_classes.tif", "r+") as dataset:
        dataset.update_tags(1, **Legend.from_names(NAMES[:3]).with_unsure().tags)
    pair = [str(tmp_path / "a.tif"), str(tmp_path / "labels.tif"), "--json", "--mask"]
    assert code_of(["evaluate", *pair, str(tmp_path / "field_classes.tif"), "--classes", ",".join(names)]) == 0
    printed = capsys.readouterr()
    scores = json.loads(printed.out)
    assert code_of(["evaluate", *pair, str(tmp_path / "bare.tif"), "--classes", "soil,crop,weed"]) == 0
    expected = json.loads(capsys.readouterr().out)
    assert (scores.pop("unsure"), expected.pop("unsure")) == ((mask == 3).sum(), 0)
    share = (mask == 3).sum() / (mask < 255).sum()
    assert f"{share:.1%} of the labelled pixels are unsure in the map" in printed.err
    assert scores.pop("doubts") != expected.pop("doubts")
    assert scores == expected


def test_the_number_of_names_must_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_raster(tmp_path / "a.tif", noise(60, 80, low=1))
    write_raster(tmp_path / "m.tif", random_mask(0)[None], nodata=255)
    with rasterio.open(tmp_path / "m.tif", "r+") as dataset:
        dataset.update_tags(1, **Legend.from_names(NAMES[:3]).with_unsure().tags)
    paths = [str(tmp_path / name) for name in ("a.tif", "m.tif")]
    assert code_of(["evaluate", *paths, "--mask", paths[1], "--classes", "a,b,c,d"]) == 65
    assert "3 classes besides 'unsure', but 4 are named" in capsys.readouterr().err


def test_scores_of_a_model_are_of_all_its_pixels(tmp_path: Path, sharp: SegmentationModel) -> None:
    image = write_raster(tmp_path / "a.tif", blocks(64, 64))
    labels = write_raster(tmp_path / "labels.tif", np.zeros((1, 64, 64), np.uint8))
    with pytest.raises(UsageError, match="--min-confidence with -m"):
        evaluate(sharp, image, labels, options=RunOptions(min_confidence=0.7))


def test_the_report_speaks_chinese(tmp_path: Path, sharp: SegmentationModel) -> None:
    image = write_raster(tmp_path / "a.tif", blocks(96, 96))
    report = segment(image, sharp, tmp_path / "out", tile=64, min_confidence=0.6, lang="zh")
    page = report.exports[0].read_text("utf-8")
    assert "不确定" in page
    assert "最低置信度" in page


def test_a_count_of_the_layer_is_a_four_thousandth() -> None:
    assert CONFIDENCE_STEP == 0.004
