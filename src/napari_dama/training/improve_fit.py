"""How an improved model is fitted: its last layer on features that were computed once, or the whole network.

The last layer is fitted to the end by L-BFGS, from the parent's weights, and held near them (L2-SP of Li, Grandvalet and
Davoine, ICML 2018, on the weights as they act on features of unit spread). Cells that nobody reviewed may keep it close to
what its parent says of them (distillation as in Learning without Forgetting, Li and Hoiem, ECCV 2016), over the parent's
classes only, so that a new class may grow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_dama.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_dama.nets.classifier import TypeClassifier

ROUNDS = 40
BATCH = 128


@dataclass(frozen=True, slots=True)
class Lessons:
    """What is to be learned.

    Attributes
    ----------
    x : (N, ...) Tensor
        Features (N, D) before they are normalised, or crops (N, C, H, W).
    targets : (N,) int64
        Class of each; -1 for a cell on which only the parent's word counts.
    weight : (N,) float32
        How much each counts; those with a class add up to 1.
    said : (N, K) float32
        The parent's probabilities, 0 for classes that it does not know.
    known : (K,) bool
        Classes that the parent knows.
    """

    x: Tensor
    targets: Tensor
    weight: Tensor
    said: Tensor
    known: Tensor


def class_weights(targets: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """Weight (N,) of each cell: 1 / sqrt(cells of its class), adding up to 1; 0 for a cell without class."""
    has = targets >= 0
    counts = np.maximum(np.bincount(targets[has], minlength=classes), 1)
    weight = np.where(has, 1 / np.sqrt(counts[np.maximum(targets, 0)]), 0.0)
    return np.asarray(weight / max(weight.sum(), 1e-12), np.float32)


def loss_of(logits: Tensor, part: Lessons) -> Tensor:
    """Weighted cross-entropy of cells that have a class, and distance to the parent's word of those that have none."""
    typed = part.targets >= 0
    losses = F.cross_entropy(logits, part.targets.clamp(min=0), reduction="none")
    own = logits.masked_fill(~part.known, -torch.inf).log_softmax(dim=1).masked_fill(~part.known, 0.0)
    distance = -(part.said * own).sum(dim=1) + torch.special.xlogy(part.said, part.said).sum(dim=1)
    return (torch.where(typed, losses, distance) * part.weight).sum()


def fit_head(
    part: TypeClassifier,
    lessons: Lessons,
    *,
    hold: float,
    tell: Callable[[int, int, float], None],
    stop: Callable[[], bool],
) -> None:
    """Fit the last layer of a typing network to features (N, D), in place.

    Parameters
    ----------
    part
        Starts from the parent's weights; new classes have rows near 0.
    lessons
        With ``x`` the pooled features.
    hold
        Weight of the squared distance to the start.
    tell
        Called with (round, rounds, loss).
    stop
        Asked between rounds.

    Raises
    ------
    Interrupted
        ``stop`` returned True.
    """
    part.eval()
    with torch.no_grad():
        features = part.norm(lessons.x).float()
    head = part.head.float()
    start_w, start_b = head.weight.detach().clone(), head.bias.detach().clone()
    weight, bias = start_w.clone().requires_grad_(True), start_b.clone().requires_grad_(True)
    spread = features.std(dim=0, unbiased=False).clamp(min=1e-4)
    optimiser = torch.optim.LBFGS(
        [weight, bias], lr=1.0, max_iter=5, history_size=20, line_search_fn="strong_wolfe"
    )

    def objective() -> Tensor:
        logits = features @ weight.T + bias
        away = ((weight - start_w) * spread).square().sum() + (bias - start_b).square().sum()
        total: Tensor = loss_of(logits, lessons) + hold * away
        return total

    def closure() -> Any:
        optimiser.zero_grad()
        value = objective()
        value.backward()  # type: ignore[no-untyped-call]
        return value.detach()

    before = float("inf")
    for number in range(ROUNDS):
        if stop():
            raise Interrupted("stopped while the last layer was fitted")
        now = float(optimiser.step(closure))  # type: ignore[no-untyped-call]
        tell(number + 1, ROUNDS, now)
        if abs(before - now) < 1e-6:
            break
        before = now
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)


def fit_all(
    part: TypeClassifier,
    lessons: Lessons,
    *,
    epochs: int,
    batch: int,
    lr: float,
    seed: int,
    tell: Callable[[int, int, float], None],
    stop: Callable[[], bool],
) -> None:
    """Let the whole network learn from crops (N, C, H, W), turned and mirrored at random; the last layer was fitted before.

    The rate falls from ``lr * batch / 256`` to 0 as half a cosine. Batch norms keep the parent's statistics: there are too
    few cells to measure new ones. Errors as in `fit_head`.
    """
    part.eval().requires_grad_(True)
    n = len(lessons.x)
    per_epoch = max(1, -(-n // batch))
    steps = epochs * per_epoch
    optimiser = torch.optim.AdamW(part.parameters(), lr=lr * batch / 256, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    rng = np.random.default_rng(seed)
    done = 0
    for _ in range(epochs):
        order = rng.permutation(n)
        for start in range(0, n, batch):
            if stop():
                raise Interrupted("stopped while the network learned")
            rows = torch.from_numpy(order[start : start + batch])
            some = Lessons(
                _turned(lessons.x[rows].float(), rng),
                lessons.targets[rows],
                lessons.weight[rows] * n / len(rows),
                lessons.said[rows],
                lessons.known,
            )
            loss = loss_of(part(some.x).float(), some)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(part.parameters(), 3.0)
            optimiser.step()
            schedule.step()
            done += 1
            tell(done, steps, float(loss.detach()))
    part.requires_grad_(False)


def _turned(x: Tensor, rng: np.random.Generator) -> Tensor:
    turned: Tensor = torch.rot90(x, int(rng.integers(4)), (2, 3))
    return turned.flip(3) if rng.random() < 0.5 else turned


def in_blocks(x: Tensor, what: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply a function to rows of a tensor in blocks, without gradients."""
    with torch.no_grad():
        return torch.cat([what(x[start : start + BATCH].float()) for start in range(0, len(x), BATCH)])
