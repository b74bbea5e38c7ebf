"""What a folder holds: rasters once, whatever links there are; what nobody could look into; and the day of a flight."""

import datetime as dt
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import blocks, read, write_raster
from hypothesis import given
from hypothesis import strategies as st

from agriseg import segment
from agriseg.analysis.build import make_layers
from agriseg.batch.queue import BatchJob
from agriseg.batch.run import BatchRun
from agriseg.demo.reference_models import nearest_level
from agriseg.errors import AccessError, InputMissing, UsageError
from agriseg.flight_date import first_day, flight_date
from agriseg.maps.discover import Candidate, discover
from agriseg.maps.index_maps import write_indices
from agriseg.options.batch import BatchOptions
from agriseg.options.layers import LayerOptions
from agriseg.options.request import MappingRequest
from agriseg.raster.tags import metadata


def names_of(folder: Path) -> list[str]:
    return [each.name for each in discover(folder).rasters]


# what is taken


@pytest.mark.fault("B01")
def test_images_once_and_nothing_else(tmp_path: Path) -> None:
    """Nothing that agriseg has made, under whatever name: its maps, what is made of them, and its quick looks."""
    folder = tmp_path / "in"
    folder.mkdir()
    write_raster(folder / "a.tif", blocks(90, 90))
    segment(folder / "a.tif", nearest_level(), folder, probabilities=True)
    make_layers(folder / "a_run.json", LayerOptions.of(affected="bright", mmu="0.3m2"))
    write_indices(folder / "a.tif", ["GLI"], folder)
    shutil.copy(folder / "a_classes.tif", folder / "june.tif")
    ours = 1 + len([path for path in folder.glob("*.tif") if path.name not in ("a.tif", "june.tif")])
    assert ours >= 6, "classes, confidence, probabilities, clean, an index, and the one with another name"
    for name in ("README.txt", ".DS_Store", "Thumbs.db", "b.tfw", "b.tif.msk", "b.tif.ovr", "b.tif.aux.xml"):
        (folder / name).write_bytes(b"x")
    for name in ("a.tif~", "._a.tif", "b.tif.part", "photo.jpg"):
        (folder / name).write_bytes(b"x")
    (folder / "d.tif").mkdir()
    write_raster(folder / "d.tif" / "B.TIF", blocks(90, 90))
    (folder / ".hidden").mkdir()
    shutil.copy(folder / "a.tif", folder / ".hidden" / "h.tif")
    shutil.copy(folder / "a.tif", folder / "fields_classes.tif")  # somebody's raster, in spite of its name
    found = discover(folder)
    assert [each.name for each in found.rasters] == ["a.tif", "d.tif/B.TIF", "fields_classes.tif"]
    assert not found.unseen
    counted = dict(found.passed_over)
    assert counted.pop("sidecars and other files") >= 9
    assert counted == {"maps of agriseg": ours, "hidden files": 2, "hidden folders": 1}
    pictures = discover(folder, ["*.png", "*.jpg"])
    assert [each.name for each in pictures.rasters] == ["photo.jpg"]
    assert pictures.passed_over["maps of agriseg"] == 3


@pytest.mark.parametrize("profile", [{"BIGTIFF": "YES"}, {"ENDIANNESS": "BIG"}, {}], ids=str)
def test_the_metadata_of_a_tiff(tmp_path: Path, profile: dict[str, str]) -> None:
    import rasterio

    path = write_raster(tmp_path / "a.tif", blocks(20, 30), **profile)
    assert b"MINE" not in metadata(path)
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(MINE="yes")
    assert b"MINE" in metadata(path)
    for length in (0, 3, 8, 11, 40):
        (tmp_path / "cut.tif").write_bytes(path.read_bytes()[:length])
        assert metadata(tmp_path / "cut.tif") == b""
    assert read(path).shape == (3, 20, 30)


def test_the_folder_of_the_outputs_is_not_searched(tmp_path: Path) -> None:
    """Under none of its names."""
    for name in ("a/x.tif", "maps/y.tif"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    (tmp_path / "a" / "again").symlink_to(tmp_path / "maps")
    assert names_of(tmp_path) == ["a/x.tif", "maps/y.tif"]
    assert [each.name for each in discover(tmp_path, leave_out=tmp_path / "a" / "again").rasters] == ["a/x.tif"]


@pytest.mark.fault("B01")
def test_every_folder_is_searched_once_whatever_links_there_are(tmp_path: Path) -> None:
    """Compared with the files that are reached from folder to folder, by their real paths, in trees drawn by chance."""
    rng = np.random.default_rng(7)
    for number in range(40):
        root, outside = tmp_path / f"in{number}", tmp_path / f"out{number}"
        folders = [root, outside]
        for name in range(8):
            folders.append(folders[rng.integers(len(folders))] / f"d{name}")
        for folder in folders:
            folder.mkdir()
            (folder / "x.tif").touch()
        for name in range(rng.integers(6)):
            here, there = (folders[each] for each in rng.integers(len(folders), size=2))
            (here / f"link{name}").symlink_to(there)
        found = discover(root)
        real = [each.path.resolve() for each in found.rasters]
        assert sorted(real) == sorted(reached(root)), number
        inside = [path for path in real if path.is_relative_to(root)]
        assert all(root / each.name in inside for each in found.rasters if (root / each.name).resolve() in inside)
        assert not found.unseen


def reached(root: Path) -> set[Path]:
    """Real paths of all rasters in the folders that can be reached, links followed; none above the root is entered."""
    todo, seen = [root.resolve()], {*root.resolve().parents}
    while todo:
        folder = todo.pop()
        if folder not in seen:
            seen.add(folder)
            todo += [path.resolve() for path in folder.iterdir() if path.is_dir()]
    return {folder / "x.tif" for folder in seen - {*root.resolve().parents}}


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A folder, and no right to read what is closed, also where the tests are run by root."""
    folder = Path(tempfile.mkdtemp(prefix="agriseg-discover-"))
    folder.chmod(0o755)
    yield folder
    os.seteuid(os.getuid())
    for path in folder.iterdir():
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


def test_what_cannot_be_looked_into_is_told(nobody: Path) -> None:
    for name in ("a", "closed", "half"):
        (nobody / name).mkdir()
        (nobody / name / "x.tif").touch()
    (nobody / "nas").symlink_to("/nowhere/at/all")
    (nobody / "self").symlink_to(nobody / "self")
    (nobody / ".#lock").symlink_to("host:1")
    (nobody / "closed").chmod(0o000)
    (nobody / "half").chmod(0o744)  # names are seen, files are not
    if os.getuid() == 0:
        os.seteuid(65534)
    found = discover(nobody)
    assert [each.name for each in found.rasters] == ["a/x.tif"]
    assert {name: type(why) for name, why in found.unseen.items()} == {
        "closed": AccessError, "half/x.tif": AccessError, "nas": InputMissing, "self": InputMissing,
    }  # fmt: skip
    assert found.passed_over == {"hidden files": 1, "dangling links and special files": 2}
    with pytest.raises(AccessError, match="may not be looked into"):
        discover(nobody / "closed")


def test_a_night_tells_what_it_did_not_see_or_could_not_date(nobody: Path, model_file: Path) -> None:
    """And remembers none of it: it may be otherwise the next time."""
    for name in ("closed", "05-06-2026", "31.02.2026"):
        (nobody / name).mkdir()
        (nobody / name / "x.tif").touch()
    (nobody / "closed").chmod(0o000)
    out = nobody / "out"
    out.mkdir()
    out.chmod(0o777)
    model = shutil.copy(model_file, nobody / "m.safetensors")
    model.chmod(0o644)
    if os.getuid() == 0:
        os.seteuid(65534)

    def night(**rules: Any) -> BatchRun:
        return BatchRun(
            [BatchJob("", discover(nobody, leave_out=out), model, MappingRequest())], out, BatchOptions(**rules)
        )

    for _ in range(2):
        diary = night(since=dt.date(2026, 5, 1)).run()
        rows = {row["name"]: (row["status"], row["code"]) for row in diary.as_json()["rows"]}
        assert rows == {
            "closed": ("failed", 77), "05-06-2026/x.tif": ("failed", 2), "31.02.2026/x.tif": ("failed", 2),
        }  # fmt: skip
        assert diary.exit_code == 3
    assert dict(night().plan()) == {
        "05-06-2026/x.tif": "to map", "31.02.2026/x.tif": "to map", "closed": "refused",
    }  # fmt: skip


def test_what_cannot_be_searched(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match="no such folder"):
        discover(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="no regular expression"):
        discover(tmp_path, pattern="(")
    with pytest.raises(UsageError, match="names nothing"):
        discover(tmp_path, pattern="x")


# the day of a flight

DAYS = st.dates(dt.date(1900, 1, 1), dt.date(2099, 12, 31))
BEFORE, AFTER = (
    st.sampled_from(["", "north_", "DJI_", "v", "(", "é"]),
    st.sampled_from(["", "_0001", ".tif", "T0630", " x"]),
)


@given(day=DAYS, before=BEFORE, after=AFTER)
def test_a_day_is_read_however_it_is_written(day: dt.date, before: str, after: str) -> None:
    """Whatever can be one day alone is read; what can be two is none."""
    for form in ("%Y-%m-%d", "%Y_%m_%d", "%Y.%m.%d", "%Y/%m/%d", "%Y%m%d", "%Y%m%d063005", "%Y%m%d2359", "%d.%m.%Y"):
        assert first_day(f"{before}{day.strftime(form)}{after}") == day.isoformat(), form
    assert first_day(f"{day.day}.{day.month}.{day.year}") == day.isoformat()
    one = day.day > 12 or day.day == day.month
    for form in ("%d-%m-%Y", "%d_%m_%Y", "%d%m%Y", "%m-%d-%Y", "%m%d%Y"):
        assert first_day(f"{before}{day.strftime(form)}{after}") == (day.isoformat() if one else None), form


@given(day=DAYS, plot=st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_numbers_before_a_day_are_no_day(day: dt.date, plot: tuple[int, int]) -> None:
    one, two = plot
    for text in (f"plot_{one}_{two}_{day}", f"{one}-{two}-{day}", f"plot_{one}_{two}_{day.strftime('%Y_%m_%d')}"):
        assert first_day(text) == day.isoformat(), text


@pytest.mark.parametrize(
    "text",
    ["", "week18", "2026-02-31", "31.02.2026", "20260231", "2026-13-01", "0001-05-01", "3026-05-01", "15.05.26", "260515",
     "05.15.2026", "05-06-2026", "05062026", "123420260501", "1234567", "99999999", "20260501245959", "1.2.3"],
)  # fmt: skip
def test_what_is_no_day(text: str) -> None:
    assert first_day(text) is None


@pytest.mark.parametrize(
    ("name", "pattern", "field", "date"),
    [
        ("north_20260501.tif", None, "north_20260501", "2026-05-01"),
        ("2026-05-01/north.tif", None, "north", "2026-05-01"),
        ("2026-05-01/north_20260502.tif", None, "north_20260502", "2026-05-02"),
        ("15.05.2026/north.tif", None, "north", "2026-05-15"),
        ("2026/05/01/north.tif", None, "north", "2026-05-01"),
        ("DJI_202605010630_001/DJI_20260501063112_0007.tif", None, "DJI_20260501063112_0007", "2026-05-01"),
        ("north.tif", None, "north", None),
        ("123420260501.tif", None, "123420260501", None),
        ("05-06-2026/north.tif", None, "north", "05-06-2026"),
        ("farm7/north/2026_05_01.tif", r"(?P<field>farm\d+/\w+)/(?P<date>[\d_]+)", "farm7/north", "2026-05-01"),
        ("20.06.2026/north.tif", r"(?P<date>[0-9.]+)/(?P<field>[^/]+)\.tif", "north", "2026-06-20"),
        ("farm7/week18.tif", r"(?P<field>\w+)/(?P<date>week\d+)", "farm7", "week18"),
        ("odd.tif", r"(?P<field>\w+)/(?P<date>week\d+)", "odd", None),
    ],
)
def test_field_and_date(tmp_path: Path, name: str, pattern: str | None, field: str, date: str | None) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    (found,) = discover(tmp_path, pattern=pattern).rasters
    assert (found.field, found.date) == (field, date)
    if pattern is None:
        assert flight_date(tmp_path / name) == (date if date and first_day(date) == date else None)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai", "America/Los_Angeles", "Europe/Berlin", "Pacific/Apia"])
def test_a_file_without_a_date_is_of_the_day_on_the_clock_of_the_machine(
    tmp_path: Path, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also around the hours that summer time skips and repeats; compared with the C library."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    path, rng = tmp_path / "north.tif", np.random.default_rng(0)
    path.touch()
    try:
        around = [1_774_746_000, 1_792_890_000]  # Berlin's changes of 2026
        for moment in [
            *rng.integers(1_600_000_000, 1_900_000_000, 50),
            *(at + step for at in around for step in (-1, 0, 1)),
        ]:
            os.utime(path, (moment, moment))
            local = time.localtime(moment)
            assert Candidate(path, "north.tif", "north", None).day == dt.date(
                local.tm_year, local.tm_mon, local.tm_mday
            )
    finally:
        monkeypatch.undo()
        time.tzset()
