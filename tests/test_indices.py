"""Vegetation indices: formulas against spyndex, nodata, files, and the command."""

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
import spyndex
from conftest import DATA, UTM, noise, read, write_raster

from agriseg.cli import main
from agriseg.errors import DataError, OutputError, UsageError
from agriseg.maps.index_maps import write_indices
from agriseg.options.index import IndexOptions
from agriseg.raster.header import RasterInfo
from agriseg.raster.qml import ramp_style
from agriseg.raster.reader import Reader, Source
from agriseg.raster.valid_mask import ValidityRule
from agriseg.vegetation import index_rows
from agriseg.vegetation.formulas import INDICES, ROLES, compute, get_index
from agriseg.vegetation.index_rows import IndexRows
from agriseg.vegetation.reflectance import Units
from agriseg.vegetation.sensors import SENSORS, get_sensor

SPYNDEX = {"red": "R", "green": "G", "blue": "B", "nir": "N", "red_edge": "RE1"}
CONSTANTS = {name: spyndex.constants[name].default for name in ("L", "g", "C1", "C2")}
every_index = pytest.mark.parametrize("index", INDICES.values(), ids=list(INDICES))


def by_spyndex(name: str, bands: dict[str, np.ndarray]) -> np.ndarray:
    """The catalogue's own answer, in float64; NaN where it is not finite."""
    exact = {SPYNDEX[role]: np.asarray(values, np.float64) for role, values in bands.items()}
    with np.errstate(all="ignore"):
        found = spyndex.computeIndex(name, {**exact, **CONSTANTS})
    return np.where(np.isfinite(found), found, np.nan)


def reflectances(shape: tuple[int, ...], *, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {role: rng.uniform(0.01, 0.9, shape) for role in ROLES}


# formulas


@every_index
def test_an_index_is_the_catalogues(index: Any) -> None:
    bands = reflectances((50, 60))
    found = compute(index, bands)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_spyndex(index.name, bands), rtol=1e-6, atol=1e-6)
    entry = spyndex.indices[index.name]
    assert {SPYNDEX[role] for role in index.roles} == {*entry.bands} - {*CONSTANTS}
    assert index.reference.split("//")[1] == entry.reference.split("//")[1].removeprefix("dx.")


@every_index
def test_the_printed_formula_is_what_is_computed(index: Any) -> None:
    bands = {role: values for role, values in reflectances((20, 20), seed=1).items() if role in index.roles}
    np.testing.assert_allclose(compute(index, bands), eval(index.formula, {}, bands), rtol=1e-6)


@every_index
def test_its_kind_says_what_a_unit_does(index: Any) -> None:
    bands = reflectances((20, 20), seed=2)
    once, thrice = (compute(index, {role: k * values for role, values in bands.items()}) for k in (1, 3))
    same = {factor: np.allclose(thrice, factor * once, rtol=1e-5) for factor in (1, 3)}
    assert same == {1: index.kind == "ratio", 3: index.kind == "linear"}


@every_index
def test_plants_are_green(index: Any) -> None:
    """Mean spectra of bare soil and of a crop, by which the colours run."""
    soil = {"blue": 0.09, "green": 0.13, "red": 0.18, "red_edge": 0.21, "nir": 0.25}
    crop = {"blue": 0.03, "green": 0.08, "red": 0.035, "red_edge": 0.22, "nir": 0.45}
    assert (compute(index, crop) > compute(index, soil)) == index.greener


@every_index
def test_division_by_zero_is_no_number(index: Any) -> None:
    rng = np.random.default_rng(3)
    few = np.array([0, 0, 1e-30, 0.1, 0.2, 0.1 + 0.2, 1, 1e30, np.inf, -np.inf, np.nan])
    bands = {role: rng.choice(few, 5000) for role in ROLES}
    found = compute(index, bands)
    assert not np.isinf(found).any()
    lost = np.logical_or.reduce([~np.isfinite(bands[role]) for role in index.roles])
    assert np.isnan(found[lost]).all()
    assert np.isfinite(compute(index, reflectances((9,)))).all()


def test_a_zero_but_for_rounding_is_zero() -> None:
    cases = [
        ("VARI", {"green": 0.1, "red": 0.2, "blue": 0.1 + 0.2}),  # 0.1 + 0.2 - 0.30000000000000004
        ("EVI", {"nir": 0.5, "red": 0.0, "blue": (0.5 + 1) / 7.5}),
        ("CIG", {"nir": 0.5, "green": 1e-9}),
        ("NGRDI", {"green": 0.0, "red": 0.0}),
    ]
    for name, bands in cases:
        assert np.isnan(compute(get_index(name), bands)), name
    assert compute(get_index("VARI"), {"green": 0.1, "red": 0.2, "blue": 0.2}) == np.float32(-1)


def test_8_bit_numbers_do_not_wrap() -> None:
    red, green, blue = noise(40, 40)
    exact = {"red": red.astype(float), "green": green.astype(float), "blue": blue.astype(float)}
    for name in ("ExG", "ExR", "GLI", "RGBVI", "TGI"):
        found = compute(get_index(name), {"red": red, "green": green, "blue": blue})
        np.testing.assert_allclose(found, by_spyndex(name, exact), rtol=1e-6, atol=1e-5)


def test_names() -> None:
    assert get_index(" ndre").name == "NDREI"
    assert get_index("nirV").name == "NIRv"
    assert {role for index in INDICES.values() for role in index.roles} == {*ROLES}
    with pytest.raises(UsageError, match="did you mean NDVI"):
        get_index("ndvii")
    with pytest.raises(UsageError, match="did you mean sentinel2"):
        get_sensor("sentinel")
    with pytest.raises(UsageError, match="EVI needs nir, red, blue; blue not given"):
        compute(get_index("EVI"), {"nir": 1.0, "red": 1.0})


@pytest.mark.parametrize("camera", SENSORS.values(), ids=list(SENSORS))
def test_a_sensor_has_each_band_once(camera: Any) -> None:
    count = len(camera.roles)
    assert len({*camera.roles}) == count
    mapping = camera.mapping(range(1, count + 1))
    assert [mapping[role] for role in camera.roles] == [*range(1, count + 1)]
    with pytest.raises(DataError, match=f"has {count} bands"):
        camera.mapping(range(1, count))


# files


def field(height: int = 700, width: int = 300) -> np.ndarray:
    """(5, height, width) float32 reflectances in the order blue, green, red, red_edge, nir."""
    bands = reflectances((height, width), seed=5)
    return np.stack([bands[role] for role in ("blue", "green", "red", "red_edge", "nir")]).astype(np.float32)


FIVE = {"blue": 1, "green": 2, "red": 3, "red_edge": 4, "nir": 5}


def roles_of(pixels: np.ndarray, mapping: dict[str, int]) -> dict[str, np.ndarray]:
    return {role: pixels[number - 1] for role, number in mapping.items()}


def test_all_indices_of_a_file(tmp_path: Path) -> None:
    pixels = field()
    pixels[:, 100:650, 50:120] = -1
    pixels[4, 3, 3] = np.nan
    pixels[2, 4, 4] = -1  # in one band alone it is nodata for the indices that use this band
    image = write_raster(tmp_path / "field.tif", pixels, nodata=-1)
    made = write_indices(image, [*INDICES], tmp_path / "out", IndexOptions(bands=FIVE))
    assert [layer.index.name for layer in made.layers] == [*INDICES]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        ["field_index.json", *(f"field_{name.lower()}{end}" for name in INDICES for end in (".qml", ".tif"))]
    )
    for layer in made.layers:
        found, index = read(layer.path)[0], layer.index
        expected = by_spyndex(index.name, roles_of(pixels, FIVE))
        used = pixels[[FIVE[role] - 1 for role in index.roles]]
        lost = (used == -1).any(0) | ~np.isfinite(used).all(0) | np.isnan(expected)
        np.testing.assert_array_equal(np.isnan(found), lost)
        np.testing.assert_allclose(found[~lost], expected[~lost], rtol=1e-6, atol=1e-6)
        told = layer.summary
        assert told.nodata == lost.mean()
        values = np.quantile(found[~lost], (0, 0.02, 0.5, 0.98, 1), method="inverted_cdf")
        np.testing.assert_array_equal([told.minimum, told.low, told.median, told.high, told.maximum], values)


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    image = write_raster(tmp_path / "field.tif", field())
    layer = write_indices(image, ["ndvi"], tmp_path, IndexOptions(bands=FIVE)).layers[0]
    with rasterio.open(layer.path) as dataset:
        assert (dataset.dtypes, dataset.count, dataset.descriptions) == (("float32",), 1, ("NDVI",))
        assert np.isnan(dataset.nodata)
        assert (dataset.crs, dataset.transform) == (UTM["crs"], UTM["transform"])
        tags = dataset.tags()
        assert tags["AGRISEG_FORMULA"] == "(nir - red) / (nir + red)"
        assert (tags["AGRISEG_BANDS"], tags["AGRISEG_SCALE"]) == ("nir=5,red=3", "1.0")
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert dataset.overviews(1) == [2]
        full = dataset.read(1)
        halved = dataset.read(1, out_shape=(350, 150))
    np.testing.assert_allclose(halved, full.reshape(350, 2, 150, 2).mean((1, 3)), rtol=1e-5, atol=1e-6)


def test_statistics_of_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ends and the share of nodata are exact; quantiles are those of every third pixel of every third row."""
    pixels = field(1100, 300)
    pixels[:, :, 40:90] = -1
    pixels[:3, 1, 1] = 0.9, 0.01, 0.9  # the least GLI; not in the sample
    image = write_raster(tmp_path / "field.tif", pixels, nodata=-1)
    monkeypatch.setattr(index_rows, "_SAMPLE", 40_000)
    layer = write_indices(image, ["gli"], tmp_path, IndexOptions(bands=FIVE)).layers[0]
    found, summary = read(layer.path)[0], layer.summary
    known = found[np.isfinite(found)]
    assert summary.nodata == np.isnan(found).mean()
    assert (summary.minimum, summary.maximum) == (known.min(), known.max())
    sample = found[::3, ::3]
    expected = np.quantile(sample[np.isfinite(sample)], (0.02, 0.5, 0.98), method="inverted_cdf")
    np.testing.assert_array_equal([summary.low, summary.median, summary.high], expected)
    near = np.quantile(known, (0.02, 0.5, 0.98))
    np.testing.assert_allclose(expected, near, atol=0.02)


def test_strips_are_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = field(90, 70)
    pixels[:, 20:60, 10:30] = 0
    image = write_raster(tmp_path / "field.tif", pixels, nodata=0)
    info, index = RasterInfo.read(image), get_index("EVI")
    source = Source(info, (5, 3, 1), ValidityRule.of(info), info.width, info.height)
    with Reader(source) as reader, ThreadPoolExecutor(1) as thread:
        rows = IndexRows(reader, source, thread, index, Units((1.0,) * 3, (0.0,) * 3))
        whole = rows.read(0, 90)
        monkeypatch.setattr("agriseg.vegetation.index_rows._PIXELS", 210)  # three rows
        for step in (1, 7, 64, 90):
            parts = [rows.read(start, min(start + step, 90)) for start in range(0, 90, step)]
            np.testing.assert_array_equal(np.concatenate(parts, 1), whole)
    np.testing.assert_array_equal(np.isnan(whole[0]), (pixels == 0).all(0))


def test_a_window_of_the_raster_is_a_window_of_the_index(tmp_path: Path) -> None:
    pixels = field(120, 80)
    whole = write_raster(tmp_path / "whole.tif", pixels)
    part = write_raster(tmp_path / "part.tif", pixels[:, 33:90, 11:70])
    made = [write_indices(image, ["msavi"], tmp_path, IndexOptions(bands=FIVE)).layers[0] for image in (whole, part)]
    np.testing.assert_array_equal(read(made[0].path)[:, 33:90, 11:70], read(made[1].path))


def test_the_same_bytes_alone_and_among_others(tmp_path: Path) -> None:
    image = write_raster(tmp_path / "field.tif", field())
    for folder, names in (("one", ["ndvi"]), ("again", ["NDVI"]), ("many", ["gli", "ndvi", "ndrei"])):
        write_indices(image, names, tmp_path / folder, IndexOptions(bands=FIVE))
    one, again, many = (
        [(tmp_path / name / f"field_ndvi{end}").read_bytes() for end in (".tif", ".qml")]
        for name in ("one", "again", "many")
    )
    assert one == again == many


def test_any_type_with_its_scale_is_one_index(tmp_path: Path) -> None:
    """To the rounding of what is stored."""
    pixels = field(60, 60)
    truth = compute(get_index("SAVI"), roles_of(pixels, FIVE))
    for name, stored, scale, step in (
        ("float32", pixels, None, 1e-7),
        ("uint16", np.round(pixels * 10_000).astype(np.uint16), 1e-4, 1e-4),
        ("int16", np.round(pixels * 10_000).astype(np.int16), 1e-4, 1e-4),
        ("uint8", np.round(pixels * 255).astype(np.uint8), None, 1 / 255),
    ):
        image = write_raster(tmp_path / f"{name}.tif", stored)
        made = write_indices(image, ["savi"], tmp_path / "out", IndexOptions(bands=FIVE, scale=scale))
        np.testing.assert_allclose(read(made.layers[0].path)[0], truth, atol=2 * step)
        assert any("8-bit" in text for text in made.warnings) == (name == "uint8")


def test_a_sensors_scale_is_of_16_bit_numbers(tmp_path: Path) -> None:
    pixels = field(40, 40)
    truth = compute(get_index("OSAVI"), roles_of(pixels, FIVE))
    for name, stored in (("counts", np.round(pixels * 32768).astype(np.uint16)), ("shares", pixels)):
        image = write_raster(tmp_path / f"{name}.tif", stored, photometric="MINISBLACK")
        made = write_indices(image, ["osavi"], tmp_path / "out", IndexOptions(sensor="rededge"))
        np.testing.assert_allclose(read(made.layers[0].path)[0], truth, atol=2e-4)
        assert made.layers[0].bands == {"nir": 5, "red": 3}
        assert any("then use --bands" in text for text in made.warnings)


def tagged(path: Path, shares: np.ndarray, scales: np.ndarray, offsets: np.ndarray) -> Path:
    """A uint16 file of reflectances, which says how its numbers become such: value = stored * scale + offset."""
    stored = np.round((shares - offsets[:, None, None]) / scales[:, None, None]).astype(np.uint16)
    write_raster(path, stored)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = scales.tolist(), offsets.tolist()
    return path


@pytest.mark.parametrize("kind", ["sentinel2", "landsat", "one scale", "each its own", "offset alone"])
def test_the_files_own_scale_and_offset_are_applied(tmp_path: Path, kind: str) -> None:
    """To each band its own, for ratios and for sums; the numbers are the catalogue's of the reflectances."""
    rng = np.random.default_rng(len(kind))
    scales, offsets = {
        "sentinel2": (np.full(5, 1e-4), np.full(5, -0.1)),
        "landsat": (np.full(5, 2.75e-5), np.full(5, -0.2)),
        "one scale": (np.full(5, 1e-4), np.zeros(5)),
        "each its own": (rng.uniform(2e-5, 1e-4, 5), rng.uniform(-0.2, 0.0, 5)),
        "offset alone": (np.full(5, 1.0), rng.uniform(-40, -10, 5)),
    }[kind]
    if kind == "offset alone":  # whole numbers are no reflectances: floats are
        shares = field(40, 30)
        image = write_raster(tmp_path / "field.tif", (shares - offsets[:, None, None]).astype(np.float32))
        with rasterio.open(image, "r+") as dataset:
            dataset.offsets = offsets.tolist()
    else:
        image = tagged(tmp_path / "field.tif", field(40, 30), scales, offsets)
    names = ["NDVI", "SAVI", "EVI", "NDREI", "GLI"]
    made = write_indices(image, names, tmp_path / "out", IndexOptions(bands=FIVE))
    with rasterio.open(image) as dataset:
        known = dataset.read().astype(float) * np.array(dataset.scales)[:, None, None]
        known += np.array(dataset.offsets)[:, None, None]
    assert not any("scale" in text for text in made.warnings)
    for layer in made.layers:
        expected = by_spyndex(layer.index.name, roles_of(known, FIVE))
        np.testing.assert_allclose(read(layer.path)[0], expected, rtol=1e-4, atol=1e-5)
        assert layer.units.by_tags
    told = made.layers[0].as_dict()
    assert list(told["offset"].values()) == [offsets[4], offsets[2]]


def test_a_users_scale_counts_more_than_the_files(tmp_path: Path) -> None:
    image = tagged(tmp_path / "field.tif", field(40, 30), np.full(5, 1e-4), np.full(5, -0.1))
    made = write_indices(image, ["savi"], tmp_path / "out", IndexOptions(bands=FIVE, scale=2e-4))
    assert any("takes the place of the scale and offset" in text for text in made.warnings)
    with rasterio.open(image) as dataset:
        expected = by_spyndex("SAVI", roles_of(dataset.read() * 2e-4, FIVE))
    np.testing.assert_allclose(read(made.layers[0].path)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("scale", "offset"), [(0.01, 0.0), (1e-8, 0.0), (1e-4, -0.6), (1e-4, 3.0), (-1e-4, 0.0), (float("nan"), 0.0)]
)
def test_tags_that_make_no_reflectances_are_refused(tmp_path: Path, scale: float, offset: float) -> None:
    image = tagged(tmp_path / "field.tif", field(40, 30), np.full(5, 1e-4), np.zeros(5))
    with rasterio.open(image, "r+") as dataset:
        dataset.scales, dataset.offsets = [scale] * 5, [offset] * 5
    with pytest.raises(DataError, match=r"by the file's own tags.*cannot be; say with --scale"):
        write_indices(image, ["savi"], tmp_path / "out", IndexOptions(bands=FIVE))
    assert write_indices(image, ["savi"], tmp_path / "out", IndexOptions(bands=FIVE, scale=1e-4)).layers


def test_bands_by_the_files_own_names(tmp_path: Path) -> None:
    pixels = field(40, 40)
    image = write_raster(tmp_path / "field.tif", pixels, photometric="MINISBLACK")
    with pytest.raises(DataError, match="NDREI needs nir, red_edge; no band is known as nir, red_edge"):
        write_indices(image, ["ndre"], tmp_path / "out")
    with rasterio.open(image, "r+") as dataset:
        dataset.descriptions = ("Blue", "Green", "Red", "Red Edge", "NIR")
    made = write_indices(image, ["ndre"], tmp_path / "out")
    assert made.layers[0].bands == {"nir": 5, "red_edge": 4}
    odd = write_indices(image, ["gli"], tmp_path / "out", IndexOptions(sensor="rgb"))
    assert any("has red as band 1, the file tags band 3 so" in text for text in odd.warnings)
    assert any("has 3 bands, the file 5" in text for text in odd.warnings)


def test_alpha_says_what_is_no_data(tmp_path: Path) -> None:
    pixels = noise(40, 40, bands=4, low=1)
    pixels[3] = np.where(np.arange(40) < 15, 0, 255)
    tagged = write_raster(tmp_path / "tagged.tif", pixels, photometric="RGB", alpha="YES")
    untagged = write_raster(tmp_path / "untagged.tif", pixels, photometric="RGB", alpha="NO")
    hinted = write_indices(untagged, ["gli"], tmp_path / "hinted")
    assert hinted.layers[0].summary.nodata == 0
    assert any("add alpha=4 to --bands" in text for text in hinted.warnings)
    for image, options in ((tagged, None), (untagged, IndexOptions(bands={"alpha": 4}))):
        made = write_indices(image, ["gli"], tmp_path / "out", options)
        np.testing.assert_array_equal(np.isnan(read(made.layers[0].path)[0]), pixels[3] == 0)
        assert not made.warnings
    with pytest.raises(DataError, match=r"has 4 bands .* the file has 3 beside alpha"):
        write_indices(tagged, ["ndvi"], tmp_path / "out", IndexOptions(sensor="naip"))


def test_all_or_none(tmp_path: Path) -> None:
    """Black leaves no ratio a number."""
    image = write_raster(tmp_path / "black.tif", np.zeros((3, 30, 30), np.uint8), photometric="RGB")
    with pytest.raises(DataError, match="GLI has a number at no pixel"):
        write_indices(image, ["exg", "gli"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    layer = write_indices(image, ["exg"], tmp_path / "out").layers[0]
    assert (layer.summary.minimum, layer.summary.maximum) == (0, 0)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "black_exg.qml", "black_exg.tif", "black_index.json",
    ]  # fmt: skip


def test_outputs_are_not_overwritten_unless_told(tmp_path: Path) -> None:
    image = write_raster(tmp_path / "field.tif", noise(30, 30, low=1), photometric="RGB")
    path = write_indices(image, ["gli"], tmp_path).layers[0].path
    made = path.read_bytes()
    with pytest.raises(OutputError, match="add --overwrite"):
        write_indices(image, ["gli"], tmp_path)
    path.with_suffix(".qml").unlink()
    path.write_bytes(b"old")
    write_indices(image, ["gli"], tmp_path, overwrite=True)
    assert path.read_bytes() == made
    path.unlink()
    path.hardlink_to(image)
    with pytest.raises(UsageError, match="the output is the input itself"):
        write_indices(image, ["gli"], tmp_path, overwrite=True)


def ramp(text: str) -> list[tuple[float, str]]:
    items = ElementTree.fromstring(text.partition("\n")[2]).iter("item")
    return [(float(item.get("value", "")), item.get("color", "")) for item in items]


def test_green_is_green() -> None:
    rising, falling = ramp(ramp_style(-0.5, 0.9)), ramp(ramp_style(-0.5, 0.9, greener=False))
    assert (rising[0], rising[-1]) == ((-0.5, "#8c510a"), (0.9, "#1a9641"))
    assert [colour for _, colour in falling] == [colour for _, colour in rising[::-1]]
    for low, high in ((0.0, 0.0), (-0.5, 0.9), (3e8, 3e8)):
        values = [value for value, _ in ramp(ramp_style(low, high))]
        assert values == sorted({*values})


# the command


def run(capfd: pytest.CaptureFixture[str], *args: Any) -> tuple[int, str, str]:
    capfd.readouterr()
    with pytest.raises(SystemExit) as left:
        main(["index", *map(str, args)])
    out, err = capfd.readouterr()
    return int(left.value.code or 0), out, err


def test_from_raster_to_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    pixels = field(60, 50)
    write_raster(Path("field.tif"), pixels, photometric="MINISBLACK")
    bands = ",".join(f"{role}={number}" for role, number in FIVE.items())
    code, out, err = run(capfd, "field.tif", "--index", "ndvi,ExR", "--bands", bands)
    assert (code, err) == (0, "")
    truth = compute(get_index("NDVI"), roles_of(pixels, FIVE))
    assert f"min {truth.min():.4g}, median {np.quantile(truth, 0.5, method='inverted_cdf'):.4g}" in out
    assert "greener is lower" in out
    np.testing.assert_array_equal(read(Path("field_agriseg/field_ndvi.tif"))[0], truth)
    assert ramp(Path("field_agriseg/field_exr.qml").read_text())[0][1] == "#1a9641"
    assert run(capfd, "field.tif", "--index", "ndvi", "--bands", bands)[0] == 73
    code, out, _ = run(capfd, "field.tif", "--index", "ndvi", "--bands", bands, "--overwrite", "--json")
    told = json.loads(out)["indices"][0]
    assert (code, told["index"], told["bands"], told["nodata"]) == (0, "NDVI", {"nir": 5, "red": 3}, 0)
    assert told["maximum"] == float(truth.max())


def test_the_list(capfd: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capfd, "--list")
    assert code == 0
    assert all(index.formula in out and index.reference in out for index in INDICES.values())
    assert all(camera.source in out for camera in SENSORS.values())


def test_an_index_does_not_load_torch() -> None:
    told = "import sys, agriseg.maps.index_maps; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", told], check=False).returncode == 0


def rgb(path: Path) -> None:
    write_raster(path, noise(30, 30, low=1), photometric="RGB")


def counts(path: Path) -> None:
    write_raster(path, noise(30, 30, bands=4).astype(np.uint16) * 40, photometric="MINISBLACK")


def ten_thousands(path: Path) -> None:
    write_raster(path, noise(30, 30, bands=4).astype(np.float32) * 40, photometric="MINISBLACK")


def empty(path: Path) -> None:
    write_raster(path, np.full((3, 30, 30), 7, np.uint8), photometric="RGB", nodata=7)


def cut(path: Path) -> None:
    write_raster(path, noise(400, 400), photometric="RGB", compress="deflate", tiled=True)
    path.write_bytes(path.read_bytes()[:-60_000])


NIR = ["--bands", "red=1,green=2,blue=3,nir=4"]
CASES: list[tuple[str, Callable[[Path], None], list[str], int, str]] = [
    ("an unknown index", rgb, ["--index", "gly"], 2, "no index 'gly'; did you mean GLI?"),
    ("an index twice", rgb, ["--index", "gli,GLI"], 2, "GLI is named twice"),
    ("no near infrared", rgb, ["--index", "gli,ndvi"], 65, "NDVI needs nir, red; no band is known as nir among 3 bands (red, green, blue). Say which is which: --bands nir=?,red=1"),
    ("bands without roles", rgb, ["--index", "gli", "--bands", "1,2,3"], 2, "expected roles"),
    ("a role that is none", rgb, ["--index", "gli", "--bands", "rd=1,green=2"], 2, "expected roles of red, green"),
    ("a band that is not there", rgb, ["--index", "gli", "--bands", "red=1,green=2,blue=9"], 2, "has bands 1 to 3"),
    ("a band twice", rgb, ["--index", "gli", "--bands", "red=1,green=2,blue=2"], 2, "--bands has green and blue as band 2"),
    ("bands that lack one", rgb, ["--index", "gli", "--bands", "red=1,green=2"], 65, "no band is known as blue"),
    ("a sensor that is none", rgb, ["--index", "gli", "--sensor", "m3"], 2, "did you mean m3m?"),
    ("a sensor with more bands", rgb, ["--index", "gli", "--sensor", "p4m"], 65, "the file has 3 beside alpha"),
    ("sensor and bands", rgb, ["--index", "gli", "--sensor", "rgb", "--bands", "red=1"], 2, "give one of them"),
    ("a scale of 0", rgb, ["--index", "gli", "--scale", "0"], 2, "expected a number above 0"),
    ("nodata that no pixel has", rgb, ["--index", "gli", "--nodata", "-1"], 2, "cannot occur in uint8"),
    ("counts without a scale", counts, ["--index", "evi", *NIR], 65, "EVI needs reflectances 0 to 1, the file holds uint16"),
    ("counts of a camera without one", counts, ["--index", "savi", "--sensor", "m3m"], 65, "nothing says their scale"),
    ("counts as floats", ten_thousands, ["--index", "savi", *NIR], 65, "the numbers go up to 10200"),
    ("no data at all", empty, ["--index", "exg"], 65, "ExG has a number at no pixel"),
    ("a damaged file", cut, ["--index", "exg"], 65, "cannot be read, the file is damaged there"),
    ("no such file", lambda path: None, ["--index", "exg"], 66, "no such file"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "flags", "code", "says"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    make: Callable[[Path], None], flags: list[str], code: int, says: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    make(Path("field.tif"))
    before = sorted(Path().iterdir())
    found, out, err = run(capfd, "field.tif", *flags)
    assert (found, out) == (code, ""), err
    assert says in err
    assert err.count("\n") == 1
    assert len(err) <= 301
    assert sorted(Path().iterdir()) == before


def test_a_scale_by_the_user_is_believed_but_not_in_silence(tmp_path: Path) -> None:
    ten_thousands(tmp_path / "field.tif")
    bands = {"red": 1, "green": 2, "blue": 3, "nir": 4}
    for scale, warned in ((1.0, True), (1e-4, False)):
        made = write_indices(
            tmp_path / "field.tif", ["savi"], tmp_path, IndexOptions(bands=bands, scale=scale), overwrite=True
        )
        assert any("needs reflectances 0 to 1" in text for text in made.warnings) == warned


# real rasters

REAL = [
    ("micasense/615.tif", FIVE, 1.0),
    ("naip_rgbn/20160816.tif", {"red": 1, "green": 2, "blue": 3, "nir": 4}, 1 / 255),
    ("drone_rgba/orthomosaic.tif", {"red": 1, "green": 2, "blue": 3}, 1 / 255),
    ("sentinel2_uint16/S2_L2A.tif", {"red": 1, "green": 2, "blue": 3, "nir": 4}, 1e-4),
]


@pytest.mark.parametrize(("name", "bands", "scale"), REAL, ids=[case[0].split("/")[0] for case in REAL])
def test_real_rasters_are_the_catalogues(tmp_path: Path, name: str, bands: dict[str, int], scale: float) -> None:
    image = DATA / name
    with rasterio.open(image) as dataset:
        valid = roles_of(dataset.read_masks() > 0, bands)
        reflectance = roles_of(dataset.read() * np.float64(scale), bands)
    fit = [index for index in ("VARI", "ExG", "EVI", "NDRE") if {*get_index(index).roles} <= {*bands}]
    given = scale if image.stem.startswith("S2") else None
    for layer in write_indices(image, fit, tmp_path, IndexOptions(bands=bands, scale=given)).layers:
        known = np.logical_and.reduce([valid[role] for role in layer.index.roles])
        expected = np.where(known, by_spyndex(layer.index.name, reflectance), np.nan)
        found = read(layer.path)[0]
        # where a denominator cancels to rounding, the catalogue has a huge number and agriseg none
        assert (np.abs(expected[np.isnan(found) & ~np.isnan(expected)]) > 1e5).all()
        finite = ~np.isnan(found)
        assert finite[known].mean() > 0.99
        np.testing.assert_allclose(found[finite], expected[finite], rtol=1e-6, atol=1e-6)
