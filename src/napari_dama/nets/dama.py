"""DAMA: dual-loss adaptive masked autoencoder (Ly et al., hula-ai/DAMA), two students that learn together.

Network 1 reconstructs a crop under a random mask. Network 2 reconstructs it under the adaptive mask that follows from
network 1's errors. Network 1's features regress an average of network 2's MLP outputs. Total = reconstruction 1 +
reconstruction 2 + ``alpha`` x regression; the encoder of network 1 is what is kept.

Departures from the published code, each tested: masks are per sample (see `napari_dama.nets.masking.adaptive_mask`); the
regression is a mean over samples and tokens of the sum over features, where the published code sums over the batch, so
that there its weight grows with the batch (`published_alpha` gives the weight that restores that balance); how tokens
of the two views are paired is a setting, because the published order pairs tokens of different places; markers
that a slide lacks do not enter the reconstruction loss. The regression target carries no gradient.

Network 2 is the published active variant's by default, a student of its own (``second_network="own"``). The two variants
that stand commented out in the published code are switches: ``"shared"`` is network 1 itself; ``"ema"`` follows network 1 as
an exponential moving average, sees no gradient, and its reconstruction loss is shown but not added to the total.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_dama.nets.autoencoder import (
    DecoderSpec,
    MaskedAutoencoder,
    View,
    hidden_mean,
    patch_moments,
    patch_targets,
    target_error,
)
from napari_dama.nets.encoder import Encoder, EncoderSpec, patchify
from napari_dama.nets.masking import adaptive_mask, published_mask, random_mask, visible_ids
from napari_dama.nets.method import Losses, Method, Momentum, follow, teacher_of
from napari_dama.nets.share import rand

__all__ = [
    "Dama",
    "DamaSpec",
    "Losses",
    "ProjectionHead",
    "pair_tokens",
    "published_alpha",
    "regression_loss",
]

Pairing = Literal["aligned", "published", "pooled"]
RISING: Final = Momentum(0.99, "cosine")
SecondMask = Literal["adaptive", "random", "published"]
SecondNetwork = Literal["own", "shared", "ema"]
MaskError = Literal["normalised", "intensity"]


@dataclass(frozen=True, slots=True)
class DamaSpec:
    """Settings of the method, with the published values.

    ``second_mask="published"`` repeats the published code's defect (see `napari_dama.nets.masking.published_mask`) and is
    there for comparison only: nearly all patches count as visible, so the second loss rests on a handful of patches.

    ``mask_error`` says what the adaptive mask takes for hard. The published code ranks patches by their error after each
    was normalised by itself, where a patch of bare background is noise of spread 1, which nothing can foresee: the flattest
    patches come out hardest (docs/science.md measures it), so that view 2 is shown the structure and asked for the noise.
    ``intensity`` multiplies the error by the patch's own variance, that is, ranks by what is wrong in the picture.
    """

    mask_ratio: float = 0.8
    overlap_ratio: float = 0.5
    last_blocks: int = 6  # K
    beta: float = 2.0
    alpha: float = 1.0
    normalise_patches: bool = True
    pairing: Pairing = "aligned"
    second_mask: SecondMask = "adaptive"
    mask_error: MaskError = "normalised"
    second_network: SecondNetwork = "own"
    momentum: Momentum = RISING  # of second_network="ema"

    def __post_init__(self) -> None:
        if self.second_mask == "published" and self.pairing == "aligned":
            raise ValueError(
                "the published mask leaves another number of shared patches in each sample, so tokens cannot be "
                "aligned; choose pairing published or pooled"
            )


class ProjectionHead(nn.Module):
    """Linear d -> 2d, LayerNorm, ReLU, Linear 2d -> d, LayerNorm, ReLU, softmax."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, 2 * width),
            nn.LayerNorm(2 * width),
            nn.ReLU(),
            nn.Linear(2 * width, width),
            nn.LayerNorm(width),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Project (..., D) to a distribution over D."""
        return self.layers(x).float().softmax(dim=-1)  # type: ignore[no-any-return]


def published_alpha(batch: int, tokens: int) -> float:
    """Weight that gives our mean regression the balance of the published sum over ``batch`` x ``tokens`` tokens."""
    return float(batch * tokens)


def regression_loss(projected: Tensor, target: Tensor, *, beta: float) -> Tensor:
    """Smooth L1 between distributions (N, T, D): summed over D, averaged over samples and tokens. A scalar."""
    return F.smooth_l1_loss(projected, target, beta=beta, reduction="none").sum(dim=-1).mean()


def pair_tokens(
    a: Tensor,
    b: Tensor,
    hidden_a: Tensor,
    hidden_b: Tensor,
    *,
    pairing: Pairing,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor]:
    """Bring tokens of two views (each (N, 1 + keep, D), class token first) into pairs, each (N, T, D).

    ``aligned`` keeps the class token and the patches that are visible in both views, in the same places; ``published``
    pairs every token with one of some other place, in random order, as the authors' shuffled order does; ``pooled``
    averages all tokens of a view.
    """
    if pairing == "pooled":
        return a.mean(dim=1, keepdim=True), b.mean(dim=1, keepdim=True)
    if pairing == "published":
        order = rand((a.shape[0], a.shape[1] - 1), generator=generator, device=a.device).argsort(dim=1)
        mixed = b[:, 1:].gather(1, order[..., None].expand(-1, -1, b.shape[-1]))
        return a, torch.cat([b[:, :1], mixed], dim=1)
    both = (hidden_a | hidden_b).logical_not()  # (N, L) visible in both views, equally many in each sample
    picked = []
    for tokens, hidden in ((a, hidden_a), (b, hidden_b)):
        shared = both.gather(1, visible_ids(hidden))  # (N, keep)
        index = visible_ids(shared.logical_not())  # (N, overlap) positions among the visible tokens
        chosen = tokens[:, 1:].gather(1, index[..., None].expand(-1, -1, tokens.shape[-1]))
        picked.append(torch.cat([tokens[:, :1], chosen], dim=1))
    return picked[0], picked[1]


class Dama(Method):
    """Two masked autoencoders, the projection head between them, and the total loss.

    Examples
    --------
    >>> method = Dama(EncoderSpec("tiny"), DecoderSpec(2, 64, 4), DamaSpec())
    >>> sorted(method(torch.rand(4, 7, 128, 128)).parts)
    ['reconstruction_1', 'reconstruction_2', 'regression']
    """

    def __init__(self, encoder: EncoderSpec, decoder: DecoderSpec, spec: DamaSpec) -> None:
        super().__init__()
        self.spec = spec
        self.network_1 = MaskedAutoencoder(encoder, decoder)
        self.network_2: MaskedAutoencoder | None = None  # None where network 1 serves both views
        if spec.second_network == "own":
            self.network_2 = MaskedAutoencoder(encoder, decoder)
        elif spec.second_network == "ema":
            self.network_2 = teacher_of(self.network_1)
        self.projection = ProjectionHead(encoder.width)

    @property
    def autoencoder(self) -> MaskedAutoencoder:
        """The network that is kept."""
        return self.network_1

    @property
    def encoder(self) -> Encoder:
        """The encoder of network 1."""
        return self.network_1.encoder

    def after_step(self, progress: float) -> None:
        """Move an EMA network 2 towards network 1."""
        if self.spec.second_network == "ema" and self.network_2 is not None:
            follow(self.network_2, self.network_1, self.spec.momentum.at(progress))

    def restart(self) -> None:
        """Make an EMA network 2 a copy of network 1."""
        if self.spec.second_network == "ema" and self.network_2 is not None:
            follow(self.network_2, self.network_1, 0.0)

    def forward(
        self, x: Tensor, *, present: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Losses:
        """Losses of crops (N, C, H, W).

        Parameters
        ----------
        x
            Normalised intensities; absent markers are zero.
        present
            (N, C) bool, which markers each sample has; None means all.
        generator
            Source of the masks, on the device of ``x``.
        """
        spec, encoder = self.spec, self.network_1.encoder.spec
        weight = None if present is None else present.float()
        patches = patchify(x, encoder.patch_px)  # (N, L, P)
        target = patch_targets(patches, normalise=spec.normalise_patches, weight=weight)
        mask_1 = random_mask(
            len(x), encoder.tokens, mask_ratio=spec.mask_ratio, generator=generator, device=x.device
        )
        view_1: View = self.network_1(x, mask_1)
        error_1 = target_error(view_1.prediction, target, weight=weight)
        ranked_by = error_1.detach()
        if spec.mask_error == "intensity" and spec.normalise_patches:
            ranked_by = ranked_by * patch_moments(patches, weight)[1][..., 0].square()
        mask_2, scored_2 = self._second_mask(mask_1, ranked_by, generator)
        learns = spec.second_network != "ema"
        second = self.network_1 if self.network_2 is None else self.network_2
        with torch.set_grad_enabled(learns and torch.is_grad_enabled()):
            view_2: View = second(x, mask_2, last=spec.last_blocks)
            error_2 = target_error(view_2.prediction, target, weight=weight)
        parts = {
            "reconstruction_1": hidden_mean(error_1, mask_1),
            "reconstruction_2": hidden_mean(error_2, scored_2),
            "regression": self._regression(view_1, view_2, mask_1, mask_2, generator),
        }
        total = parts["reconstruction_1"] + (parts["reconstruction_2"] if learns else 0.0)
        return Losses(total + spec.alpha * parts["regression"], parts)

    def _second_mask(
        self, mask_1: Tensor, error_1: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """View 2's mask for the encoder, and the patches (N, L) that its loss counts: the same but for the defect."""
        ratios = {"mask_ratio": self.spec.mask_ratio, "overlap_ratio": self.spec.overlap_ratio}
        if self.spec.second_mask == "published":
            return published_mask(mask_1, error_1, generator=generator, **ratios)
        if self.spec.second_mask == "random":
            # the ablation: same overlap, but what becomes visible is drawn at random instead of by error
            error_1 = rand(error_1.shape, generator=generator, device=error_1.device)
        mask_2 = adaptive_mask(mask_1, error_1, generator=generator, **ratios)
        return mask_2, mask_2

    def _regression(
        self, view_1: View, view_2: View, mask_1: Tensor, mask_2: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        if view_2.targets is None:
            raise ValueError("last_blocks must be at least 1: the regression has no target otherwise")
        features, targets = pair_tokens(
            view_1.features,
            view_2.targets,
            mask_1,
            mask_2,
            pairing=self.spec.pairing,
            generator=generator,
        )
        return regression_loss(
            self.projection(features), targets.detach().float().softmax(dim=-1), beta=self.spec.beta
        )
