"""The training loop."""

import copy
import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import chain, count
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from agriseg import files
from agriseg.backends.choose_backend import choose_precision
from agriseg.errors import PredictionError, Terminated
from agriseg.json_text import json_line
from agriseg.model import SegmentationModel
from agriseg.networks import last_bias, without_downsampling
from agriseg.samples.augment import Sample, TrainingSamples, stacked
from agriseg.training.checkpoint import State
from agriseg.training.config import Recipe
from agriseg.training.decoder import decoder_of, keep_encoder_statistics, train_decoder
from agriseg.training.distributed import Ranks
from agriseg.training.logit_adjustment import fit_logit_offsets
from agriseg.training.losses import Loss, build_loss
from agriseg.training.progress import Report, StepDone, ValidationDone, ValidationScores

Validate = Callable[[SegmentationModel], ValidationScores]
Batch = tuple[torch.Tensor, torch.Tensor]

_AHEAD = 2  # batches prepared while the network works
_STATE = "state.safetensors"


@dataclass(frozen=True)
class TrainingRun:
    """Everything that the loop needs.

    Args:
        model: untrained; its network is trained in place.
        validate: scores a model; the one with the highest mean IoU is the best.
        folder: for `best.safetensors`, `state.safetensors` and `metrics.jsonl`.
        report, stopped, since: as in `TrainOptions`.
    """

    model: SegmentationModel
    samples: TrainingSamples
    recipe: Recipe
    validate: Validate
    folder: Path
    identity: str
    ranks: Ranks
    report: Report
    stopped: Callable[[], bool]
    since: float | None = None


def fit(run: TrainingRun) -> None:
    """Train from the state in the folder if there is one, else from the start.

    Raises:
        PredictionError: the loss is not finite; the best model so far is kept.
        Terminated: stop requested; the state is saved.
        ModelError: the state in the folder is of another training.
    """
    recipe, ranks = run.recipe, run.ranks
    network = ranks.wrap(run.model.network).to(memory_format=torch.channels_last)
    loss_of = build_loss(recipe.loss, _class_weights(run) if recipe.class_weights else None)
    precision = choose_precision(recipe.precision, ranks.device, run.model)
    state = _load_state(run, network)
    began = (run.since or time.monotonic()) - state.seconds
    if recipe.frozen_steps and not (run.folder / _STATE).exists():
        _first_steps(run, state, loss_of, precision)
        state.seconds = time.monotonic() - began
        _save(run, state)
    batches = _batches(run, state.step * recipe.accumulation_steps)
    ended = state.stale >= recipe.patience > 0
    while not ended and (done := _done(state, recipe)) < 1:
        if ranks.all_max(run.stopped()):
            _save(run, state)
            raise Terminated(f"stopped after step {state.step}, the state is saved")
        lr = _learning_rate(done, recipe)
        for group in state.optimiser.param_groups:
            group["lr"] = lr * group["share"]
        torch.manual_seed(hash((recipe.seed, state.step)) + ranks.rank)  # dropout
        loss = _step(state, loss_of, batches, run, precision)
        if not math.isfinite(loss):
            raise PredictionError(f"the loss is {loss} at step {state.step}; lower lr (now {lr:.2g}), then start anew")
        state.add_loss(loss)
        _average(state, recipe.ema_decay)
        state.seconds = ranks.all_max(time.monotonic() - began)
        run.report(StepDone(state.step, _done(state, recipe), loss, lr))
        if state.step % recipe.validate_every == 0 or _done(state, recipe) >= 1:
            ended = bool(ranks.all_max(ranks.first and _validate(run, state)))
            state.seconds = ranks.all_max(time.monotonic() - began)
            _save(run, state)


def _first_steps(run: TrainingRun, state: State, loss_of: Loss, precision: str) -> None:
    """Train the decoder alone, and score it.

    It is the best model only until the next validation: a handful of held-back plants may prefer it by chance.
    """
    decoder = decoder_of(run.model.network, run.model.architecture or "")
    train_decoder(decoder, run.samples, run.recipe.frozen_steps, loss_of, run.ranks.device, precision)
    state.average = copy.deepcopy(state.network.state_dict())
    _validate(run, state)
    state.best = State.best


def _load_state(run: TrainingRun, network: nn.Module) -> State:
    optimiser, weights = _optimiser(network, run.recipe), copy.deepcopy(network.state_dict())
    state = State(network, optimiser, weights, processes=run.ranks.world)
    if (run.folder / _STATE).exists():
        state.load(run.folder / _STATE, run.identity)
    log = run.folder / "metrics.jsonl"
    if run.ranks.first and log.exists():  # a killed training may have written lines after its last saved state
        lines = [line for line in log.read_text().splitlines() if json.loads(line)["step"] <= state.step]
        files.write_text(log, "".join(f"{line}\n" for line in lines))
    return state


def _save(run: TrainingRun, state: State) -> None:
    if run.ranks.first:
        state.save(run.folder / _STATE, run.identity)


def _step(state: State, loss_of: Loss, batches: Iterator[Batch], run: TrainingRun, precision: str) -> float:
    """One optimiser step over `accumulation_steps` batches; returns the mean loss."""
    network, optimiser, total = state.network.train(), state.optimiser, 0.0
    if run.recipe.frozen_steps:
        keep_encoder_statistics(network)
    for _ in range(run.recipe.accumulation_steps):
        x, ids = (part.to(run.ranks.device, non_blocking=True) for part in next(batches))
        with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16"):
            outputs = _heads(network, x, run.recipe.aux_loss_weight)
        ids, losses = run.ranks.gather_batch(ids), []
        for weight, part in outputs:
            logits = run.ranks.gather_batch(part.float())
            full = functional.interpolate(logits, size=ids.shape[1:], mode="bilinear", align_corners=False)
            losses.append(weight * loss_of(full, ids))
        loss = torch.stack(losses).sum() / run.recipe.accumulation_steps
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    run.ranks.sum_gradients(network)
    optimiser.step()
    optimiser.zero_grad()
    return total


def _heads(network: nn.Module, x: torch.Tensor, auxiliary: float) -> list[tuple[float, torch.Tensor]]:
    """Logits of each head with the weight of its loss; samples are means of pixels already."""
    network = without_downsampling(network)
    forward_both = getattr(network, "forward_with_auxiliary", None)
    if forward_both is None or not auxiliary:
        return [(1.0, network(x))]
    return list(zip((1.0, auxiliary), forward_both(x), strict=True))


def _validate(run: TrainingRun, state: State) -> bool:
    """Score the averaged weights and save them if they are the best so far; returns whether patience has run out."""
    model = _logit_adjusted(_averaged(run.model, state), run)
    scores = run.validate(model)
    best = scores.miou > state.best
    state.best, state.stale = (scores.miou, 0) if best else (state.best, state.stale + 1)
    if best:
        about = {**model.about, "validation": asdict(scores), "step": state.step}
        replace(model, about=about).save(run.folder / "best.safetensors")
    done = ValidationDone(state.step, round(state.seconds, 1), state.take_mean_loss(), best, scores.miou, scores.iou)
    with (run.folder / "metrics.jsonl").open("a") as log:
        log.write(json_line(asdict(done)) + "\n")
    run.report(done)
    return state.stale >= run.recipe.patience > 0


def _batches(run: TrainingRun, first: int) -> Iterator[Batch]:
    """The part of each batch that belongs to this process, from batch `first` on; one thread for each sample.

    For a GPU, batches are prepared ahead. On the CPU the threads of the network and of the samples would wait for
    each other, so samples are made between the steps (`benchmarks/training.py`).
    """
    size, ahead = run.recipe.batch, 0 if run.ranks.device.type == "cpu" else _AHEAD
    share = run.ranks.local_batch(size)
    waiting: deque[list[Future[Sample]]] = deque()
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads, "agriseg-samples", initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            for number in count(first):
                begin = number * size + run.ranks.rank * share
                waiting.append([pool.submit(run.samples.__getitem__, begin + k) for k in range(share)])
                if len(waiting) > ahead:
                    yield stacked([sample.result() for sample in waiting.popleft()])
        finally:
            for sample in chain.from_iterable(waiting):
                sample.cancel()


def _done(state: State, recipe: Recipe) -> float:
    """Share of the training that is done, 0 to 1 and beyond."""
    return state.step / recipe.steps if recipe.steps else state.seconds / (60 * (recipe.minutes or 1))


def _learning_rate(done: float, recipe: Recipe) -> float:
    """Linear warm-up, then a cosine to 0 (Loshchilov and Hutter 2017, arXiv 1608.03983)."""
    if done < recipe.warmup:
        return recipe.lr * (done + 1e-3) / (recipe.warmup + 1e-3)
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * (done - recipe.warmup) / (1 - recipe.warmup)))


def _optimiser(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimiser; each of its groups has its share of the learning rate."""
    parts: dict[float, list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        parts.setdefault(recipe.backbone_lr if "backbone." in name else 1.0, []).append(parameter)
    groups = [{"params": parameters, "share": share} for share, parameters in parts.items()]
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(groups, recipe.lr, momentum=0.9, weight_decay=recipe.weight_decay)
    kind = torch.optim.AdamW if recipe.optimiser == "adamw" else torch.optim.Adam
    return kind(groups, recipe.lr, weight_decay=recipe.weight_decay, fused=True)


def _class_weights(run: TrainingRun) -> torch.Tensor:
    """1 / sqrt(share), mean 1 over the classes that occur; 0 for one that does not."""
    shares = torch.from_numpy(run.samples.class_index.shares)
    weights = torch.where(shares > 0, shares.clamp(min=1e-12).rsqrt(), 0)
    return (weights / weights[shares > 0].mean()).float().to(run.ranks.device)


@torch.no_grad()
def _average(state: State, decay: float) -> None:
    """Update the exponential moving average of the weights; its decay is lower during the first steps."""
    keep = min(decay, state.step / (state.step + 9))
    now = state.network.state_dict()
    floats = [key for key, value in now.items() if value.dtype.is_floating_point]
    torch._foreach_lerp_([state.average[key] for key in floats], [now[key] for key in floats], 1 - keep)
    for key in now.keys() - set(floats):
        state.average[key] = now[key].clone()


def _logit_adjusted(model: SegmentationModel, run: TrainingRun) -> SegmentationModel:
    """The model with fitted offsets added to its last bias."""
    if not run.recipe.logit_adjustment:
        return model
    offsets = fit_logit_offsets(without_downsampling(model.network), run.samples, run.ranks.device)
    with torch.no_grad():
        last_bias(model.network).add_(torch.tensor(offsets, device=run.ranks.device))
    return replace(model, about={**model.about, "offsets": dict(zip(model.legend.names, offsets, strict=True))})


def _averaged(model: SegmentationModel, state: State) -> SegmentationModel:
    network = copy.deepcopy(state.network)
    network.load_state_dict(state.average)
    return replace(model, network=network.eval())
