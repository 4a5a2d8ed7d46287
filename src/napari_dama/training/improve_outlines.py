"""How an improved model learns outlines: from checked zones of areas, and what it brings.

Against forgetting other slides it is rehearsed: shown in another brightness and size, tiles are to be outlined as the parent
does it (distillation as in Learning without Forgetting, Li and Hoiem, ECCV 2016). A step's randomness follows from the seed
and the step's number alone, so that a run that was killed and resumed goes on as one left alone. Batch norms keep the
parent's statistics: there are too few cells to measure new ones. No checkpoint is chosen: what is held out is looked at
once, at the end.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_dama.cells.augment import drop_markers, vary_intensity_
from napari_dama.cells.given import open_labels
from napari_dama.cells.instances import instances_from_maps
from napari_dama.errors import Interrupted, SettingsError, StoreError
from napari_dama.evaluate.outline_change import CheckedArea, OutlineChange, compare_outlines
from napari_dama.models.detect import maps
from napari_dama.nets.mask_rcnn import MaskRcnn
from napari_dama.nets.segmenter import dense_loss
from napari_dama.predict.embeddings import plan_of, stats_of_result
from napari_dama.predict.result import ResultFolder
from napari_dama.slides.intensity import normalise, slide_stats
from napari_dama.slides.region import Region
from napari_dama.slides.slide import open_slide
from napari_dama.slides.tiles import tile_grid
from napari_dama.training.checkpoint import module_state, optimiser_tensors, restore_optimiser
from napari_dama.training.files import ANNOTATIONS
from napari_dama.training.heads import head_training
from napari_dama.training.held_out import HELD, LEARN
from napari_dama.training.improve_areas import HIDDEN, OUTLINES, OWN
from napari_dama.training.loop import step_seed
from napari_dama.training.segments import VARIATION, resampled, vary_sharpness

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_dama.models.card import Card
    from napari_dama.models.model import Model
    from napari_dama.training.folder import RunFolder
    from napari_dama.training.improve_settings import CorrectedArea, ImproveSettings

    Tell = Callable[[int, int, float], None]
    Stop = Callable[[], bool]

TILE_PX: Final = 128
WARMUP: Final = 5
ZOOM: Final = (0.8, 1.25)
OTHER_ZOOM: Final = (0.6, 1.6)
OTHER_POWER: Final = (0.4, 1.2)
"""Of intensities, as logarithm, up or down: looks that differ from the slide's own."""
CORE: Final = 6
"""Windows of the network that a tile is wide, without its halo of one."""


@dataclass(frozen=True, slots=True)
class AreaField:
    """An area at the model's pixel size.

    ``pixels`` (C, H, W) float16, normalised, 0 where absent or held out; ``labels`` (H, W) int32; ``distance`` (H, W) uint8,
    255 = 1; ``zone`` (H, W) uint8, `OWN` where it was checked, `HIDDEN` where it is held out; ``present`` (C,) bool.
    """

    part: str
    pixels: NDArray[np.float16]
    labels: NDArray[np.int32]
    distance: NDArray[np.uint8]
    zone: NDArray[np.uint8]
    present: NDArray[np.bool_]
    corrected: frozenset[int]

    @property
    def checked(self) -> CheckedArea:
        """The area as it is compared."""
        return CheckedArea(self.labels, self.zone == OWN, self.corrected)


def load_areas(settings: ImproveSettings, job: Path, model: Model) -> list[AreaField]:
    """Read all areas of a job at the model's pixel size, as an analysis sees them.

    Raises
    ------
    SettingsError
        An image or the table of the outlines is gone, or the slide is another one by now.
    """
    file = job / ANNOTATIONS / OUTLINES
    try:
        table = pd.read_csv(file)
        table[["area", "label", "deleted"]]
    except (OSError, ValueError, KeyError) as error:
        raise SettingsError(f"The corrected outlines of the job are gone or damaged: {file}") from error
    fields = []
    for number, area in enumerate(settings.areas):
        drawn = table[~table["deleted"].astype(bool) & (table["slide"] == area.slide)]
        fields.append(_load(settings, area, number, job, model, frozenset(drawn["label"].tolist())))
    return fields


def _load(
    settings: ImproveSettings,
    area: CorrectedArea,
    number: int,
    job: Path,
    model: Model,
    corrected: frozenset[int],
) -> AreaField:
    facts, region = settings.slides[area.slide], Region.parse(area.region)
    result = ResultFolder.open(facts.result)
    labels = open_labels(job / area.labels).read().astype(np.int32)
    zone = open_labels(job / area.zone).read().astype(np.uint8)
    if not labels.shape == zone.shape == region.shape:
        raise SettingsError(f"{job / area.labels} is {labels.shape} px, its area is {region.shape}")
    markers = result.run.get("slide", {}).get("markers")
    with open_slide(facts.slide, markers=markers, pixel_um=result.pixel_um) as slide:
        corners = pd.DataFrame({"y": [region.y0, region.y1 - 1], "x": [region.x0, region.x1 - 1]})
        plan = plan_of(result, slide, model, cells=corners, tasks=("segments",))
        known = stats_of_result(result)
        raw = normalise(slide.read(region), slide_stats(slide) if known is None else known)
    raw[:, zone == HIDDEN] = 0
    scale = result.pixel_um / model.card.pixel_um
    whole = resampled(f"area {number + 1}", raw, labels, plan.channels, scale)
    height, width = whole.labels.shape
    rows = np.minimum(((np.arange(height) + 0.5) / scale).astype(int), zone.shape[0] - 1)
    columns = np.minimum(((np.arange(width) + 0.5) / scale).astype(int), zone.shape[1] - 1)
    small = zone[rows[:, None], columns]
    pixels = whole.pixels
    pixels[:, small == HIDDEN] = 0  # what blending brought back at its border
    return AreaField(area.part, pixels, whole.labels, whole.distance, small, whole.present, corrected)


class OutlineLesson:
    """A copy of the parent's segmentation network that learns from areas.

    Parameters
    ----------
    settings, parent
        Of the job, and the model to improve.
    fields
        Of all areas; only those to learn from are learned from.
    """

    def __init__(self, settings: ImproveSettings, parent: Model, fields: list[AreaField]) -> None:
        self.settings, self.device = settings, parent.device
        self.card = parent.card
        self.fields = fields
        self.learned = [field for field in fields if field.part == LEARN]
        if not any((field.zone == OWN).any() for field in self.learned):
            raise StoreError("No checked outline is left to learn from: correct some more.")
        old = parent.parts["segments"]
        self.parent: nn.Module = old.eval().requires_grad_(False)
        self.part: nn.Module = copy.deepcopy(old)
        self.head = head_training(self.part)
        self.boxes = isinstance(self.part, MaskRcnn)
        self.nuclear = torch.tensor(
            [name in parent.card.nuclear for name in parent.card.panel], device=self.device
        )
        sizes = np.array([float((field.zone == OWN).sum()) for field in self.learned])
        self.chance = sizes / sizes.sum()
        self.places = [np.flatnonzero(field.zone == OWN) for field in self.learned]

    def fit(self, run: RunFolder, *, tell: Tell, stop: Stop) -> None:
        """Learn to the end, from the last checkpoint of the folder where there is one.

        Raises
        ------
        Interrupted
            ``stop`` returned True; a checkpoint continues the run.
        StoreError
            The loss is no number.
        """
        settings, steps = self.settings, self.settings.outline_steps
        encoder = getattr(self.part, "encoder", None)
        self.part.eval().requires_grad_(True)
        if encoder is not None and not settings.encoder:
            encoder.requires_grad_(False)
        learning = [weight for weight in self.part.parameters() if weight.requires_grad]
        optimiser = torch.optim.AdamW(learning, lr=settings.outline_lr, weight_decay=0.0)
        first = self._take_up(run, optimiser)
        saved = time.monotonic()
        for step in range(first, steps):
            if stop():
                self._save(run, optimiser, step)
                raise Interrupted(f"stopped at step {step} of {steps} of the outlines; resuming continues it")
            for group in optimiser.param_groups:
                rising = min(1.0, (step + 1) / WARMUP)
                group["lr"] = settings.outline_lr * rising * 0.5 * (1 + np.cos(np.pi * step / steps))
            loss = self.loss(step)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(learning, 3.0)
            optimiser.step()
            value = float(loss.detach())
            if not np.isfinite(value):
                raise StoreError(
                    f"the loss of the outlines is no number at step {step + 1}: try a lower outline_lr (now "
                    f"{settings.outline_lr:g})"
                )
            tell(step + 1, steps, value)
            if time.monotonic() - saved > settings.checkpoint_seconds:
                self._save(run, optimiser, step + 1)
                saved = time.monotonic()
        self.part.eval().requires_grad_(False)

    def loss(self, step: int) -> Tensor:
        """Loss of one step's tiles: of the checked zones, and of the distance to the parent in other looks."""
        settings = self.settings
        rng = np.random.default_rng((settings.seed, step))
        generator = torch.Generator(device=self.device).manual_seed(step_seed(settings.seed, step))
        x, present, truth, zone = self._tiles(settings.outline_batch, ZOOM, rng)
        seen = (zone != HIDDEN)[:, None]
        x = vary_intensity_(vary_sharpness(x, generator), VARIATION, generator)
        x = x * drop_markers(present, self.nuclear, VARIATION, generator)[..., None, None] * seen
        checked = zone == OWN
        if self.boxes:
            return self.head.loss(x * checked[:, None], truth, generator).total
        total, _ = dense_loss(self.part(x), torch.where(checked, truth[:, 0], -1.0), truth[:, 1])
        if settings.rehearse_outlines:
            total = total + settings.rehearse_outlines * self._forgotten(rng)
        return total

    def _forgotten(self, rng: np.random.Generator) -> Tensor:
        """Distance of the network's word to the parent's, on tiles that look unlike the slide's own."""
        count = max(1, self.settings.outline_batch // 2)
        x, _, _, zone = self._tiles(count, OTHER_ZOOM, rng)
        power = np.exp(rng.uniform(*OTHER_POWER, count) * rng.choice([-1, 1], count))
        x = x.clamp_min(0) ** torch.from_numpy(power.astype(np.float32)).to(self.device)[:, None, None, None]
        seen = (zone != HIDDEN)[:, None].float()
        with torch.no_grad():
            said = self.parent(x * seen).float().sigmoid()
        away = F.binary_cross_entropy_with_logits(self.part(x * seen).float(), said, reduction="none")
        away = away - F.binary_cross_entropy(said, said, reduction="none")
        return (away * seen).sum() / (2 * seen.sum()).clamp_min(1)

    def _tiles(
        self, count: int, zoom: tuple[float, float], rng: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        tiles = [self._tile(zoom, rng) for _ in range(count)]
        pixels, present, truth, zone = (
            torch.stack(each).to(self.device) for each in zip(*tiles, strict=True)
        )
        return pixels, present, truth, zone

    def _tile(
        self, zoom: tuple[float, float], rng: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pixels (C, T, T), present (C,), the head's truth (K, T, T) and zone (T, T) of a window around a checked pixel."""
        number = int(rng.choice(len(self.learned), p=self.chance))
        field = self.learned[number]
        side = round(TILE_PX / np.exp(rng.uniform(*np.log(zoom))))
        window = self._window(number, side, rng)
        zone = _cut(field.zone, window, side, HIDDEN)
        labels, distance = _cut(field.labels, window, side), _cut(field.distance, window, side)
        if self.boxes:
            labels = np.where(zone == OWN, labels, 0)
        pixels = torch.from_numpy(_cut(field.pixels, window, side).astype(np.float32))
        if side != TILE_PX:
            size = (TILE_PX, TILE_PX)
            pixels = F.interpolate(pixels[None], size=size, mode="bilinear", antialias=side > TILE_PX)[0]
        answer = self.head.truth(labels, distance, TILE_PX)
        places = np.minimum(((np.arange(TILE_PX) + 0.5) * side / TILE_PX).astype(int), side - 1)
        small = torch.from_numpy(zone[places[:, None], places].astype(np.int64))
        turns, mirror = int(rng.integers(4)), bool(rng.integers(2))
        turned = [torch.rot90(each, turns, (-2, -1)) for each in (pixels, answer, small)]
        if mirror:
            turned = [each.flip(-1) for each in turned]
        return turned[0], torch.from_numpy(field.present.copy()), turned[1], turned[2]

    def _window(self, number: int, side: int, rng: np.random.Generator) -> tuple[slice, slice]:
        """A window with a checked pixel in it; it may reach over the area's end."""
        height, width = self.learned[number].labels.shape
        place = self.places[number][rng.integers(len(self.places[number]))]
        y, x = divmod(int(place), width)
        y0 = int(np.clip(y - rng.integers(side), 0, max(height - side, 0)))
        x0 = int(np.clip(x - rng.integers(side), 0, max(width - side, 0)))
        return slice(y0, y0 + side), slice(x0, x0 + side)

    def compare(self, tell: Callable[[int, int], None], stop: Stop) -> OutlineChange:
        """Parent and learned network on the held-out areas."""
        held = [field for field in self.fields if field.part == HELD]
        sides: list[list[NDArray[np.int32]]] = [[], []]
        for done, field in enumerate(held):
            for side, part in zip(sides, (self.parent, self.part), strict=True):
                if stop():
                    raise Interrupted("stopped while outlines were compared")
                side.append(find_cells(part, field, self.card))
            tell(done + 1, len(held))
        return compare_outlines([field.checked for field in held], *sides)

    # -- checkpoints -------------------------------------------------------------------------------------------

    def _save(self, run: RunFolder, optimiser: torch.optim.Optimizer, step: int) -> None:
        weights = {f"module.{name}": value for name, value in self.part.state_dict().items()}
        run.save_checkpoint("last", weights | optimiser_tensors(optimiser), {"step": step, "best": {}})

    def _take_up(self, run: RunFolder, optimiser: torch.optim.Optimizer) -> int:
        found = run.load_checkpoint("last")
        if found is None:
            return 0
        tensors, facts = found
        self.part.load_state_dict(module_state(tensors))
        restore_optimiser(optimiser, tensors)
        return int(facts["step"])


def _cut(image: NDArray[Any], window: tuple[slice, slice], side: int, fill: int = 0) -> NDArray[Any]:
    """A window (..., side, side) of an image, filled up where it reaches over the end."""
    part = image[..., *window]
    missing = [(0, 0)] * (part.ndim - 2) + [(0, side - part.shape[-2]), (0, side - part.shape[-1])]
    return np.pad(part, missing, constant_values=fill)


def find_cells(part: nn.Module, field: AreaField, card: Card) -> NDArray[np.int32]:
    """Cells (H, W) that a segmentation network finds in an area, by tiles with a halo as an analysis has them."""
    side, device = card.image_px, next(part.parameters()).device
    height, width = field.labels.shape
    pixels = np.pad(field.pixels, ((0, 0), (0, -height % side), (0, -width % side)))
    whole = np.zeros((2, *pixels.shape[1:]), np.float32)
    for tile in tile_grid(pixels.shape[1:], tile_px=CORE * side, halo_px=side):
        x = torch.from_numpy(pixels[:, *tile.outer.slices].astype(np.float32))[None].to(device)
        with torch.no_grad():
            found = maps(part, x)[0].cpu().numpy()
        whole[:, *tile.core.slices] = found[:, *tile.core_in_outer.slices]
    labels, _ = instances_from_maps(*whole[:, :height, :width], pixel_um=card.pixel_um)
    return labels
