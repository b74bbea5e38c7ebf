"""Bad input: each one line, its exit code, nothing half-written, the input untouched."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import blocks, noise, write_raster
from safetensors.torch import save_file

import agriseg.files
from agriseg.cli import main

Make = Callable[[Path], None]


def raster(pixels: np.ndarray, **profile: Any) -> Make:
    return lambda path: (write_raster(path, pixels, **profile), None)[1]


def truncated(share: float) -> Make:
    def make(path: Path) -> None:
        write_raster(path, noise(400, 400), tiled=True, compress="deflate")
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

    return make


def palette(path: Path) -> None:
    write_raster(path, noise(50, 50, bands=1) % 4, photometric="PALETTE")
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {0: (1, 2, 3), 1: (4, 5, 6)})


def text(path: Path) -> None:
    path.write_text("I am no raster, whatever my name says.\n")


def folder(path: Path) -> None:
    path.mkdir()


def nothing(path: Path) -> None:
    pass


def unnamed(bands: int) -> Make:
    return raster(noise(50, 50, bands=bands), photometric="MINISBLACK", alpha="NO")


CASES: list[tuple[str, Make, list[str], int, str]] = [
    ("one band for a model of three", raster(noise(50, 50, bands=1)), [], 65, "wants bands red, green, blue; the file has 1 band"),
    ("two bands", raster(noise(50, 50, bands=2), photometric="MINISBLACK"), [], 65, "Use a model for these bands"),
    ("three unnamed bands", unnamed(3), [], 65, "Say which is which, such as --bands red=1,green=2,blue=3"),
    ("four unnamed bands", unnamed(4), [], 65, "the file has 4 bands (gray, undefined, undefined, undefined)"),
    ("thirteen bands", unnamed(13), [], 65, "Say which is which"),
    ("a band that is not there", raster(noise(50, 50)), ["--bands", "red=1,green=2,blue=9"], 2, "has bands 1 to 3"),
    ("a role the model lacks", raster(noise(50, 50)), ["--bands", "red=1,green=2,nir=3"], 2, "name just these"),
    ("too few numbers", raster(noise(50, 50)), ["--bands", "1,2"], 2, "gives 2 numbers"),
    ("a role twice", raster(noise(50, 50)), ["--bands", "red=1,red=2,blue=3"], 2, "names a role twice"),
    ("a band in two roles", raster(noise(50, 50)), ["--bands", "red=1,green=1,blue=3"], 2, "red and green as band 1"),
    ("a band in two places", raster(noise(50, 50)), ["--bands", "1,2,1"], 2, "red and blue as band 1"),
    ("alpha that is red", raster(noise(50, 50)), ["--bands", "red=1,green=2,blue=3,alpha=1"], 2, "red and alpha as band 1"),
    ("bands that are no numbers", raster(noise(50, 50)), ["--bands", "red=one,green=2,blue=3"], 2, "expected red=1,green=2"),
    ("uint16 for an 8-bit scale", raster(noise(50, 50).astype(np.uint16) * 257, photometric="RGB"), [], 65, "do not fit model"),
    ("reflectance for an 8-bit scale", raster(noise(50, 50) / np.float32(255), photometric="RGB"), [], 65, "do not fit model"),
    ("complex", raster(np.zeros((1, 9, 9), np.complex64)), [], 65, "complex64 pixels, expected real numbers"),
    ("palette", palette, [], 65, "the file has 1 band (palette)"),
    ("truncated after 1 %", truncated(0.01), [], 65, "field.tif"),
    ("truncated in the middle", truncated(0.5), [], 65, "field.tif"),
    ("truncated at the end", truncated(0.99), [], 65, "field.tif"),
    ("a folder", folder, [], 66, "this is a folder"),
    ("no such file", nothing, [], 66, "no such file"),
    ("a text file", text, [], 65, "this is text"),
    ("tile off the step", raster(noise(50, 50)), ["--tile", "33"], 2, "use 32 or 34"),
    ("margin over half the overlap", raster(noise(50, 50)), ["--tile", "64", "--overlap", "8", "--margin", "6"], 2, "use at most 4"),
    ("overlap over half a tile", raster(noise(50, 50)), ["--tile", "64", "--overlap", "60%"], 2, "use at most 32"),
    ("exact with a tile too small", raster(noise(200, 200)), ["--blend", "exact", "--tile", "64"], 2, "use --tile 128 or more"),
    ("window outside", raster(noise(50, 50)), ["--window", "0,0,51,50"], 2, "reaches beyond the raster of 50 x 50"),
    ("window of three", raster(noise(50, 50)), ["--window", "0,0,5"], 2, "expected col_off,row_off,width,height"),
    ("window of nothing", raster(noise(50, 50)), ["--window", "0,0,0,5"], 2, "is empty"),
    ("nodata no pixel can have", raster(noise(50, 50)), ["--nodata", "-9999"], 2, "cannot occur in uint8"),
    ("gsd without a unit", raster(noise(50, 50)), ["--gsd", "5"], 2, "is no length"),
    ("memory without a unit", raster(noise(50, 50)), ["--max-memory", "lots"], 2, "is no size"),
    ("too little memory", raster(noise(50, 50)), ["--max-memory", "1MB"], 2, "--max-memory 1 MB"),
    ("tile of nothing", raster(noise(50, 50)), ["--tile", "0"], 2, "tile 0, expected 1 or more"),
    ("device that is not here", raster(noise(50, 50)), ["--device", "cuda:99"], 69, "not available here"),
    ("model that is none", raster(noise(50, 50)), ["-m", "notes.txt"], 78, "no model file, or damaged"),
    ("model that is missing", raster(noise(50, 50)), ["-m", "none.safetensors"], 78, "no such model file"),
    ("weights without a card", raster(noise(50, 50)), ["-m", "bare.safetensors"], 78, "without agriseg's metadata"),
    ("pickled model", raster(noise(50, 50)), ["-m", "pickled.pt"], 78, "pickled checkpoint"),
    ("a remote raster", nothing, ["http://127.0.0.1:9/x.tif"], 2, "remote or virtual"),
    ("config that is missing", raster(noise(50, 50)), ["-c", "none.toml"], 78, "cannot be read as TOML"),
]  # fmt: skip


@pytest.mark.fault("P07", "P08", "I01", "C01", "C02", "X06", "M01")
@pytest.mark.parametrize(
    ("make", "flags", "code", "says"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_bad_input_is_one_line_and_leaves_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, model_file: Path,
    make: Make, flags: list[str], code: int, says: str,
) -> None:  # fmt: skip
    import torch

    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("not a model")
    Path("pickled.pt").write_bytes(b"PK\x03\x04" + bytes(50))
    save_file({"w": torch.zeros(1)}, "bare.safetensors")
    image = Path("field.tif")
    make(image)
    images = [] if any("://" in flag for flag in flags) else [str(image)]
    model = [] if "-m" in flags else ["-m", str(model_file)]
    before = {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    capfd.readouterr()
    with pytest.raises(SystemExit) as left:
        main(["run", *images, *model, "-q", *flags])
    out, err = capfd.readouterr()
    assert left.value.code == code, err
    assert out == ""
    assert err.startswith("agriseg: error: ")
    assert err.count("\n") == 1
    assert len(err) <= 301
    assert says in err
    assert {path: path.read_bytes() for path in Path().iterdir() if path.is_file()} == before
    assert not [path for path in Path().rglob("*") if "agriseg" in path.name]


@pytest.mark.fault("O01", "O02", "D07")
def test_outputs_in_the_way(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, model_file: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    image = write_raster(Path("field.tif"), blocks(60, 60))
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    Path("file").write_text("in the way")
    Path("folder/field_classes.tif").mkdir(parents=True)

    def code(*flags: str) -> int:
        with pytest.raises(SystemExit) as left:
            main(["run", "field.tif", "-m", str(model_file), "-q", *flags])
        assert isinstance(left.value.code, int)
        return left.value.code

    assert code("-o", "file") == 73
    assert code("-o", "file/below") == 73
    assert code("-o", "field.tif") == 2
    assert code("-o", "./field.tif", "--overwrite") == 2
    assert code("-o", "folder", "--overwrite") == 73
    assert code("-o", "maps") == 0
    kept = {path: path.read_bytes() for path in Path("maps").iterdir()}
    assert code("-o", "maps") == 73
    assert {path: path.read_bytes() for path in Path("maps").iterdir()} == kept
    assert code("-o", "maps", "--overwrite") == 0
    assert hashlib.sha256(image.read_bytes()).hexdigest() == digest
    assert Path("file").read_text() == "in the way"
    err = capfd.readouterr().err
    assert "Traceback" not in err


@pytest.mark.fault("D07")
@pytest.mark.parametrize(("number", "code"), [(13, 77), (30, 77), (28, 74), (5, 74)])
def test_what_the_system_refuses_keeps_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_file: Path, number: int, code: int
) -> None:
    """EACCES, EROFS, ENOSPC and EIO when the output folder is tried; root may write anywhere, so it is injected."""
    monkeypatch.chdir(tmp_path)
    write_raster(Path("field.tif"), blocks(60, 60))

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(agriseg.files, "TemporaryFile", refuse)
    with pytest.raises(SystemExit) as left:
        main(["run", "field.tif", "-m", str(model_file), "-q"])
    assert left.value.code == code


@pytest.mark.fault("P01")
def test_nan_and_infinity_cost_only_their_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, oracle: Any) -> None:
    from conftest import nearest, read

    from agriseg import segment

    pixels = noise(90, 100).astype(np.float32)
    broken = pixels.copy()
    broken[0, 10:15] = np.nan
    broken[2, 40:42] = -np.inf
    image = write_raster(tmp_path / "a.tif", broken, photometric="RGB")
    report = segment(image, oracle, tmp_path / "out", tile=64)
    truth = nearest(pixels)
    truth[10:15] = truth[40:42] = 255
    np.testing.assert_array_equal(read(report.classes)[0], truth)


@pytest.mark.fault("P07")
def test_palette_numbers_are_read_only_when_asked_for(tmp_path: Path, oracle: Any) -> None:
    import torch

    from agriseg import Legend, SegmentationModel, segment
    from agriseg.errors import DataError

    palette(tmp_path / "a.tif")
    network = torch.nn.Conv2d(1, 2, 1)
    for bands, flags, works in ((("grey",), {}, False), (("b1",), {}, True), (("grey",), {"bands": {"grey": 1}}, True)):
        model = SegmentationModel(network, legend=Legend.from_names(["a", "b"]), bands=bands)
        if works:
            report = segment(tmp_path / "a.tif", model, tmp_path / "out", overwrite=True, **flags)
            assert any("paletted" in text for text in report.warnings)
        else:
            with pytest.raises(DataError, match="palette entries, not grey; expand it"):
                segment(tmp_path / "a.tif", model, tmp_path / "out", **flags)


def test_an_untagged_mask_band_is_said_with_the_flag_that_helps(tmp_path: Path, oracle: Any) -> None:
    from conftest import read

    from agriseg import segment

    pixels = np.concatenate([noise(60, 60), np.zeros((1, 60, 60), np.uint8)])
    pixels[3, 20:40] = 255
    image = write_raster(tmp_path / "a.tif", pixels, photometric="RGB", alpha="NO")
    report = segment(image, oracle, tmp_path / "a")
    assert any("add alpha=4 to --bands" in text for text in report.warnings)
    assert report.pixels.nodata == 0
    flagged = segment(image, oracle, tmp_path / "b", bands="red=1,green=2,blue=3,alpha=4")
    np.testing.assert_array_equal(read(flagged.classes)[0] == 255, pixels[3] == 0)
    assert not any("alpha" in text for text in flagged.warnings)
    collar = noise(60, 60, low=1)
    collar[:, :5] = collar[:, -5:] = 0
    collar[:, :, :5] = collar[:, :, -5:] = 0
    image = write_raster(tmp_path / "c.tif", collar)
    assert any("add --nodata 0" in text for text in segment(image, oracle, tmp_path / "c").warnings)
    black = segment(image, oracle, tmp_path / "d", nodata=0)
    assert black.pixels.predicted == 50 * 50
