"""Training of cell types on a crop store."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score
from torch import nn
from torch.nn import functional as F

from napari_dama.cells.augment import Variation
from napari_dama.cells.store import CropStore
from napari_dama.errors import SettingsError, StoreError
from napari_dama.models.shelf import load_card
from napari_dama.nets.classifier import TypeClassifier
from napari_dama.nets.dama import Losses
from napari_dama.simulate import TYPE_COLOURS
from napari_dama.slides.panel import DEFAULT_COLOURS
from napari_dama.training.crops import CropBatches, rows_of_step, split_of, with_label_share
from napari_dama.training.finetune import check_panel, finish_model, set_drop_path, starting_model
from napari_dama.training.pretrain import training_facts, typical_statistics

if TYPE_CHECKING:
    from napari_dama.training.folder import RunFolder
    from napari_dama.training.settings import FinetuneSettings

VARIATION = Variation(
    zoom=(0.9, 1.15), shift=0.02, gain=0.2, gamma=0.15, noise=0.03, drop_marker=0.04, only_nuclear=0.0
)


class TypeTask:
    """Crops with types: batches, loss, validation by balanced accuracy."""

    def __init__(self, settings: FinetuneSettings, device: torch.device) -> None:
        if len(settings.data) != 1:
            raise SettingsError(f"task types takes one crop store, got {len(settings.data)} paths")
        self.settings = settings
        self.device = device
        self.store = CropStore.open(settings.data[0])
        self.classes = self._classes()
        colours = [
            TYPE_COLOURS.get(name, DEFAULT_COLOURS[i % len(DEFAULT_COLOURS)])
            for i, name in enumerate(self.classes)
        ]
        self.model = starting_model(settings, self.classes, colours)
        card = self.model.card
        check_panel(card, self.store.markers, self.store.path)
        self._one_scale()
        card.training = {**card.training, "types": training_facts(settings, self.store)}
        card.statistics = card.statistics or typical_statistics(self.store)
        part = self.model.parts["types"]
        assert isinstance(part, TypeClassifier)
        set_drop_path(part, settings.drop_path)
        self.module: nn.Module = part.requires_grad_(True)
        if settings.freeze_encoder:
            part.encoder.requires_grad_(False)
        number = {name: index for index, name in enumerate(self.classes)}
        types = self.store.table["type"].to_numpy()
        self.targets = np.array([number.get(name, -1) for name in types])
        known = np.flatnonzero(self.targets >= 0)
        whole = split_of(self.store, settings, rows=known)
        self.split = with_label_share(
            whole, self.targets, share=settings.label_share, seed=settings.label_seed
        )
        self.samples = len(self.split.train)
        counts = np.bincount(self.targets[self.split.train], minlength=len(self.classes))
        if (counts > 0).sum() < 2:
            raise StoreError(
                f"{self.store.path}: the training part holds one class only; add slides or classes"
            )
        weight = 1 / np.sqrt(np.maximum(counts, 1))[self.targets[self.split.train]]
        self.weights = weight / weight.sum()
        self.batches = CropBatches(
            self.store, nuclear=tuple(card.nuclear), image_px=card.image_px, device=device
        )

    def loss(self, step: int, generator: torch.Generator) -> Losses:
        """Cross-entropy with smoothed labels on crops drawn with weight 1 / sqrt(class size)."""
        rows = rows_of_step(
            self.split.train,
            step,
            batch_size=self.settings.batch_size,
            seed=self.settings.seed,
            weights=self.weights,
        )
        x, _ = self.batches.batch(rows, how=VARIATION, generator=generator)
        truth = torch.from_numpy(self.targets[rows]).to(self.device)
        loss = F.cross_entropy(self.module(x).float(), truth, label_smoothing=self.settings.label_smoothing)
        return Losses(loss, {})

    def validate(self) -> dict[str, float]:
        """Balanced accuracy, accuracy and macro-F1 on held-out fields of view."""
        rows = np.random.default_rng(0).permutation(self.split.validation)[:2048]
        guesses = []
        with torch.no_grad():
            for start in range(0, len(rows), 128):
                x, _ = self.batches.batch(rows[start : start + 128])
                guesses.append(self.module(x).argmax(dim=1).cpu().numpy())
        guess, truth = np.concatenate(guesses), self.targets[rows]
        balanced = float(balanced_accuracy_score(truth, guess)) if len(np.unique(truth)) > 1 else float("nan")
        accuracy = float((guess == truth).mean())
        return {
            "balanced_accuracy": balanced,
            "accuracy": accuracy,
            "macro_f1": float(f1_score(truth, guess, average="macro", zero_division=0)),
            "score": accuracy if np.isnan(balanced) else balanced,
        }

    def finish(self, run: RunFolder, metrics: dict[str, float]) -> None:
        """Write the model."""
        finish_model(self.model, run, metrics, "types")

    def _one_scale(self) -> None:
        """A fresh model takes the store's crop width; a parent was made for one, and the store must have it."""
        card, crop_um = self.model.card, self.store.crop_um
        if self.settings.init == "random":
            card.crop_um, card.pixel_um = crop_um, crop_um / card.image_px
        elif not math.isclose(card.crop_um, crop_um, rel_tol=0.01):
            raise StoreError(
                f"{self.store.path} holds crops of {crop_um:g} um, {self.settings.init} takes {card.crop_um:g} um; "
                f"make the store again with --crop-um {card.crop_um:g}"
            )

    def _classes(self) -> list[str]:
        found = list(self.store.types)
        if len(found) < 2:
            have = f"only {found[0]!r}" if found else "none"
            raise StoreError(
                f"{self.store.path} holds {have} of at least two types; give a table with a type column to "
                "`napari-dama crops --labels`"
            )
        wanted = self.settings.classes
        if wanted is None and self.settings.init != "random":
            parent = load_card(self.settings.init).classes
            wanted = parent if set(found) <= set(parent) else None
        if wanted is not None:
            strange = set(found) - set(wanted)
            if strange:
                raise StoreError(
                    f"{self.store.path} holds {', '.join(sorted(strange))}, which is not among the classes "
                    f"{', '.join(wanted)}"
                )
            return list(wanted)
        return found
