"""The Zarr group of a finished map, read back by xarray and by GDAL."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray
import zarr
from conftest import blocks, read, write_raster
from maps import finished
from rasterio.crs import CRS

import agriseg
from agriseg import SegmentationModel, files
from agriseg.errors import DataError, InputMissing, OutputError, StorageError
from agriseg.export.zarr import machine_names, write_zarr
from agriseg.maps.reader import FinishedMap, MapStrip

HOSTILE = ("<script>alert(1)</script>", '"quoted" \\', "=1+1", "../..", "two lines")


def noisy(height: int, width: int, classes: int = 3, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A mask and a confidence of which each pixel is its own; a tenth is nodata."""
    rng = np.random.default_rng(seed)
    mask, confidence = (
        rng.integers(0, classes, (height, width), np.uint8),
        rng.integers(0, 251, (height, width), np.uint8),
    )
    gone = rng.random((height, width)) < 0.1
    mask[gone] = confidence[gone] = 255
    return mask, confidence


def raw(path: Path) -> xarray.Dataset:
    """As stored."""
    return xarray.open_zarr(path, mask_and_scale=False, decode_coords="all")


def by_gdal(path: Path, array: str) -> rasterio.DatasetReader:
    return rasterio.open(f'ZARR:"{path}":/{array}')


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, small: SegmentationModel) -> Path:
    """The record of a run with probabilities, of more than one chunk."""
    folder = tmp_path_factory.mktemp("zarr")
    pixels = blocks(600, 1100)
    pixels[:, :40, 900:] = 0
    image = write_raster(folder / "field.tif", pixels, nodata=0)
    return agriseg.segment(image, small, folder / "out", probabilities=True).record


def test_xarray_reads_every_pixel_of_a_run(run: Path) -> None:
    group = write_zarr(run, overwrite=True)
    assert group == run.with_name("field.zarr")
    stored, scaled = raw(group), xarray.open_zarr(group)
    classes, confidence = read(run.with_name("field_classes.tif"))[0], read(run.with_name("field_confidence.tif"))[0]
    assert (classes == 255).any()
    np.testing.assert_array_equal(stored["class"], classes)
    np.testing.assert_array_equal(stored["confidence"], confidence)
    np.testing.assert_array_equal(stored["probability"], read(run.with_name("field_probabilities.tif")))
    expected = np.where(confidence == 255, np.nan, confidence * 0.004)
    np.testing.assert_allclose(scaled["confidence"], expected, rtol=1e-6)
    assert scaled["probability"].dims == ("class_index", "y", "x")
    assert scaled["class"].encoding["chunks"] == (512, 512)


def test_coordinates_are_pixel_centres_and_the_grid_mapping_tells_the_crs(run: Path) -> None:
    group = raw(write_zarr(run, overwrite=True))
    with rasterio.open(run.with_name("field_classes.tif")) as classes:
        where, crs = classes.transform, classes.crs
    np.testing.assert_allclose(group["x"], [(where @ (c + 0.5, 0.5))[0] for c in range(1100)], rtol=0, atol=1e-6)
    np.testing.assert_allclose(group["y"], [(where @ (0.5, r + 0.5))[1] for r in range(600)], rtol=0, atol=1e-6)
    told = group["spatial_ref"].attrs
    assert tuple(map(float, told["GeoTransform"].split())) == where.to_gdal()
    assert CRS.from_wkt(told["crs_wkt"]) == crs
    assert all(group[name].encoding["grid_mapping"] == "spatial_ref" for name in ("class", "confidence", "probability"))


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:4326", "EPSG:3035"], ids=str)
@pytest.mark.parametrize("array", ["class", "confidence"])
def test_gdal_reads_pixels_place_and_nodata(tmp_path: Path, crs: str, array: str) -> None:
    to = (
        rasterio.Affine(1e-6, 0, 9.5, 0, -2e-6, 48.5)
        if crs == "EPSG:4326"
        else rasterio.Affine(0.1, 0, 5e5, 0, -0.2, 5.4e6)
    )
    finished(tmp_path, *noisy(700, 1300), crs=crs, transform=to)
    group = write_zarr(tmp_path / "field_run.json")
    source = {"class": "classes", "confidence": "confidence"}[array]
    with by_gdal(group, array) as layer, rasterio.open(tmp_path / f"field_{source}.tif") as tif:
        np.testing.assert_array_equal(layer.read(1), tif.read(1))
        np.testing.assert_allclose(layer.transform, tif.transform, rtol=1e-9, atol=1e-15)
        assert layer.crs == tif.crs
        assert layer.nodata == 255
        assert layer.scales == ((0.004,) if array == "confidence" else (1.0,))


def test_a_pixel_that_is_not_the_maps_is_seen(tmp_path: Path) -> None:
    """What compares above can fail: another mask gives another array, another place another transform."""
    mask, confidence = noisy(60, 80)
    finished(tmp_path / "a", mask, confidence)
    mask[7, 9] = (mask[7, 9] + 1) % 3
    finished(tmp_path / "b", mask, confidence, transform=rasterio.Affine(0.1, 0, 500_000.1, 0, -0.1, 5_400_000))
    one, two = (write_zarr(tmp_path / name / "field_run.json") for name in "ab")
    assert (raw(one)["class"].to_numpy() != raw(two)["class"].to_numpy()).sum() == 1
    with by_gdal(one, "class") as first, by_gdal(two, "class") as second:
        assert not np.allclose(first.transform, second.transform, rtol=1e-9)


def test_strips_of_rows_come_to_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than a strip is asked for at once, and no chunk is written twice."""
    mask, confidence = noisy(2100, 40)
    finished(tmp_path, mask, confidence)
    asked, read_strip = [], FinishedMap._strip

    def noted(self: FinishedMap, *args: Any) -> MapStrip:
        asked.append(args[2:])
        return read_strip(self, *args)

    monkeypatch.setattr(FinishedMap, "_strip", noted)
    group = write_zarr(tmp_path / "field_run.json")
    np.testing.assert_array_equal(raw(group)["class"], mask)
    assert all(stop - start <= 1024 and start % 512 == 0 for start, stop in asked)
    assert len(asked) == 3


def test_a_turned_grid_has_no_axes_but_its_transform(tmp_path: Path) -> None:
    to = rasterio.Affine.translation(5e5, 5.4e6) @ rasterio.Affine.rotation(30) @ rasterio.Affine.scale(0.1, -0.1)
    finished(tmp_path, *noisy(50, 60), transform=to)
    group = raw(write_zarr(tmp_path / "field_run.json"))
    assert not {"x", "y"} & set(group.variables)
    assert rasterio.Affine.from_gdal(*map(float, group["spatial_ref"].attrs["GeoTransform"].split())) == to


def test_a_map_without_a_crs(tmp_path: Path) -> None:
    mask, confidence = noisy(50, 60)
    finished(tmp_path, mask, confidence, crs=None, transform=rasterio.Affine(1, 0, 0, 0, 1, 0))
    group = write_zarr(tmp_path / "field_run.json")
    assert "crs_wkt" not in raw(group)["spatial_ref"].attrs
    with by_gdal(group, "class") as layer:
        assert layer.crs is None
        np.testing.assert_array_equal(layer.read(1), mask)


def test_class_names_are_flags_and_data(tmp_path: Path) -> None:
    finished(tmp_path, *noisy(50, 60, 5), names=HOSTILE)
    told = raw(write_zarr(tmp_path / "field_run.json"))["class"].attrs
    assert told["class_names"] == list(HOSTILE)
    assert told["flag_values"] == [0, 1, 2, 3, 4]
    assert told["flag_meanings"].split() == machine_names(HOSTILE)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["soil", "healthy crop"], ["soil", "healthy_crop"]),
        (["Rüben", "маис"], ["Ruben_0", "class_1"]),
        (["a b", "a.b", "a_b_1"], ["a_b_0", "a_b_1", "a_b_1_2"]),
        (["__", "-"], ["class_0", "-_1"]),
    ],
    ids=str,
)
def test_machine_names_are_words_and_differ(names: list[str], words: list[str]) -> None:
    assert machine_names(names) == words
    assert len(set(words)) == len(names)


def test_metadata_are_consolidated_in_version_2(tmp_path: Path) -> None:
    finished(tmp_path, *noisy(50, 60))
    path = write_zarr(tmp_path / "field_run.json")
    group = zarr.open_consolidated(path)
    assert group.metadata.zarr_format == 2
    assert set(group.array_keys()) == {"class", "confidence", "x", "y", "spatial_ref"}
    assert group["class"].compressors[0].codec_id == "zstd"


def test_one_that_is_there_is_kept_unless_it_may_be_replaced(tmp_path: Path) -> None:
    record = tmp_path / "field_run.json"
    finished(tmp_path, *noisy(50, 60))
    write_zarr(record)
    mask, confidence = noisy(700, 60, seed=1)
    finished(tmp_path, mask, confidence)
    with pytest.raises(OutputError, match=r"field\.zarr: exists"):
        write_zarr(record)
    assert raw(tmp_path / "field.zarr")["class"].shape == (50, 60)
    group = write_zarr(record, overwrite=True)
    np.testing.assert_array_equal(raw(group)["class"], mask)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_map_that_cannot_be_read_leaves_what_was_there(tmp_path: Path) -> None:
    record = tmp_path / "field_run.json"
    finished(tmp_path, *noisy(600, 600))
    write_zarr(record)
    damaged = tmp_path / "field_confidence.tif"
    os.truncate(damaged, damaged.stat().st_size * 2 // 3)
    with pytest.raises(DataError, match=r"cannot be read|damaged"):
        write_zarr(record, overwrite=True)
    assert raw(tmp_path / "field.zarr")["class"].shape == (600, 600)
    damaged.unlink()
    with pytest.raises(InputMissing, match="is gone"):
        write_zarr(record, overwrite=True)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_probabilities_of_another_run_are_not_taken(tmp_path: Path) -> None:
    """A file that the record does not name may lie there from before."""
    finished(tmp_path, *noisy(50, 60))
    write_raster(tmp_path / "field_probabilities.tif", np.zeros((3, 50, 60), np.uint8))
    assert "probability" not in raw(write_zarr(tmp_path / "field_run.json"))


def test_a_disk_that_does_not_take_it_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    finished(tmp_path, *noisy(50, 60))
    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        write_zarr(tmp_path / "field_run.json")
    assert not (tmp_path / "field.zarr").exists()
