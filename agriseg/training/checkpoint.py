"""The state of a training as one safetensors file; a resumed training gives the same bytes."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors import torch as safetensors_torch

from agriseg import files
from agriseg.errors import ModelError
from agriseg.json_text import json_line

_KEY = "agriseg_training"
_REMEDY = "start anew in another folder"
_NUMBERS = ("step", "seconds", "best", "stale", "losses", "counted", "processes")


@dataclass
class State:
    """A training between two steps. Sampling and dropout follow from seed and step, so they are not part of it.

    Args:
        average: running average of the network's state.
        seconds: of training so far, over all sessions.
        best: highest mean IoU of a validation so far.
        stale: number of validations since then.
        losses, counted: sum and number of the training losses since the last validation.
        processes: number of processes; another number changes the order of sums, and so the bytes.
    """

    network: torch.nn.Module
    optimiser: torch.optim.Optimizer
    average: dict[str, torch.Tensor]
    step: int = 0
    seconds: float = 0.0
    best: float = -1.0
    stale: int = 0
    losses: float = 0.0
    counted: int = 0
    processes: int = 1

    def add_loss(self, loss: float) -> None:
        """Count a step with its mean loss."""
        self.step += 1
        self.losses += loss
        self.counted += 1

    def take_mean_loss(self) -> float:
        """Mean loss of the steps since the last call."""
        loss = self.losses / max(1, self.counted)
        self.losses, self.counted = 0.0, 0
        return loss

    def save(self, path: Path, run: str) -> None:
        """Write the state atomically; `run` is the fingerprint of recipe, classes and data, see `load`."""
        tensors = {f"network.{key}": value for key, value in self.network.state_dict().items()}
        tensors |= {f"average.{key}": value for key, value in self.average.items()}
        for index, slots in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{name}": torch.as_tensor(value) for name, value in slots.items()}
        numbers = {"run": run, **{name: getattr(self, name) for name in _NUMBERS}}
        plain = {key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()}
        files.write_bytes(path, safetensors_torch.save(plain, {_KEY: json_line(numbers)}))

    def load(self, path: Path, run: str) -> None:
        """Read the state of a training with the same fingerprint.

        Raises:
            ModelError: damaged, or of another recipe, other classes or other data.
        """
        try:
            with safe_open(path, "pt") as file:
                numbers = json.loads((file.metadata() or {})[_KEY])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (no mapping)
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise ModelError(f"{path}: no training state, or damaged ({error}); {_REMEDY}") from error
        if numbers["run"] != run:
            raise ModelError(f"{path}: another recipe, other classes or other data made this state; {_REMEDY}")
        if numbers["processes"] != self.processes:
            raise ModelError(
                f"{path}: {numbers['processes']} processes made this state, now {self.processes}; start as many, "
                "or anew in another folder"
            )
        self.network.load_state_dict(_under("network.", tensors))
        self.average = _under("average.", tensors)
        slots: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in _under("optimiser.", tensors).items():
            index, name = key.split(".", 1)
            slots.setdefault(int(index), {})[name] = value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": slots})
        for parameter, values in self.optimiser.state.items():  # the fused optimisers go by memory, not by strides
            for name, value in values.items():
                if value.shape == parameter.shape:
                    values[name] = torch.empty_like(parameter).copy_(value)
        for name in _NUMBERS:
            setattr(self, name, numbers[name])


def _under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
