"""The command line: what it prints, its exit codes, its defaults; and one line for everything that goes wrong."""

import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import rasterio
import torch
from conftest import blocks, noise, read, write_raster

from agriseg.bundled_models import bundled_model
from agriseg.cli import cli, main
from agriseg.cli.common.errors import ProcessEdge, one_line
from agriseg.errors import AgrisegError, ModelError
from agriseg.model import load_model
from agriseg.options.request import REQUEST_TABLES
from agriseg.options.table import read_config

Outcome = tuple[int, str, str]


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Outcome]:
    """Run the command line in this process, in `tmp_path`; gives the exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*args: Any) -> Outcome:
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(arg) for arg in args])
        out, err = capfd.readouterr()
        code = left.value.code
        assert isinstance(code, int)
        return code, out, err

    return run


@pytest.fixture
def field(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "field.tif", blocks(150, 170))


# help and start-up


def test_help_loads_click_alone() -> None:
    program = (
        "import sys, agriseg.cli\n"
        "try: agriseg.cli.main(['--help'])\n"
        "except SystemExit as left: assert left.code == 0\n"
        "heavy = {'torch', 'torchvision', 'numpy', 'dask', 'rasterio', 'zarr', 'pydantic', 'PIL'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "agriseg run field.tif" in done.stdout


def test_a_run_does_not_load_the_compiler_of_torch(tmp_path: Path) -> None:
    """It comes with torchvision and takes as long to load as all the rest of torch."""
    write_raster(tmp_path / "a.tif", blocks(64, 64))
    program = (
        "import sys; from agriseg import segment\n"
        "segment('a.tif', 'potato-weed', 'out')\n"
        "sys.exit('torch._dynamo' in sys.modules or 'triton' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False).returncode == 0


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found = []
    with click.Context(group) as ctx:
        for name in group.list_commands(ctx):
            command = group.get_command(ctx, name)
            assert command is not None
            nested = commands(command, (*path, name)) if isinstance(command, click.Group) else []
            found += nested or [((*path, name), command)]
    return found


@pytest.mark.parametrize(
    ("path", "command"), commands(cli), ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_every_command_has_help_with_an_example(path: tuple[str, ...], command: click.Command, call: Any) -> None:
    code, out, _ = call(*path, "--help")
    assert code == 0
    assert f"agriseg {' '.join(path)}" in out.split("Example:")[1]
    for param in command.params:
        if isinstance(param, click.Option):
            assert param.help, param.name


@pytest.mark.parametrize("name", ["run", "batch"])
def test_each_field_of_a_request_is_a_flag(name: str) -> None:
    """All fields but the folder that the command itself chooses."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    fields = {field for table in REQUEST_TABLES for field in table.__dataclass_fields__} - {"quarantine"}
    assert fields <= {param.name for param in command.params}


def test_version_and_usage(call: Any) -> None:
    code, out, _ = call("--version")
    assert code == 0
    assert out.startswith("agriseg ")
    assert call()[0] == 2
    code, _, err = call("rnu")
    assert code == 2
    assert err.count("\n") == 1
    code, _, err = call("run")
    assert (code, err.count("\n")) == (2, 1)
    assert "IMAGE" in err


# the commands


def test_run_from_a_process_of_its_own(agriseg_cli: Any, tmp_path: Path, model_file: Path) -> None:
    write_raster(tmp_path / "field.tif", blocks(150, 170))
    done = agriseg_cli("run", "field.tif", "-m", model_file, "--tile", 64)
    assert done.code == 0, done.err
    files = [Path(line) for line in done.out.splitlines() if line.startswith("field_agriseg")]
    assert [path.name for path in files] == [
        "field_classes.tif", "field_confidence.tif", "field_classes.qml", "field_classes.tif.aux.xml",
        "field_confidence.qml", "field_image.png", "field_classes.png", "field_confidence.png", "field_run.json",
        "field_report.html",
    ]  # fmt: skip
    assert all((tmp_path / path).is_file() for path in files)
    assert "100%" in done.err  # a log: lines, no bar
    assert "█" not in done.err


def test_run_prints_the_account_and_json(call: Any, field: Path, model_file: Path, tmp_path: Path) -> None:
    code, out, _ = call("run", field, "-m", model_file, "-o", "maps", "-q")
    assert code == 0
    assert "pixels: total 25,500, predicted 25,500, nodata 0, failed 0" in out
    code, out, err = call("run", field, "-m", model_file, "-o", "maps", "--json", "--overwrite", "-q")
    assert code == 0
    assert err == ""
    assert json.loads(out)["pixels"]["predicted"] == 25_500


@pytest.mark.fault("O09")
def test_run_takes_several_rasters(call: Any, tmp_path: Path, model_file: Path) -> None:
    for name in ("a", "b"):
        write_raster(tmp_path / f"{name}.tif", blocks(40, 50))
    assert call("run", "a.tif", "b.tif", "-m", model_file, "-o", "maps", "-q")[0] == 0
    assert {path.name for path in (tmp_path / "maps").glob("*_classes.tif")} == {"a_classes.tif", "b_classes.tif"}
    (tmp_path / "sub").mkdir()
    write_raster(tmp_path / "sub" / "a.tiff", blocks(40, 50))
    code, _, err = call("run", "a.tif", "sub/a.tiff", "-m", model_file, "-o", "new")
    assert code == 2
    assert "would both write to" in err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("name", "classes", "licence"),
    [("vegetation", ("soil", "vegetation"), "CC BY-SA 4.0"), ("potato-weed", ("soil", "potato", "weed"), "MIT")],
)
def test_a_bundled_model_has_a_licence_and_a_card(name: str, classes: tuple[str, ...], licence: str) -> None:
    model = load_model(name)
    assert (model.name, model.legend.names) == (name, classes)
    assert model.about["licence"].startswith(licence)
    assert bundled_model(name).stat().st_size < 10e6
    assert model.fingerprint in bundled_model(name).with_suffix(".md").read_text(), "its card lies beside it"


def test_without_a_model_the_bundled_one_says_what_it_is(
    call: Any, field: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = call("run", field, "-o", "maps")
    assert code == 0
    assert "using the bundled model vegetation" in err
    assert load_model("vegetation").about["purpose"] in (tmp_path / "maps" / f"{field.stem}_report.html").read_text()
    (tmp_path / "agriseg.toml").write_text(f'[run]\nmodel = "{model_file}"\n')
    monkeypatch.chdir(tmp_path)
    code, _, err = call("run", field, "-o", "again")
    assert (code, "bundled" in err) == (0, False)


def test_dry_run_writes_nothing(call: Any, field: Path, model_file: Path, tmp_path: Path) -> None:
    code, out, _ = call("run", field, "-m", model_file, "--dry-run", "--tile", 64, "--overlap", "25%")
    assert code == 0
    assert "of 64 px, overlap 16" in out
    assert not list(tmp_path.glob("*_agriseg"))


def test_inspect_prints_what_run_would_do(call: Any, tmp_path: Path, model_file: Path) -> None:
    pixels = blocks(200, 200, low=1)
    pixels[:, :50] = 0
    degrees = {"crs": "EPSG:4326", "transform": rasterio.Affine(1e-6, 0, 10, 0, -1e-6, 51)}
    image = write_raster(tmp_path / "a.tif", pixels, nodata=0, **degrees)
    code, out, _ = call("inspect", image, "-m", model_file)
    assert code == 0
    for text in (
        "200 x 200 px, uint8", "1 red, 2 green, 3 blue", "EPSG:4326", "7.02 cm x 11.1 cm per pixel (geodesic",
        "75.0%", "0.02 of 0.03 ha", "red from band 1", "above the program", "does not know its ground resolution",
    ):  # fmt: skip
        assert text in out.replace("0.01 of 0.03", "?"), text
    code, out, _ = call("inspect", image, "-m", model_file, "--json")
    facts = json.loads(out)
    assert facts["valid_share"] == 0.75
    assert facts["valid_share_is_exact"]
    assert facts["parameters"]["bands"] == {"red": 1, "green": 2, "blue": 3}
    run = json.loads(call("run", image, "-m", model_file, "--json", "-q")[1])
    assert run["pixels"]["predicted"] == 30_000


def test_inspect_shows_the_raster_even_if_it_does_not_fit(call: Any, tmp_path: Path, model_file: Path) -> None:
    image = write_raster(tmp_path / "a.tif", noise(20, 20, bands=4), photometric="MINISBLACK", alpha="NO")
    code, out, err = call("inspect", image, "-m", model_file)
    assert code == 65
    assert "1 gray, 2 undefined" in out
    assert "--bands red=1,green=2,blue=3" in err


def test_model_init_and_show(call: Any, tmp_path: Path) -> None:
    arguments = ["--arch", "fcn_small", "--classes", "soil,crop,weed", "--bands", "red,green,blue,nir", "--gsd", "5cm"]
    assert call("model", "init", *arguments, "-o", "sub/m.safetensors")[0] == 0
    model = load_model(tmp_path / "sub" / "m.safetensors")
    assert (model.bands, model.gsd, model.legend.names) == (
        ("red", "green", "blue", "nir"),
        0.05,
        ("soil", "crop", "weed"),
    )
    assert model.mean[0] == 0.485
    _, out, _ = call("model", "show", "sub/m.safetensors", "--json")
    assert json.loads(out)["halo_px"] == 32
    assert "fcn_small" in call("model", "show", "sub/m.safetensors")[1]
    assert call("model", "init", *arguments, "-o", "sub/m.safetensors")[0] == 73
    assert call("model", "init", *arguments, "-o", "m.pt")[0] == 2
    before = (tmp_path / "sub" / "m.safetensors").read_bytes()
    assert call("model", "init", *arguments, "-o", "sub/m.safetensors", "--overwrite")[0] == 0
    assert (tmp_path / "sub" / "m.safetensors").read_bytes() == before  # seeded


def test_model_init_from_torchvision(call: Any, tmp_path: Path) -> None:
    from torchvision.models import resnet18

    torch.save(resnet18(weights=None).state_dict(), tmp_path / "r18.pth")
    base = ["model", "init", "--classes", "soil,crop", "-o", "m.safetensors"]
    code, _, err = call(*base, "--arch", "fcn8s_resnet18", "--init", "r18.pth")
    assert code == 0
    assert "random weights stay in score8, score16, score32, double32, double16" in err
    for arch, state, code in (
        ("fcn_resnet50", "r18.pth", 78),
        ("fcn_small", "r18.pth", 78),
        ("fcn8s_resnet18", "none.pth", 78),
    ):
        assert call(*base, "--overwrite", "--arch", arch, "--init", state)[0] == code
    assert call(*base, "--overwrite", "--arch", "fcn9s")[0] == 78
    assert call(*base, "--overwrite", "--arch", "fcn_small", "--mean", "a,b")[0] == 2


def test_demo_compares_with_the_truth(call: Any, tmp_path: Path) -> None:
    code, out, _ = call("demo", "--width", 700, "--height", 600)
    assert code == 0
    miou = float(out.split("mIoU ")[1].split(",")[0])
    assert miou > 0.9
    assert (tmp_path / "demo" / "demo.png").stat().st_size > 10_000
    truth, mask = (read(tmp_path / "demo" / name)[0] for name in ("field_truth.tif", "field_classes.tif"))
    assert np.mean(truth == mask) > 0.95
    np.testing.assert_array_equal(truth == 255, mask == 255)
    assert call("demo", "--width", 700, "--height", 600)[1] == out  # seeded, and again over its own files


@pytest.mark.long
def test_selftest_is_green(call: Any) -> None:
    code, out, _ = call("selftest", "-q")
    assert code == 0
    assert out.endswith("checks, 0 failed\n")


def test_a_short_selftest_is_green_and_can_be_red(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import agriseg.demo.selftest
    from agriseg.blend import LogitsAccumulator

    monkeypatch.setattr(agriseg.demo.selftest, "_SIDES", (7, 65))
    monkeypatch.setattr(agriseg.demo.selftest, "_SHAPES", ((100, 90),))
    code, out, _ = call("selftest", "-q")
    assert code == 0
    assert out.endswith("checks, 0 failed\n")
    blends = agriseg.demo.selftest._BLENDS
    monkeypatch.setattr(agriseg.demo.selftest, "_SIDES", ())  # for red a few are enough
    monkeypatch.setattr(agriseg.demo.selftest, "_BLENDS", {name: blends[name] for name in ("exact", "hann")})
    add = LogitsAccumulator.add
    monkeypatch.setattr(LogitsAccumulator, "add", lambda self, logits, weights: add(self, logits, weights.roll(1)))
    code, out, err = call("selftest", "-q")
    assert code == 70
    assert "FAIL" in out
    assert "do not trust" in err


# defaults


def test_flag_beats_environment_beats_file_beats_default(
    call: Any, field: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tile(*args: Any) -> int:
        code, out, err = call("inspect", field, "-m", model_file, "--json", *args)
        assert code == 0, err
        return json.loads(out)["parameters"]["tile_px"]

    assert tile() == 512
    (tmp_path / "agriseg.toml").write_text("[inspect]\ntile = 96\n")
    assert tile() == 96
    (tmp_path / "other.toml").write_text("[inspect]\ntile = 80\n")
    assert tile("-c", "other.toml") == 80
    monkeypatch.setenv("AGRISEG_INSPECT_TILE", "64")
    assert tile() == 64
    assert tile("--tile", 48) == 48


def test_the_config_is_found_upward_and_names_the_model(
    call: Any, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "agriseg.toml").write_text(f'[run]\nmodel = "{model_file}"\nquiet = true\nprobabilities = true\n')
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    write_raster(below / "f.tif", blocks(30, 30))
    code, _, err = call("run", "f.tif")
    assert (code, err) == (0, "")
    assert (below / "f_agriseg" / "f_probabilities.tif").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[run]\ntiel = 4\n", "unknown key 'tiel' in [run]; did you mean 'tile'?"),
        ("[rnu]\ntile = 4\n", "unknown table [rnu]; did you mean 'run'?"),
        ("tile = 4\n", "unknown table [tile]"),
        ("run = 4\n", "must be a table"),
        ("[run\n", "cannot be read as TOML"),
    ],
)
def test_a_config_with_a_mistake_is_refused(call: Any, field: Path, tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "agriseg.toml").write_text(text)
    code, _, err = call("run", field)
    assert code == 78
    assert says in err
    with pytest.raises(ModelError):
        read_config(tmp_path / "agriseg.toml", {"run": ["tile"], "inspect": []})


def test_each_command_takes_its_table(
    call: Any, field: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("agriseg.toml").write_text(
        '[verify]\ntiles = 1\n[evaluate]\ntile = 0\n[train]\nclasses = "a,b"\n[model.show]\nas_json = true\n'
    )
    assert json.loads(call("model", "show", model_file)[1])["architecture"] == "fcn_small"
    code, _, err = call("evaluate", field, field, "-m", model_file)
    assert (code, "tile 0, expected 1 or more" in err) == (2, True)
    assert call("run", field, "-m", model_file, "-o", "maps", "-q")[0] == 0
    assert call("verify", "maps")[1].count("run again") == 1
    for text, says in (
        ("[model.shwo]\nas_json = true\n", "unknown table [model.shwo]; did you mean 'model.show'?"),
        ("[model]\nas_json = true\n", "unknown table [model.as_json]"),
    ):
        Path("agriseg.toml").write_text(text)
        code, _, err = call("selftest")
        assert (code, says in err) == (78, True), err


# verdict limits


def test_run_keeps_a_red_map_out_of_the_folder(call: Any, field: Path, model_file: Path, tmp_path: Path) -> None:
    """As a batch does: exit code 3, one line on stderr, the map and its report in the quarantine."""
    flags = ["-m", model_file, "-o", "maps", "--limit", "doubtful=0%:0.1%", "-q"]
    asked = ["run", field, *flags, "--fail-on", "red"]
    code, out, err = call(*asked)
    assert (code, err.count("agriseg: failed: ")) == (3, 1), err
    assert "% of the pixels have a low confidence" in err
    assert not [path for path in (tmp_path / "maps").iterdir() if path.is_file()]
    made = {path.name for path in (tmp_path / "maps" / "quarantine").iterdir()}
    assert {"field_classes.tif", "field_run.json", "field_report.html"} <= made
    assert "quarantine" in out
    assert call(*asked)[0] == 73, "it is there already"
    assert call(*asked, "--overwrite")[0] == 3
    assert call("run", field, *flags)[0] == 0, "red, and nobody asked for a refusal"
    assert call("run", field, *flags, "--limit", "nothing=1:2")[0] == 2


# one line, whatever happens


@pytest.mark.fault("X12")
def test_one_line_escapes_and_shortens() -> None:
    assert one_line("a\x1b[31m\r\nb") == "a\\x1b[31m\\r\\nb"
    assert len(one_line("x" * 999)) == 300
    assert one_line("ünïcödé 畑") == "ünïcödé 畑"


def test_an_unforeseen_error_is_one_line_too(call: Any, field: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import agriseg.mapping.prepare

    def broken(*_: Any) -> None:
        raise KeyError("unforeseen")

    monkeypatch.setattr(agriseg.mapping.prepare, "check_compatibility", broken)
    code, _, err = call("run", field, "-q")
    assert code == 70
    assert err.count("\n") == 1
    assert "internal error, KeyError" in err
    monkeypatch.setenv("AGRISEG_DEBUG", "1")
    assert "Traceback" in call("run", field, "-q")[2]


@pytest.mark.parametrize("debug", ["", "1"])
def test_what_libraries_warn_of_is_not_printed(
    debug: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither by the module of warnings nor by a log that nobody listens to, unless one looks for a fault."""
    printed: list[Any] = []
    monkeypatch.setattr(
        logging, "lastResort", logging._StderrHandler(logging.WARNING)
    )  # an earlier command silenced it
    monkeypatch.setattr(warnings, "showwarning", lambda *what: printed.append(what))
    monkeypatch.setenv("AGRISEG_DEBUG", debug)
    with warnings.catch_warnings(), ProcessEdge():
        warnings.simplefilter("default")
        warnings.warn("odd numbers", RuntimeWarning, stacklevel=1)
        logging.Logger("library").warning("odd letters")
    assert len(printed) == len(debug)
    assert capsys.readouterr().err.count("odd letters") == len(debug)


def test_every_error_has_a_code_of_the_table() -> None:
    codes = {kind.__name__: kind.exit_code for kind in AgrisegError.__subclasses__()}
    assert set(codes.values()) <= {2, 65, 66, 69, 70, 73, 74, 75, 77, 78, 130, 143}
    assert all(issubclass(kind, AgrisegError) for kind in AgrisegError.__subclasses__())


@pytest.mark.fault("O06")
def test_a_name_that_is_not_utf8(agriseg_cli: Any, tmp_path: Path, model_file: Path) -> None:
    image = write_raster(tmp_path / "a.tif", blocks(30, 30))
    odd = tmp_path / "b\udcff.tif"
    image.rename(odd)
    done = agriseg_cli("run", odd.name, "-m", model_file)
    assert done.code in (0, 65, 66)
    assert "Traceback" not in done.err
