"""What a run leaves behind: verified COGs with legend, the account, the record; the ground resolution."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
from conftest import UTM, blocks, nearest, noise, read, record_of, write_raster
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rio_cogeo import cog_validate

from agriseg import Legend, SegmentationModel, segment
from agriseg.errors import DataError, OutputError, StorageError, UsageError
from agriseg.figures.charts import save_picture
from agriseg.figures.quicklook import image_quicklook
from agriseg.grid import Window
from agriseg.mapping.verify import verify
from agriseg.maps.index_maps import write_indices
from agriseg.raster import cog
from agriseg.raster.georeference import Georeference
from agriseg.raster.header import RasterInfo
from agriseg.raster.reader import Source
from agriseg.raster.valid_mask import ValidityRule


def two_class(scale_to: float = 128.0) -> SegmentationModel:
    """Bright or dark by band 1 alone."""
    import torch

    class Bright(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([-(x[:, :1] - scale_to), x[:, :1] - scale_to], 1)

    legend = Legend.from_names(["dark & deep", "<b>bright</b>"], ["#112233", "#fedcba"])
    return SegmentationModel(Bright(), legend=legend, bands=("b1",), name="bright")


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """A map with nodata, larger than one block, and its run."""
    pixels = blocks(1100, 1300, side=40, low=1)
    pixels[:, 500:720, 100:640] = 0
    image = write_raster(tmp_path / "field.tif", pixels, nodata=0)
    report = segment(image, two_class(), tmp_path / "out", probabilities=True, tile=256)
    truth = (pixels[0] > 128).astype(np.uint8)
    truth[(pixels == 0).all(0)] = 255
    return report, truth


def test_every_layer_is_a_strict_cog_on_the_inputs_grid(run: Any) -> None:
    report, truth = run
    for path in (report.classes, report.confidence, report.probabilities):
        valid, errors, warnings = cog_validate(path, strict=True)
        assert valid
        assert not errors
        assert not warnings
        with rasterio.open(path) as dataset:
            assert dataset.shape == truth.shape
            assert dataset.crs == CRS.from_epsg(32632)
            assert dataset.transform == UTM["transform"]
            assert dataset.nodata == 255
            assert dataset.dtypes[0] == "uint8"
            assert dataset.overviews(1) == [2, 4]
            assert dataset.tags()["AGRISEG_MODEL"] == "bright"
            np.testing.assert_array_equal(dataset.read(1) == 255, truth == 255)


@pytest.mark.parametrize("side", [1, 7, 511, 512, 513])
def test_any_size_is_a_strict_cog(tmp_path: Path, side: int) -> None:
    image = write_raster(tmp_path / "field.tif", noise(side, side, bands=1))
    report = segment(image, two_class(), tmp_path / "out")
    for path in (report.classes, report.confidence):
        assert cog_validate(path, strict=True)[0]


def test_the_mask_carries_names_and_colours(run: Any) -> None:
    report, truth = run
    with rasterio.open(report.classes) as mask:
        np.testing.assert_array_equal(mask.read(1), truth)
        assert mask.colormap(1)[0] == (0x11, 0x22, 0x33, 255)
        assert mask.colormap(1)[1] == (0xFE, 0xDC, 0xBA, 255)
        assert mask.tags(1)["CLASS_0"] == "dark & deep"
        assert mask.tags(1)["CLASS_1"] == "<b>bright</b>"
        assert mask.descriptions == ("class",)
        assert mask.colorinterp == (ColorInterp.palette,)


def test_shares_are_scaled_and_four_of_them_have_no_alpha(tmp_path: Path, oracle: SegmentationModel) -> None:
    image = write_raster(tmp_path / "field.tif", noise(90, 80))
    report = segment(image, oracle, tmp_path / "out", probabilities=True)
    with rasterio.open(report.probabilities) as shares:
        assert shares.scales == (0.004,) * 4
        assert shares.descriptions == oracle.legend.names
        assert ColorInterp.alpha not in shares.colorinterp
        total = shares.read().astype(int).sum(0)
        assert np.abs(total - 250).max() <= 2  # rounding of four shares
    with rasterio.open(report.confidence) as confidence:
        assert confidence.scales == (0.004,)
        assert confidence.read().max() <= 250


def test_overviews_of_the_mask_are_modes(run: Any) -> None:
    """Each overview pixel is a most frequent class of the 2 x 2 pixels under it, worked out here."""
    report, truth = run
    with rasterio.open(report.classes, overview_level=0) as overview:
        coarse = overview.read(1)
    rows, cols = (side // 2 * 2 for side in truth.shape)
    under = (
        truth[:rows, :cols].reshape(rows // 2, 2, cols // 2, 2).transpose(0, 2, 1, 3).reshape(rows // 2, cols // 2, 4)
    )
    counts = np.stack([(under == k).sum(2) for k in (0, 1)])
    for k in (0, 1):
        chosen = coarse[: rows // 2, : cols // 2] == k
        assert (counts[k][chosen] == counts.max(0)[chosen]).all()
    np.testing.assert_array_equal(coarse[: rows // 2, : cols // 2] == 255, (under == 255).all(2))


def test_sidecars_hold_exactly_the_legend(run: Any) -> None:
    report, _ = run
    style = ElementTree.fromstring(report.classes.with_suffix(".qml").read_text())
    entries = [(e.get("value"), e.get("color"), e.get("label")) for e in style.iter("paletteEntry")]
    assert entries == [("0", "#112233", "dark & deep"), ("1", "#fedcba", "<b>bright</b>")]
    names = ElementTree.fromstring(Path(f"{report.classes}.aux.xml").read_text())
    assert [e.text for e in names.iter("Category")] == ["dark & deep", "<b>bright</b>"]


def test_the_account_and_the_record(run: Any, tmp_path: Path) -> None:
    report, truth = run
    pixels = report.pixels
    assert pixels.total == truth.size == pixels.predicted + pixels.nodata + pixels.failed
    assert pixels.nodata == int((truth == 255).sum())
    for count in report.counts:
        assert count.pixels == int((truth == count.id).sum())
        assert count.hectares == pytest.approx(count.pixels * 0.01 / 10_000, rel=1e-3)
    record = record_of(tmp_path / "out")
    assert record["pixels"] == asdict(pixels)
    assert record["parameters"]["tile_px"] == 256
    assert record["model"]["classes"] == ["dark & deep", "<b>bright</b>"]
    import hashlib

    for name, digest in record["outputs"].items():
        assert hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == digest
    assert record["input"]["sha256"] == hashlib.sha256((tmp_path / "field.tif").read_bytes()).hexdigest()
    assert {"torch", "gdal", "zarr", "dask"} <= record["versions"].keys()
    assert record["machine"]["peak_memory_bytes"] > 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(path.name for path in report.files)


def test_hectares_in_degrees_mercator_and_utm_agree(tmp_path: Path) -> None:
    """One square of ground in three systems, 51 degrees north."""
    from rasterio.warp import transform_bounds

    hectares = []
    bounds = (500_000, 5_650_000, 500_200, 5_650_200)
    for crs in ("EPSG:32632", "EPSG:3857", "EPSG:4326"):
        left, bottom, right, top = transform_bounds("EPSG:32632", crs, *bounds, densify_pts=2)
        transform = rasterio.transform.from_bounds(left, bottom, right, top, 400, 400)
        image = write_raster(tmp_path / "a.tif", np.full((1, 400, 400), 200, np.uint8), crs=crs, transform=transform)
        report = segment(image, two_class(), tmp_path / "out", overwrite=True)
        hectares.append(report.counts[1].hectares)
    assert hectares == pytest.approx([4.0] * 3, rel=1.5e-3)


# georeference


TRANSFORMS = {
    "rotated": rasterio.Affine.rotation(30) @ rasterio.Affine.scale(0.1, -0.1),
    "south-up": rasterio.Affine(0.1, 0, 10, 0, 0.1, 20),
    "not square": rasterio.Affine(0.15, 0, 1e7, 0, -0.1499, 1e7),
    "tiny": rasterio.Affine(1e-9, 0, 8.1234567891234, 0, -1e-9, 51.1),
}


@pytest.mark.fault("G02", "G03", "G04")
@pytest.mark.parametrize("name", TRANSFORMS)
def test_any_transform_is_kept_to_the_last_bit(tmp_path: Path, oracle: SegmentationModel, name: str) -> None:
    pixels = noise(70, 90)
    crs = "EPSG:4326" if name == "tiny" else "EPSG:32632"
    image = write_raster(tmp_path / "a.tif", pixels, transform=TRANSFORMS[name], crs=crs)
    report = segment(image, oracle, tmp_path / "out", tile=64)
    with rasterio.open(image) as there, rasterio.open(report.classes) as here:
        assert here.transform == there.transform
        assert here.crs == there.crs
    np.testing.assert_array_equal(read(report.classes)[0], nearest(pixels))


CRSS = {
    "rotated pole": "+proj=ob_tran +o_proj=longlat +o_lon_p=0 +o_lat_p=39.25 +lon_0=18 +ellps=WGS84 "
    "+to_meter=0.0174532925199433 +no_defs",
    "rotated map": "+proj=ob_tran +o_proj=moll +o_lat_p=45 +o_lon_p=-90 +datum=WGS84",
    "from space": "+proj=nsper +h=1000000 +lat_0=40 +lon_0=-3 +datum=WGS84",
    "of a site": 'ENGCRS["site",EDATUM["stake"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["metre",1]]',
    "old local": 'LOCAL_CS["farm grid",UNIT["metre",1]]',
    "own projection": "+proj=laea +lat_0=51.3 +lon_0=7.7 +x_0=100 +y_0=200 +ellps=GRS80 +units=m",
    "bound": "+proj=tmerc +lon_0=9 +k=1 +x_0=3500000 +ellps=bessel +towgs84=598.1,73.7,418.2,0.202,0.045,-2.455,6.7",
    "compound": "EPSG:25832+7837",
    "north first": "EPSG:31467",
}  # fmt: skip


@pytest.mark.parametrize("points", [False, True], ids=["transform", "points"])
@pytest.mark.parametrize("name", CRSS)
def test_law_any_crs_is_kept(tmp_path: Path, name: str, points: bool) -> None:
    """Also one that no key of a GeoTIFF stands for, such as GDAL reads from .aux.xml."""
    crs, pixels = CRS.from_user_input(CRSS[name]), np.ones((1, 40, 50), np.uint8)
    corners = [(0, 0, 10, 20), (0, 50, 11.1, 20), (40, 0, 10, 19), (40, 50, 11, 19.3)]
    known = tuple(GroundControlPoint(r, c, x, y, 1.5) for r, c, x, y in corners)
    turned = rasterio.Affine.translation(1, 2) @ rasterio.Affine.rotation(30) @ rasterio.Affine.scale(1e-5, -1e-5)
    place = Georeference(None, rasterio.Affine.identity(), known, crs) if points else Georeference(crs, turned)
    layer = cog.Layer("a", place, ("class",), Resampling.mode, scale=0.5)
    path, _ = cog.write_cog(Plain(pixels), layer, tmp_path, 1)
    with rasterio.open(path) as written:
        assert (written.gcps[1] if points else written.crs) == crs
        assert written.transform == place.transform
        assert [(p.row, p.col, p.x, p.y, p.z) for p in written.gcps[0]] == [
            (*corner, 1.5) for corner in corners if points
        ]
        assert (written.nodata, written.scales, written.descriptions) == (255, (0.5,), ("class",))
    assert {each.name for each in tmp_path.iterdir()} <= {"a.tif", "a.tif.aux.xml"}


class Plain:
    """Rows of an array."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.bands, self.height, self.width = pixels.shape
        self.dtype, self.nodata, self._pixels = "uint8", 255.0, pixels

    def read(self, start: int, stop: int) -> np.ndarray:
        return self._pixels[:, start:stop]


def test_a_crs_in_a_sidecar_is_that_of_all_layers_and_of_what_is_made_of_them(
    tmp_path: Path, oracle: SegmentationModel
) -> None:
    crs = CRS.from_user_input(CRSS["rotated map"])
    image = write_raster(tmp_path / "a.tif", blocks(70, 90), crs=crs, photometric="RGB")
    assert (tmp_path / "a.tif.aux.xml").exists()
    report = segment(image, oracle, tmp_path / "out", probabilities=True)
    write_indices(image, ["GLI"], tmp_path / "out")
    paths = [report.classes, report.confidence, report.probabilities, tmp_path / "out" / "a_gli.tif"]
    for path in paths:
        with rasterio.open(path) as written:
            assert written.crs == crs
    text = (tmp_path / "out" / "a_classes.tif.aux.xml").read_text()
    assert "<Category>" in text
    assert "a_confidence.tif.aux.xml" in record_of(tmp_path / "out")["outputs"]
    assert not [finding for finding in verify(tmp_path / "out", tiles=0) if finding.wrong]
    plain = write_raster(tmp_path / "a.tif", blocks(70, 90), photometric="RGB")
    assert not (tmp_path / "a.tif.aux.xml").exists()
    for path in paths[:3]:
        segment(plain, oracle, tmp_path / "out", probabilities=True, overwrite=True)
        with rasterio.open(path) as written:
            assert written.crs == CRS.from_epsg(32632), "the sidecar of the map before is gone"


@pytest.mark.parametrize("wrong", ["crs", "point"])
def test_a_place_that_is_not_what_was_written_gets_no_name(
    tmp_path: Path, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = tuple(GroundControlPoint(r, c, c, -r) for r, c in ((0, 0), (0, 5), (5, 0), (5, 5)))
    place = Georeference(None, rasterio.Affine.identity(), points, CRS.from_epsg(32632))
    plain = cog._write_draft

    def other(path: Path, rows: cog.RowSource, layer: cog.Layer, threads: int) -> None:
        moved = replace(place, gcps=points[:3]) if wrong == "point" else replace(place, gcp_crs=CRS.from_epsg(32633))
        plain(path, rows, replace(layer, georeference=moved), threads)

    monkeypatch.setattr(cog, "_write_draft", other)
    monkeypatch.setattr(cog, "_keep_place", lambda *_: None)
    with pytest.raises(StorageError, match="CRS is not" if wrong == "crs" else "control points are not"):
        cog.write_cog(
            Plain(np.ones((1, 40, 50), np.uint8)), cog.Layer("a", place, ("class",), Resampling.mode), tmp_path, 1
        )


@pytest.mark.fault("G01")
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_without_crs_the_map_has_none_and_says_so(tmp_path: Path, oracle: SegmentationModel) -> None:
    image = write_raster(tmp_path / "a.tif", noise(70, 90), crs=None, transform=rasterio.Affine.identity())
    report = segment(image, oracle, tmp_path / "out")
    with rasterio.open(report.classes) as mask:
        assert mask.crs is None
        assert mask.transform == rasterio.Affine.identity()
    assert report.counts[0].hectares is None
    assert any("no coordinate reference system" in text for text in report.warnings)


@pytest.mark.fault("G05")
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("known", [CRS.from_epsg(4326), CRS()], ids=["CRS", "none"])
def test_ground_control_points_are_carried_over(tmp_path: Path, oracle: SegmentationModel, known: CRS) -> None:
    image = write_raster(tmp_path / "a.tif", noise(70, 90), crs=None, transform=rasterio.Affine.identity())
    corners = [(0, 0, 10, 20), (0, 90, 11, 20), (70, 0, 10, 19), (70, 90, 11, 19)]
    with rasterio.open(image, "r+") as dataset:
        dataset.gcps = ([GroundControlPoint(r, c, x, y) for r, c, x, y in corners], known)
    report = segment(image, oracle, tmp_path / "out", window=(10, 20, 50, 30))
    with rasterio.open(report.classes) as mask:
        points, crs = mask.gcps
    assert crs == (known or None)
    assert [(p.row, p.col, p.x, p.y) for p in points] == [(r - 20, c - 10, x, y) for r, c, x, y in corners]


def test_a_window_moves_the_corner(tmp_path: Path, oracle: SegmentationModel) -> None:
    image = write_raster(tmp_path / "a.tif", noise(200, 300))
    report = segment(image, oracle, tmp_path / "out", window="40,50,100,60")
    with rasterio.open(report.classes) as mask:
        assert mask.shape == (60, 100)
        assert mask.transform == UTM["transform"] @ rasterio.Affine.translation(40, 50)


# ground resolution


def with_gsd(gsd: float | None) -> SegmentationModel:
    model = two_class()
    return SegmentationModel(model.network, legend=model.legend, bands=model.bands, gsd=gsd)


def test_gsd_auto_averages_to_the_models_resolution(tmp_path: Path) -> None:
    coarse = np.kron(np.tile([[60, 200], [200, 60]], (50, 60)), np.ones((1, 1))).astype(np.uint8)
    fine = coarse.repeat(2, 0).repeat(2, 1)
    fine[::2, ::2] += 10  # the average of four is coarse + 2.5
    image = write_raster(tmp_path / "a.tif", fine[None])
    report = segment(image, with_gsd(0.2), tmp_path / "out")
    with rasterio.open(report.classes) as mask, rasterio.open(image) as there:
        assert mask.shape == (100, 120)
        assert mask.transform == UTM["transform"] @ rasterio.Affine.scale(2)
        assert mask.bounds == there.bounds
        np.testing.assert_array_equal(mask.read(1), coarse > 128)
    assert any("resampled from 10 cm to 20 cm" in text for text in report.warnings)
    native = segment(image, with_gsd(0.2), tmp_path / "native", gsd="native")
    with rasterio.open(native.classes) as mask:
        assert mask.shape == (200, 240)


@pytest.mark.parametrize(
    ("model_gsd", "flag", "shape", "says"),
    [
        (None, "auto", (200, 240), "does not know its ground resolution"),
        (0.1005, "auto", (200, 240), None),
        (0.05, "auto", (400, 480), "resampled from 10 cm to 5 cm"),
        (0.5, "auto", (40, 48), "far from 50 cm"),
        (0.5, "20cm", (100, 120), "resampled from 10 cm to 20 cm"),
        (0.3, "auto", (67, 80), "far from"),
    ],
)
def test_what_gsd_does_and_says(
    tmp_path: Path, model_gsd: float | None, flag: str, shape: tuple[int, int], says: str | None
) -> None:
    image = write_raster(tmp_path / "a.tif", noise(200, 240, bands=1))
    report = segment(image, with_gsd(model_gsd), tmp_path / "out", gsd=flag)
    with rasterio.open(report.classes) as mask, rasterio.open(image) as there:
        assert mask.shape == shape
        np.testing.assert_allclose(mask.bounds, there.bounds, rtol=1e-12)
    warned = [text for text in report.warnings if "resol" in text or "resampled" in text or "far" in text]
    assert (says is None and not warned) or any(says in text for text in warned)


def test_gsd_in_degrees_is_measured_on_the_ground(tmp_path: Path) -> None:
    transform = rasterio.Affine(1e-6, 0, 10, 0, -1e-6, 60)  # 5.6 cm by 11.1 cm
    image = write_raster(tmp_path / "a.tif", noise(200, 400, bands=1), crs="EPSG:4326", transform=transform)
    report = segment(image, with_gsd(0.1114), tmp_path / "out")
    with rasterio.open(report.classes) as mask:
        assert mask.shape == (200, 200)  # square on the ground


def test_gsd_as_a_length_needs_a_ground(tmp_path: Path) -> None:
    image = write_raster(tmp_path / "a.tif", noise(20, 20, bands=1), crs=None, transform=rasterio.Affine.identity())
    with pytest.raises(DataError, match="its ground resolution is unknown"):
        segment(image, with_gsd(0.1), tmp_path / "out", gsd="5cm")
    assert "unknown" in " ".join(segment(image, with_gsd(0.1), tmp_path / "out").warnings)


def test_a_window_of_a_resampled_raster_is_a_crop(tmp_path: Path) -> None:
    image = write_raster(tmp_path / "a.tif", blocks(300, 300)[:1])
    whole = read(segment(image, with_gsd(0.23), tmp_path / "whole", tile=64).classes)[0]
    report = segment(image, with_gsd(0.23), tmp_path / "part", tile=64, window=(31, 60, 100, 120))
    factor = 300 / 130
    left, top = int(31 / factor), int(60 / factor)
    part = read(report.classes)[0]
    np.testing.assert_array_equal(part, whole[top : top + part.shape[0], left : left + part.shape[1]])


# nothing half-written


@pytest.mark.fault("O01")
def test_outputs_that_exist_are_left_alone(tmp_path: Path) -> None:
    image = write_raster(tmp_path / "a.tif", noise(50, 50, bands=1))
    first = segment(image, two_class(), tmp_path / "out")
    before = {path: path.read_bytes() for path in first.files}
    with pytest.raises(OutputError, match=r"a_classes.tif: exists .* --overwrite"):
        segment(image, two_class(30), tmp_path / "out")
    assert {path: path.read_bytes() for path in first.files} == before
    segment(image, two_class(30), tmp_path / "out", overwrite=True)
    assert first.classes.read_bytes() != before[first.classes]


@pytest.mark.fault("O02")
@pytest.mark.parametrize("kind", ["itself", "symlink", "hard link"])
def test_the_input_is_never_an_output(tmp_path: Path, kind: str) -> None:
    image = write_raster(tmp_path / "a.tif", noise(50, 50, bands=1))
    before = image.read_bytes()
    out = image if kind == "itself" else tmp_path / "out"
    if kind != "itself":
        out.mkdir()
        place = out / "a_classes.tif"
        place.symlink_to(image) if kind == "symlink" else place.hardlink_to(image)
    with pytest.raises(UsageError, match="the output is the input itself"):
        segment(image, two_class(), out, overwrite=True)
    assert image.read_bytes() == before


@pytest.mark.fault("D03")
def test_a_file_that_is_not_what_was_sent_gets_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = write_raster(tmp_path / "a.tif", noise(600, 600, bands=1))
    copy = cog.rasterio.shutil.copy

    def lossy(draft: Path, final: Path, **options: Any) -> None:
        with rasterio.open(draft, "r+") as dataset:
            dataset.write(np.array([[[9]]], np.uint8), window=rasterio.windows.Window(300, 300, 1, 1))
        copy(draft, final, **options)

    monkeypatch.setattr(cog.rasterio.shutil, "copy", lossy)
    with pytest.raises(StorageError, match="not what was written"):
        segment(image, two_class(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.fault("D03")
def test_a_damaged_overview_gets_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = write_raster(tmp_path / "a.tif", noise(1200, 1200, bands=1))
    copy = cog.rasterio.shutil.copy

    def lossy(draft: Path, final: Path, **options: Any) -> None:
        copy(draft, final, **options)
        with rasterio.open(final, overview_level=0) as dataset:
            first = dataset.read(1)
        data = final.read_bytes()
        assert first.any()
        with rasterio.open(final, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dataset:
            dataset.build_overviews([2], cog.Resampling.nearest)
        assert final.read_bytes() != data

    monkeypatch.setattr(cog.rasterio.shutil, "copy", lossy)
    with pytest.raises(StorageError, match="overview"):
        segment(image, two_class(), tmp_path / "out")


@pytest.mark.fault("O05")
def test_an_input_that_changes_is_noticed(tmp_path: Path) -> None:
    image = write_raster(tmp_path / "a.tif", noise(300, 300, bands=1))

    def touch(_done: int, _total: int) -> None:
        with image.open("ab") as file:
            file.write(b"!")

    with pytest.raises(DataError, match="changed while it was read"):
        segment(image, two_class(), tmp_path / "out", tile=64, progress=touch)
    assert not (tmp_path / "out").exists()


def test_progress_counts_every_tile(tmp_path: Path) -> None:
    image = write_raster(tmp_path / "a.tif", noise(300, 300, bands=1))
    told: list[tuple[int, int]] = []
    segment(image, two_class(), tmp_path / "out", tile=64, progress=lambda *state: told.append(state))
    assert told[-1][0] == told[-1][1] == 36
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_the_picture_shows_the_legends_colours(run: Any, tmp_path: Path) -> None:
    report, truth = run
    from PIL import Image

    info = RasterInfo.read(tmp_path / "field.tif")
    source = Source(info, (1,), ValidityRule.of(info), info.width, info.height)
    image = image_quicklook(source, Window(0, 0, info.width, info.height), ("grey",))
    save_picture(tmp_path / "p.png", image, report.classes, report.confidence, two_class().legend)
    sheet = np.asarray(Image.open(tmp_path / "p.png"))
    assert sheet.shape[1] > 3 * 600
    colours = {tuple(colour) for colour in sheet.reshape(-1, 3)}
    assert {(0x11, 0x22, 0x33), (0xFE, 0xDC, 0xBA), (232, 232, 232)} <= colours
    assert json.dumps(report.as_dict())
    assert truth.any()
