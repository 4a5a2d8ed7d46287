"""What the model sees in a place: it hides patches of a crop, rebuilds them, and shows where that fails."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from napari_dama.errors import ModelError, OutputError, SettingsError
from napari_dama.models.shelf import DEFAULT_MODEL
from napari_dama.predict.pipeline import Pipeline
from napari_dama.predict.prepare import make_plan, opened
from napari_dama.slides.intensity import slide_stats
from napari_dama.slides.region import Region

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from napari_dama.models.model import Model
    from napari_dama.slides.intensity import IntensityStats
    from napari_dama.slides.slide import Slide

_HIDDEN_GREY: Final = 0.32


@dataclass(frozen=True, slots=True)
class CropPlace:
    """Where a crop lies: its pixel (i, j) is centred on ``y0 + i * step_px, x0 + j * step_px`` of level 0."""

    y0: float
    x0: float
    step_px: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """A crop, what was hidden of it, and what the model made of the rest.

    Images are (C, H, W) float32 in normalised intensity, predicted everywhere; masks (h, w) bool over
    patches, True = hidden; errors (h, w) float32 per patch. ``overlap`` marks the patches that both views
    see. ``present`` tells which markers the slide has; absent ones are zero.
    """

    crop_region: CropPlace
    input: NDArray[np.float32]
    hidden_random: NDArray[np.bool_]
    hidden_adaptive: NDArray[np.bool_]
    overlap: NDArray[np.bool_]
    error_random: NDArray[np.float32]
    error_adaptive: NDArray[np.float32]
    image_random: NDArray[np.float32]
    image_adaptive: NDArray[np.float32]
    markers: tuple[str, ...]
    present: tuple[bool, ...]
    pixel_um: float
    model: str

    def spread(self, patches: NDArray[Any]) -> NDArray[Any]:
        """A map over patches (h, w) enlarged to the crop's pixels (H, W)."""
        side = self.input.shape[1] // len(patches)
        return np.kron(patches, np.ones((side, side), patches.dtype))

    def save(self, path: Path) -> None:
        """Write a figure (``.png``) or all images as OME-TIFF (``.tif``, ``.tiff``), by the name's ending.

        Raises
        ------
        SettingsError
            The name ends otherwise.
        OutputError
            The file cannot be written.
        """
        ending = path.suffix.lower()
        if ending not in (".png", ".tif", ".tiff"):
            raise SettingsError(f"{path.name}: the name must end in .png (figure) or .tif (images)")
        try:
            if ending == ".png":
                self.save_png(path)
            else:
                self.save_tiff(path)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror or error}") from error

    def save_png(self, path: Path) -> None:
        """Write a figure: per marker both masks and reconstructions, below them the errors per patch."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        rows = [i for i, here in enumerate(self.present) if here]
        figure = Figure(figsize=(9.4, 1.75 * (len(rows) + 1) + 0.9), dpi=130, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(len(rows) + 1, 5, squeeze=False)
        titles = ("input", "random mask", "reconstruction", "adaptive mask", "reconstruction")
        hidden = self.spread(self.hidden_random), self.spread(self.hidden_adaptive)
        for axis, title in zip(axes[0], titles, strict=True):
            axis.set_title(title, fontsize=10)
        for axis_row, marker in zip(axes[:-1], rows, strict=True):
            image = self.input[marker]
            top = max(float(np.percentile(image, 99.8)), 0.05)
            shown = (
                image / top,
                np.where(hidden[0], _HIDDEN_GREY, image / top),
                np.where(hidden[0], self.image_random[marker], image) / top,
                np.where(hidden[1], _HIDDEN_GREY, image / top),
                np.where(hidden[1], self.image_adaptive[marker], image) / top,
            )
            for axis, picture in zip(axis_row, shown, strict=True):
                axis.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axis_row[0].set_ylabel(self.markers[marker], fontsize=10)
        self._draw_errors(figure, axes[-1])
        for axis in axes.flat:
            axis.set_xticks([])
            axis.set_yticks([])
        side_um = self.input.shape[1] * self.pixel_um
        centre = self.input.shape[1] / 2 - 0.5
        y = self.crop_region.y0 + centre * self.crop_region.step_px
        x = self.crop_region.x0 + centre * self.crop_region.step_px
        figure.suptitle(f"{self.model}: {side_um:.1f} um around y {y:.0f}, x {x:.0f}", fontsize=11)
        figure.savefig(path, format="png")

    def _draw_errors(self, figure: Any, axes: NDArray[Any]) -> None:
        """Fill the last row: what both views see, and the error of every patch under each mask."""
        blank, *_ = axes
        blank.axis("off")
        top = max(float(self.error_random.max()), float(self.error_adaptive.max()), 1e-6)
        picture: Any = None

        def draw(axis: Axes, values: NDArray[Any], title: str, **options: Any) -> Any:
            axis.set_title(title, fontsize=9)
            return axis.imshow(values, interpolation="nearest", **options)

        visible = np.where(self.overlap, 2, np.where(self.hidden_random, 0, 1))
        draw(
            axes[1],
            visible,
            f"{int((~self.hidden_random).sum())} visible, {int(self.overlap.sum())} (white) twice",
            cmap="gray",
            vmin=0,
            vmax=2,
        )
        picture = draw(axes[2], self.error_random, "error", cmap="magma", vmin=0, vmax=top)
        visible = np.where(self.overlap, 2, np.where(self.hidden_adaptive, 0, 1))
        draw(axes[3], visible, f"{int((~self.hidden_adaptive).sum())} visible", cmap="gray", vmin=0, vmax=2)
        draw(axes[4], self.error_adaptive, "error", cmap="magma", vmin=0, vmax=top)
        bar = figure.colorbar(picture, ax=list(axes), location="bottom", fraction=0.08, aspect=40)
        bar.set_label("squared error per patch, normalised pixels", fontsize=9)
        bar.ax.tick_params(labelsize=8)

    def save_tiff(self, path: Path) -> None:
        """Write all images, masks (1 = hidden) and errors as channels of one OME-TIFF, float32."""
        import tifffile

        planes: list[NDArray[np.float32]] = []
        names: list[str] = []
        for title, images in (
            ("input", self.input),
            ("reconstruction, random mask", self.image_random),
            ("reconstruction, adaptive mask", self.image_adaptive),
        ):
            planes += list(images)
            names += [f"{marker} {title}" for marker in self.markers]
        for title, patches in (
            ("hidden, random mask", self.hidden_random),
            ("hidden, adaptive mask", self.hidden_adaptive),
            ("error, random mask", self.error_random),
            ("error, adaptive mask", self.error_adaptive),
        ):
            planes.append(self.spread(patches.astype(np.float32)))
            names.append(title)
        tifffile.imwrite(
            path,
            np.stack(planes).astype(np.float32),
            ome=True,
            photometric="minisblack",
            compression="zlib",
            metadata={
                "axes": "CYX",
                "Channel": {"Name": names},
                "PhysicalSizeX": self.pixel_um,
                "PhysicalSizeY": self.pixel_um,
                "PhysicalSizeXUnit": "µm",
                "PhysicalSizeYUnit": "µm",
            },
        )


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
    import torch

    for name, ratio in (("mask_ratio", mask_ratio), ("overlap_ratio", overlap_ratio)):
        if not 0 <= ratio <= 1:
            raise SettingsError(f"{name} must lie in 0..1, got {ratio:g}")
    with opened(slide, pixel_um=pixel_um) as source:
        plan = make_plan(
            source,
            model=model,
            chosen=chosen,
            pixel_um=pixel_um,
            region=None,
            types=False,
            tile_px=1024,
            task="reconstruct",
        )
        height, width = plan.grid.shape_yx
        if not (-0.5 <= at[0] < height and -0.5 <= at[1] < width):
            raise SettingsError(
                f"y {at[0]:g}, x {at[1]:g} lies outside the slide of {height} x {width} px (Y x X)"
            )
        card, scale = plan.card, plan.grid.scale
        y, x = (floor((place + 0.5) * scale) - card.image_px // 2 for place in at)
        known = slide_stats(source) if stats is None else stats
        network = plan.load_model(device)
        pipeline = Pipeline(source, plan.channels, known, network, plan.grid)
        crop = pipeline.sample(Region(y, y + card.image_px, x, x + card.image_px))
    try:
        made = network.reconstruct(
            torch.from_numpy(crop)[None], mask_ratio=mask_ratio, overlap_ratio=overlap_ratio, seed=seed
        )
    except ModelError:
        raise
    except ValueError as error:
        raise SettingsError(str(error)) from error
    grid = (card.image_px // card.patch_px,) * 2
    hidden_random, hidden_adaptive = (
        mask[0].cpu().numpy().reshape(grid) for mask in (made.hidden_random, made.hidden_adaptive)
    )
    return Explanation(
        crop_region=CropPlace((y + 0.5) / scale - 0.5, (x + 0.5) / scale - 0.5, 1 / scale),
        input=crop,
        hidden_random=hidden_random,
        hidden_adaptive=hidden_adaptive,
        overlap=~hidden_random & ~hidden_adaptive,
        error_random=made.error_random[0].float().cpu().numpy().reshape(grid),
        error_adaptive=made.error_adaptive[0].float().cpu().numpy().reshape(grid),
        image_random=made.image_random[0].float().cpu().numpy(),
        image_adaptive=made.image_adaptive[0].float().cpu().numpy(),
        markers=tuple(card.panel),
        present=plan.channels.present,
        pixel_um=card.pixel_um,
        model=card.name,
    )
