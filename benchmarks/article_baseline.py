"""The recipe of the article that agriseg grew out of, on the training images of a configuration.

torchvision's `fcn_resnet50` without pretrained weights, Adam at 1e-3, cross-entropy, batches of 8, ImageNet's
normalisation, fp32; random crops, since whole images leave a CPU a step a minute. `--bf16` lets it compute as agriseg
does, which the article did not. It is scored four times, tile by tile on the validation images.

    python benchmarks/article_baseline.py examples/potato_weed.toml --minutes 30
"""

import argparse
import time
import tomllib
from pathlib import Path

import numpy as np
import torch
from common import machine
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.models.segmentation import fcn_resnet50

from agriseg.labels.pairs import Pair, find_pairs
from agriseg.metrics import confusion, iou
from agriseg.training.config import TrainConfig

_NORMALIZE = transforms.Compose(
    [transforms.ToTensor(), transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])]
)


class Crops(Dataset):
    """A random crop of each image."""

    def __init__(self, pairs: list[Pair], values: list, side: int) -> None:
        self.items = [load(pair, values) for pair in pairs]
        self.side = side

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image, labels = self.items[index]
        top, left = (int(torch.randint(0, size - self.side + 1, ())) for size in labels.shape)
        place = slice(top, top + self.side), slice(left, left + self.side)
        return _NORMALIZE(image[place]), torch.from_numpy(labels[place]).long()


def load(pair: Pair, values: list) -> tuple[np.ndarray, np.ndarray]:
    """Image (H, W, 3) and class ids (H, W)."""
    stored = np.asarray(Image.open(pair.labels))
    stored = stored[..., :3] if isinstance(values[0], tuple) else stored[..., None]
    ids = np.stack([(stored == np.reshape(value, -1)).all(-1) for value in values]).argmax(0)
    return np.array(Image.open(pair.image).convert("RGB")), ids.astype(np.uint8)


@torch.no_grad()
def score(network: nn.Module, items: list, classes: int) -> np.ndarray:
    """(K,) IoU over whole images."""
    network.eval()
    matrix = np.zeros((classes, classes), np.int64)
    for image, labels in items:
        mapped = network(_NORMALIZE(image)[None])["out"].argmax(1)[0].numpy().astype(np.uint8)
        matrix += confusion(labels, mapped, classes)
    return iou(matrix)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--bf16", action="store_true", help="as agriseg computes: bf16 and channels last")
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--scores", type=int, default=4, help="how often it is scored; the time for it is not counted")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    config = TrainConfig.of(tomllib.loads(args.config.read_text()), args.config.parent)
    data, held, classes = config.data, config.held_back, len(config.classes)
    assert held is not None
    torch.manual_seed(args.seed)
    crops = Crops(find_pairs(data.images, data.labels, data.label_suffix), config.stored, args.crop)
    whole = [load(pair, config.stored) for pair in find_pairs(held.images, held.labels, held.label_suffix)]
    network = fcn_resnet50(weights=None, weights_backbone=None, num_classes=classes)
    layout = torch.channels_last if args.bf16 else torch.contiguous_format
    network = network.to(memory_format=layout)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss()
    print(machine())
    spent, steps, told = 0.0, 0, []
    while spent < 60 * args.minutes:
        for images, labels in DataLoader(crops, batch_size=8, shuffle=True, drop_last=True):
            began = time.monotonic()
            network.train()
            with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
                logits = network(images.contiguous(memory_format=layout))["out"]
            loss = criterion(logits.float(), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            spent, steps = spent + time.monotonic() - began, steps + 1
            if spent >= 60 * args.minutes * (len(told) + 1) / args.scores:
                told.append(score(network, whole, classes))
                names = ", ".join(f"{name} {value:.3f}" for name, value in zip(config.classes, told[-1], strict=True))
                print(f"{spent / 60:5.1f} min, step {steps}: mIoU {told[-1].mean():.3f} ({names})", flush=True)
            if spent >= 60 * args.minutes:
                break
    best = max(told, key=lambda each: float(each.mean()))
    print(f"best mIoU {best.mean():.3f}, last {told[-1].mean():.3f}")


if __name__ == "__main__":
    main()
