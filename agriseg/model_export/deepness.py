"""What the QGIS plugin Deepness reads in the properties of an ONNX file.

Deepness feeds a network (stored number / 255 - mean) / std, takes square tiles of one size, sets probabilities below a
threshold to 0, and takes the class of the largest. So the file has probabilities of each pixel as its output, and the
threshold is 0. See "Adding metadata to ONNX model" in the plugin's documentation.
"""

from agriseg.grid import PRESETS
from agriseg.json_text import json_line
from agriseg.model import SegmentationModel

_FULL_SCALE = 255  # by which Deepness divides whatever the raster holds
_CENTIMETRES = 100


def deepness_properties(model: SegmentationModel, tile: int) -> dict[str, str]:
    """Name to JSON text; none for a model that normalizes by the raster, which Deepness cannot do.

    Args:
        model: what is exported.
        tile: side of the square tiles that the file takes, in pixels.
    """
    if model.normalize_by == "raster":
        return {}
    share = _FULL_SCALE * model.scale
    values = {
        "model_type": "Segmentor",
        "class_names": {str(each.id): each.name for each in model.legend},
        "tile_size": tile,
        "tiles_overlap": round(100 * PRESETS["smooth"].overlap_share),
        "seg_thresh": 0,
        "seg_small_segment": 0,
        "standardization_mean": [mean / share for mean in model.mean],
        "standardization_std": [std / share for std in model.std],
    }
    if model.gsd is not None:
        values["resolution"] = model.gsd * _CENTIMETRES
    return {name: json_line(value) for name, value in values.items()}
