"""Labels in their GeoPackage: what was told saved is there, whoever reads it, and whatever killed the writer."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from conftest import write_raster
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from agriseg.errors import DataError, UsageError
from agriseg.labelling.label import Change, Label, change_of_json
from agriseg.labelling.label_file import LabelFile, OutdatedChange
from agriseg.raster.header import RasterInfo

CLASSES = ("soil", "crop", "weed")
PLACES = {
    "utm": {"crs": "EPSG:32632", "transform": rasterio.Affine(0.01, 0, 500000, 0, -0.01, 5400000)},
    "turned": {"crs": "EPSG:32632", "transform": rasterio.Affine(0.01, 0.003, 500000, 0.003, -0.01, 5400000)},
    "lonlat": {"crs": "EPSG:4326", "transform": rasterio.Affine(1e-7, 0, 9, 0, -1e-7, 48)},
    "plain": {},
}


@pytest.fixture(scope="module")
def infos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RasterInfo]:
    folder = tmp_path_factory.mktemp("rasters")
    pixels = np.zeros((3, 60, 80), np.uint8)
    return {
        name: RasterInfo.read(write_raster(folder / f"{name}.tif", pixels, **place)) for name, place in PLACES.items()
    }


corner = st.tuples(st.floats(-5, 85, width=32), st.floats(-5, 65, width=32))


@st.composite
def a_label(draw: st.DrawFn) -> Label:
    kind = draw(st.sampled_from(["point", "line", "polygon", "area"]))
    name = None if kind == "area" else draw(st.sampled_from(CLASSES))
    x, y = draw(corner)
    if kind == "point":
        shape = shapely.Point(x, y)
    elif kind == "line":
        shape = shapely.LineString([(x, y), *draw(st.lists(corner, min_size=1, max_size=4))])
    else:
        shape = shapely.box(x, y, x + draw(st.floats(0.5, 30)), y + draw(st.floats(0.5, 30)))
    return Label(str(uuid.UUID(int=draw(st.integers(1, 2**100)))), kind, name, shape)


def same(one: Label, other: Label) -> bool:
    near = np.abs(shapely.get_coordinates(one.shape) - shapely.get_coordinates(other.shape)).max() < 2e-6
    return (one.id, one.kind, one.class_name) == (other.id, other.kind, other.class_name) and bool(near)


@settings(max_examples=25, deadline=None)
@given(data=st.data(), place=st.sampled_from(list(PLACES)))
def test_changes_are_on_disk(
    infos: dict[str, RasterInfo], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, place: str
) -> None:
    path = tmp_path_factory.mktemp("labels") / "labels.gpkg"
    file, wanted = LabelFile(path, infos[place], CLASSES), {}
    for _ in range(data.draw(st.integers(1, 5))):
        removed = data.draw(st.lists(st.sampled_from(sorted(wanted)), unique=True)) if wanted else []
        added = data.draw(st.lists(a_label(), max_size=4, unique_by=lambda label: label.id))
        added = [label for label in added if label.id not in wanted or label.id in removed]
        version = file.apply(Change(file.version, tuple(added), tuple(removed)))
        assert version == file.version
        wanted = {key: label for key, label in wanted.items() if key not in removed} | {x.id: x for x in added}
    file.close()
    again = LabelFile(path, infos[place], CLASSES)
    found = {label.id: label for label in again.labels}
    again.close()
    assert found.keys() == wanted.keys()
    assert all(same(found[key], wanted[key]) for key in wanted)
    _check_by_ogr(path, infos[place], wanted)


def _check_by_ogr(path: Path, info: RasterInfo, wanted: dict[str, Label]) -> None:
    """An independent reader finds the same classes at the same places."""
    for layer, kinds in (("labels", ("point", "line", "polygon")), ("areas", ("area",))):
        meta, _, shapes, columns = pyogrio.raw.read(path, layer=layer)
        values = dict(zip(meta["fields"], columns, strict=True))
        ids = list(values["id"]) if len(shapes) else []
        assert sorted(ids) == sorted(key for key, label in wanted.items() if label.kind in kinds)
        for key, wkb in zip(ids, shapes, strict=True):
            xy = shapely.get_coordinates(shapely.from_wkb(wkb))
            cells = xy * (1, -1) if info.georeference.crs is None else np.stack(~info.georeference.transform @ xy.T).T
            assert np.abs(cells - shapely.get_coordinates(wanted[key].shape)).max() < 1e-3
        if layer == "labels":
            assert [wanted[key].class_name for key in ids] == list(values["class"] if len(shapes) else [])


def test_a_change_on_other_labels_is_refused(infos: dict[str, RasterInfo], tmp_path: Path) -> None:
    file = LabelFile(tmp_path / "labels.gpkg", infos["utm"], CLASSES)
    label = Label("a", "point", "crop", shapely.Point(3, 4))
    first = file.version
    file.apply(Change(first, (label,), ()))
    for change in (Change(first, (), ("a",)), Change(file.version, (label,), ()), Change(file.version, (), ("b",))):
        with pytest.raises(OutdatedChange):
            file.apply(change)
    assert [each.id for each in file.labels] == ["a"]
    file.close()


def test_undoing_a_removal_restores_what_qgis_wrote(infos: dict[str, RasterInfo], tmp_path: Path) -> None:
    path = _by_qgis(tmp_path / "labels.gpkg", infos["utm"])
    before = _rows(path)
    file = LabelFile(path, infos["utm"], CLASSES)
    labels = file.labels
    assert [label.kind for label in labels] == ["polygon", "point", "area"]
    file.apply(Change(file.version, (), tuple(label.id for label in labels)))
    sent = [_resent(label) for label in labels]
    file.apply(Change(file.version, tuple(sent), ()))
    file.close()
    assert [row[1:] for row in _rows(path)] == [row[1:] for row in before]  # all but the number of the row


def _resent(label: Label) -> Label:
    """The label as a page sends it back: the first ring alone."""
    corners = label.xy
    shape = shapely.Point(corners[0]) if label.kind == "point" else shapely.Polygon(corners)
    return Label(label.id, label.kind, label.class_name, shape)


def _by_qgis(path: Path, info: RasterInfo) -> Path:
    """A file with a spatial index, a column of notes, a ring with a hole, and no ids."""
    to = info.georeference.transform
    ring = shapely.Polygon(shapely.box(5, 5, 30, 30).exterior, [shapely.box(10, 10, 20, 20).exterior])
    shapes = [shapely.transform(each, lambda xy: np.stack(to @ xy.T).T) for each in (ring, shapely.Point(50, 50))]
    columns = {"class": np.array(["crop", "weed"], object), "note": np.array(["by hand", 'ask "Lee"'], object)}
    for layer, geometry, fields, kind in (
        ("labels", shapes, columns, "Unknown"), ("areas", [shapely.box(*shapes[0].bounds)], {"note": np.array(["all"], object)}, "Polygon"),
    ):  # fmt: skip
        pyogrio.raw.write(
            path, shapely.to_wkb(np.array(geometry, object)), list(fields.values()), list(fields), layer=layer,
            driver="GPKG", geometry_type=kind, crs="EPSG:32632", append=path.exists(),
            layer_options={"SPATIAL_INDEX": "YES"},
        )  # fmt: skip
    return path


def _rows(path: Path) -> list[tuple[object, ...]]:
    with sqlite3.connect(path) as package:
        return [
            row
            for layer, names in (("labels", "class, note, geom"), ("areas", "note, geom"))
            for row in package.execute(f"SELECT fid, {names} FROM {layer} ORDER BY fid")
        ]


def test_a_spatial_index_stays_right(infos: dict[str, RasterInfo], tmp_path: Path) -> None:
    path = _by_qgis(tmp_path / "labels.gpkg", infos["utm"])
    file = LabelFile(path, infos["utm"], CLASSES)
    file.apply(Change(file.version, (Label("new", "point", "soil", shapely.Point(70, 10)),), (file.labels[0].id,)))
    file.close()
    x, y = infos["utm"].georeference.transform @ (70, 10)
    box = (x - 0.02, y - 0.02, x + 0.02, y + 0.02)
    assert pyogrio.read_info(path, layer="labels")["features"] == 2
    assert len(pyogrio.raw.read(path, layer="labels", bbox=box)[2]) == 1


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path, info: path.write_bytes(b"no package"), "no GeoPackage"),
        (lambda path, info: _one_layer(path, "fields", "EPSG:32632", "crop"), "no layer 'labels'"),
        (lambda path, info: _both(path, "EPSG:32633", "crop"), "another CRS"),
        (lambda path, info: _both(path, "EPSG:32632", "maize"), "class 'maize'"),
    ],
)
def test_a_file_that_is_none_of_ours(infos: dict[str, RasterInfo], tmp_path: Path, make: object, says: str) -> None:
    path = tmp_path / "labels.gpkg"
    make(path, infos["utm"])  # type: ignore[operator]
    with pytest.raises(DataError, match=says):
        LabelFile(path, infos["utm"], CLASSES)


def _one_layer(path: Path, layer: str, crs: str, name: str, kind: str = "Unknown") -> None:
    shapes = shapely.to_wkb(np.array([shapely.box(500000, 5399999, 500000.1, 5400000)], object))
    pyogrio.raw.write(
        path, shapes, [np.array([name], object)], ["class"], layer=layer, driver="GPKG", geometry_type=kind, crs=crs,
        append=path.exists(),
    )  # fmt: skip


def _both(path: Path, crs: str, name: str) -> None:
    _one_layer(path, "labels", crs, name)
    _one_layer(path, "areas", crs, name, "Polygon")


WRITER = """
import sys, shapely
from pathlib import Path
from agriseg.labelling.label import Change, Label
from agriseg.labelling.label_file import LabelFile
from agriseg.raster.header import RasterInfo
file = LabelFile(Path(sys.argv[1]), RasterInfo.read(Path(sys.argv[2])), ("soil", "crop", "weed"))
number = 1 + max((int(each.id[1:]) for each in file.labels), default=-1)
while True:
    shape = shapely.Point(number % 80, number % 60) if number % 3 else shapely.box(1, 1, 2 + number % 70, 9)
    label = Label(f"n{number}", "point" if number % 3 else "polygon", "weed", shape)
    removed = (f"n{number - 5}",) if number >= 5 and number % 7 == 0 else ()
    present = {each.id for each in file.labels}
    file.apply(Change(file.version, (label,), tuple(each for each in removed if each in present)))
    print(number, flush=True)
    number += 1
"""


@pytest.mark.fault
@pytest.mark.parametrize("seed", range(4))
def test_killed_while_it_writes(
    infos: dict[str, RasterInfo], tmp_path: Path, seed: int, pytestconfig: pytest.Config
) -> None:
    """What was told saved is in the file, which OGR reads, after a kill at a random moment."""
    path, rng = tmp_path / "labels.gpkg", np.random.default_rng(seed)
    told = -1
    for _ in range(25 if pytestconfig.getoption("--long") else 2):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, path, infos["utm"].path], stdout=subprocess.PIPE, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        ) as process:  # fmt: skip
            assert process.stdout is not None
            for _ in range(int(rng.integers(1, 40))):
                told = int(process.stdout.readline())
            for _ in range(int(rng.integers(0, 20000))):  # somewhere within the next change
                pass
            os.kill(process.pid, signal.SIGKILL)
            told = max([told, *(int(line) for line in process.stdout.read().splitlines())])
        _, _, shapes, columns = pyogrio.raw.read(path, layer="labels", columns=["id"])
        assert f"n{told}" in list(columns[0])
        assert all(shapely.is_valid(shapely.from_wkb(shapes)))
        file = LabelFile(path, infos["utm"], CLASSES)
        file.close()


@settings(max_examples=200, deadline=None)
@given(
    body=st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(max_size=8) | st.integers(),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(
                    st.sampled_from(["version", "add", "remove", "id", "kind", "class", "xy", "x"]), inner
                )
            ),
            max_leaves=20,
        ).map(lambda tree: __import__("json").dumps(tree).encode()),
    )
)
def test_a_request_is_a_change_or_one_sentence(body: bytes) -> None:
    with contextlib.suppress(UsageError):
        change = change_of_json(body, CLASSES, (80, 60))
        assert all(np.isfinite(shapely.get_coordinates(label.shape)).all() for label in change.add)


def test_crs_of_a_new_file_is_that_of_the_raster(infos: dict[str, RasterInfo], tmp_path: Path) -> None:
    for name, info in infos.items():
        LabelFile(tmp_path / f"{name}.gpkg", info, CLASSES).close()
        crs = pyogrio.read_info(tmp_path / f"{name}.gpkg", layer="labels")["crs"]
        assert (CRS.from_user_input(crs) if crs and "Undefined" not in crs else None) == info.georeference.crs
