"""Prescriptions for machines: laws of the files, read by readers of their own and by those of others."""

import json
import os
import runpy
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import machine_mutations as mutations
import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from isoxml.converter.np_grid import to_numpy_array
from isoxml.models.ddi_entities import DDEntity
from isoxml.util.isoxml_io import isoxml_from_path
from lxml import etree
from rasterio.crs import CRS
from taskdata_schemas import version_3, version_4

from agriseg.errors import DataError, OutputError, StorageError, UsageError
from agriseg.machine_files import write as writing
from agriseg.machine_files.confirm import PLACES, confirm, sampled_places
from agriseg.machine_files.ground import polygon_areas, strip_areas
from agriseg.machine_files.prescription import Prescription, RateUnit
from agriseg.machine_files.profiles import TABLE, Limits, MachineProfile, load_profile, profiles, profiles_of
from agriseg.machine_files.write import read_machine_file, write_machine_files
from agriseg.raster.georeference import Georeference
from agriseg.vectors.ogr import read_layer

NODE = Path(__file__).parent / "node"
ISOXML = [profile for profile in profiles() if profile.format == "taskdata"]
ALL = [pytest.param(profile, id=profile.id) for profile in profiles()]


def lonlat_grid(
    rates: np.ndarray, *, west: float = 8.5, north: float = 50.25, across: float = 7e-6, up: float = 5e-6
) -> tuple[Georeference, shapely.MultiPolygon]:
    rows, cols = rates.shape
    place = Georeference(CRS.from_epsg(4326), rasterio.Affine(across, 0, west, 0, -up, north))
    return place, shapely.MultiPolygon([shapely.box(west, north - rows * up, west + cols * across, north)])


def prescribed(rates: np.ndarray, unit: RateUnit = RateUnit.LITRES, name: str = "north", **grid: float) -> Prescription:
    rates = np.asarray(rates, np.float64)
    place, boundary = lonlat_grid(rates, **grid)
    return Prescription(name, place, rates, unit, boundary, "Water")


def turned(rates: np.ndarray, *, side: float, angle: float, epsg: int, north: float) -> Prescription:
    """Cells that are turned in UTM."""
    rates = np.asarray(rates, np.float64)
    rows, cols = rates.shape
    transform = rasterio.Affine.translation(480_000, north) @ rasterio.Affine.rotation(angle)
    place = Georeference(CRS.from_epsg(epsg), transform @ rasterio.Affine.scale(side, -side))
    corners = place.transform @ (np.array([0, cols, cols, 0.0]), np.array([0, 0, rows, rows * 1.0]))
    lonlat = place.lonlat(*corners)
    boundary = shapely.MultiPolygon([shapely.Polygon(lonlat.T)])
    return Prescription("turned", place, rates, RateUnit.LITRES, boundary)


def sparse(rows: int, cols: int, *, seed: int = 1, share: float = 0.2) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.where(random.random((rows, cols)) < share, random.choice([80.0, 100.0, 200.0], (rows, cols)), 0.0)


FIELD = prescribed(sparse(9, 12))


def written(prescription: Prescription, profile: MachineProfile, folder: Path) -> Path:
    return write_machine_files(prescription, profile, folder).paths[0]


# Profiles


def test_profiles_have_sources() -> None:
    assert len(profiles()) == 15
    assert all(source.rule and source.source for profile in profiles() for source in profile.sources)
    assert "works with" not in TABLE.read_text().lower()


def test_the_page_has_the_tables_of_the_machines() -> None:
    docs = Path(__file__).parents[1] / "docs"
    text = (docs / "prescription.md").read_text("utf-8")
    assert runpy.run_path(str(docs / "make_machines.py"))["page"](text) == text
    assert "works with" not in text.lower()


def test_an_unknown_machine_is_refused() -> None:
    with pytest.raises(UsageError, match="'plough' is unknown; expected isoxml, "):
        load_profile("plough")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('column = "RATE"', 'column = "RATE_LITRES_PER_HA"'),
        ('column = "RATE"', ""),
        ("grid_type = 1", "grid_type = 3"),
        ("version = 3", ""),
        ("rates = 254", "rates = 0"),
        (", rates = 254", ""),
        ("bytes = 250_000", "octets = 250_000"),
        ('id = "cnh"', 'id = "raven"'),
    ],
)
def test_a_wrong_table_is_refused(old: str, new: str) -> None:
    text = TABLE.read_text()
    assert old in text
    with pytest.raises(ValueError):  # noqa: PT011 (pydantic's text)
        profiles_of(text.replace(old, new, 1))


# Task data by the published schemas, and by readers of others


@pytest.mark.parametrize("profile", ISOXML, ids=lambda profile: profile.id)
def test_task_data_obey_the_published_schema(profile: MachineProfile, tmp_path: Path) -> None:
    hole = shapely.box(8.50001, 50.249965, 8.50003, 50.249975)
    two = shapely.MultiPolygon([FIELD.boundary.geoms[0].difference(hole), shapely.box(8.6, 50.2, 8.7, 50.3)])
    path = written(replace(FIELD, boundary=two, product="Ä" * 40), profile, tmp_path)
    root = etree.fromstring(mutations.members(path)[mutations.XML])
    schema = version_3() if profile.version == 3 else version_4()
    schema.assertValid(root)
    for element, attribute, value in (
        ("TSK", "H", "255"),
        ("CTR", "A", "CTR-"),
        ("PDT", "B", "x" * 33),
        ("GRD", "I", "3"),
    ):
        broken = etree.fromstring(etree.tostring(root))
        next(broken.iter(element)).set(attribute, value)
        assert not schema.validate(broken), (element, attribute)


@pytest.mark.parametrize("profile", ISOXML, ids=lambda profile: profile.id)
@pytest.mark.parametrize("unit", RateUnit)
def test_isoxml_of_pypi_reads_the_rates(profile: MachineProfile, unit: RateUnit, tmp_path: Path) -> None:
    prescription = replace(FIELD, unit=unit)
    with zipfile.ZipFile(written(prescription, profile, tmp_path)) as archive:
        archive.extractall(tmp_path)
    data, files = isoxml_from_path(tmp_path / "TASKDATA")
    task = data.tasks[0]
    grid = task.grids[0]
    entity = DDEntity.from_bytes(task.treatment_zones[0].process_data_variables[0].process_data_ddi)
    per_hectare = entity.bit_resolution * 1e-6 * 1e4  # mm3 or mg of a m2 to l or kg of a ha
    cells = to_numpy_array(files[grid.filename], grid)
    if profile.grid_type == 1:
        zones = {zone.code: zone.process_data_variables[0].process_data_value for zone in task.treatment_zones}
        cells = np.vectorize(zones.get)(cells)
    lon, lat, expected = sampled_places(prescription, np.random.default_rng(5))
    col = np.floor((lon - float(grid.minimum_east_position)) / grid.cell_east_size).astype(int)
    row = np.floor((lat - float(grid.minimum_north_position)) / grid.cell_north_size).astype(int)
    inside = (col >= 0) & (col < grid.maximum_column) & (row >= 0) & (row < grid.maximum_row)
    found = np.where(inside, cells[np.clip(row, 0, 8), np.clip(col, 0, 11)] * per_hectare, 0)
    assert np.isclose(found, expected, rtol=1e-9).sum() == PLACES
    assert 0.1 < (expected > 0).mean() < 0.9


def node_missing() -> str:
    if shutil.which("node") is None:
        return "Node is not on this machine"
    return "" if (NODE / "node_modules" / "isoxml").exists() else "isoxml is not there: cd tests/node && npm ci"


@pytest.mark.skipif(bool(node_missing()), reason=node_missing())
@pytest.mark.parametrize("profile", ISOXML, ids=lambda profile: profile.id)
@pytest.mark.parametrize("north", [50.25, -33.1])
def test_isoxml_of_npm_reads_the_rates_without_a_warning(profile: MachineProfile, north: float, tmp_path: Path) -> None:
    prescription = prescribed(sparse(9, 12), north=north)
    path = written(prescription, profile, tmp_path)
    lon, lat, expected = sampled_places(prescription, np.random.default_rng(6))
    done = subprocess.run(
        ["node", str(NODE / "read_taskdata.mjs"), str(path)],
        input=json.dumps(np.stack([lon, lat], 1).tolist()), capture_output=True, text=True, check=True,
    )  # fmt: skip
    answer = json.loads(done.stdout)
    assert answer["warnings"] == []
    assert answer["unit"] == "l/ha"
    assert np.isclose(answer["rates"], expected, rtol=1e-9).sum() == PLACES


# Faults


def _faults() -> list[object]:
    sides = (7e-6, 5e-6, 50.25 - 9 * 5e-6 / 2)
    tables = {
        "isoxml": mutations.TASKDATA_2, "isoxml-v4-type2": mutations.TASKDATA_2,
        "isoxml-v3-type1": mutations.TASKDATA_1, "isoxml-v4-type1": mutations.TASKDATA_1,
        "shapefile": mutations.shapes(*sides), "john-deere": mutations.shapes(*sides),
        "dji-agras": mutations.AGRAS, "geopackage": mutations.geopackage(*sides),
    }  # fmt: skip
    return [
        pytest.param(load_profile(name), mutate, id=f"{name}: {fault}")
        for name, faults in tables.items() for fault, mutate in faults.items()
    ]  # fmt: skip


@pytest.mark.parametrize(("profile", "mutate"), _faults())
def test_each_fault_is_caught_by_reading_back(
    profile: MachineProfile, mutate: Callable[[Path], None], tmp_path: Path
) -> None:
    path = written(FIELD, profile, tmp_path)
    confirm(FIELD, read_machine_file(profile, path), path)
    mutate(path)
    with pytest.raises(StorageError, match=r"north.*; report it"):
        confirm(FIELD, read_machine_file(profile, path), path)


@pytest.mark.parametrize("fault", ["half a cell north", "half a cell east", "rows flipped", "last row missing"])
@pytest.mark.parametrize(("name", "faults"), [("isoxml", mutations.TASKDATA_2), ("dji-agras", mutations.AGRAS)])
def test_a_fault_is_caught_on_a_large_field_of_one_rate(
    name: str, faults: dict[str, Callable[[Path], None]], fault: str, tmp_path: Path
) -> None:
    """Nearly all places are far from where the rate changes."""
    rates = np.full((200, 200), 150.0)
    rates[:2] = 0
    field = prescribed(rates)
    path = written(field, load_profile(name), tmp_path)
    faults[fault](path)
    for seed in range(3):
        with pytest.raises(StorageError, match="is not what can be read back"):
            confirm(field, read_machine_file(load_profile(name), path), path, seed)


@pytest.mark.parametrize("profile", ALL)
def test_a_damaged_file_is_no_internal_error(profile: MachineProfile, tmp_path: Path) -> None:
    field = prescribed(sparse(4, 5))
    path = written(field, profile, tmp_path)
    whole = path.read_bytes()
    random = np.random.default_rng(2)
    for size in random.integers(0, len(whole), 12):
        path.write_bytes(whole[:size])
        with pytest.raises(StorageError):
            confirm(field, read_machine_file(profile, path), path)


def test_a_file_that_does_not_read_back_gets_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = load_profile("isoxml")
    right = writing._WRITERS["taskdata"]

    def flipped(item: object, profile: MachineProfile, path: Path) -> None:
        right(item, profile, path)
        mutations.TASKDATA_2["rows flipped"](path)

    monkeypatch.setitem(writing._WRITERS, "taskdata", flipped)
    with pytest.raises(StorageError, match="is not what can be read back"):
        write_machine_files(FIELD, profile, tmp_path)
    assert list(tmp_path.iterdir()) == []


# Laws

rate_values = st.one_of(st.sampled_from([0.0, 0.0, 80.0, 120.5]), st.floats(0.05, 5000, allow_subnormal=False))


@st.composite
def rate_grids(draw: st.DrawFn) -> np.ndarray:
    rows, cols = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    rates = draw(st.lists(rate_values, min_size=rows * cols, max_size=rows * cols))
    rates[draw(st.integers(0, len(rates) - 1))] = draw(st.floats(1, 300))
    return np.array(rates).reshape(rows, cols)


def centres(prescription: Prescription) -> tuple[np.ndarray, np.ndarray]:
    rows, cols = np.indices(prescription.rates.shape).reshape(2, -1) + 0.5
    lon, lat = prescription.georeference.lonlat(*prescription.georeference.transform @ (cols, rows))
    return lon, lat


def check_law(prescription: Prescription, profile: MachineProfile, folder: Path) -> None:
    """Each cell has its rate by the file, to the digits of the format; what differs is said."""
    made = write_machine_files(prescription, profile, folder, overwrite=True)
    read = read_machine_file(profile, made.paths[0])
    found = read.rates.at(*centres(prescription)).reshape(prescription.rates.shape)
    assert ((found > 0) == (prescription.rates > 0)).all()
    digits = {"taskdata": 1e-4 if prescription.unit is RateUnit.LITRES else 1e-2}.get(profile.format, 1e-9)
    np.testing.assert_allclose(found, prescription.rates, rtol=1e-6, atol=0.51 * digits)
    if (np.abs(found - prescription.rates) > 1.1e-6 * prescription.rates).any():
        assert any("a rate changes by at most" in loss for loss in made.losses)
    assert np.isclose(made.written.amount, read.rates.amount, rtol=1e-5)
    if profile.grid == "any":
        assert shapely.is_valid(read.rates.polygons).all()


@pytest.mark.parametrize("profile", ALL)
@settings(max_examples=12, deadline=None)
@given(
    rates=rate_grids(), unit=st.sampled_from(RateUnit), north=st.floats(-68, 68), west=st.floats(-179, 178),
    side=st.floats(0.25, 30),
)  # fmt: skip
def test_each_cell_has_its_rate_along_the_degrees(
    profile: MachineProfile, rates: np.ndarray, unit: RateUnit, north: float, west: float, side: float,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    up = side / 111_000
    across = up / np.cos(np.radians(north))
    assume(unit.value in profile.units)
    prescription = prescribed(rates, unit, west=west, north=north, across=across, up=up)
    check_law(prescription, profile, tmp_path_factory.mktemp("laws"))


@pytest.mark.parametrize("name", ["shapefile", "geopackage"])
@settings(max_examples=20, deadline=None)
@given(
    rates=rate_grids(), side=st.floats(0.25, 60), angle=st.floats(-180, 180),
    zone=st.sampled_from([(32632, 5_560_000), (32632, 100_000), (32732, 6_200_000), (32632, 7_700_000)]),
)  # fmt: skip
def test_each_turned_cell_has_its_rate(
    name: str, rates: np.ndarray, side: float, angle: float, zone: tuple[int, int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    prescription = turned(rates, side=side, angle=angle, epsg=zone[0], north=zone[1])
    check_law(prescription, load_profile(name), tmp_path_factory.mktemp("turned"))


def test_long_sides_in_utm_stay_on_their_cells(tmp_path: Path) -> None:
    """2 km of one rate: drawn in degrees as one straight side it would be off by more than a tenth of a cell."""
    rates = np.zeros((6, 4000))
    rates[2:4] = 150
    prescription = turned(rates, side=0.5, angle=3, epsg=32632, north=6_700_000)
    path = written(prescription, load_profile("shapefile"), tmp_path)
    read = read_machine_file(load_profile("shapefile"), path)
    assert len(read.rates.rates) == 3
    for row, expected in ((1.97, 0), (2.03, 150), (3.97, 150), (4.03, 0)):
        places = prescription.georeference.transform @ (np.linspace(1, 3999, 3000), np.full(3000, row))
        assert (read.rates.at(*prescription.georeference.lonlat(*places)) == expected).all()


@pytest.mark.parametrize("name", [profile.id for profile in profiles() if profile.grid == "lonlat"])
def test_turned_cells_are_refused_where_the_format_has_none(name: str, tmp_path: Path) -> None:
    for angle in (0, 30):
        prescription = turned(sparse(4, 5), side=1, angle=angle, epsg=32632, north=5_560_000)
        with pytest.raises(UsageError, match=f"{name} holds cells along the degrees of EPSG:4326"):
            write_machine_files(prescription, load_profile(name), tmp_path)


def test_a_prescription_without_a_crs_is_refused(tmp_path: Path) -> None:
    nowhere = replace(FIELD, georeference=replace(FIELD.georeference, crs=None))
    with pytest.raises((UsageError, DataError), match="CRS"):
        write_machine_files(nowhere, load_profile("shapefile"), tmp_path)


def test_ground_equals_that_of_proj() -> None:
    geod = pyproj.Geod(ellps="WGS84")
    random = np.random.default_rng(3)
    west, south = random.uniform(-179, 178, 50), random.uniform(-75, 75, 50)
    width, height = random.uniform(1e-6, 1e-3, (2, 50))
    boxes = shapely.box(west, south, west + width, south + height)
    holes = shapely.box(west + width / 4, south + height / 4, west + width / 2, south + height / 2)
    expected = [abs(geod.geometry_area_perimeter(box)[0]) for box in boxes]
    strips = np.array([strip_areas(s, s + h, w) for s, h, w in zip(south, height, width, strict=True)])
    np.testing.assert_allclose(polygon_areas(boxes), expected, rtol=1e-6)
    np.testing.assert_allclose(strips, expected, rtol=1e-6)
    np.testing.assert_allclose(
        polygon_areas(shapely.difference(boxes, holes)), polygon_areas(boxes) - polygon_areas(holes), rtol=1e-6
    )


# Limits


def gradient(rows: int, cols: int) -> np.ndarray:
    return np.linspace(50, 250, rows * cols).reshape(rows, cols)


def comb(teeth: int) -> np.ndarray:
    """One outline with two vertices or more for each tooth."""
    rates = np.zeros((3, 2 * teeth))
    rates[0], rates[1, ::2] = 100, 100
    return rates


def checkers(rows: int, cols: int) -> np.ndarray:
    return np.indices((rows, cols)).sum(0) % 2 * 100.0


def breaking(limit: str, profile: MachineProfile) -> Prescription:
    """A prescription beyond a limit."""
    if limit == "rates":
        return prescribed(gradient(20, 50))
    if limit == "features":
        return prescribed(gradient(1, 150))
    if limit == "hectares":
        return prescribed(sparse(9, 12), across=5e-3, up=5e-3)
    if limit in ("text_length", "short_names"):
        return replace(FIELD, name="Schlag Nord/Öst 2026 hinter dem langen Wald", rates=FIELD.rates)
    if profile.id == "dji-agras":
        return prescribed(sparse(1600, 1600, share=0.001))
    return prescribed(comb(5000) if profile.id == "agrotax" else checkers(380, 380))


MERGED = {("agrotax", "features"), ("isoxml-v3-type1", "rates"), ("isoxml-v4-type1", "rates")}
RENAMED = ("text_length", "short_names")
ONE_COLUMN = ("columns",)  # of numbers is all that is written


@pytest.mark.parametrize(
    ("profile", "limit"),
    [
        pytest.param(profile, field.name, id=f"{profile.id}: {field.name}")
        for profile in profiles() for field in fields(Limits)
        if getattr(profile.limits, field.name) not in (None, False) and field.name not in ONE_COLUMN
    ],
)  # fmt: skip
def test_each_limit_is_kept_or_refused(profile: MachineProfile, limit: str, tmp_path: Path) -> None:
    prescription = breaking(limit, profile)
    if limit in RENAMED and profile.limits.features:
        prescription = replace(prescription, rates=np.where(np.indices((9, 12))[1] < 6, 0.0, 100.0))
    if limit not in RENAMED and (profile.id, limit) not in MERGED:
        with pytest.raises(DataError, match=rf"{profile.id} takes [\d,.]+( ha)?; (give larger cells|cut the field)"):
            write_machine_files(prescription, profile, tmp_path)
        assert list(tmp_path.iterdir()) == []
        return
    made = write_machine_files(prescription, profile, tmp_path)
    assert made.losses
    assert within(profile, mutations.members(made.paths[0]))
    assert ((made.written.rates > 0) == (prescription.rates > 0)).all()
    if limit not in RENAMED:
        assert "a rate changes by at most" in made.losses[-1]
        assert abs(made.written.amount / prescription.amount - 1) < 1e-3
        assert np.abs(made.written.rates - prescription.rates).max() <= 200 / (50 if limit == "features" else 254)


def within(profile: MachineProfile, content: dict[str, bytes]) -> bool:
    """Whether the files are within the limits, by their bytes."""
    limits = profile.limits
    assert sum(map(len, content.values())) <= (limits.bytes or np.inf)
    if limits.short_names:
        assert all(len(name.split(".")[0]) <= 8 and name.split(".")[0].isalnum() and name.isascii() for name in content)
        assert all(name.split(".")[0].isupper() for name in content)
    if limits.features:
        table = next(data for name, data in content.items() if name.endswith(".dbf"))
        assert int.from_bytes(table[4:8], "little") <= limits.features
        assert (int.from_bytes(table[8:10], "little") - 33) // 32 <= limits.columns
    if limits.text_length:
        root = etree.fromstring(content[mutations.XML])
        assert max(len(element.get("B", "")) for element in root.iter()) <= limits.text_length
        assert len(list(root.iter("TZN"))) <= (limits.rates or 254) + 1
    return True


@settings(max_examples=40, deadline=None)
@given(rates=rate_grids(), count=st.integers(1, 5))
def test_merged_rates_keep_the_amount_and_the_ground(rates: np.ndarray, count: int, tmp_path_factory: object) -> None:
    profile = load_profile("isoxml-v3-type1")
    profile = replace(profile, limits=replace(profile.limits, rates=count))
    prescription = prescribed(rates)
    made = write_machine_files(prescription, profile, tmp_path_factory.mktemp("merged"))  # type: ignore[attr-defined]
    assert len(np.unique(made.written.rates[rates > 0])) <= count
    assert ((made.written.rates > 0) == (rates > 0)).all()
    spread = np.ptp(rates[rates > 0])
    assert np.abs(made.written.rates - rates).max() <= spread / count * (1 + 1e-9) + 1e-4
    assert abs(made.written.amount - prescription.amount) <= 1e-4 * (rates > 0).sum() * prescription.cell_areas().max()


@pytest.mark.parametrize("rate", [0.00004, 300_000])
def test_a_rate_beyond_the_numbers_of_task_data_is_refused(rate: float, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"isoxml holds 0\.0001 to 214748; give a rate between them"):
        write_machine_files(prescribed(np.array([[100, rate]])), load_profile("isoxml"), tmp_path)


def test_a_rate_beyond_a_column_of_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"shapefile holds 1e-09 to 1e\+08; give a rate"):
        write_machine_files(prescribed(np.array([[2e9]])), load_profile("shapefile"), tmp_path)


@pytest.mark.parametrize("name", ["shapefile", "agrotax", "dji-agras"])
def test_columns_of_tables_are_those_of_dbase(name: str, tmp_path: Path) -> None:
    """At most 19 characters for a number; GDAL would take 24. GDAL reads the same values."""
    prescription = prescribed(gradient(1, 7))
    path = written(prescription, load_profile(name), tmp_path)
    content = mutations.members(path)
    stem = next(each[:-4] for each in content if each.endswith(".dbf"))
    table = content[f"{stem}.dbf"]
    columns = [table[at : at + 32] for at in range(32, int.from_bytes(table[8:10], "little") - 1, 32)]
    assert all(column[16] <= 19 for column in columns if column[11:12] == b"N")
    for each, data in content.items():
        (tmp_path / Path(each).name).write_bytes(data)
    read = read_layer(tmp_path / f"{Path(stem).name}.shp")
    if name != "dji-agras":
        np.testing.assert_allclose(np.sort(read.columns["RATE"]), gradient(1, 7)[0], atol=1e-9)
    else:
        assert read.columns["NAME"].tolist() == ["north_l_per_ha"]


@pytest.mark.parametrize("change", [{"name": " "}, {"name": "a\x01b"}, {"product": "\ud800"}])
def test_a_name_that_no_file_can_hold_is_refused(change: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is empty or holds control characters"):
        write_machine_files(replace(FIELD, **change), load_profile("isoxml"), tmp_path)


def test_the_area_of_the_field_is_that_of_its_boundary(tmp_path: Path) -> None:
    wide = shapely.MultiPolygon([shapely.box(8.49, 50.24, 8.51, 50.26)])
    path = written(replace(FIELD, boundary=wide), load_profile("isoxml"), tmp_path)
    area = float(etree.fromstring(mutations.members(path)[mutations.XML]).find("PFD").get("D"))
    assert abs(area / abs(pyproj.Geod(ellps="WGS84").geometry_area_perimeter(wide.geoms[0])[0]) - 1) < 1e-4


@pytest.mark.parametrize("rate", [1e-50, 1e39])
def test_a_rate_beyond_float32_is_refused(rate: float, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="dji-agras holds"):
        write_machine_files(prescribed(np.array([[100, rate]])), load_profile("dji-agras"), tmp_path)


def test_a_unit_that_no_source_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="rates in kg/ha, dji-agras takes l/ha"):
        write_machine_files(replace(FIELD, unit=RateUnit.KILOGRAMS), load_profile("dji-agras"), tmp_path)


def test_kilograms_are_rounded_to_the_steps_of_task_data_and_it_is_said(tmp_path: Path) -> None:
    prescription = prescribed(np.array([[0.123, 150.0]]), RateUnit.KILOGRAMS)
    made = write_machine_files(prescription, load_profile("isoxml"), tmp_path)
    assert made.written.rates.tolist() == [[0.12, 150.0]]
    assert "a rate changes by at most 0.003 kg/ha (2.44%)" in made.losses[-1]


def test_the_unit_is_in_the_name_where_people_choose_it_at_the_import(tmp_path: Path) -> None:
    path = written(FIELD, load_profile("dji-agras"), tmp_path)
    assert sorted(mutations.members(path)) == [
        "DJI/Rx/north_l_per_ha.tfw", "DJI/Rx/north_l_per_ha.tiff",
        "DJI/Shapefile/field_boundary.dbf", "DJI/Shapefile/field_boundary.prj",
        "DJI/Shapefile/field_boundary.shp", "DJI/Shapefile/field_boundary.shx",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "folder"), [("john-deere", "Rx/"), ("track-guide", "SHP/"), ("cnh", ""), ("fieldview", ""), ("raven", "")]
)
def test_shapefiles_are_in_the_folder_of_the_brand(name: str, folder: str, tmp_path: Path) -> None:
    content = mutations.members(written(FIELD, load_profile(name), tmp_path))
    assert sorted(content) == [f"{folder}north_l_per_ha.{part}" for part in ("dbf", "prj", "shp", "shx")]


QGIS = Path("/usr/bin/python3")


def test_qgis_shows_the_rates_and_the_field_of_a_geopackage(tmp_path: Path) -> None:
    if not QGIS.exists() or subprocess.run([QGIS, "-c", "import qgis.core"], capture_output=True).returncode:
        pytest.skip(f"no QGIS for {QGIS}; Debian has it as python3-qgis")
    many = written(replace(prescribed(gradient(5, 8)), name="many"), load_profile("geopackage"), tmp_path)
    few = written(FIELD, load_profile("geopackage"), tmp_path)
    done = subprocess.run(
        [QGIS, Path(__file__).with_name("qgis_legends.py")], input=json.dumps([{"path": str(few)}, {"path": str(many)}]),
        capture_output=True, text=True, timeout=120, check=False,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown, others = json.loads(done.stdout)["tasks"]
    rates = shown["prescription"]
    assert (rates["renderer"], rates["crs"]) == ("graduatedSymbol", "EPSG:4326")
    assert [label for label, _ in rates["legend"]] == ["0 l/ha", "80 l/ha", "100 l/ha", "200 l/ha"]
    assert rates["legend"][0][1] == "#ffffff"
    assert rates["legend"][-1][1] == "#08306b"
    assert shown["field"]["legend"] == [["field", "hollow"]]
    assert len(others["prescription"]["legend"]) == 9
    assert others["prescription"]["legend"][0][0].startswith("50 to ")


# Fields and files


@pytest.mark.parametrize("profile", ALL)
def test_a_file_may_apply_nothing(profile: MachineProfile, tmp_path: Path) -> None:
    """Its grid, its field and rate 0 everywhere are read back all the same."""
    nothing = prescribed(np.zeros((3, 4)))
    path = written(nothing, profile, tmp_path)
    read = read_machine_file(profile, path)
    assert (read.rates.amount, read.rates.treated_hectares) == (0, 0)
    for other in (FIELD, prescribed(np.zeros((3, 5))), prescribed(np.eye(3, 4))):
        with pytest.raises(StorageError, match="is not what can be read back"):
            confirm(other, read, path)


@pytest.mark.parametrize(
    "boundary",
    [
        shapely.box(8.6, 50.2, 8.7, 50.3),
        shapely.box(50.2, 8.5, 50.3, 8.6),  # latitude and longitude swapped
        shapely.Polygon([(8, 50), (9, 51), (9, 50), (8, 51)]),
    ],
)
def test_a_field_elsewhere_is_refused(boundary: shapely.Polygon, tmp_path: Path) -> None:
    wrong = replace(FIELD, boundary=shapely.MultiPolygon([boundary]))
    with pytest.raises(DataError, match=r"outside the field|no valid polygon"):
        write_machine_files(wrong, load_profile("isoxml"), tmp_path)


@pytest.mark.parametrize("profile", ALL)
def test_a_boundary_with_corners_closer_than_9_decimals_is_the_same(profile: MachineProfile, tmp_path: Path) -> None:
    """Rounded, its corner in the west is another one."""
    boundary = shapely.Polygon([(8.4 + 4e-10, 50.2), (8.4, 50.26), (8.6, 50.26), (8.6, 50.2)])
    write_machine_files(replace(FIELD, boundary=shapely.MultiPolygon([boundary])), profile, tmp_path)


@pytest.mark.parametrize("profile", ALL)
def test_files_are_replaced_on_request_alone_and_have_the_same_bytes(profile: MachineProfile, tmp_path: Path) -> None:
    field = prescribed(sparse(4, 5))
    first = written(field, profile, tmp_path)
    before = first.read_bytes()
    with pytest.raises(OutputError, match="--overwrite"):
        write_machine_files(field, profile, tmp_path)
    assert write_machine_files(field, profile, tmp_path, overwrite=True).paths == (first,)
    assert first.read_bytes() == before
    assert list(tmp_path.iterdir()) == [first]


def test_a_zip_has_no_date_of_its_own(tmp_path: Path) -> None:
    with zipfile.ZipFile(written(FIELD, load_profile("isoxml"), tmp_path)) as archive:
        assert {info.date_time[0] for info in archive.infolist()} == {1980}
