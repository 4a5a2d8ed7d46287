"""A crop with patches hidden, what a model made of the rest, and both as a figure or as images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from napari_dama.errors import OutputError, SettingsError
from napari_dama.slides.picture import linear

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

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

    def difference(self, mask: Literal["random", "adaptive"]) -> NDArray[np.float32]:
        """Filled-in minus true, (C, H, W) float32, 0 where visible; 1 is the bright end of a marker on the slide."""
        hidden, image = (
            (self.hidden_random, self.image_random)
            if mask == "random"
            else (self.hidden_adaptive, self.image_adaptive)
        )
        out: NDArray[np.float32] = np.where(self.spread(hidden), linear(image) - linear(self.input), 0)
        return out.astype(np.float32)

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
        """Write a figure: per marker both masks, reconstructions and differences, below them the errors per patch."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        rows = [i for i, here in enumerate(self.present) if here]
        figure = Figure(figsize=(13.0, 1.75 * (len(rows) + 1) + 0.9), dpi=130, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(len(rows) + 1, 7, squeeze=False)
        both = ("reconstruction", "difference")
        titles = ("input", "random mask", *both, "adaptive mask", *both)
        differences = self.difference("random"), self.difference("adaptive")
        hidden = self.spread(self.hidden_random), self.spread(self.hidden_adaptive)
        for axis, title in zip(axes[0], titles, strict=True):
            axis.set_title(title, fontsize=10)
        for axis_row, marker in zip(axes[:-1], rows, strict=True):
            image = self.input[marker]
            top = max(float(np.percentile(image, 99.8)), 0.05)
            axis_row[0].imshow(image / top, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            for first, image_made in ((1, self.image_random), (4, self.image_adaptive)):
                hides, wrong = hidden[first > 1], differences[first > 1][marker]
                shown = (
                    np.where(hides, _HIDDEN_GREY, image / top),
                    np.where(hides, image_made[marker], image) / top,
                )
                for axis, picture in zip(axis_row[first:], shown, strict=False):
                    axis.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
                axis_row[first + 2].imshow(wrong, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
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
        for blank in axes[[0, 3, 6]]:
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
        draw(axes[4], visible, f"{int((~self.hidden_adaptive).sum())} visible", cmap="gray", vmin=0, vmax=2)
        draw(axes[5], self.error_adaptive, "error", cmap="magma", vmin=0, vmax=top)
        bar = figure.colorbar(picture, ax=list(axes), location="bottom", fraction=0.08, aspect=40)
        bar.set_label(
            "squared error per patch, normalised pixels; differences above: from -1 (blue) to +1 (red)",
            fontsize=9,
        )
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
