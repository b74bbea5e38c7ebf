"""Initial weights of a network: random, torchvision by name, a URL, a file, or another model."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import torch
from torch import nn

from agriseg.bundled_models import model_file
from agriseg.errors import AgrisegError, ModelError
from agriseg.model import SegmentationModel, is_model_file, load_model
from agriseg.networks import NAMED_STARTS, Architecture, PackagedWeights, plain_name, without_downsampling
from agriseg.networks.pretrained import load_pretrained, packaged_weights, read_torchvision_state
from agriseg.storage.download import download

_HASH = re.compile(r"-([0-9a-f]{8,})\.")  # torchvision's file names end in the first digits of their SHA-256


@dataclass(frozen=True)
class InitialWeights:
    """A network before training.

    Args:
        origin: source of the weights, for the record.
        fresh: names of tensors that are not in the source and keep random weights.
        model: the agriseg model that they come from, or None.
    """

    network: nn.Module
    origin: str
    fresh: tuple[str, ...] = ()
    model: SegmentationModel | None = None

    @property
    def note(self) -> str | None:
        """The layers that keep random weights although there is a source; None without any."""
        if not self.fresh:
            return None
        layers = dict.fromkeys(key.partition(".")[0] for key in self.fresh)
        return f"from {self.origin}; random weights stay in {', '.join(layers)}"


def initial_network(
    design: Architecture, bands: Sequence[str], classes: Sequence[str], seed: int, source: str | None = None
) -> InitialWeights:
    """Build a network for bands of these roles with its initial weights; the seed is that of random ones.

    The source is `imagenet` or `coco` (torchvision's weights, from the cache of torch), an http(s) address of such a
    file, a file of torchvision's or timm's weights, or a model file of agriseg, also a bundled one by its name;
    None for random weights.

    Raises:
        ModelError: no such weights, or they do not fit.
    """
    network = design.build(len(bands), len(classes), seed)
    if source is None:
        return InitialWeights(network, "random weights")
    path, origin = _file(design, source)
    if is_model_file(path):
        model = load_model(path)
        if plain_name(model.architecture or "") != plain_name(design.name):
            raise ModelError(
                f"{path}: a {model.architecture}, expected {design.name}; set arch to the one or the other"
            )
        same = model.legend.names == tuple(classes)
        fresh = load_pretrained(
            network, design, without_downsampling(model.network).state_dict(), bands, model.bands, keep_heads=same
        )
        return InitialWeights(network, f"model {model.name!r} ({model.fingerprint[:12]})", tuple(fresh), model)
    state = read_torchvision_state(path)
    try:
        fresh = load_pretrained(network, design, state, bands, keep_heads=source not in NAMED_STARTS)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    return InitialWeights(network, f"{origin} ({_sha256(path)[:12]})", tuple(fresh))


def _file(design: Architecture, source: str) -> tuple[Path, str]:
    """The file of a source, and its name."""
    if source in NAMED_STARTS:
        if source not in design.pretrained:
            known = " or ".join(design.pretrained) or "a model file of agriseg"
            raise ModelError(f"{design.name} has no weights by the name {source}; start from {known}, or from none")
        name = design.pretrained[source]
        if isinstance(name, PackagedWeights):
            return packaged_weights(name), name.distribution
        from torchvision.models import get_weight  # here, because it takes long (see `torchvision_network`)

        url = get_weight(name).url
        path = _cache_path(url)
        if not path.exists():
            raise ModelError(
                f"{source} weights of {design.name} are not on this machine; fetch {url} to {path}, "
                "or give that address in place of the name"
            )
        return path, name
    if source.startswith(("http://", "https://")):
        return _downloaded(source), urlsplit(source)._replace(query="", fragment="").geturl()
    return model_file(source), Path(source).name


def _cache_path(url: str) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(url).path).name


def _downloaded(url: str) -> Path:
    """The file of a URL in the cache of torch; it is downloaded again if it has changed on the server."""
    path = _cache_path(url)
    digits = _HASH.search(path.name)
    if digits is None:  # two addresses may end in the same name
        path = path.with_name(f"{hashlib.sha256(url.encode()).hexdigest()[:12]}_{path.name}")
    elif path.exists() and _sha256(path).startswith(digits.group(1)):
        return path
    try:
        download(url, path, lambda _done, _all: None)
    except AgrisegError as error:
        raise ModelError(f"{error}"[:250]) from error
    if digits and not _sha256(path).startswith(digits.group(1)):
        path.unlink()
        raise ModelError(f"{url} cannot be fetched (invalid hash); fetch it elsewhere and put it at {path}")
    return path


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
