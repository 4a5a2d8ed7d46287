"""Random and adaptive masks over patches, as index algebra on booleans.

A mask is ``hidden`` (N, L) bool: True = hidden from the encoder, False = visible. Every row hides the same number of
patches, so that visible tokens can be gathered into a dense tensor.
"""

from __future__ import annotations

import torch
from torch import Tensor

from napari_dama.nets.counts import overlap_count, visible_count
from napari_dama.nets.share import rand

__all__ = ["adaptive_mask", "published_mask", "random_mask", "visible_count", "visible_ids"]


def random_mask(
    n: int,
    tokens: int,
    *,
    mask_ratio: float,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Hide a random set of patches in each of ``n`` samples.

    Parameters
    ----------
    n, tokens
        Number of samples N and of patches L.
    mask_ratio
        Share of patches to hide, in (0, 1).
    generator
        Source of randomness; its device must be ``device``.
    device
        Where the mask is made; by default the generator's, else the CPU.

    Returns
    -------
    Tensor
        ``hidden`` (N, L) bool with exactly ``int(L * (1 - mask_ratio))`` False in each row.

    Examples
    --------
    >>> random_mask(2, 64, mask_ratio=0.8).logical_not().sum(1).tolist()
    [12, 12]
    """
    keep = visible_count(tokens, mask_ratio)
    where = device if device is not None else (generator.device if generator is not None else "cpu")
    noise = rand((n, tokens), generator=generator, device=where)  # (N, L)
    shown = noise.argsort(dim=1)[:, :keep]  # (N, keep)
    return torch.ones(n, tokens, dtype=torch.bool, device=where).scatter_(1, shown, False)


def adaptive_mask(
    hidden: Tensor,
    error: Tensor,
    *,
    mask_ratio: float,
    overlap_ratio: float,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Choose view 2's mask from view 1's mask and its reconstruction errors (DAMA, Algorithm 1).

    Of the patches hidden in view 1, the ``L - 2 * keep + overlap`` with the highest error stay hidden and the
    ``keep - overlap`` with the lowest error become visible. Of the patches visible in view 1, ``overlap`` stay visible,
    drawn at random, and the rest become hidden. So ``keep`` patches are visible in each sample, ``overlap`` of them were
    visible before.

    Two departures from the published pseudo-code, both defects of it. It writes ``m2[:, m1_ids] = 0``, which indexes the
    whole batch and leaves 57 to 61 of 64 patches visible at batch 32: here each sample has its own mask. Which patches
    of the overlap stay visible followed from an argsort of ties: here they are drawn from ``generator``.

    Parameters
    ----------
    hidden
        (N, L) bool, view 1's mask, with ``keep = int(L * (1 - mask_ratio))`` False in each row.
    error
        (N, L) float, view 1's error of every patch. Values at visible patches are not read; NaN counts as highest.
    mask_ratio, overlap_ratio
        Share of hidden patches, and share of view 1's visible patches that stay visible.
    generator
        Source of randomness, on the device of ``hidden``.

    Returns
    -------
    Tensor
        (N, L) bool, True = hidden.

    Raises
    ------
    ValueError
        If shapes differ, a row of ``hidden`` has another number of visible patches, or ``L - 2 * keep + overlap < 0``.
    """
    if hidden.ndim != 2 or hidden.shape != error.shape:
        raise ValueError(
            f"hidden and error must both be (N, L), got {tuple(hidden.shape)} and {tuple(error.shape)}"
        )
    if hidden.dtype != torch.bool:
        raise ValueError(f"hidden must be boolean (True = hidden), got {hidden.dtype}")
    keep, overlap = overlap_count(hidden.shape[1], mask_ratio, overlap_ratio)
    visible = hidden.logical_not()
    if bool((visible.sum(dim=1) != keep).any()):
        raise ValueError(f"every row of hidden must leave {keep} of {hidden.shape[1]} patches visible")
    rank = error.detach().float().nan_to_num(nan=torch.inf, posinf=torch.inf)
    # NaN and inf errors still rank before the patches that were visible: those are moved past the end by index
    order = rank.argsort(dim=1, stable=True)  # (N, L) easiest first
    was_hidden = hidden.gather(1, order)
    order = order.gather(1, was_hidden.logical_not().to(torch.uint8).argsort(dim=1, stable=True))
    easiest = order[:, : keep - overlap]  # (N, keep - overlap), all hidden in view 1
    noise = rand(hidden.shape, generator=generator, device=hidden.device)
    stay = noise.masked_fill(hidden, 2.0).argsort(dim=1)[:, :overlap]  # (N, overlap), all visible in view 1
    adaptive = torch.ones_like(hidden)
    adaptive.scatter_(1, easiest, False)
    adaptive.scatter_(1, stay, False)
    return adaptive


def published_mask(
    hidden: Tensor,
    error: Tensor,
    *,
    mask_ratio: float,
    overlap_ratio: float,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """View 2's mask as the published code makes it, with its defect; for comparison only, never by default.

    The published code writes ``m2[:, m1_ids] = 0`` for the ``overlap`` patches that stay visible, which makes them visible
    in the *whole batch*: at batch 32 that leaves 57 to 61 of 64 patches visible, and what is hidden depends on the
    batch. Its encoder then takes only ``keep`` of a sample's visible patches, the first that a sort brings, so every
    sample still has ``keep`` tokens, while the loss counts the few patches that the mask calls hidden. A patch that is
    neither encoded nor hidden enters nothing.

    The published sorts are of zeros and ones, whose order is open and differs between devices; here it is drawn from
    ``generator``. From a batch of about 100 on, every patch is visible: the published loss is 0 / 0 then, here it is 0.

    Parameters
    ----------
    hidden, error, mask_ratio, overlap_ratio, generator
        As for `adaptive_mask`.

    Returns
    -------
    encoded, scored
        (N, L) bool each. ``encoded`` is False at the ``keep`` patches that the encoder sees; ``scored`` is True at the
        patches that the loss counts, which may be none.
    """
    keep, overlap = overlap_count(hidden.shape[1], mask_ratio, overlap_ratio)
    still_hidden = hidden.shape[1] - 2 * keep + overlap
    rank = (error.detach().float() * hidden).nan_to_num(nan=torch.inf, posinf=torch.inf)
    hardest = rank.argsort(dim=1, stable=True)[:, hidden.shape[1] - still_hidden :]
    scored = hidden.logical_not().scatter(1, hardest, True)
    noise = torch.rand(2, *hidden.shape, generator=generator, device=hidden.device)
    stay = (noise[0] + hidden).argsort(dim=1)[:, :overlap]
    scored[:, stay.flatten()] = False  # the defect: rows are not kept apart
    first = (noise[1] + scored).argsort(dim=1)[:, :keep]
    return torch.ones_like(hidden).scatter_(1, first, False), scored


def visible_ids(hidden: Tensor) -> Tensor:
    """Places of the visible patches in ascending order, (N, keep) int64, of a mask ``hidden`` (N, L)."""
    keep = int(hidden.shape[1] - hidden[0].sum()) if len(hidden) else 0
    return hidden.to(torch.uint8).argsort(dim=1, stable=True)[:, :keep]
