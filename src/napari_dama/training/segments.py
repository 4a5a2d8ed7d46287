"""Training of instance segmentation on slides with label images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_dama.cells.augment import Variation, drop_markers, vary_intensity_
from napari_dama.cells.coco import coco_fields
from napari_dama.cells.given import open_labels
from napari_dama.cells.instances import distance_target
from napari_dama.errors import SlideError, StoreError
from napari_dama.evaluate.coco import average_precision
from napari_dama.evaluate.match import iou_table
from napari_dama.evaluate.overlay import stretched
from napari_dama.models.detect import Detections, detect
from napari_dama.models.shelf import load_model
from napari_dama.nets.share import rand, rows_here
from napari_dama.slides.intensity import normalise, slide_stats
from napari_dama.slides.panel import Panel, match
from napari_dama.slides.slide import open_slide
from napari_dama.training.accumulate import WHOLE, Part, part_slice
from napari_dama.training.finetune import finish_model, set_drop_path, starting_model
from napari_dama.training.guards import Finding, same_fields
from napari_dama.training.heads import head_training
from napari_dama.training.preview import outlines_picture
from napari_dama.training.preview_files import save_preview
from napari_dama.training.settings import WHERE

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_dama.cells.given import LabelInput
    from napari_dama.models.card import Card
    from napari_dama.nets.dama import Losses
    from napari_dama.slides.panel import ChannelMap
    from napari_dama.training.folder import RunFolder
    from napari_dama.training.settings import FinetuneSettings

VARIATION = Variation(gain=0.3, gamma=0.25, noise=0.04, drop_marker=0.15, only_nuclear=0.2)
ZOOM = (0.55, 1.5)
VALIDATION_PX = 640
FEW_CELLS = 20
TRIAL_PX = 256


@dataclass(frozen=True, slots=True)
class LabelledField:
    """One slide at the model's pixel size with its truth.

    ``pixels`` (C, H, W) float16, normalised, 0 where absent; ``labels`` (H, W) int32; ``distance`` (H, W) uint8, 255 = 1.
    """

    name: str
    pixels: NDArray[np.float16]
    present: NDArray[np.bool_]
    labels: NDArray[np.int32]
    distance: NDArray[np.uint8]


def find_pairs(data: list[Path]) -> list[tuple[Path, LabelInput]]:
    """Slides with their label images: ``NAME.ome.tif`` or ``NAME.tif`` beside ``NAME_cells.tif``, or COCO annotations.

    Labels may be a file or an array: this is where other kinds of annotation come in, as labels of their slide.

    Raises
    ------
    StoreError
        If a path does not exist, or no slide with labels is found.
    """
    images: list[Path] = []
    for path in data:
        if path.is_dir():
            images += sorted(p for p in path.iterdir() if p.name.lower().endswith((".tif", ".tiff")))
        elif path.exists():
            images.append(path)
        else:
            raise StoreError(f"{path} does not exist")
    pairs: list[tuple[Path, LabelInput]] = []
    for image in images:
        if image.suffix.lower() == ".json":
            pairs += [(field.image, field.labels) for field in coco_fields(image)]
            continue
        stem = image.name.split(".")[0]
        labels = image.with_name(f"{stem}_cells.tif")
        if not stem.endswith("_cells") and labels.is_file():
            pairs.append((image, labels))
    if not pairs:
        raise StoreError(
            f"no slide with labels in {', '.join(str(p) for p in data)}: beside NAME.ome.tif there must be NAME_cells.tif"
        )
    return pairs


def load_field(image: Path, labels: LabelInput, panel: Panel, pixel_um: float) -> LabelledField:
    """Read, map, normalise and resample one slide and its labels.

    Raises
    ------
    SlideError
        If the label image cannot be read or has another size than the slide, or the slide has no pixel size.
    """
    with open_slide(image) as slide:
        given = open_labels(labels)
        truth = given.read()
        if truth.shape != slide.shape[1:]:
            name = "its annotation" if given.path is None else given.name
            raise SlideError(f"{name} is {truth.shape} px, its slide {image.name} is {slide.shape[1:]}")
        if slide.pixel_um is None:
            raise SlideError(f"{image} has no pixel size; write one into the file")
        channels = match(slide.markers, panel)
        scale = slide.pixel_um / pixel_um
        raw = normalise(slide.read(), slide_stats(slide))
    return resampled(image.name, raw, truth, channels, scale)


def resampled(
    name: str, raw: NDArray[np.float32], truth: NDArray[Any], channels: ChannelMap, scale: float
) -> LabelledField:
    """A field at the model's pixel size.

    Parameters
    ----------
    name
        For messages and the model's card.
    raw
        Normalised pixels (C, Y, X) of the slide's markers.
    truth
        Labels (Y, X).
    channels
        Which of the slide's markers feed the model's.
    scale
        Model pixels per slide pixel.
    """
    shape = (round(truth.shape[0] * scale), round(truth.shape[1] * scale))
    picture = torch.zeros(len(channels.indices), *raw.shape[1:])
    for target, source in enumerate(channels.indices):
        if source is not None:
            picture[target] = torch.from_numpy(raw[source])
    scaled = F.interpolate(picture[None], size=shape, mode="bilinear", antialias=scale < 1)[0]
    rows = np.minimum(((np.arange(shape[0]) + 0.5) / scale).astype(int), truth.shape[0] - 1)
    columns = np.minimum(((np.arange(shape[1]) + 0.5) / scale).astype(int), truth.shape[1] - 1)
    labels = truth[rows[:, None], columns].astype(np.int32)
    distance = np.round(distance_target(labels) * 255).astype(np.uint8)
    return LabelledField(
        name, scaled.numpy().astype(np.float16), np.array(channels.present), labels, distance
    )


def vary_sharpness(x: Tensor, generator: torch.Generator) -> Tensor:
    """Blur half of the tiles (N, C, H, W) by up to 1.5 px: optics and scanners differ."""
    sigma = float(torch.rand(1, generator=generator, device=x.device)) * 1.5 + 0.1
    blurred = gaussian_blur(x, sigma)
    chosen = rand((len(x), 1, 1, 1), generator=generator, device=x.device) < 0.5
    return torch.where(chosen, blurred, x)


def gaussian_blur(x: Tensor, sigma: float) -> Tensor:
    """Blur the last two axes of (N, C, H, W) with a Gaussian of ``sigma`` px, mirrored at the edges."""
    radius = max(1, round(3 * sigma))
    place = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    kernel = (-0.5 * (place / sigma) ** 2).exp()
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    n, c, h, w = x.shape
    flat = F.pad(x.reshape(n * c, 1, h, w), (radius,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(flat, kernel), kernel.transpose(2, 3)).reshape(n, c, h, w)


class SegmentTask:
    """Random tiles of labelled fields for either head: batches, loss, validation by F1 at IoU 0.5 and AP."""

    def __init__(self, settings: FinetuneSettings, device: torch.device) -> None:
        self.settings = settings
        self.device = device
        self.model = starting_model(settings, [], [])
        card = self.model.card
        self.training, self.validation = _fields(settings, card)
        if not any(field.labels.any() for field in self.training):
            names = ", ".join(field.name for field in self.training)
            raise StoreError(f"there is no cell in the labels of {names}: nothing can be learned from them")
        area = np.array([field.labels.size for field in self.training], float)
        self.chance = area / area.sum()
        self.samples = max(settings.batch_size, int(area.sum() / settings.tile_px**2))
        self.nuclear = torch.tensor([name in card.nuclear for name in card.panel], device=device)
        part = self.model.parts["segments"]
        set_drop_path(part, settings.drop_path)
        self.module: nn.Module = part.requires_grad_(True)
        self.head = head_training(part)
        self.shown: tuple[NDArray[np.int32], Detections] | None = None  # first field at the last validation
        encoder = getattr(part, "encoder", None)
        if settings.freeze_encoder and encoder is not None:
            encoder.requires_grad_(False)
        facts = settings.model_dump(mode="json", exclude={"out", *WHERE})
        card.training = {
            **card.training,
            "segments": {
                "settings": facts,
                "training": [field.name for field in self.training],
                "validation": [field.name for field in self.validation],
            },
        }

    def findings(self) -> list[Finding]:
        """What is worth saying of the data before the first step."""
        found = [
            Finding(
                "note", f"{len(self.training)} slides for training, {len(self.validation)} for validation"
            )
        ]
        if self.settings.areas is not None:
            counts = [
                sum(len(np.unique(f.labels)) - 1 for f in side) for side in (self.training, self.validation)
            ]
            text = f"{counts[0]} outlined cells to train on, {counts[1]} held out by place"
            found = [Finding("warning" if min(counts) < FEW_CELLS else "note", text)]
        empty = [field.name for field in (*self.training, *self.validation) if not field.labels.any()]
        if empty:
            found.append(Finding("warning", f"no cell is labelled in {', '.join(empty[:5])}"))
        train, held = ([(f.name, f.pixels) for f in side] for side in (self.training, self.validation))
        return [*found, *same_fields(train, held)]

    def loss(self, step: int, generator: torch.Generator, part: Part = WHOLE) -> Losses:
        """Loss of one step's tiles, or of a part of them."""
        rng = np.random.default_rng((self.settings.seed, step))
        # all: each follows from those before
        places = [self._place(rng) for _ in range(self.settings.batch_size)]
        places = places[part_slice(len(places), part)]
        drawn = [self._tile(place) for place in places[rows_here(len(places), generator)]]
        x = torch.stack([tile[0] for tile in drawn]).to(self.device)
        present = torch.stack([tile[1] for tile in drawn]).to(self.device)
        truth = torch.stack([tile[2] for tile in drawn]).to(self.device)  # (N, K, H, W)
        x = vary_intensity_(vary_sharpness(x, generator), VARIATION, generator)
        present = drop_markers(present, self.nuclear, VARIATION, generator)
        return self.head.loss(x * present[..., None, None], truth, generator)

    def _place(self, rng: np.random.Generator) -> tuple[int, int, int, int, int, bool]:
        """A random field and its window of a random size: number, y, x and side; quarter turns, and whether mirrored."""
        number = int(rng.choice(len(self.training), p=self.chance))
        field = self.training[number]
        zoom = np.exp(rng.uniform(*np.log(ZOOM)))
        side = min(round(self.settings.tile_px / zoom), *field.labels.shape)
        y = rng.integers(0, field.labels.shape[0] - side + 1)
        x = rng.integers(0, field.labels.shape[1] - side + 1)
        return number, int(y), int(x), side, int(rng.integers(4)), bool(rng.integers(2))

    def _tile(self, place: tuple[int, int, int, int, int, bool]) -> tuple[Tensor, Tensor, Tensor]:
        """Pixels (C, T, T), present (C,), and the head's truth (K, T, T) of what `_place` drew."""
        number, y, x, side, turns, mirror = place
        size, field = self.settings.tile_px, self.training[number]
        window = (slice(y, y + side), slice(x, x + side))
        pixels = torch.from_numpy(field.pixels[:, *window].astype(np.float32))
        if side != size:
            pixels = F.interpolate(pixels[None], size=(size, size), mode="bilinear", antialias=side > size)[0]
        answer = self.head.truth(field.labels[window], field.distance[window], size)
        pixels, answer = (torch.rot90(t, turns, (1, 2)) for t in (pixels, answer))
        if mirror:
            pixels, answer = pixels.flip(2), answer.flip(2)
        return pixels, torch.from_numpy(field.present.copy()), answer

    def validate(self) -> dict[str, float]:
        """F1, precision and recall at IoU 0.5 over held-out fields, all markers and the nuclear ones alone; AP of masks.

        Where the head limits its detections, the limit (per 640 x 640 px) stands beside AP.
        """
        whole, alone = (
            self._found(self.module, self.validation, VALIDATION_PX, only_nuclear=only)
            for only in (False, True)
        )
        self.shown = whole[0]
        return self._metrics(whole, alone)

    def trial(self) -> dict[str, float]:
        """A validation of one corner, before the first step."""
        fields, most_px = self.validation[:1], max(TRIAL_PX, self.model.card.image_px)
        whole, alone = (
            self._found(self.module, fields, most_px, only_nuclear=only) for only in (False, True)
        )
        return self._metrics(whole, alone)

    def parent_metrics(self) -> tuple[str, dict[str, float]] | None:
        """The parent's metrics on the same fields, where it finds outlines."""
        if self.settings.init == "random":
            return None
        part = load_model(self.settings.init, device=str(self.device)).parts.get("segments")
        if part is None:
            return None
        whole, alone = (
            self._found(part, self.validation, VALIDATION_PX, only_nuclear=only) for only in (False, True)
        )
        return self.settings.init, self._metrics(whole, alone)

    def preview(self, run: RunFolder, step: int) -> None:
        """Leave a picture of true and found outlines on the first validation field."""
        if self.shown is None:
            return
        truth, found = self.shown
        cells = found.cells()
        table = iou_table(truth, cells)
        true_hits, found_hits, _ = table.matches(0.5)
        hits = table.truth.ids[true_hits], table.pred.ids[found_hits]
        height, width = truth.shape
        card = self.model.card
        nucleus = self.validation[0].pixels[card.panel.index(card.nuclear[0]), :height, :width]
        picture = outlines_picture(stretched(nucleus), truth, cells, hits)
        note = f"{self.validation[0].name}, {card.nuclear[0]}; a found cell has an IoU of at least 0.5 with a true one."
        save_preview(run.path, step, picture, every=self.settings.validate_every, note=note)

    def _metrics(
        self,
        whole: list[tuple[NDArray[np.int32], Detections]],
        alone: list[tuple[NDArray[np.int32], Detections]],
    ) -> dict[str, float]:
        f1, f1_alone = _f1_scores(whole), _f1_scores(alone)
        limit = self.head.detection_limit
        return {
            **{f"{name}_50": value for name, value in f1.items()},
            **{f"{name}_50_nuclear_only": value for name, value in f1_alone.items()},
            **_mask_ap(whole),
            **({} if limit is None else {"detection_limit": float(limit)}),
            "score": 0.7 * f1["f1"] + 0.3 * f1_alone["f1"],
        }

    def _found(
        self, module: nn.Module, fields: list[LabelledField], most_px: int, *, only_nuclear: bool
    ) -> list[tuple[NDArray[np.int32], Detections]]:
        """Truth and what the network finds in the corner of each field."""
        side, pixel_um = self.model.card.image_px, self.model.card.pixel_um
        pairs = []
        for field in fields:
            height, width = (min(n, most_px) // side * side for n in field.labels.shape)
            x = torch.from_numpy(field.pixels[:, :height, :width].astype(np.float32))[None].to(self.device)
            if only_nuclear:
                x = x * self.nuclear[None, :, None, None]
            with torch.no_grad():
                (found,) = detect(module, x, pixel_um=pixel_um)
            pairs.append((relabelled(field.labels[:height, :width]), found))
        return pairs

    def finish(self, run: RunFolder, metrics: dict[str, float]) -> None:
        """Write the model."""
        finish_model(self.model, run, metrics, "segments")


def _fields(settings: FinetuneSettings, card: Card) -> tuple[list[LabelledField], list[LabelledField]]:
    """Fields to train on, and fields to validate on: of slides drawn by chance, or of areas parted by place."""
    if settings.areas is not None:
        from napari_dama.training.area_fields import area_fields

        training, held = area_fields(settings.areas, settings.out, card, settings.validation_share)
        return training, held[:6]
    panel = card.to_panel()
    pairs = find_pairs(settings.data)
    fields = [load_field(image, labels, panel, card.pixel_um) for image, labels in pairs]
    _refuse_small(fields, card.image_px)
    order = np.random.default_rng(settings.seed).permutation(len(fields))
    count = max(1, round(settings.validation_share * len(fields)))
    if len(fields) < 2:
        raise StoreError("segments need at least two labelled slides: one of them is held out for validation")
    return [fields[i] for i in order[count:]], [fields[i] for i in order[:count]][:6]


def relabelled(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Labels 1..n without gaps, cells of fewer than 20 px dropped (cut by the crop)."""
    area = np.bincount(labels.ravel())
    keep = area >= 20
    keep[0] = False
    return np.where(keep, np.cumsum(keep), 0).astype(np.int32)[labels]


def _f1_scores(pairs: list[tuple[NDArray[np.int32], Detections]]) -> dict[str, float]:
    """F1, precision and recall of what counts as cells, paired at IoU 0.5 over all fields."""
    hits = truths = guesses = 0
    for truth, found in pairs:
        hits += len(iou_table(truth, found.cells()).matches(0.5)[0])
        truths += int(truth.max(initial=0))
        guesses += found.certain
    return {
        "f1": 2 * hits / max(1, truths + guesses),
        "precision": hits / max(1, guesses),
        "recall": hits / max(1, truths),
    }


def _mask_ap(pairs: list[tuple[NDArray[np.int32], Detections]]) -> dict[str, float]:
    """COCO AP of masks over all detections, pooled over the fields; nothing where there is no true cell."""
    tables = [iou_table(truth, found.labels) for truth, found in pairs]
    if not any(len(table.truth) for table in tables):
        return {}
    scores = [
        found.scores[table.pred.ids - 1].astype(np.float64)
        for table, (_, found) in zip(tables, pairs, strict=True)
    ]
    ap = average_precision(tables, scores)
    return {"mAP": ap.mean, "AP50": ap.at_50, "AP75": ap.at_75}


def _refuse_small(fields: list[LabelledField], side: int) -> None:
    for field in fields:
        height, width = field.labels.shape
        if min(height, width) < side:
            raise StoreError(
                f"{field.name} is {height} x {width} px at the model's pixel size; at least {side} x {side} are needed"
            )
