"""Where a network's first weights come from: chance, torchvision by name, an address, a file, another model."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import torch
from torch import nn
from torchvision.models import get_weight

from agriseg.errors import ModelError
from agriseg.files import make_folder
from agriseg.model import is_model_file, load_model, read_torchvision_state
from agriseg.networks import NAMED_STARTS, Architecture, plain, plain_name
from agriseg.networks.adopt import adopt

_HASH = re.compile(r"-([0-9a-f]{8,})\.")  # torchvision's file names end in the first digits of their SHA-256


@dataclass(frozen=True)
class Start:
    """A network before training.

    Args:
        network: with its first weights.
        origin: where they come from, for the record.
        fresh: names of tensors that keep random weights although others were given.
    """

    network: nn.Module
    origin: str
    fresh: tuple[str, ...] = ()

    @property
    def note(self) -> str | None:
        """What a person should know who gave weights: what of the network stays random."""
        if not self.fresh:
            return None
        layers = dict.fromkeys(key.rpartition(".")[0] for key in self.fresh)
        return f"from {self.origin}; random weights stay in {', '.join(layers)}"


def start(
    design: Architecture, bands: Sequence[str], classes: Sequence[str], seed: int, source: str | None = None
) -> Start:
    """Build a network and give it its first weights.

    Args:
        design: which network.
        bands: roles of its input.
        classes: names, in channel order.
        seed: of random weights.
        source: `imagenet` or `coco` (torchvision's weights, from the folder where torch keeps them), an http(s)
            address of such a file, a file of torchvision's or timm's weights, or a model file of agriseg; None
            for random weights.

    Raises:
        ModelError: no such weights, or they do not fit.
    """
    network = design.build(len(bands), len(classes), seed)
    if source is None:
        return Start(network, "random weights")
    path, origin = _file(design, source)
    if is_model_file(path):
        model = load_model(path)
        if plain_name(model.architecture or "") != plain_name(design.name):
            raise ModelError(
                f"{path}: a {model.architecture}, expected {design.name}; set arch to the one or the other"
            )
        same = model.legend.names == tuple(classes)
        fresh = adopt(network, design, plain(model.network).state_dict(), bands, model.bands, keep_heads=same)
        return Start(network, f"model {model.name!r} ({model.fingerprint[:12]})", tuple(fresh))
    state = read_torchvision_state(path)
    try:
        fresh = adopt(network, design, state, bands, keep_heads=source not in NAMED_STARTS)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    return Start(network, f"{origin} ({hashlib.sha256(path.read_bytes()).hexdigest()[:12]})", tuple(fresh))


def _file(design: Architecture, source: str) -> tuple[Path, str]:
    """The file of a source, and what to call it."""
    if source in NAMED_STARTS:
        if source not in design.pretrained:
            known = " or ".join(design.pretrained) or "a model file of agriseg"
            raise ModelError(f"{design.name} has no weights by the name {source}; start from {known}, or from none")
        name = design.pretrained[source]
        url = get_weight(name).url
        path = _kept(url)
        if not path.exists():
            raise ModelError(
                f"{source} weights of {design.name} are not on this machine; fetch {url} to {path}, "
                "or give that address in place of the name"
            )
        return path, name
    if source.startswith(("http://", "https://")):
        return _fetched(source), urlsplit(source)._replace(query="", fragment="").geturl()
    return Path(source), Path(source).name


def _kept(url: str) -> Path:
    """Where torch keeps a file of weights."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(url).path).name


def _fetched(url: str) -> Path:
    """The file behind an address that a person gave, fetched once."""
    path = _kept(url)
    digits = _HASH.search(path.name)
    if digits is None:  # two addresses may end in one name
        path = path.with_name(f"{hashlib.sha256(url.encode()).hexdigest()[:12]}_{path.name}")
    if path.exists():
        return path
    make_folder(path.parent)
    try:
        torch.hub.download_url_to_file(url, str(path), digits and digits.group(1), progress=False)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{url} cannot be fetched ({reason}); fetch it elsewhere and put it at {path}") from error
    return path
