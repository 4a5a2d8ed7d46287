"""What the model sees in a place: a model is kept loaded on a slide and answers about one place after the other."""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING, Any, Final

from napari_dama.errors import ModelError, SettingsError
from napari_dama.models.shelf import DEFAULT_MODEL, load_card
from napari_dama.predict.explanation import CropPlace, Explanation
from napari_dama.predict.pipeline import Pipeline
from napari_dama.predict.prepare import make_plan, opened
from napari_dama.slides.intensity import slide_stats
from napari_dama.slides.region import Region

__all__ = ["CropPlace", "Explainer", "Explanation", "reconstruct"]

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from napari_dama.models.card import Task
    from napari_dama.models.model import Model
    from napari_dama.slides.intensity import IntensityStats
    from napari_dama.slides.slide import Slide

TASKS: Final[tuple[Task, ...]] = ("reconstruct", "types", "features")
"""What a model must be able to do, one of them at least, to be asked about a place."""


class Explainer:
    """A loaded model on an open slide, for many questions about places of it.

    Everything that does not depend on the place is settled once: channels, intensity statistics, networks. It is used by one
    thread at a time; the slide stays the caller's, who closes it.

    Parameters
    ----------
    slide
        An open slide.
    model, chosen, pixel_um, device
        As in `napari_dama.analyse`.
    stats
        Intensity statistics of the slide, where they are known already (a result keeps them).

    Raises
    ------
    SettingsError, PanelError, ModelError
        Slide and model do not fit, or the model cannot be asked about places at all.

    Examples
    --------
    >>> with open_slide("tissue.ome.tif") as slide:  # doctest: +SKIP
    ...     explainer = Explainer(slide)
    ...     explainer.reconstruct((512, 640)).save("place.png")
    """

    def __init__(
        self,
        slide: Slide,
        *,
        model: str | Path | Model = DEFAULT_MODEL,
        chosen: Mapping[str, str] | None = None,
        pixel_um: float | None = None,
        device: str = "auto",
        stats: IntensityStats | None = None,
    ) -> None:
        from pathlib import Path

        card = load_card(model) if isinstance(model, str | Path) else model.card
        self.plan = make_plan(
            slide,
            model=model,
            chosen=chosen,
            pixel_um=pixel_um,
            region=None,
            types=True,
            tile_px=1024,
            task=next((task for task in TASKS if task in card.tasks), TASKS[0]),
        )
        self.card = card
        self.stats = slide_stats(slide) if stats is None else stats
        self.model = self.plan.load_model(device)
        self.pipeline = Pipeline(slide, self.plan.channels, self.stats, self.model, self.plan.grid)
        self._last: tuple[tuple[float, float], NDArray[np.float32], CropPlace] | None = None

    @property
    def present(self) -> tuple[bool, ...]:
        """Which of the model's markers the slide has."""
        return self.plan.channels.present

    def crop(self, at: tuple[float, float]) -> tuple[NDArray[np.float32], CropPlace]:
        """The crop (C, image_px, image_px) in normalised intensity around a place (y, x) of level 0, and where it lies.

        The last one is kept, since several questions are asked about one place; it is not to be written to.

        Raises
        ------
        SettingsError
            The place lies outside the slide.
        """
        if self._last is not None and self._last[0] == tuple(at):
            return self._last[1:]
        height, width = self.plan.grid.shape_yx
        if not (-0.5 <= at[0] < height and -0.5 <= at[1] < width):
            raise SettingsError(
                f"y {at[0]:g}, x {at[1]:g} lies outside the slide of {height} x {width} px (Y x X)"
            )
        side, scale = self.card.image_px, self.plan.grid.scale
        y, x = (floor((place + 0.5) * scale) - side // 2 for place in at)
        crop = self.pipeline.sample(Region(y, y + side, x, x + side))
        lies = CropPlace((y + 0.5) / scale - 0.5, (x + 0.5) / scale - 0.5, 1 / scale)
        self._last = (float(at[0]), float(at[1])), crop, lies
        return crop, lies

    def reconstruct(
        self,
        at: tuple[float, float],
        *,
        mask_ratio: float = 0.8,
        overlap_ratio: float = 0.5,
        seed: int = 0,
    ) -> Explanation:
        """Hide patches around a place, at random and then adaptively, and rebuild them; see `reconstruct`."""
        import torch

        for name, ratio in (("mask_ratio", mask_ratio), ("overlap_ratio", overlap_ratio)):
            if not 0 <= ratio <= 1:
                raise SettingsError(f"{name} must lie in 0..1, got {ratio:g}")
        crop, place = self.crop(at)
        try:
            made = self.model.reconstruct(
                torch.from_numpy(crop)[None], mask_ratio=mask_ratio, overlap_ratio=overlap_ratio, seed=seed
            )
        except ModelError:
            raise
        except ValueError as error:
            raise SettingsError(str(error)) from error
        card = self.card
        grid = (card.image_px // card.patch_px,) * 2
        hidden_random, hidden_adaptive = (
            mask[0].cpu().numpy().reshape(grid) for mask in (made.hidden_random, made.hidden_adaptive)
        )
        return Explanation(
            crop_region=place,
            input=crop,
            hidden_random=hidden_random,
            hidden_adaptive=hidden_adaptive,
            overlap=~hidden_random & ~hidden_adaptive,
            error_random=made.error_random[0].float().cpu().numpy().reshape(grid),
            error_adaptive=made.error_adaptive[0].float().cpu().numpy().reshape(grid),
            image_random=made.image_random[0].float().cpu().numpy(),
            image_adaptive=made.image_adaptive[0].float().cpu().numpy(),
            markers=tuple(card.panel),
            present=self.present,
            pixel_um=card.pixel_um,
            model=card.name,
        )

    def types(self, at: tuple[float, float]) -> dict[str, float]:
        """Probability of each type of a cell at a place.

        Raises
        ------
        SettingsError
            The model names no types, or the slide lacks the markers that they rest on.
        """
        import torch

        self.check_types()
        crop, _ = self.crop(at)
        chances = self.model.type_probabilities(torch.from_numpy(crop)[None])[0].tolist()
        return dict(zip(self.card.classes, chances, strict=True))

    def check_types(self) -> None:
        """Refuse questions about types where none can be told; the sentence says why."""
        if not self.plan.types:
            raise SettingsError(f"no types here: {self.plan.types_why}")


def reconstruct(
    slide: Slide | str | Path | NDArray[Any],
    *,
    at: tuple[float, float],
    model: str | Path | Model = DEFAULT_MODEL,
    chosen: Mapping[str, str] | None = None,
    pixel_um: float | None = None,
    mask_ratio: float = 0.8,
    overlap_ratio: float = 0.5,
    seed: int = 0,
    device: str = "auto",
    stats: IntensityStats | None = None,
) -> Explanation:
    """Hide patches of the crop around a place, at random and then adaptively, and rebuild them.

    Parameters
    ----------
    slide
        A path, an open slide, or pixels (C, Y, X).
    at
        Centre of the crop: y, x in level-0 pixels.
    model
        Name on the shelf, a model's folder, or a loaded model.
    chosen, pixel_um, device
        As in `napari_dama.analyse`.
    mask_ratio, overlap_ratio
        Share of patches hidden, 0 to 1; share of the visible ones that both views see.
    seed
        Of the random mask.
    stats
        Intensity statistics of the slide, where they are known already (a result keeps them).

    Raises
    ------
    SettingsError
        The place lies outside the slide, or a ratio cannot be had.
    ModelError
        The model has no decoder.
    """
    with opened(slide, pixel_um=pixel_um) as source:
        explainer = Explainer(
            source, model=model, chosen=chosen, pixel_um=pixel_um, device=device, stats=stats
        )
        return explainer.reconstruct(at, mask_ratio=mask_ratio, overlap_ratio=overlap_ratio, seed=seed)
