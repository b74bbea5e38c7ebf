"""Map the rasters of ../shared/data with the default model and no flag, and draw those that may be shown.

python benchmarks/gallery.py ../shared/data docs/gallery
"""

import argparse
import tempfile
from pathlib import Path

from PIL import Image

from agriseg import segment
from agriseg.bundled_models import DEFAULT, bundled_model
from agriseg.errors import AgrisegError

RASTERS = {
    "potato_weed_uav/field/field_cols00-10.tif": None,
    "drone_ortho_rgba_utm12n/orthomosaic.tif": "orthomosaic",
    "drone_ortho_rgba_utm12n/rgb_17_7_W.tif": "plot_17",
    "drone_ortho_rgba_utm12n/rgb_40_11_W.tif": "plot_40",
    "micasense_plot_float32/rgb.tif": "plot_rgb",
    "micasense_plot_float32/615.tif": None,
    "aerial_rgba_epsg4326/3420B_2010_328_RGB_LATLNG.tif": None,
    "naip_rgbn_nodata/m_4709963_se_14_1_20160816.tif": None,
    "naip_rgbn_nodata/m_4709963_se_14_1_20190904.tif": None,
    "sentinel2_uint16_nodata/S2_L2A_sample.tif": None,
}
"""Rasters, and the name of the picture of each that is drawn."""
HEIGHT = 420  # of a picture, px


def side_by_side(image: Path, classes: Path) -> Image.Image:
    """The raster and its map, on white."""
    pictures = [Image.open(path).convert("RGBA") for path in (image, classes)]
    width = round(pictures[0].width * HEIGHT / pictures[0].height)
    drawn = Image.new("RGBA", (2 * width + 8, HEIGHT), "white")
    for number, picture in enumerate(pictures):
        drawn.alpha_composite(picture.resize((width, HEIGHT)), (number * (width + 8), 0))
    return drawn.convert("RGB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("pictures", type=Path)
    asked = parser.parse_args()
    asked.pictures.mkdir(parents=True, exist_ok=True)
    print("| raster | vegetation | verdict | reasons |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        for raster, picture in RASTERS.items():
            try:
                report = segment(asked.data / raster, bundled_model(DEFAULT), Path(name))
            except AgrisegError as error:
                print(f"| `{raster}` | | refused | {str(error).split(': ', 1)[-1]} |")
                continue
            cover = report.counts[1].pixels / sum(each.pixels for each in report.counts)
            print(f"| `{raster}` | {cover:.1%} | {report.verdict.colour} | {'; '.join(report.verdict.reasons)} |")
            if picture is not None:
                stem = Path(name) / Path(raster).stem
                side_by_side(Path(f"{stem}_image.png"), Path(f"{stem}_classes.png")).save(
                    asked.pictures / f"{picture}.png", optimize=True
                )


if __name__ == "__main__":
    main()
