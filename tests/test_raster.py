"""Reading: the safe door, the one validity rule, resampling, the ground. GDAL is the independent witness."""

import http.server
import multiprocessing
import os
import shutil
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import UTM, blocks, noise, read, write_raster
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.shutil import copy as copy_raster

from agriseg import SegmentationModel, segment
from agriseg.errors import AccessError, AgrisegError, DataError, InputMissing, UsageError
from agriseg.figures.quicklook import image_quicklook
from agriseg.grid import Window
from agriseg.raster import gdal_env, safe_open
from agriseg.raster import pixel_sample as sample_module
from agriseg.raster.georeference import Georeference
from agriseg.raster.header import RasterInfo
from agriseg.raster.pixel_sample import take_sample
from agriseg.raster.reader import Reader, Source
from agriseg.raster.resample import ResampleWeights, resample
from agriseg.raster.valid_mask import Use, ValidityRule


def source_of(path: Path, bands: tuple[int, ...] | None = None, size: tuple[int, int] | None = None) -> Source:
    info = RasterInfo.read(path)
    width, height = size or (info.width, info.height)
    return Source(info, bands or tuple(range(1, info.count + 1)), ValidityRule.of(info), width, height)


def whole(source: Source) -> Any:
    with Reader(source) as reader:
        return reader.read(Window(0, 0, source.width, source.height))


# the door


@pytest.mark.fault("I05")
@pytest.mark.parametrize(
    ("name", "content", "kind", "says"),
    [
        ("empty.tif", b"", DataError, "the file is empty"),
        ("text.tif", b"hello, I am text\n" * 9, DataError, "this is text, expected a GeoTIFF"),
        ("page.tif", b"<!DOCTYPE html><html>404</html>", DataError, "this is text"),
        ("pointer.tif", b"version https://git-lfs.github.com/spec/v1\noid sha256:0", DataError, "git lfs pull"),
        ("vrt.tif", b'<VRTDataset rasterXSize="1" rasterYSize="1"/>', DataError, "this is text"),
        ("zip.tif", b"PK\x03\x04" + b"\xff" * 99, DataError, "of an unknown format"),
        ("broken.tif", b"II*\0\x08\0\0\0", DataError, "damaged, GTiff cannot open it"),
        ("broken.jpg", b"\xff\xd8\xff\xd9", DataError, "damaged, JPEG cannot open it"),
    ],
)
def test_the_door_says_what_a_file_is(tmp_path: Path, name: str, content: bytes, kind: type, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(kind, match=says):
        RasterInfo.read(path)


@pytest.mark.fault("O08", "X06")
def test_the_door_opens_files_only(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match="no such file"):
        RasterInfo.read(tmp_path / "none.tif")
    with pytest.raises(InputMissing, match="this is a folder"):
        RasterInfo.read(tmp_path)
    fifo = tmp_path / "pipe.tif"
    os.mkfifo(fifo)
    with pytest.raises(InputMissing, match="no regular file"):
        RasterInfo.read(fifo)
    for url in ("http://127.0.0.1:9/a.tif", "s3://b/a.tif", "/vsicurl/http://127.0.0.1:9/a.tif", "zip+http://x!a.tif"):
        with pytest.raises(UsageError, match="remote or virtual"):
            RasterInfo.read(Path(url))


@pytest.mark.fault("S03", "S04", "P07")
def test_sizes_are_refused_before_the_first_read(tmp_path: Path) -> None:
    huge = tmp_path / "huge.tif"
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 3, "sparse_ok": True, "tiled": True, **UTM}
    with rasterio.open(huge, "w", width=10**6, height=10**6, blockxsize=16384, blockysize=16384, **profile):
        pass
    with pytest.raises(DataError, match="beyond the limit"):
        RasterInfo.read(huge)
    bomb = tmp_path / "bomb.tif"
    with rasterio.open(
        bomb, "w", width=16384, height=16384, blockxsize=16384, blockysize=16384, interleave="pixel", **profile
    ):
        pass
    with pytest.raises(DataError, match="one stored block is 768 MiB"):
        RasterInfo.read(bomb)
    with pytest.raises(DataError, match="65 bands, expected 1 to 64"):
        RasterInfo.read(write_raster(tmp_path / "many.tif", np.zeros((65, 4, 4), np.uint8)))
    with pytest.raises(DataError, match="complex64 pixels"):
        RasterInfo.read(write_raster(tmp_path / "radar.tif", np.zeros((1, 4, 4), np.complex64)))


def _count_requests(port: Any, hits: Any) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with hits.get_lock():
                hits.value += 1
            self.send_error(404)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        port.value = server.server_port
        server.serve_forever(0.05)


@pytest.fixture
def listener() -> Any:
    """A server in another process; gives its port and the count of requests."""
    context = multiprocessing.get_context("spawn")
    port, hits = context.Value("i", 0), context.Value("i", 0)
    process = context.Process(target=_count_requests, args=(port, hits), daemon=True)
    process.start()
    while port.value == 0:
        process.join(0.01)
    yield port, hits
    process.kill()
    process.join()


VRT = """<VRTDataset rasterXSize="64" rasterYSize="64"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>
<SourceFilename relativeToVRT="0">{source}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"""
WMS = """<GDAL_WMS><Service name="TMS"><ServerUrl>http://127.0.0.1:{port}/${{z}}/${{x}}</ServerUrl></Service>
<DataWindow><SizeX>64</SizeX><SizeY>64</SizeY></DataWindow><BandsCount>1</BandsCount></GDAL_WMS>"""
PAM = "<PAMDataset><Metadata domain='OVERVIEWS'><MDI key='OVERVIEW_FILE'>{source}</MDI></Metadata></PAMDataset>"


@pytest.mark.fault("X01", "X02", "X03", "X04")
def test_no_file_makes_us_fetch_or_read_another(tmp_path: Path, listener: Any) -> None:
    port, hits = listener
    url = f"/vsicurl/http://127.0.0.1:{port.value}/x.tif"
    secret = tmp_path / "secret.bin"
    secret.write_bytes(b"S" * 4096)
    for name, text in {
        "vrt.tif": VRT.format(source=url),
        "wms.tif": WMS.format(port=port.value),
        "raw.tif": VRT.format(source=secret),
    }.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError):
            RasterInfo.read(tmp_path / name)
    pixels = noise(64, 64, low=1)
    for number, (suffix, text) in enumerate(
        [(".ovr", VRT.format(source=url)), (".aux.xml", PAM.format(source=url)), (".msk", VRT.format(source=url))]
    ):
        path = write_raster(tmp_path / f"good{number}.tif", pixels)
        Path(f"{path}{suffix}").write_text(text)
        try:
            np.testing.assert_array_equal(whole(source_of(path, size=(32, 32))).pixels.shape, (3, 32, 32))
            np.testing.assert_array_equal(whole(source_of(path)).pixels, pixels)
        except AgrisegError as error:
            pytest.fail(f"{suffix}: {error}")
    assert hits.value == 0


def test_the_listener_hears(listener: Any) -> None:
    """The check above can fail."""
    port, hits = listener
    with pytest.raises(OSError, match="404"):
        urllib.request.urlopen(f"http://127.0.0.1:{port.value}/")
    assert hits.value == 1


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_raster(tmp_path / "a.tif", noise(4, 4))
    monkeypatch.setattr(safe_open.os, "access", lambda *_: False)  # the tests may run as root, who may read all
    with pytest.raises(AccessError, match="may not be read"):
        RasterInfo.read(path)


@pytest.mark.fault("I02")
def test_a_damaged_block_names_its_window(tmp_path: Path) -> None:
    path = write_raster(
        tmp_path / "a.tif", noise(512, 512), tiled=True, blockxsize=256, blockysize=256, compress="deflate"
    )
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    path.write_bytes(bytes(data))
    with Reader(source_of(path)) as reader, pytest.raises(DataError, match=r"window 0,256,512,256 cannot be read"):
        reader.read(Window(0, 256, 512, 256))


# validity


def expected_valid(path: Path) -> np.ndarray:
    """GDAL's dataset mask and finite numbers."""
    with rasterio.open(path) as dataset:
        mask = dataset.dataset_mask() != 0
        pixels = dataset.read()
    return mask & np.isfinite(pixels).all(0) if pixels.dtype.kind == "f" else mask


def holed(kind: Any = np.uint8) -> np.ndarray:
    pixels = noise(60, 50, low=1).astype(kind)
    pixels[:, 10:20, 5:30] = 0
    pixels[0, 30:40] = 0  # one band 0 is data
    return pixels


def make_nodata(path: Path) -> None:
    write_raster(path, holed(), nodata=0)


def make_nodata_of_another_type(path: Path) -> None:
    pixels = holed(np.float32)
    pixels[:, 10:20, 5:30] = np.finfo(np.float32).min
    write_raster(path, pixels, nodata=-3.4028234663852886e38, photometric="RGB")


def make_nan(path: Path) -> None:
    pixels = holed(np.float32)
    pixels[:, 10:20] = np.nan
    pixels[1, 45] = np.inf
    write_raster(path, pixels, nodata=np.nan, photometric="RGB")


def make_nan_undeclared(path: Path) -> None:
    pixels = holed(np.float32)
    pixels[2, 10:20] = np.nan
    write_raster(path, pixels, photometric="RGB")


def make_alpha(path: Path) -> None:
    pixels = np.concatenate([holed(), np.full((1, 60, 50), 255, np.uint8)])
    pixels[3, 10:20, 5:30] = 0
    pixels[3, 50:55] = 7  # half transparent is data
    write_raster(path, pixels, photometric="RGB", alpha="YES")


def make_internal_mask(path: Path) -> None:
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        write_raster(path, holed())
        with rasterio.open(path, "r+") as dataset:
            dataset.write_mask(holed().any(0))


def make_sidecar_mask(path: Path) -> None:
    write_raster(path, holed())
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(holed().any(0))
    assert Path(f"{path}.msk").exists()


def make_plain(path: Path) -> None:
    write_raster(path, holed())


MAKERS = [
    make_nodata, make_nodata_of_another_type, make_nan, make_nan_undeclared, make_alpha, make_internal_mask,
    make_sidecar_mask, make_plain,
]  # fmt: skip


@pytest.mark.fault("P01", "P02", "P03")
@pytest.mark.parametrize("make", MAKERS)
def test_validity_is_gdals_and_finite(tmp_path: Path, make: Any) -> None:
    path = tmp_path / "a.tif"
    make(path)
    valid = whole(source_of(path)).valid
    np.testing.assert_array_equal(valid, expected_valid(path))
    assert valid.all() == (make is make_plain)  # 0 alone is data; everything else hides something


@pytest.mark.fault("P03")
def test_all_marks_together_hide_what_any_hides(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    pixels = np.full((4, 40, 40), 9, np.uint8)
    pixels[:, :10] = 0
    pixels[3, :, :10] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        write_raster(path, pixels, photometric="RGB", alpha="YES", nodata=0)
        with rasterio.open(path, "r+") as dataset:
            mask = np.ones((40, 40), bool)
            mask[30:] = False
            dataset.write_mask(mask)
    hidden = ~whole(source_of(path, (1, 2, 3))).valid
    expected = np.zeros((40, 40), bool)
    expected[:10] = expected[:, :10] = expected[30:] = True
    np.testing.assert_array_equal(hidden, expected)


def test_a_users_nodata_and_alpha(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", holed())
    info = RasterInfo.read(path)
    rule = ValidityRule.of(info, nodata=0.0)
    with Reader(Source(info, (1, 2), rule, 50, 60)) as reader:
        np.testing.assert_array_equal(reader.read(Window(0, 0, 50, 60)).valid, holed().any(0))
    rule = ValidityRule.of(info, alpha=(1,))
    with Reader(Source(info, (2, 3), rule, 50, 60)) as reader:
        np.testing.assert_array_equal(reader.read(Window(0, 0, 50, 60)).valid, holed()[0] != 0)


def declared(pixels: np.ndarray, values: list[float | None], used: tuple[int, ...]) -> np.ndarray:
    """(bands, H, W): where each used band holds a value that is declared for it, pixel by pixel."""
    holds = np.zeros((len(used), *pixels.shape[1:]), bool)
    for place, number in enumerate(used):
        for row, line in enumerate(pixels[number - 1].tolist()):
            for col, stored in enumerate(line):
                own = [value for value in values if value is not None]
                holds[place, row, col] = any(stored == value or (stored != stored and value != value) for value in own)
    return holds


KINDS: dict[str, tuple[float, ...]] = {
    "uint8": (0, 255, 7), "uint16": (0, 65535, 7), "int16": (-9999, 32767, 0), "float32": (-10000, np.nan, 0, 3.5),
}  # fmt: skip


@pytest.mark.fault("P01", "P02")
@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_the_bands_that_are_used_say_what_is_data(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """One used band with its value is enough, but for a network's 8-bit colours; other bands say nothing."""
    dtype = data.draw(st.sampled_from(list(KINDS)))
    values = KINDS[dtype]
    bands = data.draw(st.integers(1, 5))
    used = tuple(data.draw(st.permutations(range(1, bands + 1)))[: data.draw(st.integers(1, bands))])
    own = data.draw(st.sampled_from([None, *values]))
    users = data.draw(st.sampled_from([None, *values]))
    seed = data.draw(st.integers(0, 2**32 - 1))
    pixels = np.random.default_rng(seed).choice([*values, 5, 6], (bands, 4, 6)).astype(dtype)
    path = tmp_path_factory.mktemp("validity") / "a.tif"
    info = RasterInfo.read(write_raster(path, pixels, nodata=own, photometric="MINISBLACK"))
    holds = declared(pixels, [own, users], used)
    finite = np.isfinite(pixels[[number - 1 for number in used]]).all(0)
    for use in Use:
        lost = holds.all(0) if use is Use.NETWORK and dtype == "uint8" else holds.any(0)
        rule = ValidityRule.of(info, nodata=users, use=use)
        with Reader(Source(info, used, rule, info.width, info.height)) as reader:
            found = reader.read(Window(0, 0, info.width, info.height)).valid
        np.testing.assert_array_equal(
            found, ~lost & finite, err_msg=f"{use} of {dtype}, {own} and {users}, seed {seed}"
        )


def test_each_band_has_its_own_nodata(tmp_path: Path) -> None:
    """A VRT or a netCDF file may declare a value for each band, or for some."""
    pixels = np.uint16([[[1, 2, 3, 4]], [[1, 2, 3, 4]], [[1, 2, 3, 4]]])
    info = replace(RasterInfo.read(write_raster(tmp_path / "a.tif", pixels)), nodata=(2.0, 3.0, None))
    with Reader(Source(info, (1, 2, 3), ValidityRule.of(info), 4, 1)) as reader:
        assert reader.read(Window(0, 0, 4, 1)).valid.tolist() == [[True, False, False, True]]
    with Reader(Source(info, (2, 3), ValidityRule.of(info), 4, 1)) as reader:
        assert reader.read(Window(0, 0, 4, 1)).valid.tolist() == [[True, True, False, True]]
    with Reader(Source(info, (3,), ValidityRule.of(info), 4, 1)) as reader:
        assert reader.read(Window(0, 0, 4, 1)).valid.all()


@pytest.mark.fault("P06")
@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "float32", "float64"]
)
def test_every_type_reads_as_stored(tmp_path: Path, dtype: str) -> None:
    pixels = np.arange(60, dtype=dtype).reshape(1, 6, 10)
    strip = whole(source_of(write_raster(tmp_path / "a.tif", pixels)))
    assert strip.pixels.dtype == dtype
    np.testing.assert_array_equal(strip.pixels, pixels)
    assert strip.valid.all()


@pytest.mark.parametrize("size", [None, (33, 41), (151, 190)], ids=["native", "coarser", "finer"])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_window_read_equals_a_slice(tmp_path_factory: pytest.TempPathFactory, size: Any, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "window.tif"
    if not path.exists():
        write_raster(path, noise(83, 97, low=1), nodata=3)
    source = source_of(path, (3, 1), size)
    col, row = data.draw(st.integers(0, source.width - 1)), data.draw(st.integers(0, source.height - 1))
    width, height = data.draw(st.integers(1, source.width - col)), data.draw(st.integers(1, source.height - row))
    window = Window(col, row, width, height)
    everything = whole(source)
    with Reader(source) as reader:
        strip = reader.read(window)
    np.testing.assert_array_equal(
        strip.pixels, everything.pixels[(slice(None), *window.within(Window(0, 0, source.width, source.height)))]
    )
    np.testing.assert_array_equal(
        strip.valid, everything.valid[window.within(Window(0, 0, source.width, source.height))]
    )


LAYOUTS: list[dict[str, Any]] = [
    {"tiled": True, "blockxsize": 16, "blockysize": 272},
    {"blockysize": 1},
    {"interleave": "band"},
    {"interleave": "pixel", "compress": "lzw", "predictor": 2},
    {"compress": "zstd"},
    {"compress": "packbits"},
    {"bigtiff": "YES", "endianness": "BIG"},
]


@pytest.mark.fault("P09")
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_the_layout_of_a_file_does_not_matter(tmp_path: Path, layout: dict[str, Any]) -> None:
    pixels = noise(300, 290)
    path = write_raster(tmp_path / "a.tif", pixels, **layout)
    np.testing.assert_array_equal(whole(source_of(path)).pixels, pixels)


# resampling


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_averages_by_whole_factors_are_gdals(tmp_path: Path, factor: int) -> None:
    pixels = noise(60, 90).astype(np.float32)
    path = write_raster(tmp_path / "a.tif", pixels, photometric="RGB")
    strip = whole(source_of(path, size=(90 // factor, 60 // factor)))
    with rasterio.open(path) as dataset:
        expected = dataset.read(out_shape=strip.pixels.shape, resampling=Resampling.average)
    np.testing.assert_allclose(strip.pixels, expected, rtol=1e-5)


@given(st.integers(1, 60), st.integers(1, 60))
@settings(max_examples=200, deadline=None)
def test_resampling_keeps_constants_and_the_mean(source_size: int, size: int) -> None:
    taps = ResampleWeights(source_size, size, 0, size)
    index, weight = taps.table()
    np.testing.assert_allclose(weight.sum(1), 1)
    assert index.min() >= 0
    assert index.max() < source_size
    if size <= source_size:  # every source pixel counts once in all
        spread = np.bincount(index.ravel(), weight.ravel(), source_size)
        np.testing.assert_allclose(spread, size / source_size)


def test_invalid_pixels_do_not_colour_their_neighbours() -> None:
    pixels = np.full((1, 4, 4), 10, np.uint8)
    valid = np.ones((4, 4), bool)
    pixels[:, :, 1] = 255
    valid[:, 1] = valid[0] = False
    mean, known = resample(pixels, valid, ResampleWeights(4, 2, 0, 2), ResampleWeights(4, 2, 0, 2))
    np.testing.assert_array_equal(mean, np.full((1, 2, 2), 10, np.float32))
    np.testing.assert_array_equal(known, [[False, True], [True, True]])  # a quarter, half, half, all covered


def misled(path: Path, seed: int) -> Path:
    """The raster with overviews of other pixels, by any means, inside or beside it; a mask may be younger than they."""
    rng = np.random.default_rng(seed)
    pixels = read(path)
    method = [Resampling.nearest, Resampling.average, Resampling.mode][rng.integers(3)]
    factors = [[2], [2, 4], [4], [2, 4, 8], [3]][rng.integers(5)]
    stale, masked = rng.random() < 0.5, rng.random() < 0.5
    with rasterio.open(path, "r+") as dataset:
        if stale:
            dataset.write(255 - pixels)
    with rasterio.Env(TIFF_USE_OVR=bool(rng.random() < 0.5)), rasterio.open(path, "r+") as dataset:
        dataset.build_overviews(factors, method)
    with rasterio.open(path, "r+") as dataset:
        dataset.write(pixels)
    if masked:
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=bool(rng.random() < 0.5)), rasterio.open(path, "r+") as dataset:
            dataset.write_mask(mask_of(pixels))
    return path


def mask_of(pixels: np.ndarray) -> np.ndarray:
    return np.where(pixels[0] % 5 == 0, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", range(12))
def test_overviews_change_nothing(tmp_path: Path, seed: int, oracle: SegmentationModel) -> None:
    """A coarse look, its validity, the map and the quick look are those of the same raster without overviews."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(40, 200, 2)
    (tmp_path / "plain").mkdir()
    pixels = blocks(height, width, side=3, seed=seed)
    plain = write_raster(tmp_path / "plain" / "a.tif", pixels, photometric="RGB")
    other = misled(write_raster(tmp_path / "a.tif", pixels, photometric="RGB"), seed)
    if RasterInfo.read(other).file_mask:
        with rasterio.open(plain, "r+") as dataset:
            dataset.write_mask(mask_of(pixels))
    nodata = [None, int(pixels[0, 0, 0])][rng.integers(2)]
    size = int(width / rng.uniform(1, 5)) or 1, int(height / rng.uniform(1, 5)) or 1
    expected, found = (
        whole(replace(source_of(path, size=size), rule=ValidityRule.of(RasterInfo.read(path), nodata=nodata)))
        for path in (plain, other)
    )
    np.testing.assert_array_equal(found.valid, expected.valid)
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    looks = [
        image_quicklook(source_of(path), Window(0, 0, width, height), ("red", "green", "blue"))
        for path in (plain, other)
    ]
    assert looks[0] == looks[1]
    if seed < 2:
        gsd = 0.1 * rng.uniform(2, 4)
        maps = [segment(path, oracle, tmp_path / path.parent.name / "out", gsd=gsd) for path in (plain, other)]
        np.testing.assert_array_equal(read(maps[0].classes), read(maps[1].classes))


# the ground


def test_web_mercator_is_not_taken_for_metres() -> None:
    transform = rasterio.Affine(1, 0, 1_000_000, 0, -1, 6_800_000)  # about 52 degrees north
    width, _ = Georeference(CRS.from_epsg(3857), transform).gsd(100, 100)
    latitude = np.degrees(2 * np.arctan(np.exp(6_800_000 / 6378137)) - np.pi / 2)
    assert width == pytest.approx(np.cos(np.radians(latitude)), rel=0.004)  # the sphere against the ellipsoid
    area = Georeference(CRS.from_epsg(3857), transform).pixel_areas(100, range(1))[0]
    assert 1 / area == pytest.approx(2.64, abs=0.04)  # the 2.6 times that peers report too much


def test_a_degree_on_the_ellipsoid() -> None:
    """Lengths of a degree, from the table in Snyder 1987, appendix C (WGS 84 by its formulae)."""
    for latitude, north, east in ((0, 110_574.3, 111_319.5), (45, 111_131.8, 78_846.8), (60, 111_412.3, 55_800.2)):
        transform = rasterio.Affine(1e-4, 0, 10, 0, -1e-4, latitude + 0.5e-4)
        along, down = Georeference(CRS.from_epsg(4326), transform).gsd(1, 1)
        assert along * 1e4 == pytest.approx(east, rel=1e-5)
        assert down * 1e4 == pytest.approx(north, rel=1e-5)


def test_utm_keeps_its_own_pixel_size() -> None:
    assert Georeference(CRS.from_epsg(32632), UTM["transform"]).gsd(100, 100) == (0.1, 0.1)


def test_feet_and_local_metres() -> None:
    transform = rasterio.Affine(2, 0, 1_000_000, 0, -2, 200_000)
    assert Georeference(CRS.from_epsg(2263), transform).gsd(10, 10)[0] == pytest.approx(2 * 1200 / 3937)
    local = CRS.from_wkt('LOCAL_CS["yard",UNIT["metre",1]]')
    assert Georeference(local, transform).gsd(10, 10) == (2.0, 2.0)


def test_what_lies_not_on_earth_has_no_size() -> None:
    mars = CRS.from_wkt(
        'GEOGCS["Mars 2000",DATUM["D_Mars_2000",SPHEROID["Mars_2000_IAU_IAG",3396190.0,169.89444722361179]],'
        'PRIMEM["Greenwich",0],UNIT["Decimal_Degree",0.0174532925199433]]'
    )
    assert Georeference(mars, rasterio.Affine(0.1, 0, 0, 0, -0.1, 0)).gsd(10, 10) is None
    assert Georeference(None, rasterio.Affine(0.1, 0, 0, 0, -0.1, 0)).gsd(10, 10) is None


@pytest.mark.parametrize("crs", [32632, 4326, 3857])
def test_pixels_below_the_last_digit_of_their_coordinates_have_no_size(crs: int) -> None:
    def placed(side: float) -> Georeference:
        return Georeference(CRS.from_epsg(crs), rasterio.Affine(side, 0, 12, 0, -side, 45))

    assert placed(1e-15).gsd(10, 10) is None
    assert placed(1e-15).pixel_areas(10, range(3)) is None
    assert placed(1e-7).gsd(10, 10) is not None
    assert len(placed(0.1).pixel_areas(10, range(0))) == 0


def test_a_raster_of_pixels_without_size_is_mapped_without_hectares(tmp_path: Path, small: SegmentationModel) -> None:
    tiny = rasterio.Affine(1e-12, 0, 500_000, 0, -1e-12, 5_000_000)
    image = write_raster(tmp_path / "a.tif", blocks(60, 60), transform=tiny)
    report = segment(image, small, tmp_path / "out", lang="zh")
    assert all(entry.hectares is None for entry in report.counts)
    assert report.exports[0].name == "a_report.html"


def test_a_rotated_grid_has_the_area_of_the_straight_one() -> None:
    straight = rasterio.Affine(0.1, 0, 500_000, 0, -0.1, 5_400_000)
    turned = straight @ rasterio.Affine.rotation(30)
    areas = [Georeference(CRS.from_epsg(32632), t).pixel_areas(10, range(3)) for t in (straight, turned)]
    np.testing.assert_allclose(areas[0], areas[1], rtol=1e-6)
    assert areas[0][0] == pytest.approx(0.01, rel=1e-3)


# the sample


def test_an_untagged_mask_band_is_seen(tmp_path: Path) -> None:
    pixels = np.concatenate([noise(50, 50), np.zeros((1, 50, 50), np.uint8)])
    pixels[3, 10:40] = 255
    path = write_raster(tmp_path / "a.tif", pixels, photometric="RGB", alpha="NO")
    assert RasterInfo.read(path).colours[3] == ColorInterp.undefined
    assert take_sample(source_of(path, (1, 2, 3))).mask_like == 4
    assert take_sample(source_of(write_raster(tmp_path / "b.tif", noise(50, 50)))).mask_like is None


def margins(kind: str, side: int) -> np.ndarray:
    """(side, side) bool: where a raster has a margin around the field, or beside it."""
    rows, cols = np.mgrid[:side, :side] - side / 2
    return {
        "around": np.maximum(np.abs(rows), np.abs(cols)) > 0.4 * side,
        "left": cols < -0.4 * side,
        "two sides": (cols < -0.4 * side) | (rows > 0.3 * side),
        "turned": np.maximum(np.abs(rows + cols), np.abs(rows - cols)) > 0.7 * side,
    }[kind]


@pytest.mark.parametrize("kind", ["around", "left", "two sides", "turned"])
@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("uint8", 0), ("uint8", 255), ("uint16", 65535), ("uint16", 0), ("int16", -10000), ("int16", 32767),
        ("float32", -9999), ("float32", float(np.finfo(np.float32).min)), ("float32", 0.1),
    ],
)  # fmt: skip
def test_a_margin_that_nothing_declares_is_seen(tmp_path: Path, kind: str, dtype: str, value: float) -> None:
    """And the number that is told hides just the margin."""
    pixels = noise(60, 60, low=1).astype(dtype)
    pixels[0][pixels[0] == 255] = 254  # so that no pixel of the field is white
    margin = margins(kind, 60)
    pixels[:, margin] = value
    path = write_raster(tmp_path / "a.tif", pixels, photometric="MINISBLACK")
    collar = take_sample(source_of(path)).collar
    assert collar is not None
    assert collar.exact
    info = RasterInfo.read(path)
    told = Source(info, (1, 2, 3), ValidityRule.of(info, nodata=float(collar.value)), 60, 60)
    np.testing.assert_array_equal(whole(told).valid, ~margin)
    assert take_sample(told).collar is None, "it is declared now"


def test_a_margin_of_jpeg_is_seen_and_a_field_is_none(tmp_path: Path) -> None:
    pixels = noise(60, 60, low=1)
    assert take_sample(source_of(write_raster(tmp_path / "field.tif", pixels))).collar is None
    white = 254 + noise(60, 60, seed=1) % 2
    margin = margins("around", 60)
    for name, noisy in (("255", white), ("0", 255 - white)):
        lossy = np.where(margin, noisy, pixels)
        collar = take_sample(source_of(write_raster(tmp_path / f"{name}.tif", lossy))).collar
        assert collar is not None
        assert (collar.value, collar.exact) == (name, False)


def test_a_large_raster_is_sampled(tmp_path: Path) -> None:
    pixels = np.ones((1, 2200, 2000), np.uint8)
    pixels[:, 1100:] = 0
    sample = take_sample(source_of(write_raster(tmp_path / "a.tif", pixels, nodata=0, compress="deflate")))
    assert not sample.complete
    assert sample.valid_share == pytest.approx(0.5, abs=0.05)


def shapes(rng: np.random.Generator, side: int) -> np.ndarray:
    """(side, side) bool: a strip, a diagonal or a blob, of any size, anywhere."""
    rows, cols = np.mgrid[:side, :side]
    row, col = rng.integers(0, side, 2)
    half = int(side * 10 ** rng.uniform(-2.5, -0.7))
    kind = rng.integers(3)
    if kind == 0:
        return np.asarray(np.abs(cols - col) <= half)
    if kind == 1:
        return np.asarray(np.abs(rows - cols + row - side // 2) <= half)
    return np.asarray((rows - row) ** 2 + (cols - col) ** 2 <= half**2)


@pytest.mark.parametrize("seed", range(8))
def test_a_field_is_looked_at_wherever_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Or the sample says that it has seen too little."""
    for name, value in {"_ALL_PIXELS": 1000, "_PATCH": 4, "ENOUGH": 128}.items():
        monkeypatch.setattr(sample_module, name, value)
    side = 500
    rng = np.random.default_rng(seed)
    field = shapes(rng, side)
    pixels = np.where(field, rng.integers(1, 200, (3, side, side)), 0).astype(np.uint8)
    sample = take_sample(source_of(write_raster(tmp_path / "a.tif", pixels, nodata=0, photometric="RGB")))
    assert sample.enough == (sample.valid >= 128)
    if field.sum() >= 128 * (side / 64 / 4) ** 2 * 3:  # its share of the finest lattice, thrice
        assert sample.enough
    if sample.valid:
        assert all(0 < mean < 200 for mean in sample.mean or ())
    if sample.enough:
        np.testing.assert_allclose(sample.mean or (), pixels[:, field].mean(1), atol=20)
        assert max(sample.highest) > 150


def test_just_the_window_is_sampled(tmp_path: Path) -> None:
    pixels = noise(80, 90, low=1)
    source = source_of(write_raster(tmp_path / "a.tif", pixels))
    sample = take_sample(source, Window(20, 10, 30, 40))
    np.testing.assert_allclose(sample.mean or (), pixels[:, 10:50, 20:50].reshape(3, -1).mean(1))
    assert sample.valid == 30 * 40


@pytest.mark.fault("S05")
def test_tall_strips_are_kept_in_the_cache(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", np.zeros((3, 4000, 4000), np.uint8), tiled=True, compress="deflate")
    assert RasterInfo.read(path).cache_bytes == gdal_env.BLOCK_CACHE_BYTES
    strip = tmp_path / "strip.tif"
    copy_raster(path, strip, driver="GTiff", blockysize=2048, compress="deflate")
    assert RasterInfo.read(strip).block == (2048, 4000)
    assert RasterInfo.read(strip).cache_bytes >= 2048 * 4000 * 3


@pytest.mark.fault("O06")
def test_odd_names_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = write_raster(tmp_path / "good.tif", noise(4, 4))
    monkeypatch.chdir(tmp_path)
    names = [
        "with space.tif", "ünïcödé 畑.tif", "decomposed é.tif", "#?!%*[]{}'\".tif", "tab\there.tif", "new\nline.tif",
        "-dash.tif", "http:x.tif", "GTIFF_DIR:1:x.tif", "$(touch pwn).tif", "x" * 200 + ".tif",
    ]  # fmt: skip
    for name in names:
        shutil.copy(good, tmp_path / name)
        np.testing.assert_array_equal(whole(source_of(Path(name))).pixels, noise(4, 4))
    assert not (tmp_path / "pwn").exists()


@pytest.mark.fault("I03")
@pytest.mark.parametrize(
    ("name", "profile"),
    [
        ("tiled.tif", {"compress": "jpeg", "photometric": "YCBCR", "tiled": True}),
        ("whole.jpg", {"driver": "JPEG", "crs": None, "transform": None}),
    ],
)
def test_jpeg_that_is_cut_short_is_no_grey_field(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, profile: dict[str, Any]
) -> None:
    """GDAL fills the rest of the block with grey and does no more than warn."""
    path = write_raster(tmp_path / name, blocks(256, 256), **profile)
    data = bytearray(path.read_bytes())
    middle = len(data) * 3 // 4
    data[middle : middle + 4] = b"\xff\xd9\0\0"
    path.write_bytes(data)
    with Reader(source_of(path)) as reader, pytest.raises(DataError, match=r"damaged there.*(Corrupt JPEG|premature)"):
        reader.read(Window(0, 0, 256, 256))
    assert capfd.readouterr().err == ""
