"""Verdicts over real rasters: the bundled model's own field, and what it should not be trusted with.

    python benchmarks/verdicts.py ../shared/data

The first two rows are the field that the model was trained on; every other one is another field, camera or scale,
or the same field with its bands in another order or in other light.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.windows import Window

from agriseg import load_model, segment
from agriseg.bundled_models import bundled_model
from agriseg.errors import AgrisegError

FIELD = "potato_weed_uav/field/field_cols00-10.tif"


def cases(data: Path, folder: Path) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """What to map: a title, the raster, flags."""
    with rasterio.open(data / FIELD) as source:
        profile, side = {**source.profile, "photometric": "RGB"}, 2048
        pixels = source.read(window=Window(source.width // 2, 0, side, min(side, source.height)))[:3]
    size = {"height": pixels.shape[1], "width": pixels.shape[2], "count": 3}

    def made(name: str, changed: np.ndarray) -> Path:
        path = folder / f"{name}.tif"
        given = {
            **profile,
            **size,
            "height": changed.shape[1],
            "width": changed.shape[2],
            "dtype": changed.dtype,
            "compress": "deflate",
        }
        with rasterio.open(path, "w", **given) as target:
            target.write(changed)
        return path

    own = made("own", pixels)
    yield "own field", own, {}
    yield "own field, all of it", data / FIELD, {}
    for order in ("red=3,green=2,blue=1", "red=1,green=3,blue=2", "red=2,green=1,blue=3"):
        yield f"own field, {order}", own, {"bands": order}
    half = (pixels * 0.5).astype(np.uint8)
    yield "own field, half as bright", made("half", half), {}
    yield "own field, half again as bright", made("bright", np.minimum(pixels * 1.5, 255).astype(np.uint8)), {}
    yield "own field, 16 bit", made("wide", pixels.astype(np.uint16) * 257), {}
    yield "own field, 0 to 1", made("unit", (pixels / 255).astype(np.float32)), {}
    for name, flags in (
        ("drone_ortho_rgba_utm12n/orthomosaic.tif", {}), ("drone_ortho_rgba_utm12n/rgb_17_7_W.tif", {}),
        ("drone_ortho_rgba_utm12n/rgb_40_11_W.tif", {}), ("aerial_rgba_epsg4326/3420B_2010_328_RGB_LATLNG.tif", {}),
        ("micasense_plot_float32/rgb.tif", {"bands": "red=1,green=2,blue=3,alpha=4"}),
        ("naip_rgbn_nodata/m_4709963_se_14_1_20160816.tif", {"bands": "red=1,green=2,blue=3"}),
        ("naip_rgbn_nodata/m_4709963_se_14_1_20190904.tif", {"bands": "red=1,green=2,blue=3"}),
        ("sentinel2_uint16_nodata/S2_L2A_sample.tif", {"bands": "red=3,green=2,blue=1"}),
        ("micasense_plot_float32/615.tif", {"bands": "red=3,green=2,blue=1"}),
    ):  # fmt: skip
        yield name, data / name, flags


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    args = parser.parse_args()
    model = load_model(bundled_model("potato-weed"))
    print("| raster | verdict | distance | doubtful | no data |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        for title, path, flags in cases(args.data, Path(name)):
            try:
                verdict = segment(path, model, Path(name) / "maps", overwrite=True, **flags).verdict
            except AgrisegError as error:
                print(f"| {title} | refused: {str(error).split(': ', 1)[-1]} | | | |")
                continue
            print(
                f"| {title} | {verdict.colour} | {verdict.distance:.1f} | {verdict.doubtful:.1%} | "
                f"{verdict.nodata:.1%} |"
            )


if __name__ == "__main__":
    main()
