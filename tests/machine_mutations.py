"""Faults that a machine's file may have, put into files that were written right."""

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as Xml

import numpy as np
import rasterio
import shapefile
import shapely
from rasterio.io import MemoryFile

from agriseg.vectors.ogr import read_layer
from agriseg.vectors.write import write_geopackage

XML, BIN = "TASKDATA/TASKDATA.XML", "TASKDATA/GRD00001.bin"
Members = dict[str, bytes]


def members(path: Path) -> Members:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def store(path: Path, content: Members) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)


# Task data: the grid's cells, and the attributes of elements.


def _task_cells(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def mutate(path: Path) -> None:
        content = members(path)
        grid = Xml.fromstring(content[XML]).find("TSK/GRD").attrib
        kind = "<i4" if grid["I"] == "2" else "u1"
        cells = np.frombuffer(content[BIN], kind).reshape(int(grid["F"]), int(grid["E"]))
        store(path, content | {BIN: change(cells).astype(kind).tobytes()})

    return mutate


def _task_xml(change: Callable[[Xml.Element], None]) -> Callable[[Path], None]:
    def mutate(path: Path) -> None:
        content = members(path)
        root = Xml.fromstring(content[XML])
        change(root)
        store(path, content | {XML: Xml.tostring(root)})

    return mutate


def _add(element: Xml.Element, name: str, value: float) -> None:
    element.set(name, f"{float(element.get(name)) + value:.9f}")


def _half_a_cell_north(root: Xml.Element) -> None:
    grid = root.find("TSK/GRD")
    _add(grid, "A", float(grid.get("C")) / 2)


def _half_a_cell_east(root: Xml.Element) -> None:
    grid = root.find("TSK/GRD")
    _add(grid, "B", float(grid.get("D")) / 2)


def _swap(root: Xml.Element) -> None:
    for element, pairs in ((root.find("TSK/GRD"), ("AB", "CD")), *((point, ("CD",)) for point in root.iter("PNT"))):
        for one, two in pairs:
            first, second = element.get(one), element.get(two)
            element.set(one, second)
            element.set(two, first)


def _times(factor: float) -> Callable[[Xml.Element], None]:
    def change(root: Xml.Element) -> None:
        for variable in root.iter("PDV"):
            variable.set("B", str(round(int(variable.get("B")) * factor)))

    return change


def _field_elsewhere(root: Xml.Element) -> None:
    for point in root.iter("PNT"):
        _add(point, "C", 0.5)


def _grid_elsewhere(root: Xml.Element) -> None:
    _add(root.find("TSK/GRD"), "B", 0.5)


def _without_last_row(path: Path) -> None:
    """The row in the north, and what the header says of it."""
    content = members(path)
    root = Xml.fromstring(content[XML])
    grid = root.find("TSK/GRD")
    rows, length = int(grid.get("F")), int(grid.get("H"))
    short = length - length // rows
    grid.set("F", str(rows - 1))
    grid.set("H", str(short))
    store(path, content | {XML: Xml.tostring(root), BIN: content[BIN][:short]})


def _cut(path: Path) -> None:
    content = members(path)
    rows = int(Xml.fromstring(content[XML]).find("TSK/GRD").get("F"))
    store(path, content | {BIN: content[BIN][: len(content[BIN]) // rows * (rows - 1)]})


def _zone_of_values(root: Xml.Element) -> None:
    root.find("TSK/GRD").set("J", "2")


def _lost_position(root: Xml.Element) -> None:
    task = root.find("TSK")
    Xml.SubElement(Xml.SubElement(task, "TZN", A="200"), "PDV", A=task.find("TZN/PDV").get("A"), B="10000", E="VPN1")
    task.set("I", "200")


_TASK = {
    "rows flipped": _task_cells(lambda cells: cells[::-1]),
    "columns flipped": _task_cells(lambda cells: cells[:, ::-1]),
    "half a cell north": _task_xml(_half_a_cell_north),
    "half a cell east": _task_xml(_half_a_cell_east),
    "latitude and longitude swapped": _task_xml(_swap),
    "last row missing": _without_last_row,
    "last row missing in the grid's file": _cut,
    "field outside the grid": _task_xml(_field_elsewhere),
    "grid outside the field": _task_xml(_grid_elsewhere),
    "a rate where the position is lost": _task_xml(_lost_position),
}
TASKDATA_1 = _TASK | {
    "x 100": _task_xml(_times(100)),
    "x 0.01": _task_xml(_times(0.01)),
    "zone code off by one": _task_cells(lambda cells: np.where(cells > 0, cells % cells.max() + 1, 0)),
    "zone code off by one, 0 too": _task_cells(lambda cells: cells + 1),
}
TASKDATA_2 = _TASK | {
    "x 100": _task_cells(lambda cells: cells * 100),
    "x 0.01": _task_cells(lambda cells: cells // 100),
    "zone code off by one": _task_xml(_zone_of_values),
    "byte order": _task_cells(lambda cells: cells.byteswap()),
}


# Shapefiles: polygons and their rows in the table.

Rows = list[tuple[list[list[tuple[float, float]]], list[object]]]


def _shapes(change: Callable[[Rows], Rows]) -> Callable[[Path], None]:
    def mutate(path: Path) -> None:
        content = members(path)
        stem = next(name[:-4] for name in content if name.endswith(".shp"))
        with shapefile.Reader(**{part: io.BytesIO(content[f"{stem}.{part}"]) for part in ("shp", "shx", "dbf")}) as old:
            fields = [field for field in old.fields if field[0] != "DeletionFlag"]
            rows = [(_rings(each.shape), list(each.record)) for each in old.iterShapeRecords()]
        parts = {part: io.BytesIO() for part in ("shp", "shx", "dbf")}
        with shapefile.Writer(**parts, shapeType=shapefile.POLYGON) as new:
            for field in fields:
                new.field(*field)
            for rings, record in change(rows):
                new.poly(rings)
                new.record(*record)
        store(path, content | {f"{stem}.{part}": data.getvalue() for part, data in parts.items()})

    return mutate


def _rings(shape: shapefile.Shape) -> list[list[tuple[float, float]]]:
    ends = [*shape.parts, len(shape.points)]
    return [[(x, y) for x, y, *_ in shape.points[start:end]] for start, end in pairwise(ends)]


def _moved(change: Callable[[float, float], tuple[float, float]], *, turns: bool = False) -> Callable[[Rows], Rows]:
    step = -1 if turns else 1  # a mirrored ring is turned back, so that nothing else is wrong
    return lambda rows: [
        ([[change(x, y) for x, y in ring][::step] for ring in rings], record) for rings, record in rows
    ]


def _rated(change: Callable[[list[float]], list[float]]) -> Callable[[Rows], Rows]:
    def apply(rows: Rows) -> Rows:
        rates = change([float(record[0]) for _, record in rows])
        return [(rings, [rate, *record[1:]]) for (rings, record), rate in zip(rows, rates, strict=True)]

    return apply


def shapes(across: float, up: float, middle: float) -> dict[str, Callable[[Path], None]]:
    """Faults of a shapefile of cells with these sides, in a grid with this middle latitude."""
    return {
        "rows flipped": _shapes(_moved(lambda x, y: (x, 2 * middle - y), turns=True)),
        "half a cell north": _shapes(_moved(lambda x, y: (x, y + up / 2))),
        "half a cell east": _shapes(_moved(lambda x, y: (x + across / 2, y))),
        "x 100": _shapes(_rated(lambda rates: [rate * 100 for rate in rates])),
        "x 0.01": _shapes(_rated(lambda rates: [rate / 100 for rate in rates])),
        "latitude and longitude swapped": _shapes(_moved(lambda x, y: (y, x), turns=True)),
        "rates of the next row": _shapes(_rated(lambda rates: [*rates[1:], rates[0]])),
        "last row missing": _shapes(lambda rows: rows[:-1]),
        "first row missing": _shapes(lambda rows: rows[1:]),
        "field outside the grid": _shapes(_moved(lambda x, y: (x + 0.5, y))),
    }


# Rasters of DJI Agras.


def _raster(
    change: Callable[[np.ndarray, rasterio.Affine], tuple[np.ndarray, rasterio.Affine]],
) -> Callable[[Path], None]:
    def mutate(path: Path) -> None:
        content = members(path)
        name = next(name for name in content if name.endswith(".tiff"))
        with MemoryFile(content[name]) as file, file.open() as old:
            cells, place = change(old.read(1), old.transform)
        profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "crs": "EPSG:4326", "transform": place}
        with MemoryFile() as file:
            with file.open(**profile, height=cells.shape[0], width=cells.shape[1]) as new:
                new.write(cells.astype(np.float32), 1)
            data = file.read()
        x, y = place @ (0.5, 0.5)
        world = "\n".join(repr(float(each)) for each in (place.a, place.d, place.b, place.e, x, y))
        store(path, content | {name: data, name.replace(".tiff", ".tfw"): world.encode()})

    return mutate


def _world_of_the_corner(path: Path) -> None:
    content = members(path)
    name = next(name for name in content if name.endswith(".tfw"))
    a, d, b, e, x, y = (float(line) for line in content[name].split())
    store(path, content | {name: "\n".join(map(repr, (a, d, b, e, x - a / 2, y - e / 2))).encode()})


def _boundary_elsewhere(path: Path) -> None:
    _shapes(_moved(lambda x, y: (x + 0.5, y)))(path)


AGRAS = {
    "rows flipped": _raster(lambda cells, place: (cells[::-1], place)),
    "half a cell north": _raster(lambda cells, place: (cells, place @ place.translation(0, -0.5))),
    "half a cell east": _raster(lambda cells, place: (cells, place @ place.translation(0.5, 0))),
    "half a cell in the world file": _world_of_the_corner,
    "x 100": _raster(lambda cells, place: (cells * 100, place)),
    "x 0.01": _raster(lambda cells, place: (cells / 100, place)),
    "latitude and longitude swapped": _raster(
        lambda cells, place: (cells, rasterio.Affine(-place.e, 0, place.f, 0, -place.a, place.c))
    ),
    "byte order": _raster(lambda cells, place: (cells.byteswap(), place)),
    "last row missing": _raster(lambda cells, place: (cells[:-1], place)),
    "field outside the grid": _boundary_elsewhere,
    "grid outside the field": _raster(lambda cells, place: (cells, place @ place.translation(1000, 0))),
}


# GeoPackages.


def _layers(change: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]) -> Callable[[Path], None]:
    def mutate(path: Path) -> None:
        rates, field = (read_layer(path, name) for name in ("prescription", "field"))
        shapes, values = change(rates.shapes, rates.columns["rate"])
        columns = {"rate": values, "unit": rates.columns["unit"][: len(values)]}
        write_geopackage(path, [replace(rates, shapes=shapes, columns=columns, geometry_type="Polygon"), field], {})

    return mutate


def _xy(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    return _layers(lambda shapes, rates: (shapely.transform(shapes, change), rates))


def _field_layer_elsewhere(path: Path) -> None:
    rates, field = (read_layer(path, name) for name in ("prescription", "field"))
    rates, field = (replace(layer, geometry_type="Polygon") for layer in (rates, field))
    write_geopackage(path, [rates, replace(field, shapes=shapely.transform(field.shapes, lambda xy: xy + 0.5))], {})


def geopackage(across: float, up: float, middle: float) -> dict[str, Callable[[Path], None]]:
    return {
        "rows flipped": _xy(lambda xy: np.stack([xy[:, 0], 2 * middle - xy[:, 1]], 1)),
        "half a cell north": _xy(lambda xy: np.add(xy, (0, up / 2))),
        "half a cell east": _xy(lambda xy: np.add(xy, (across / 2, 0))),
        "x 100": _layers(lambda shapes, rates: (shapes, rates * 100)),
        "x 0.01": _layers(lambda shapes, rates: (shapes, rates / 100)),
        "latitude and longitude swapped": _xy(lambda xy: xy[:, ::-1]),
        "rates of the next row": _layers(lambda shapes, rates: (shapes, np.roll(rates, 1))),
        "last row missing": _layers(lambda shapes, rates: (shapes[:-1], rates[:-1])),
        "field outside the grid": _field_layer_elsewhere,
        "grid outside the field": _xy(lambda xy: np.add(xy, (0.5, 0))),
    }
