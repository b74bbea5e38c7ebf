"""The models that come with agriseg, by name."""

from importlib.resources import files
from pathlib import Path

BUNDLED = {"vegetation": "vegetation", "potato-weed": "potato_weed", "demo": "demo"}
"""Names, and the files without their suffix."""
DEFAULT = "vegetation"
"""Name of the model of a run that names none."""


def bundled_model(name: str) -> Path:
    """The file of a bundled model: `vegetation` of any field, `potato-weed` of one, `demo` of synthetic fields."""
    return Path(str(files("agriseg"))) / "data" / f"{BUNDLED[name]}.safetensors"


def model_file(name: str | Path) -> Path:
    """The file that a user means: that of a bundled model by its name, unless there is a file of this name."""
    path = Path(name)
    return bundled_model(str(name)) if str(name) in BUNDLED and not path.exists() else path
