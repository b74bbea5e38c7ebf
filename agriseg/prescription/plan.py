"""From a finished map and options to a prescription, with all that people must know of it."""

from dataclasses import dataclass

import numpy as np
import shapely
from rasterio.warp import transform as warp

from agriseg.errors import DataError
from agriseg.machine_files.prescription import Prescription, RateUnit
from agriseg.maps.reader import FinishedMap, MaskSource
from agriseg.options.prescription import TREAT, RxOptions
from agriseg.prescription.balance import Balance, CellRates, FieldArea, balance_of
from agriseg.prescription.cells import Cells, Floats
from agriseg.prescription.ground import FieldShape, Ground, read_field, read_union
from agriseg.prescription.spots import Mask, SpotRule, probability_layer, spot_ids
from agriseg.prescription.treated import CellSpots, valid_ground
from agriseg.prescription.work_line import turned_cells
from agriseg.prescription.zone_rates import zone_rates
from agriseg.vectors.features import LONLAT

_MUCH = 0.01  # share of a field without data that people are told of


@dataclass(frozen=True)
class Plan:
    """A prescription, and what it comes to.

    Args:
        prescription: its cells are those of `cells` but for rows and columns without any of the field.
        balance: hectares, amount, and spots that are left out.
        cells: all over the map.
        ground: where the cells of `cells` lie; `ground.allowed` says where they may be treated.
        rule: when they are treated; None if zones alone decide.
        by_probabilities: whether probabilities decide which pixels are spots, or classes and confidence.
        warnings: for people.
    """

    prescription: Prescription
    balance: Balance
    cells: Cells
    ground: Ground
    rule: SpotRule | None
    by_probabilities: bool
    warnings: tuple[str, ...]


def prescribe(map_: FinishedMap, options: RxOptions, *, lonlat: bool) -> Plan:
    """Make the prescription of a map.

    Args:
        lonlat: whether cells lie along longitude and latitude, for formats that know no others; else along the line
            of work.

    Raises:
        UsageError: a class, zone or size that does not fit the map.
        InputMissing, DataError: a file cannot be read, or no cell lies in the field.
    """
    rule = spot_rule(map_, options)
    cells = cells_of(map_, options, lonlat=lonlat)
    shape = _field_shape(cells, options)
    probabilities = None if rule is None else probability_layer(map_)
    spots = None if rule is None else CellSpots.of(map_, cells, rule, probabilities)
    ground = Ground.of(cells, valid_ground(map_, cells) if spots is None else spots.valid, shape)
    if not ground.inside.any():
        raise DataError(_no_cell(options))
    rates = _rates(cells, options, ground.allowed if spots is None else ground.allowed & spots.treated)
    area = None if shape.field is None else FieldArea.of(shape.field, cells)
    balance = balance_of(rates, cells.areas, ground, spots, area)
    warnings = (*map_.doubts, *_warnings(options, balance, lonlat=lonlat))
    prescription = _prescription(map_.stem, options, cells, ground, rates.applied)
    return Plan(prescription, balance, cells, ground, rule, probabilities is not None, warnings)


def spot_rule(source: MaskSource, options: RxOptions) -> SpotRule | None:
    """When pixels and cells are treated by the options; None if zones alone decide.

    Raises:
        UsageError: a class that the map does not have.
    """
    if not options.spot:
        return None
    ids = spot_ids(source.legend, options.spot)
    return SpotRule(ids, options.threshold, options.doubtful == TREAT, float(options.min_area or 0), options.margin)


def cells_of(source: MaskSource, options: RxOptions, *, lonlat: bool) -> Cells:
    """The cells of the options over a map.

    Raises:
        UsageError: cells are too small or too many, or the line of work is none.
        InputMissing, DataError: a file cannot be read, or the place of the map is unknown.
    """
    crs = source.georeference.crs
    if crs is None:
        raise DataError("the map has no CRS, so no machine finds its cells; give the raster one with gdal_edit.py")
    if lonlat:
        middle = None
        if options.fields is not None:
            west, south, east, north = shapely.bounds(read_field(options.fields, LONLAT, options.field_id)).tolist()
            middle = (west + east) / 2, (south + north) / 2
        return Cells.along_lonlat(source, float(options.cell or 0), middle)
    field = None
    if options.fields is not None and options.ab is None and options.heading in (None, "auto"):
        field = read_field(options.fields, crs, options.field_id)
    return turned_cells(source, options, field)


def _field_shape(cells: Cells, options: RxOptions) -> FieldShape:
    crs = cells.georeference.crs
    field = None if options.fields is None else read_field(options.fields, crs, options.field_id)
    return FieldShape(field, read_union(options.exclude, crs, "--exclude"), options.exclude_buffer)


def _no_cell(options: RxOptions) -> str:
    if options.fields is None:
        return f"no cell of {options.cell:g} m has data on half of its ground; use smaller cells, or another map"
    return (
        f"{options.fields}: no cell of {options.cell:g} m lies wholly inside and on the map; use smaller cells, or "
        "check the CRS of both"
    )


def _rates(cells: Cells, options: RxOptions, treated: Mask) -> CellRates:
    if options.zones is not None and options.rates is not None:
        offered = zone_rates(options.zones, options.rates, cells)
    else:
        offered = np.full(cells.shape, float(options.rate or 0))
    return CellRates(offered, np.where(treated, offered, 0.0))


def _prescription(name: str, options: RxOptions, cells: Cells, ground: Ground, rates: Floats) -> Prescription:
    """The rates of the rows and columns that have a cell of the field."""
    rows, cols = (np.flatnonzero(ground.inside.any(axis)) for axis in (1, 0))
    part = slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)
    georeference = cells.georeference.shifted(int(cols[0]), int(rows[0]))
    if options.fields is None:
        crs = cells.georeference.crs
        outline = shapely.transform(
            shapely.MultiPolygon(list(cells.shapes(ground.inside))),
            lambda xy: np.transpose(warp(crs, LONLAT, xy[:, 0], xy[:, 1])),
        )
    else:
        outline = read_field(options.fields, LONLAT, options.field_id)
    boundary = shapely.MultiPolygon([each for each in shapely.get_parts(outline) if each.geom_type == "Polygon"])
    return Prescription(name, georeference, rates[part], RateUnit(options.unit), boundary, options.product)


def _warnings(options: RxOptions, balance: Balance, *, lonlat: bool) -> list[str]:
    warnings = []
    if lonlat and (options.ab is not None or options.heading not in (None, "auto")):
        flag = "--heading" if options.ab is None else "--ab"
        warnings.append(f"{flag} is not used: the format has cells along longitude and latitude alone")
    if balance.unmapped_hectares > _MUCH * balance.field_hectares:
        warnings.append(
            f"{balance.unmapped_hectares:.2g} ha of {balance.field_hectares:.3g} ha of the field are not on the map, "
            "nothing is applied there"
        )
    if not balance.treated_cells:
        warnings.append("no cell is treated; the files apply nothing")
    return warnings
