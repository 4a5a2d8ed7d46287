"""Training of cell types on a crop store."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.metrics import f1_score, recall_score
from torch import Tensor, nn
from torch.nn import functional as F

from napari_dama.cells.augment import NO_VARIATION, Variation
from napari_dama.cells.store import CropStore
from napari_dama.errors import SettingsError, StoreError
from napari_dama.models.shelf import load_card, load_model
from napari_dama.nets.classifier import TypeClassifier
from napari_dama.nets.dama import Losses
from napari_dama.nets.share import rows_here
from napari_dama.training.accumulate import WHOLE, Part, part_of
from napari_dama.training.classes import choose_classes, class_colours, class_notes, draw_weights, keep_lone
from napari_dama.training.crops import CropBatches, rows_of_step, split_of, with_label_share
from napari_dama.training.finetune import check_panel, finish_model, set_drop_path, starting_model
from napari_dama.training.guards import Finding, class_findings, store_findings
from napari_dama.training.mix import erase, mix_batch, mix_generator
from napari_dama.training.pretrain import training_facts, typical_statistics
from napari_dama.training.preview import confusion_counts
from napari_dama.training.preview_files import save_confusion

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_dama.training.folder import RunFolder
    from napari_dama.training.settings import FinetuneSettings

VARIATION = Variation(
    zoom=(0.9, 1.15), shift=0.02, gain=0.2, gamma=0.15, noise=0.03, drop_marker=0.04, only_nuclear=0.0
)
VALIDATION_CELLS = 2048
TRIAL_CELLS = 32
BLOCK = 128


class TypeTask:
    """Crops with types: batches, loss, validation by balanced accuracy.

    Attributes
    ----------
    notes : list of str
        What must be said of the classes, one sentence each.
    cached : bool
        Whether features are computed once: the encoder is frozen, nothing else looks at pixels, and nothing varies them.
    """

    def __init__(self, settings: FinetuneSettings, device: torch.device) -> None:
        if len(settings.data) != 1:
            raise SettingsError(f"task types takes one crop store, got {len(settings.data)} paths")
        self.settings = settings
        self.device = device
        self.store = CropStore.open(settings.data[0])
        parent = None if settings.init == "random" else load_card(settings.init)
        self.classes = choose_classes(self.store.types, settings, parent, self.store.path)
        colours = class_colours(self.classes, parent)
        self.model = starting_model(settings, self.classes, colours, markers=self.store.markers)
        card = self.model.card
        check_panel(card, self.store.markers, self.store.path)
        self._one_scale()
        card.statistics = card.statistics or typical_statistics(self.store)
        part = self.model.parts["types"]
        assert isinstance(part, TypeClassifier)
        set_drop_path(part, settings.drop_path)
        self.part = part
        self.module: nn.Module = part.requires_grad_(True)
        if settings.freeze_encoder:
            part.freeze_encoder()
        tricks = settings.augmented or settings.mixup or settings.cutmix or settings.erasing
        self.cached = settings.freeze_encoder and part.path is None and not tricks
        self._features: Tensor | None = None
        self.confusion: NDArray[np.int64] | None = None  # of the last validation
        number = {name: index for index, name in enumerate(self.classes)}
        types = self.store.table["type"].to_numpy()
        self.targets = np.array([number.get(name, -1) for name in types])
        known = np.flatnonzero(self.targets >= 0)
        whole, lone = keep_lone(split_of(self.store, settings, rows=known), self.targets)
        self.split = with_label_share(
            whole, self.targets, share=settings.label_share, seed=settings.label_seed
        )
        self.samples = len(self.split.train)
        targets = self.targets[self.split.train]
        counts = np.bincount(targets, minlength=len(self.classes))
        if (counts > 0).sum() < 2:
            raise StoreError(
                f"{self.store.path}: the training part holds one class only; add slides or classes"
            )
        self.weights = draw_weights(targets, settings.balance, len(self.classes))
        self.notes = class_notes(self.classes, counts, [self.classes[i] for i in lone], parent)
        inherited = [limit for limit in card.limits if not limit.startswith("Class ")]
        card.limits = [*inherited, *self.notes]
        facts = training_facts(settings, self.store)
        facts["cells_per_class"] = dict(zip(self.classes, counts.tolist(), strict=True))
        card.training = {**card.training, "types": facts}
        self.batches = CropBatches(
            self.store, nuclear=tuple(card.nuclear), image_px=card.image_px, device=device
        )

        self.least = 2 if settings.mode == "linear-probe" else 1  # it has a batch norm

    def findings(self) -> list[Finding]:
        """What is worth saying of the data before the first step."""
        train, held = (self.targets[rows] for rows in (self.split.train, self.split.validation))
        return [
            *store_findings(
                self.store,
                self.split,
                self.batches.crops,
                batch_size=self.settings.batch_size,
                image_px=self.batches.image_px,
            ),
            *class_findings(self.classes, train, held),
        ]

    def loss(self, step: int, generator: torch.Generator, part: Part = WHOLE) -> Losses:
        """Cross-entropy with smoothed labels on crops drawn as ``balance`` says, mixed and erased as settings say."""
        settings = self.settings
        rows = rows_of_step(
            self.split.train,
            step,
            batch_size=settings.batch_size,
            seed=settings.seed,
            weights=self.weights,
        )
        rows = part_of(rows, part)
        mixed = bool(settings.erasing or settings.mixup or settings.cutmix)
        if not mixed:
            rows = rows[rows_here(len(rows), generator)]
        truth = torch.from_numpy(self.targets[rows]).to(self.device)
        smoothing = settings.label_smoothing
        if self.cached:
            logits = self.part.classify(self._cache()[torch.from_numpy(rows).to(self.device)])
            return Losses(F.cross_entropy(logits.float(), truth, label_smoothing=smoothing), {})
        how = VARIATION if settings.augmented else NO_VARIATION
        x, present = self.batches.batch(rows, how=how, generator=generator)
        rng = mix_generator(settings.seed, step)
        if settings.erasing:
            x = erase(x, present, rng, generator, probability=settings.erasing)
        if settings.mixup or settings.cutmix:
            x, truth = mix_batch(
                x,
                truth,
                len(self.classes),
                rng,
                mixup=settings.mixup,
                cutmix=settings.cutmix,
                smoothing=smoothing,
            )
            smoothing = 0.0  # it is in the mixed targets
        if mixed:  # what is mixed needs the whole batch: where processes share one, each prepares all of it
            here = rows_here(len(rows), generator)
            x, truth = x[here], truth[here]
        return Losses(F.cross_entropy(self.module(x).float(), truth, label_smoothing=smoothing), {})

    def validate(self) -> dict[str, float]:
        """Balanced accuracy, accuracy and macro-F1 on held-out fields of view."""
        return self._validated(self._validation_rows())

    def trial(self) -> dict[str, float]:
        """A validation of a few cells, before the first step."""
        found = self._validated(self._validation_rows()[:TRIAL_CELLS])
        self.confusion = None  # of too few cells to be shown
        return found

    def _validated(self, rows: NDArray[np.int64]) -> dict[str, float]:
        guesses = []
        with torch.no_grad():
            for start in range(0, len(rows), BLOCK):
                some = rows[start : start + BLOCK]
                if self.cached:
                    logits = self.part.classify(self._cache()[torch.from_numpy(some).to(self.device)])
                else:
                    logits = self.module(self.batches.batch(some)[0])
                guesses.append(logits.argmax(dim=1).cpu().numpy())
        guess, truth = np.concatenate(guesses), self.targets[rows]
        self.confusion = confusion_counts(truth, guess, len(self.classes))
        return self._metrics(truth, guess)

    def parent_metrics(self) -> tuple[str, dict[str, float]] | None:
        """The parent's metrics on the same cells, where it tells types; a class that it does not know counts as missed."""
        if self.settings.init == "random":
            return None
        parent = load_model(self.settings.init, device=str(self.device))
        part = parent.parts.get("types")
        if part is None:
            return None
        number = {name: index for index, name in enumerate(self.classes)}
        own = np.array([number.get(name, -1) for name in parent.card.classes])
        rows = self._validation_rows()
        guesses = []
        with torch.no_grad():
            for start in range(0, len(rows), BLOCK):
                logits = part(self.batches.batch(rows[start : start + BLOCK])[0])
                guesses.append(own[logits.argmax(dim=1).cpu().numpy()])
        return self.settings.init, self._metrics(self.targets[rows], np.concatenate(guesses))

    def preview(self, run: RunFolder, step: int) -> None:
        """Leave the confusion matrix of the last validation."""
        if self.confusion is not None:
            save_confusion(run.path, step, self.classes, self.confusion)

    def _metrics(self, truth: NDArray[np.int64], guess: NDArray[np.int64]) -> dict[str, float]:
        there = np.unique(truth)  # a guess may be a class that no held-out cell has
        recall = recall_score(truth, guess, labels=there, average="macro", zero_division=0)
        balanced = float(recall) if len(there) > 1 else float("nan")
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

    def _validation_rows(self) -> NDArray[np.int64]:
        return np.random.default_rng(0).permutation(self.split.validation)[:VALIDATION_CELLS]

    def _cache(self) -> Tensor:
        """Pooled features (len(store), D) of the cells that this run looks at, computed at the first call.

        Blocks are the same whenever a run begins, so that a resumed run sees the very same numbers.
        """
        if self._features is None:
            rows = np.union1d(self.split.train, self._validation_rows())
            features = torch.zeros(len(self.store), self.part.head.in_features, device=self.device)
            training = self.part.training
            self.part.eval()
            with torch.no_grad():
                for start in range(0, len(rows), BLOCK):
                    some = rows[start : start + BLOCK]
                    found = self.part.pooled(self.batches.batch(some)[0]).float()
                    features[torch.from_numpy(some).to(self.device)] = found
            self.part.train(training)
            self._features = features
        return self._features

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
