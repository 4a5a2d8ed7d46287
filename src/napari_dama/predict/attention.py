"""Where a network's attention goes in a cell's crop: the last block's, or rolled out over all blocks.

Fused attention never forms its weights, so they are computed beside it from the same inputs, by a hook on every block; the
networks stay as they are. Attention shows what a network gathers from where. It is no proof of what an answer rests on:
`napari_dama.predict.occlusion` tests that by taking things away.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from napari_dama.errors import ModelError
from napari_dama.predict.explanation import CropPlace

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_dama.models.model import Model
    from napari_dama.nets.encoder import Encoder
    from napari_dama.predict.explain import Explainer

Query = Literal["class", "pooled"]
Depth = Literal["last", "rollout"]
ENCODERS: Final = ("types", "features", "reconstruct")


@dataclass(frozen=True, slots=True)
class PatchMap:
    """A value per patch, (h, w) float32; ``place`` is the centre of the first patch and the step from one to the next."""

    values: NDArray[np.float32]
    place: CropPlace


def attention_at(
    explainer: Explainer, at: tuple[float, float], *, query: Query = "class", depth: Depth = "last"
) -> PatchMap:
    """Attention on the patches around a place, averaged over heads; the shares sum to 1.

    Parameters
    ----------
    explainer
        The model on its slide.
    at
        y, x in level-0 pixels.
    query
        ``"class"``: of the class token. ``"pooled"``: of the patches that the answer is pooled from, weighted as the typing
        network weights them; types are read from those and not from the class token.
    depth
        ``"last"`` block, or ``"rollout"``: the product over all blocks of half attention, half the residual path
        (Abnar and Zuidema 2020, "Quantifying Attention Flow in Transformers", section 3).

    Raises
    ------
    ModelError
        The model has no encoder that sees a cell's crop.
    """
    import torch

    crop, place = explainer.crop(at)
    values, zoom = attention_map(explainer.model, torch.from_numpy(crop)[None], query=query, depth=depth)
    return PatchMap(values[0], patches_place(place, crop.shape[1], values.shape[1], zoom))


def attention_map(
    model: Model, crops: Tensor, *, query: Query = "class", depth: Depth = "last"
) -> tuple[NDArray[np.float32], float]:
    """Attention maps (N, h, w) of crops (N, C, H, W), and by how much the network enlarges a crop's middle first."""
    import torch

    from napari_dama.nets.classifier import TypeClassifier, enlarge_middle

    part: Any = next((model.parts[task] for task in ENCODERS if task in model.parts), None)
    if part is None:
        raise ModelError(
            f"model {model.card.name!r} has no encoder that sees a cell's crop: it has no attention to show"
        )
    zoom = part.zoom if isinstance(part, TypeClassifier) else 1.0
    encoder: Encoder = part.encoder
    with torch.inference_mode():
        seen = enlarge_middle(crops.to(model.device, torch.float32), zoom)
        weights = attention_weights(encoder, seen)  # (blocks, N, T, T)
    grid = encoder.spec.grid
    flow = rollout(weights) if depth == "rollout" else weights[-1]
    rows = query_weights(grid, query, centre=getattr(part, "pool", "mean") == "centre").to(flow)
    shares = (rows @ flow)[:, 1:]  # (N, L), without the class token itself
    shares = shares / shares.sum(dim=1, keepdim=True)
    return shares.reshape(-1, grid, grid).float().cpu().numpy(), zoom


def attention_weights(encoder: Encoder, x: Tensor) -> Tensor:
    """Attention of every block, averaged over heads, (blocks, N, 1 + L, 1 + L), on inputs (N, C, H, W); rows sum to 1."""
    import torch

    found: list[Tensor] = []
    with _watched(encoder, found):
        encoder(x)
    return torch.stack(found)


@contextmanager
def _watched(encoder: Encoder, found: list[Tensor]) -> Iterator[None]:
    """Collect what the attention of each block weighs its inputs by."""

    def note(attention: Any, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0]
        n, tokens, width = x.shape
        heads = attention.num_heads
        q, k, _ = attention.qkv(x).reshape(n, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        q, k = attention.q_norm(q).float(), attention.k_norm(k).float()
        found.append((q * attention.scale @ k.transpose(2, 3)).softmax(dim=-1).mean(dim=1))

    blocks: list[Any] = list(encoder.blocks)
    handles = [block.attn.register_forward_pre_hook(note) for block in blocks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def rollout(weights: Tensor) -> Tensor:
    """Flow of attention (N, T, T) through blocks (blocks, N, T, T), each half attention and half residual."""
    import torch

    same = torch.eye(weights.shape[-1], device=weights.device, dtype=weights.dtype)
    flow = same.expand(weights.shape[1:])
    for block in weights:
        flow = (0.5 * block + 0.5 * same) @ flow
    return flow


def query_weights(grid: int, query: Query, *, centre: bool) -> Tensor:
    """Share of each token, (1 + grid * grid,), in the answer: the class token, or the patches it is pooled from."""
    import torch

    weights = torch.zeros(1 + grid * grid)
    if query == "class":
        weights[0] = 1
        return weights
    pooled = torch.full((grid, grid), 1 / grid**2)
    if centre:  # the typing network joins the mean over the crop with that over its middle
        low = grid // 2 - max(grid // 8, 1)
        middle = torch.zeros(grid, grid)
        middle[low : grid - low, low : grid - low] = 1
        pooled = (pooled + middle / middle.sum()) / 2
    weights[1:] = pooled.flatten()
    return weights


def patches_place(place: CropPlace, side: int, grid: int, zoom: float) -> CropPlace:
    """Where patches of a crop lie on the slide whose middle ``1 / zoom`` is enlarged to ``grid`` x ``grid`` patches."""
    patch = side / zoom / grid  # crop pixels
    first = side / 2 - side / zoom / 2 + patch / 2 - 0.5
    return CropPlace(
        place.y0 + first * place.step_px, place.x0 + first * place.step_px, patch * place.step_px
    )
