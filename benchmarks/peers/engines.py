"""The engines of the table, and the environments that they run in."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.peers.environments import Environment
from benchmarks.peers.task import Setting

AGRISEG = Environment("agriseg", ("onnx>=1.17", "onnxruntime>=1.20", "openvino>=2025.0"))
_NOTEBOOK = Environment("notebook")
_MONAI = Environment("monai", ("monai==1.6.1",))
_GEO_INFERENCE = Environment("geo-inference", ("geo-inference==3.2.4",))
_OMNICLOUDMASK = Environment("omnicloudmask", ("omnicloudmask==1.8.1",))
_TORCHGEO = Environment("torchgeo", ("torchgeo==0.8.1",))
_HABITAT = Environment(  # it asks for onnxruntime-gpu, which no processor needs
    "habitat-mapper",
    (
        "onnxruntime>=1.22", "cyclopts>=3.22.2", "defusedxml>=0.7.1", "deprecation>=2.1.0", "humanize>=4.12.3",
        "loguru>=0.7.3", "numba>=0.62", "opencv-python-headless>=4.11", "platformdirs>=4.3.8", "rioxarray>=0.19.0",
        "xarray-spatial>=0.5.3",
    ),
    ("habitat-mapper==0.16.2",),
)  # fmt: skip


@dataclass(frozen=True)
class Engine:
    """A row of the table.

    Args:
        name: with the settings that differ from the engine's own.
        adapter: module in `benchmarks.peers.adapters`.
        settings: of the adapter.
        peer_overlap: share of a tile that a peer's tiles have in common with the next; 0 for other engines.
        takes_file: whether its network is an exported file.
        needs_bf16: whether it is left out on a processor that does not compute in bf16.
    """

    name: str
    adapter: str
    environment: Environment
    settings: Mapping[str, Setting] = field(default_factory=dict)
    peer_overlap: float = 0.0
    takes_file: bool = False
    needs_bf16: bool = False

    @property
    def key(self) -> str:
        """Its name as a name of files."""
        return "".join(letter if letter.isalnum() else "_" for letter in self.name)


def _agriseg(name: str, *, needs_bf16: bool = False, **flags: Setting) -> Engine:
    return Engine(f"agriseg {name}", "agriseg_run", AGRISEG, flags, needs_bf16=needs_bf16)


def _peer(name: str, adapter: str, environment: Environment, overlap: float, **settings: Setting) -> Engine:
    files = environment in (_GEO_INFERENCE, _HABITAT)
    return Engine(name, adapter, environment, {"overlap": overlap, **settings}, overlap, takes_file=files)


UNTILED = Engine("untiled, torch", "untiled", _NOTEBOOK)
DEFAULT, EXACT = _agriseg("default"), _agriseg("fp32, exact", precision="fp32", blend="exact")
ENGINES = (
    UNTILED,
    Engine("notebook loop, no overlap", "notebook_loop", _NOTEBOOK),
    _peer("MONAI, 25 % constant", "monai_window", _MONAI, 0.25, mode="constant"),
    _peer("MONAI, 50 % gaussian", "monai_window", _MONAI, 0.5, mode="gaussian"),
    _peer("geo-inference, 50 % Hann", "geo_inference_file", _GEO_INFERENCE, 0.5),
    _peer("OmniCloudMask, 50 %", "omnicloudmask_array", _OMNICLOUDMASK, 0.5),
    _peer("TorchGeo grid, 25 % mean", "torchgeo_grid", _TORCHGEO, 0.25),
    _peer("habitat-mapper, 50 % Bartlett-Hann", "habitat_mapper_onnx", _HABITAT, 0.5),
    DEFAULT,
    _agriseg("fp32, smooth", precision="fp32", needs_bf16=True),
    _agriseg("fp32, --tile auto", precision="fp32", tile="auto"),
    EXACT,
    _agriseg("onnxruntime, fp32", precision="fp32", backend="onnxruntime"),
    _agriseg("openvino, fp32", precision="fp32", backend="openvino"),
    _agriseg("openvino, bf16", precision="bf16", backend="openvino", needs_bf16=True),
)
