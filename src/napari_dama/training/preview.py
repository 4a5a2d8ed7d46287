"""What a run can do so far, as pictures and counts that it leaves in ``previews/`` at validations.

For pretraining a row per cell with the input, what the masks leave of it, and the reconstruction; for outlines a validation
tile with true and found outlines; for types a confusion matrix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from napari_dama.nets.autoencoder import patch_moments, patch_targets, target_error, unpatchify
from napari_dama.nets.encoder import patchify
from napari_dama.nets.masking import adaptive_mask, random_mask
from napari_dama.slides.panel import colour_of
from napari_dama.slides.picture import composite, linear

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_dama.nets.autoencoder import MaskedAutoencoder
    from napari_dama.training.settings import PretrainSettings

CELLS: Final = 4
GREY: Final = 70
HAZE: Final = 0.12
BRIGHTNESS: Final = 0.75
"""Six or more markers on top of each other: their haze adds up, and what all show would be white."""
_GAP: Final = 6
_FONT_PX: Final = 22


def confusion_counts(truth: NDArray[np.int64], guess: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """How many cells of each true class (row) were taken for each class (column): (K, K)."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (truth, guess), 1)
    return counts


@torch.no_grad()
def masked_views(
    network: MaskedAutoencoder, x: Tensor, present: Tensor, settings: PretrainSettings
) -> list[tuple[str, Tensor]]:
    """What ``network`` sees and makes of crops (N, C, H, W), a title and a picture each, under the same masks every time.

    Hidden patches are the network's, with the true mean and spread of their place where the run normalises patches (as in
    the literature's figures); visible ones are the input's. What is hidden is NaN in the masked pictures. The adaptive mask
    is there for the method that learns by it; network 1, the one that is kept, serves both views.
    """
    shape = network.encoder.spec
    patches = patchify(x, shape.patch_px)
    weight = present.float()
    target = patch_targets(patches, normalise=settings.normalise_patches, weight=weight)
    mean, spread = patch_moments(patches, weight) if settings.normalise_patches else (0.0, 1.0)
    generator = torch.Generator().manual_seed(0)
    n = len(x)

    def show(hidden: Tensor, name: str) -> tuple[Tensor, list[tuple[str, Tensor]]]:
        prediction = network(x, hidden).prediction.float()
        error = target_error(prediction, target, weight=weight)
        gone = hidden[..., None]
        filled = torch.where(gone, prediction * spread + mean, patches)
        masked = patches.masked_fill(gone, torch.nan)
        whole = [unpatchify(part, shape.patch_px, shape.channels) for part in (masked, filled)]
        return error, [(f"{name}\nmask", whole[0]), ("rebuilt", whole[1] * present[..., None, None])]

    first = random_mask(n, shape.tokens, mask_ratio=settings.mask_ratio, generator=generator)
    error, views = show(first.to(x.device), "random")
    if settings.method == "dama" and settings.mask == "adaptive":
        second = adaptive_mask(
            first,
            error.cpu(),
            mask_ratio=settings.mask_ratio,
            overlap_ratio=settings.overlap_ratio,
            generator=generator,
        )
        views += show(second.to(x.device), "adaptive")[1]
    return [("input", x), *views]


def strip(
    views: Sequence[tuple[str, Tensor]], markers: Sequence[str], nuclear: Sequence[str]
) -> NDArray[np.uint8]:
    """A row per cell and a column per view, markers in their colours and titles above: (H, W, 3).

    Views are crops (N, C, P, P) in normalised intensity, NaN where hidden (dark grey). Of several nuclear markers the
    first is drawn: they lie on top of each other.
    """
    drawn = [name for name in markers if name not in nuclear[1:]]
    colours = {index: colour_of(name) for index, name in enumerate(markers) if name in drawn}
    columns = []
    for _, images in views:
        values = images.float().cpu().numpy()
        pictures = []
        for crop in values:
            hidden = np.isnan(crop).all(axis=0)
            shown = (linear(np.nan_to_num(crop)) - HAZE) / (1 - HAZE)
            picture = composite(shown * BRIGHTNESS, colours)
            picture[hidden] = GREY
            pictures.append(picture)
        columns.append(pictures)
    side = columns[0][0].shape[0]
    step, head = side + _GAP, 2 * _FONT_PX + 14
    canvas = np.full((head + step * len(columns[0]), step * len(columns) - _GAP, 3), 24, np.uint8)
    for column, pictures in enumerate(columns):
        for row, picture in enumerate(pictures):
            top, left = head + row * step, column * step
            canvas[top : top + side, left : left + side] = picture
    places = [(column * step + side // 2, title) for column, (title, _) in enumerate(views)]
    return titled(canvas, places, height=head)


def titled(
    canvas: NDArray[np.uint8], titles: Sequence[tuple[int, str]], *, height: int, top: int = 0
) -> NDArray[np.uint8]:
    """Write white titles, each centred on its x, into a band of ``height`` px that begins at ``top``."""
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.fromarray(canvas)
    draw: Any = ImageDraw.Draw(picture)
    font: Any = ImageFont.load_default(_FONT_PX)
    for x, title in titles:
        draw.multiline_text(
            (x, top + height / 2), title, font=font, fill="white", anchor="mm", align="center", spacing=2
        )
    return np.asarray(picture, np.uint8)


def outlines_picture(
    grey: NDArray[np.float32],
    truth: NDArray[np.int32],
    found: NDArray[np.int32],
    hits: tuple[NDArray[np.int64], NDArray[np.int64]],
    *,
    view_px: int = 320,
) -> NDArray[np.uint8]:
    """True and found outlines over the upper left corner of a field, enlarged twice, with the key below.

    Parameters
    ----------
    grey
        (H, W) in 0..1.
    truth, found
        Labels (H, W).
    hits
        Labels of true cells that were found, and of the cells found that hit one.
    """
    from skimage.segmentation import find_boundaries

    from napari_dama.evaluate.overlay import FALSE, HIT, MISS, TRUTH

    part = (slice(0, view_px), slice(0, view_px))
    grey = grey[part].repeat(2, axis=0).repeat(2, axis=1)
    truth, found = (labels[part].repeat(2, axis=0).repeat(2, axis=1) for labels in (truth, found))
    picture = np.repeat((np.clip(grey, 0, 1) * 200).astype(np.uint8)[..., None], 3, axis=2)
    true_hit, found_hit = (np.isin(labels, ids) for labels, ids in zip((truth, found), hits, strict=True))
    boundary: Any = find_boundaries
    edges, guesses = boundary(truth, mode="inner"), boundary(found, mode="inner")
    layers = (
        (edges & true_hit, TRUTH),
        (edges & ~true_hit, MISS),
        (guesses & found_hit, HIT),
        (guesses & ~found_hit, FALSE),
    )
    for where, colour in layers:
        picture[where] = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return _with_key(picture, ((TRUTH, "truth"), (HIT, "found"), (MISS, "missed"), (FALSE, "wrong")))


def _with_key(picture: NDArray[np.uint8], key: Sequence[tuple[str, str]]) -> NDArray[np.uint8]:
    band, width = _FONT_PX + 14, picture.shape[1]
    canvas = np.concatenate([picture, np.full((band, width, 3), 24, np.uint8)])
    places = []
    for index, (colour, name) in enumerate(key):
        left = index * width // len(key)
        canvas[-band + 8 : -8, left + 6 : left + 6 + band - 16] = [
            int(colour[i : i + 2], 16) for i in (1, 3, 5)
        ]
        places.append((left + width // len(key) // 2 + 10, name))
    return titled(canvas, places, height=band, top=len(picture))
