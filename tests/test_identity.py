"""An input is all files that GDAL or OGR opens for it: one that changes, comes or goes is noticed wherever it matters.

pytest -q -s tests/test_identity.py -k law      prints who notices what
"""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import rasterio.shutil
import shapely
from conftest import UTM, noise, write_raster

from agriseg import SegmentationModel, TrainConfig
from agriseg.batch.queue import BatchJob
from agriseg.batch.run import BatchRun
from agriseg.batch.state_db import BatchRow, Entry, StateDatabase
from agriseg.errors import AccessError, DataError
from agriseg.labels.pairs import Pair
from agriseg.mapping.prepare import prepare
from agriseg.mapping.record import identity_of
from agriseg.maps.discover import discover
from agriseg.options.batch import BatchOptions
from agriseg.options.request import MappingRequest
from agriseg.options.run import RunOptions
from agriseg.raster.header import RasterInfo
from agriseg.raster.identity import FileStamp, InputIdentity, files_beside
from agriseg.raster.pam import meaning
from agriseg.training.dataset import _identity
from agriseg.vectors.identity import features_hash, vector_stamp

PAM_OF_A_BAND = '<PAMDataset><PAMRasterBand band="{}"><NoDataValue>7</NoDataValue></PAMRasterBand></PAMDataset>'
RPC = (
    "".join(
        f"{name}: 1.0\n"
        for name in (
            [f"{what}_{part}" for part in ("OFF", "SCALE") for what in ("LINE", "SAMP", "LAT", "LONG", "HEIGHT")]
            + [f"{what}_{part}_COEFF_{n}" for what in ("LINE", "SAMP") for part in ("NUM", "DEN") for n in range(1, 21)]
        )
    )
    + "ERR_BIAS: {}\n"
)
WORLD = "0.1\n0\n0\n-0.1\n50000{}.05\n5399999.95\n"


def image_at(path: Path) -> Path:
    """A picture without a place of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_raster(path, noise(64, 64, low=1), photometric="RGB", crs=None, transform=None)


def beside(folder: Path, end: str, number: int) -> bytes:
    """A file such as GDAL takes beside `a.tif`; another for each number, of the same size."""
    if end in (".msk", ".ovr"):
        pixels = np.full((3 if end == ".ovr" else 1, 64, 64), 255, np.uint8)
        pixels[:, :, 10 * number : 20] = 0
        tags = {"INTERNAL_MASK_FLAGS_1": "2"} if end == ".msk" else {}
        made = write_raster(folder / "spare.tif", pixels[:, ::2, ::2] if end == ".ovr" else pixels)
        with rasterio.open(made, "r+") as dataset:
            dataset.update_tags(**tags)
        data = made.read_bytes()
        made.unlink()
        return data
    if end == ".aux.xml":
        return PAM_OF_A_BAND.format(1 + number).encode()
    if end == "_rpc.txt":
        return RPC.format(number).encode()
    return (WORLD.format(number) if end in (".tfw", ".wld") else f"{end} {number}").encode()


def put(path: Path, data: bytes) -> None:
    """Write a file at a time that does not give it away."""
    path.write_bytes(data)
    os.utime(path, ns=(10**18, 10**18))


Looks = dict[str, Callable[[], object]]


def lookers(image: Path, model: SegmentationModel, model_file: Path, out: Path) -> Looks:
    """What each part of agriseg takes a raster for."""
    night = BatchRun([BatchJob("", discover(image.parent), model_file, MappingRequest())], out, BatchOptions(settle=0))
    out.mkdir()
    (item,), _ = night._items()
    entry = Entry(
        item.name,
        item.stamp.text,
        InputIdentity.of(image).digest,
        item.key,
        BatchRow(item.name, "done"),
    )
    with StateDatabase(out / "ledger.sqlite") as ledger:
        ledger.put(entry)
    pair = Pair(image, image, image)
    recorded = InputIdentity.of(image)
    return {
        "run": lambda: FileStamp.of(image),
        "resume": lambda: identity_of(prepare(image, model, RunOptions())).key,
        "batch": lambda: night.plan()[0][1] == "unchanged",
        "training": lambda: training_of(pair),
        "record, verify": lambda: recorded.differs(InputIdentity.of(image)) is None,
    }


TRAINING = {
    "classes": ["a", "b"], "arch": "fcn_small", "data": {"images": "a.tif", "labels": "a.shp", "column": "class"},
    "recipe": {"steps": 1},
}  # fmt: skip


def training_of(pair: Pair) -> str:
    """The fingerprint by which a training goes on, or does not."""
    return _identity(TrainConfig.of(TRAINING, pair.image.parent), "", [pair])


KINDS = {end: f"a.tif{end}" for end in (".msk", ".ovr", ".aux.xml")} | {".tfw": "a.tfw", ".prj": "a.prj"}
OTHERS = {
    "TFW": "a.TFW", "mixed case": "A.Tfw", ".tifw": "a.tifw", ".wld": "a.wld", ".tab": "a.tab", "RPC": "a_RPC.TXT",
    ".RPB": "a.RPB", "overviews of a mask": "a.tif.msk.ovr", "mask of overviews": "a.tif.ovr.msk", ".aux": "a.aux",
}  # fmt: skip
HOW = ("changed", "added", "removed")


@pytest.mark.parametrize("name", [*KINDS.values(), *OTHERS.values()])
def test_law_of_rasters(name: str, small: SegmentationModel, model_file: Path, tmp_path: Path) -> None:
    for how in HOW:
        image = image_at(tmp_path / how / "in" / "a.tif")
        ends = (end for end in (*KINDS, ".wld", "_rpc.txt") if name.lower().endswith(end))
        path, end = image.with_name(name), next(ends, "")
        old, new = (beside(tmp_path, end, number) for number in (0, 1))
        assert len(old) == len(new)
        if how != "added":
            put(path, old)
        looks = lookers(image, small, model_file, tmp_path / how / "out")
        before = {who: look() for who, look in looks.items()}
        if how == "removed":
            path.unlink()
        else:
            put(path, new)
        noticed = {who: look() != before[who] for who, look in looks.items()}
        told = (f"{who}: {'noticed' if saw else 'MISSED'}" for who, saw in noticed.items())
        print(f"\n{name:14} {how:8}", *told, end="")  # noqa: T201
        assert all(noticed.values())


@pytest.mark.parametrize("end", [".shp", ".shx", ".dbf", ".prj", ".cpg", ".qix", ".sbn", ".DBF"])
def test_law_of_shapefiles(end: str, tmp_path: Path) -> None:
    for how in HOW[: 1 if end == ".shp" else None]:
        (tmp_path / how).mkdir()
        image, shapes = image_at(tmp_path / how / "a.tif"), tmp_path / how / "a.shp"
        put(shapes, b"shapes")
        path, pair = shapes.with_suffix(end), Pair(image, image, shapes)
        if how != "added":
            put(path, b"1")
        before = training_of(pair)
        if how == "removed":
            path.unlink()
        else:
            put(path, b"2")
        noticed = training_of(pair) != before
        print(f"\n{end:14} {how:8} training: {'noticed' if noticed else 'MISSED'}", end="")  # noqa: T201
        assert noticed


@pytest.mark.parametrize("name", ["a.txt", "b.tif.msk", "a_classes.tif.aux.xml", "ab.tfw", "a.tif.bak", "a.json"])
def test_what_is_of_no_concern(name: str, small: SegmentationModel, model_file: Path, tmp_path: Path) -> None:
    image = image_at(tmp_path / "in" / "a.tif")
    looks = lookers(image, small, model_file, tmp_path / "out")
    before = {who: look() for who, look in looks.items()}
    image.with_name(name).write_bytes(beside(tmp_path, Path(name).suffix, 1))
    assert {who: look() for who, look in looks.items()} == before


@pytest.mark.filterwarnings("ignore:statistics")
@pytest.mark.parametrize("driver", ["GTiff", "PNG", "JPEG"])
@pytest.mark.parametrize(
    "had",
    [None, PAM_OF_A_BAND.format(2), "<PAMDataset><GeoTransform>5e5,1e-1,0,5.4e6,0,-0.1</GeoTransform></PAMDataset>"],
)
def test_a_look_at_the_statistics_changes_nothing(
    driver: str, had: str | None, small: SegmentationModel, model_file: Path, tmp_path: Path
) -> None:
    image = image_at(tmp_path / "in" / "a.tif")
    with rasterio.open(image, "r+") as dataset:
        dataset.descriptions = ("red", "green", "blue")  # GDAL repeats them
    if driver != "GTiff":
        rasterio.shutil.copy(image, tmp_path / "in" / f"a.{driver.lower()}", driver=driver)
        image.unlink()
        image = tmp_path / "in" / f"a.{driver.lower()}"
    pam = image.with_name(f"{image.name}.aux.xml")
    if had:
        pam.write_text(had)
    before, content = FileStamp.of(image), InputIdentity.of(image)
    looks = lookers(image, small, model_file, tmp_path / "out") if driver == "GTiff" else {}
    taken_for = {who: look() for who, look in looks.items()}
    with rasterio.open(image) as dataset:
        for band in (1, 2, 3):
            dataset.statistics(band, clear_cache=True)
    text = pam.read_text()
    assert "STATISTICS_MEAN" in text
    assert (FileStamp.of(image), InputIdentity.of(image).differs(content)) == (before, None)
    assert {who: look() for who, look in looks.items()} == taken_for
    point = "<Metadata><MDI key='AREA_OR_POINT'>Point</MDI></Metadata></PAMDataset>"
    pam.write_text(text.replace("</PAMDataset>", point))
    assert FileStamp.of(image) != before
    assert InputIdentity.of(image).differs(content) == pam.name
    assert not any(look() == taken_for[who] for who, look in looks.items())


def test_another_name_of_a_band_is_another_input(tmp_path: Path) -> None:
    image = image_at(tmp_path / "a.tif")
    with rasterio.open(image, "r+") as dataset:
        dataset.descriptions = ("red", "green", "blue")
    before, names = FileStamp.of(image), '<PAMRasterBand band="1"><Description>{}</Description></PAMRasterBand>'
    for name, same in (("red", True), ("nir", False)):
        (tmp_path / "a.tif.aux.xml").write_text(f"<PAMDataset>{names.format(name)}</PAMDataset>")
        assert (FileStamp.of(image) == before) is same
        assert RasterInfo.read(image).descriptions[0] == name


def test_a_night_reads_what_was_only_touched_once(model_file: Path, small: SegmentationModel, tmp_path: Path) -> None:
    image = image_at(tmp_path / "in" / "a.tif")
    looks = lookers(image, small, model_file, tmp_path / "out")
    night = BatchRun(
        [BatchJob("", discover(image.parent), model_file, MappingRequest())], tmp_path / "out", BatchOptions(settle=0)
    )
    os.utime(image, ns=(5, 5))
    assert looks["batch"]()
    night.run()
    with StateDatabase(tmp_path / "out" / "ledger.sqlite") as ledger:
        entry = ledger.find("a.tif")
    assert entry is not None
    assert entry.stamp == FileStamp.of(image).text


def test_a_link_is_what_it_points_to(tmp_path: Path) -> None:
    """GDAL opens the target, and what lies beside that."""
    image = image_at(tmp_path / "far" / "a.tif")
    (tmp_path / "near").mkdir()
    link = tmp_path / "near" / "b.tif"
    link.symlink_to(image)
    before = FileStamp.of(link)
    link.with_suffix(".tfw").write_text(WORLD.format(0))
    assert FileStamp.of(link) == before
    image.with_suffix(".tfw").write_text(WORLD.format(0))
    assert FileStamp.of(link) != before
    assert RasterInfo.read(link).georeference.transform.c == pytest.approx(500_000)


def test_what_moves_together_stays_what_it_is(tmp_path: Path) -> None:
    image = image_at(tmp_path / "a" / "a.tif")
    for name in ("a.tfw", "a.tif.aux.xml"):
        image.with_name(name).write_bytes(beside(tmp_path, name[1:].removeprefix(".tif"), 0))
    for path in [image, *files_beside(image)]:
        target = tmp_path / "b" / path.name.replace("a.", "longer.name.", 1)
        target.parent.mkdir(exist_ok=True)
        shutil.copy(path, target)
    one, other = InputIdentity.of(image), InputIdentity.of(tmp_path / "b" / "longer.name.tif")
    assert len(one.files) == 3
    assert one.digest == other.digest
    assert one.differs(other) is None


def test_a_raster_that_changes_while_it_is_read(tmp_path: Path) -> None:
    info = RasterInfo.read(image_at(tmp_path / "a.tif"))
    info.check_unchanged()
    (tmp_path / "a.tif.msk").write_bytes(beside(tmp_path, ".msk", 0))
    with pytest.raises(DataError, match="changed while it was read"):
        info.check_unchanged()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_mask_that_may_not_be_read_is_not_left_out(tmp_path: Path) -> None:
    image = image_at(tmp_path / "a.tif")
    (tmp_path / "a.tif.msk").write_bytes(beside(tmp_path, ".msk", 0))
    (tmp_path / "a.tif.msk").chmod(0)
    with pytest.raises(AccessError, match=r"a\.tif\.msk: may not be read"):
        RasterInfo.read(image)


def test_gdal_opens_what_counts(tmp_path: Path) -> None:
    """Of each kind that this GDAL lists for a raster, and whatever else it lists for it."""
    image = image_at(tmp_path / "a.tif")
    for end, name in [*KINDS.items(), (".wld", "a.wld")]:
        image.with_name(name).write_bytes(beside(tmp_path, end, 0))
    with rasterio.open(image) as dataset:
        listed = {Path(name).name for name in dataset.files}
    assert len(listed) >= 5
    assert listed <= {"a.tif", *(path.name for path in files_beside(image))}


@pytest.mark.parametrize(
    "data", [b"", b"no XML", b"<a", b'<?xml version="1.0" encoding="nobody"?><a/>', b"<!DOCTYPE a><a/>", b"<a>" * 10**5]
)
def test_what_is_no_pam_counts_as_it_is(data: bytes) -> None:
    assert meaning(data) == data


def test_spelling_does_not_count_and_order_only_of_categories() -> None:
    def pam(text: str) -> bytes:
        return meaning(f"<PAMDataset>{text}</PAMDataset>".encode())

    assert pam("<GeoTransform>1, 0.5,0,2,0,-0.5</GeoTransform>") == pam(
        "<GeoTransform>  1.0e+00,  5.0e-01,  0.0,  2.0e+00, 0.0, -5.0e-01</GeoTransform>"
    )
    names = "<PAMRasterBand band='1'><CategoryNames><Category>{}</Category><Category>{}</Category></CategoryNames></PAMRasterBand>"
    assert pam(names.format("soil", "weed")) != pam(names.format("weed", "soil"))
    assert pam(names.format("", "weed")) != pam(names.format("weed", ""))
    assert pam("<Metadata><MDI key='a'>1</MDI><MDI key='b'>2</MDI></Metadata>") == pam(
        "<Metadata><MDI key='b'>2</MDI><MDI key='a'>1</MDI></Metadata>"
    )
    assert pam("<Metadata/><PAMRasterBand band='1'><Histograms/></PAMRasterBand>") == b""


def test_a_geopackage_is_its_features(tmp_path: Path) -> None:
    """QGIS switches it to another journal when it shows it, and keeps styles in it."""
    path = tmp_path / "a.gpkg"
    boxes = shapely.to_wkb([shapely.box(0, 0, 1, 1), shapely.box(2, 0, 3, 1)])
    pyogrio.raw.write(
        path, boxes, [np.array(["x", "y"], object)], ["class"], crs=UTM["crs"], geometry_type="Polygon", driver="GPKG"
    )
    before, data = vector_stamp(path), path.read_bytes()
    with closing(sqlite3.connect(path)) as package:
        package.execute("PRAGMA journal_mode=WAL")
        package.execute("CREATE TABLE layer_styles (id INTEGER)")
        package.commit()
        assert path.read_bytes() != data
        assert vector_stamp(path) == before
        package.execute("DROP TRIGGER IF EXISTS rtree_a_geom_update6")
        package.execute("UPDATE gpkg_spatial_ref_sys SET definition = 'other' WHERE srs_id = 32632")
        package.commit()
        assert vector_stamp(path) != before, "what is in the log counts"
    path.write_bytes(b"SQLite format 3\0 and no more")
    assert features_hash(path) is None
    assert vector_stamp(path) != before
