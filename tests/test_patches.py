"""Patches, clean-up and polygons, against scipy on the whole array, GDAL's rasteriser, and themselves in other strips."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.features
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from maps import finished
from scipy import ndimage

from agriseg.analysis import components as patching
from agriseg.analysis import outline_corners
from agriseg.analysis import polygonize as outlining
from agriseg.analysis import postprocess as cleaning
from agriseg.analysis.components import Components
from agriseg.analysis.polygonize import polygonize
from agriseg.analysis.postprocess import clean
from agriseg.errors import DataError, UsageError
from agriseg.maps.reader import FinishedMap

NODATA = 255
PIXEL = 0.01  # m2, UTM at 10 cm
MASKS = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=13), elements=st.sampled_from([0, 1, 2, NODATA]))
LAWS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
DEGREES = {"crs": "EPSG:4326", "transform": rasterio.Affine(1e-6, 0, 9.0, 0, -1e-6, 52.0)}
TURNED = {"transform": rasterio.Affine(0.1, 0, 5e5, 0, -0.1, 5.4e6) @ rasterio.Affine.rotation(30)}
SOUTH_UP = {"transform": rasterio.Affine(0.1, 0, 5e5, 0, 0.1, 5.4e6)}


def fields(height: int, width: int, seed: int = 0, share: float = 0.4) -> np.ndarray:
    """Blobs of three classes and nodata."""
    rough = np.random.default_rng(seed).normal(size=(4, height, width))
    soft = np.stack([ndimage.gaussian_filter(each, 1.5) for each in rough])
    soft[0] += share * soft.std()
    return np.array([0, 1, 2, NODATA], np.uint8)[soft.argmax(0)]


def spiral(side: int) -> np.ndarray:
    """One patch of class 1 that winds inwards through every strip."""
    mask = np.zeros((side, side), np.uint8)
    top, left, bottom, right = 0, 0, side - 1, side - 1
    mask[0, :] = 1
    while right - left > 3:
        mask[top : bottom + 1, right] = mask[bottom, left : right + 1] = 1
        mask[top + 2 : bottom + 1, left] = mask[top + 2, left : right - 1] = 1
        top, left, bottom, right = top + 2, left + 2, bottom - 2, right - 2
    return mask


def comb(side: int, *, down: bool) -> np.ndarray:
    mask = np.zeros((side, side), np.uint8)
    mask[:, ::2] = 1
    mask[0 if down else -1] = 1
    return mask


RING = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], np.uint8)  # its hole touches its outside in a point
ODD = {
    "1x1": np.array([[1]], np.uint8),
    "1xN": np.array([[0, 0, 1, NODATA, 1, 2]], np.uint8),
    "Nx1": np.array([[0], [0], [1], [NODATA], [1]], np.uint8),
    "nodata": np.full((5, 7), NODATA, np.uint8),
    "one class": np.full((6, 5), 2, np.uint8),
    "checkerboard": (np.indices((9, 10)).sum(0) % 2).astype(np.uint8),
    "touching": np.kron(np.eye(4, dtype=np.uint8), np.ones((2, 2), np.uint8)),
    "ring": RING,
    "flipped ring": RING[:, ::-1].copy(),
    "spiral": spiral(21),
    "comb": comb(15, down=True),
    "upturned comb": comb(15, down=False),
    "holes": np.pad(np.full((3, 3), NODATA, np.uint8), 2, constant_values=1),
}


@pytest.fixture(params=ODD, ids=str)
def odd(request: pytest.FixtureRequest) -> np.ndarray:
    return ODD[request.param]


def labelled(mask: np.ndarray) -> np.ndarray:
    """Patches by scipy, numbered from 1 in the order of their first pixels; 0 for nodata."""
    labels = np.zeros(mask.shape, np.int64)
    for class_id in np.unique(mask[mask != NODATA]):
        own, _ = ndimage.label(mask == class_id)
        labels[own > 0] = own[own > 0] + labels.max()
    known, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.zeros(len(known), np.int64)
    real = np.flatnonzero(known)
    rank[real[np.argsort(first[real])]] = np.arange(1, len(real) + 1)
    return rank[inverse].reshape(mask.shape)


def check_patches(found: Components, mask: np.ndarray, confidence: np.ndarray, areas: np.ndarray) -> None:
    labels = labelled(mask)
    index = np.arange(1, labels.max() + 1)
    first = [int(np.flatnonzero(labels.ravel() == k)[0]) for k in index]
    assert len(found) == len(index)
    assert (found.row * mask.shape[1] + found.col).tolist() == first
    assert found.class_id.tolist() == mask.ravel()[first].tolist()
    assert found.pixels.tolist() == np.bincount(labels.ravel(), minlength=len(index) + 1)[1:].tolist()
    np.testing.assert_allclose(found.confidence, ndimage.mean(confidence * 0.004, labels, index) if len(index) else [])
    wide = np.broadcast_to(areas[:, None], mask.shape)
    np.testing.assert_allclose(found.square_metres, ndimage.sum_labels(wide, labels, index), rtol=1e-12)


def sure(mask: np.ndarray) -> np.ndarray:
    seen = np.random.default_rng(1).integers(0, 251, mask.shape, np.uint8)
    return np.where(mask == NODATA, np.uint8(NODATA), seen)


def check_map(folder: Path, mask: np.ndarray, rows: int, **where: Any) -> None:
    source = finished(folder, mask, sure(mask), **where)
    areas = source.georeference.pixel_areas(source.width, range(source.height))
    check_patches(Components.of(source, rows), mask, sure(mask), areas)


@LAWS
@given(mask=MASKS, rows=st.integers(1, 14))
def test_patches_are_those_of_scipy(tmp_path: Path, mask: np.ndarray, rows: int) -> None:
    check_map(tmp_path, mask, rows)


@pytest.mark.parametrize("rows", [1, 2, 5, 1024])
def test_odd_patches_are_those_of_scipy(tmp_path: Path, odd: np.ndarray, rows: int) -> None:
    check_map(tmp_path, odd, rows)


@pytest.mark.parametrize("part", [1, 200, 5000])
def test_patches_do_not_depend_on_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int) -> None:
    monkeypatch.setattr(patching, "_PART", part)
    check_map(tmp_path, fields(90, 70), 32, **DEGREES)


def test_a_map_without_ground_has_patches_without_areas(tmp_path: Path) -> None:
    found = Components.of(finished(tmp_path, RING, crs=None))
    assert found.square_metres is None
    assert found.pixels.tolist() == [7, 1, 1]


def test_too_many_patches_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patching, "MAX_PATCHES", 89)
    with pytest.raises(DataError, match=r"more than 89 patches.*--smooth"):
        Components.of(finished(tmp_path, ODD["checkerboard"]))


def outlines(source: FinishedMap, rows: int = 1024, **how: Any) -> outlining.Polygons:
    return polygonize(source, Components.of(source, rows), rows=rows, **how)


def burnt(found: outlining.Polygons, source: FinishedMap, shapes: Any = None, values: Any = None) -> np.ndarray:
    """The polygons rasterised by GDAL."""
    shapes = found.shapes if shapes is None else shapes
    values = found.columns["class_id"] if values is None else values
    shape = (source.height, source.width)
    if not len(shapes):
        return np.full(shape, NODATA, np.uint8)
    pairs = [(each, int(value)) for each, value in zip(shapes, values, strict=True)]
    where = source.georeference.transform
    return rasterio.features.rasterize(pairs, shape, NODATA, transform=where, dtype="uint8")


def check_outlines(found: outlining.Polygons, source: FinishedMap, mask: np.ndarray) -> None:
    np.testing.assert_array_equal(burnt(found, source), mask)
    assert shapely.is_valid(found.shapes).all()
    assert shapely.is_ccw(shapely.get_exterior_ring(found.shapes)).all()
    labels = labelled(mask)
    assert len(found) == labels.max()
    for number, shape in enumerate(found.shapes):  # each is one patch and no other
        own = burnt(found, source, [shape], [1])
        np.testing.assert_array_equal(own == 1, labels == number + 1)
    valid = mask != NODATA
    areas = source.georeference.pixel_areas(source.width, range(source.height))
    assert found.columns["area_m2"].sum() == pytest.approx(areas @ valid.sum(1), rel=1e-12)
    assert (found.columns["area_ha"] * 1e4).sum() == pytest.approx(areas @ valid.sum(1), rel=1e-12)
    side = abs(source.georeference.transform.determinant)
    np.testing.assert_allclose(shapely.area(found.shapes) / side, np.bincount(labels.ravel())[1:], rtol=1e-4)


@LAWS
@given(mask=MASKS, rows=st.integers(1, 14))
def test_rasterising_polygons_gives_the_mask_back(tmp_path: Path, mask: np.ndarray, rows: int) -> None:
    source = finished(tmp_path, mask)
    check_outlines(outlines(source, rows), source, mask)


@pytest.mark.parametrize("where", [{}, DEGREES, TURNED, SOUTH_UP], ids=["utm", "degrees", "turned", "south up"])
def test_odd_polygons_give_the_mask_back(tmp_path: Path, odd: np.ndarray, where: dict[str, Any]) -> None:
    source = finished(tmp_path, odd, **where)
    check_outlines(outlines(source, 2), source, odd)


def test_polygons_dissolved_by_class_give_the_mask_back(tmp_path: Path) -> None:
    mask = fields(80, 60)
    source = finished(tmp_path, mask)
    found = outlines(source)
    classes = np.unique(found.columns["class_id"])
    whole = [shapely.union_all(found.shapes[found.columns["class_id"] == k]) for k in classes]
    np.testing.assert_array_equal(burnt(found, source, whole, classes), mask)
    assert shapely.area(found.shapes).sum() == pytest.approx(shapely.union_all(found.shapes).area, rel=1e-9)


def test_polygons_are_the_same_bytes_in_any_strips_and_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = finished(tmp_path, fields(70, 90))
    first = outlines(source)
    for rows, batch in ((1, 1), (7, 100), (64, 2000)):
        monkeypatch.setattr(outlining, "_BATCH", batch)
        again = outlines(source, rows)
        assert shapely.to_wkb(again.shapes).tolist() == shapely.to_wkb(first.shapes).tolist()
        assert list(again.columns) == ["class_id", "class_name", "area_m2", "area_ha", "mean_confidence"]
        for name in ("class_id", "class_name", "mean_confidence"):
            assert again.columns[name].tolist() == first.columns[name].tolist()


def test_a_polygon_has_corners_alone_and_begins_at_its_first_pixel(tmp_path: Path) -> None:
    mask = np.full((6, 8), NODATA, np.uint8)
    mask[1:5, 2:7] = 1
    mask[2:4, 3:5] = NODATA
    found = outlines(finished(tmp_path, mask, transform=rasterio.Affine(1, 0, 0, 0, -1, 0)), 3)
    (shape,) = found.shapes
    assert shapely.get_coordinates(shape.exterior).tolist() == [[7, -1], [2, -1], [2, -5], [7, -5], [7, -1]]
    assert [len(ring.coords) for ring in shape.interiors] == [5]
    assert found.columns["class_name"].tolist() == ["crop"]
    assert found.columns["mean_confidence"] == pytest.approx(0.8)


def test_simplified_polygons_share_their_borders(tmp_path: Path) -> None:
    mask = fields(120, 100, share=1.0)
    source = finished(tmp_path, mask, transform=rasterio.Affine(0.1, 0, 0, 0, -0.1, 0))
    exact, simple = outlines(source), outlines(source, simplify_m=0.2)
    assert shapely.get_num_coordinates(simple.shapes).sum() < 0.6 * shapely.get_num_coordinates(exact.shapes).sum()
    assert shapely.is_valid(simple.shapes).all()
    assert not shapely.is_empty(simple.shapes).any()
    overlap = shapely.area(simple.shapes).sum() - shapely.union_all(simple.shapes).area
    assert abs(overlap) < 1e-9
    np.testing.assert_array_equal(simple.columns["area_m2"], exact.columns["area_m2"])
    moved = shapely.hausdorff_distance(shapely.boundary(simple.shapes), shapely.boundary(exact.shapes))
    assert moved.max() < 1


def test_neighbours_stay_side_by_side_when_simplified(tmp_path: Path) -> None:
    """The third meets the first in the midst of a side, so that a corner there must stay on both."""
    mask = np.zeros((40, 40), np.uint8)
    mask[np.add.outer(np.arange(40) // 4, np.arange(40) // 4) > 9] = 1
    mask[18:, :10] = mask[:10, 18:] = 2
    mask[30:34, 34:] = NODATA
    source = finished(tmp_path, mask, transform=rasterio.Affine(0.1, 0, 0, 0, -0.1, 0))
    simple = outlines(source, simplify_m=0.5)
    whole = shapely.union_all(simple.shapes)
    assert shapely.area(simple.shapes).sum() == pytest.approx(whole.area, abs=1e-9)
    assert shapely.get_num_interior_rings(whole) == 0
    assert shapely.coverage_is_valid(simple.shapes)
    assert shapely.get_num_coordinates(simple.shapes).sum() < shapely.get_num_coordinates(outlines(source).shapes).sum()


def test_too_many_polygons_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = finished(tmp_path, ODD["checkerboard"])
    monkeypatch.setattr(outlining, "MAX_POLYGONS", 89)
    with pytest.raises(DataError, match=r"90 patches, expected at most 89 polygons.*--mmu"):
        outlines(source)
    monkeypatch.undo()
    monkeypatch.setattr(outline_corners, "MAX_CORNERS", 359)
    with pytest.raises(DataError, match=r"more than 359 corners.*--mmu"):
        outlines(source)
    monkeypatch.undo()
    monkeypatch.setattr(outlining, "MAX_SIMPLIFIED", 89)
    with pytest.raises(DataError, match=r"90 polygons to simplify, expected at most 89.*--mmu"):
        outlines(source, simplify_m=1)


def test_a_length_below_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected 0 or more"):
        outlines(finished(tmp_path, RING), simplify_m=-1)


def test_metres_need_ground(tmp_path: Path) -> None:
    source = finished(tmp_path, RING, crs=None)
    assert "area_m2" not in outlines(source).columns
    with pytest.raises(DataError, match="ground is unknown"):
        outlines(source, simplify_m=1)
    with pytest.raises(DataError, match="ground is unknown"):
        clean(source, tmp_path, mmu_m2=1)


def tidy(source: FinishedMap, rows: int = 1024, **how: Any) -> np.ndarray:
    """The cleaned mask, from strips of its own."""
    with tempfile.TemporaryDirectory() as folder:
        result = clean(source, Path(folder), rows=rows, **how)
        mask = np.concatenate([strip.mask for strip in result.strips(3)])
        np.testing.assert_array_equal(mask[1:], result.read(1, source.height).mask)
        np.testing.assert_array_equal(mask, result.layer.read(0, source.height)[0])
    return mask


def voted(mask: np.ndarray, reach: int) -> np.ndarray:
    """Majority by brute force."""
    out = mask.copy()
    for row, col in np.argwhere(mask != NODATA):
        around = mask[max(0, row - reach) : row + reach + 1, max(0, col - reach) : col + reach + 1]
        votes = np.bincount(around[around != NODATA])
        if (votes == votes.max()).sum() == 1:
            out[row, col] = votes.argmax()
    return out


@LAWS
@given(mask=MASKS, reach=st.integers(1, 4), rows=st.integers(1, 14))
def test_smoothing_is_a_majority(tmp_path: Path, mask: np.ndarray, reach: int, rows: int) -> None:
    np.testing.assert_array_equal(tidy(finished(tmp_path, mask), rows, smooth_px=reach), voted(mask, reach))


@pytest.mark.parametrize("reach", [1, 3])
def test_smoothing_a_field_is_a_majority(tmp_path: Path, reach: int) -> None:
    mask = fields(40, 50)
    cleaned = tidy(finished(tmp_path, mask), 16, smooth_px=reach)
    np.testing.assert_array_equal(cleaned, voted(mask, reach))
    assert (cleaned != mask).any()


def test_a_tie_leaves_a_pixel_its_own_class(tmp_path: Path) -> None:
    mask = np.array([[0, 1, NODATA, 1, 2, 0]], np.uint8)
    np.testing.assert_array_equal(tidy(finished(tmp_path, mask), smooth_px=1), mask)


def check_mmu(
    mask: np.ndarray, cleaned: np.ndarray, unit_px: int, reach_px: float, sampling: tuple[float, float]
) -> None:
    """Small patches went to a class that is nearest, by scipy's distances; all else is as it was."""
    labels = labelled(mask)
    small = (np.bincount(labels.ravel()) < unit_px)[labels] & (mask != NODATA)
    large = (mask != NODATA) & ~small
    np.testing.assert_array_equal(cleaned[~small], mask[~small])
    if not large.any():
        np.testing.assert_array_equal(cleaned, mask)
        return
    classes = np.unique(mask[large])
    away = np.stack([ndimage.distance_transform_edt(~(large & (mask == k)), sampling) for k in classes])
    within = small & (away.min(0) <= reach_px)
    np.testing.assert_array_equal(cleaned[small & ~within], mask[small & ~within])
    given = np.searchsorted(classes, cleaned[within])
    assert (classes[given] == cleaned[within]).all()
    np.testing.assert_allclose(np.take_along_axis(away[:, within], given[None], 0)[0], away.min(0)[within], rtol=1e-9)


@LAWS
@given(mask=MASKS, unit=st.integers(2, 30), rows=st.integers(1, 14))
def test_small_patches_go_to_the_nearest_large_one(tmp_path: Path, mask: np.ndarray, unit: int, rows: int) -> None:
    mmu = (unit - 0.5) * PIXEL
    cleaned = tidy(finished(tmp_path, mask), rows, mmu_m2=mmu)
    check_mmu(mask, cleaned, unit, 2 * np.sqrt(mmu) / 0.1, (1, 1))


@pytest.mark.parametrize(("unit", "where"), [(12, {}), (40, {}), (40, TURNED)], ids=str)
def test_small_patches_of_a_field_go_to_the_nearest_large_one(tmp_path: Path, unit: int, where: dict[str, Any]) -> None:
    mask = fields(60, 70)
    mask[20:50, 30:60] = np.where(np.indices((30, 30)).sum(0) % 2 == 0, 1, NODATA)  # further from all than the reach
    mmu = (unit - 0.5) * PIXEL
    check_mmu(mask, tidy(finished(tmp_path, mask, **where), 16, mmu_m2=mmu), unit, 2 * np.sqrt(mmu) / 0.1, (1, 1))


@pytest.mark.parametrize("side", [16, 512])
def test_cleaning_does_not_depend_on_strips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int) -> None:
    monkeypatch.setattr(cleaning, "_SIDE", side)
    mask = fields(90, 110, share=0.7)
    source = finished(tmp_path, mask, **DEGREES)
    ones = [tidy(source, rows, mmu_m2=0.4, smooth_px=2) for rows in (1, 11, 64, 1024)]
    assert all((each == ones[0]).all() for each in ones)
    assert (ones[0] != mask).any()
    np.testing.assert_array_equal(ones[0] == NODATA, mask == NODATA)


def test_distances_are_those_on_the_ground(tmp_path: Path) -> None:
    """In degrees a pixel is less wide than high, so the class comes from the side."""
    mask = np.full((7, 7), NODATA, np.uint8)
    mask[:2], mask[5:], mask[:, :2], mask[3, 3] = 0, 0, 1, 2
    mask[:2, 2:], mask[5:, 2:] = 0, 0
    mask[2:5, 4:] = NODATA
    source = finished(tmp_path, mask, **DEGREES)
    assert tidy(source, mmu_m2=0.03)[3, 3] == 1
    assert (
        tidy(finished(tmp_path, mask, stem="wide", transform=rasterio.Affine(0.2, 0, 5e5, 0, -0.1, 5e6)), mmu_m2=0.09)[
            3, 3
        ]
        == 0
    )


def test_a_patch_far_from_large_ones_stays(tmp_path: Path) -> None:
    mask = np.full((3, 40), NODATA, np.uint8)
    mask[:, :4], mask[1, 8], mask[1, 30] = 0, 1, 1
    cleaned = tidy(finished(tmp_path, mask), mmu_m2=9 * PIXEL)
    assert (cleaned[1, 8], cleaned[1, 30]) == (0, 1)


def test_a_unit_without_sense_is_told(tmp_path: Path) -> None:
    source = finished(tmp_path, fields(30, 30))
    assert not clean(source, tmp_path, mmu_m2=9.1 * PIXEL).notes
    (low,) = clean(source, tmp_path, mmu_m2=8.9 * PIXEL).notes
    assert "below 9 pixels" in low
    (high,) = clean(source, tmp_path, mmu_m2=1e4).notes
    assert "no patch has" in high
    np.testing.assert_array_equal(tidy(source, mmu_m2=1e4), source.read(0, 30).mask)


@pytest.mark.parametrize(
    "how", [{}, {"mmu_m2": -1}, {"mmu_m2": float("nan")}, {"smooth_px": -1}, {"smooth_px": 65}], ids=str
)
def test_what_cannot_be_cleaned_is_refused(tmp_path: Path, how: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"expected 0|nothing to clean"):
        clean(finished(tmp_path, RING), tmp_path, **how)
