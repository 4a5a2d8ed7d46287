"""Self-supervised pretraining on a crop store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_dama import __version__
from napari_dama.cells.augment import Variation
from napari_dama.cells.store import CropStore
from napari_dama.errors import DamaError, ModelError
from napari_dama.models.build import brain_card, save_model
from napari_dama.models.card import Architecture, Card
from napari_dama.models.model import Model
from napari_dama.models.shelf import load_model
from napari_dama.nets.autoencoder import DecoderSpec, MaskedAutoencoder
from napari_dama.nets.dama import Dama, DamaSpec, Losses
from napari_dama.nets.encoder import EncoderSpec
from napari_dama.nets.mae import Mae
from napari_dama.training.crops import CropBatches, rows_of_step, split_of
from napari_dama.training.folder import RunFolder
from napari_dama.training.loop import ProgressFn, StopFn, prepare_device, run_training

if TYPE_CHECKING:
    from napari_dama.training.settings import PretrainSettings

VARIATION = Variation(zoom=(0.8, 1.35), shift=0.1, gain=0.1, gamma=0.1, noise=0.0, drop_marker=0.1)
"""Pretraining varies geometry widely and intensity little: patches are normalised by themselves anyway."""


def method_module(settings: PretrainSettings, encoder: EncoderSpec) -> Dama | Mae:
    """The pretraining method that the settings name, freshly initialised."""
    decoder = DecoderSpec(*settings.decoder())
    if settings.method == "mae":
        return Mae(
            encoder, decoder, mask_ratio=settings.mask_ratio, normalise_patches=settings.normalise_patches
        )
    spec = DamaSpec(
        mask_ratio=settings.mask_ratio,
        overlap_ratio=settings.overlap_ratio,
        last_blocks=settings.last_blocks,
        beta=settings.beta,
        alpha=settings.alpha,
        normalise_patches=settings.normalise_patches,
        pairing=settings.pairing,
        second_mask="random" if settings.method == "dama-random" else "adaptive",
    )
    return Dama(encoder, decoder, spec)


class PretrainTask:
    """Batches, losses and the finished model of a pretraining run."""

    def __init__(self, settings: PretrainSettings, store: CropStore, device: torch.device) -> None:
        self.settings = settings
        self.store = store
        self.device = device
        self.card = self._card()
        torch.manual_seed(settings.seed)
        self.module: nn.Module = method_module(
            settings, EncoderSpec(settings.size, len(store.markers), self.card.image_px, self.card.patch_px)
        )
        if settings.init != "random":
            _start_from(self.module, settings.init)
        self.split = split_of(store, settings)
        self.samples = len(self.split.train)
        nuclear = tuple(self.card.nuclear)
        self.batches = CropBatches(store, nuclear=nuclear, image_px=self.card.image_px, device=device)

    def loss(self, step: int, generator: torch.Generator) -> Losses:
        """Losses of one step's batch."""
        rows = rows_of_step(
            self.split.train, step, batch_size=self.settings.batch_size, seed=self.settings.seed
        )
        x, present = self.batches.batch(rows, how=VARIATION, generator=generator)
        losses: Losses = self.module(x, present=present, generator=generator)
        return losses

    def validate(self) -> dict[str, float]:
        """Losses over validation crops under fixed masks; the score is the negative loss."""
        rows = self.split.validation
        rows = np.random.default_rng(0).permutation(rows)[:1024]
        sums: dict[str, float] = {}
        with torch.no_grad():
            for start in range(0, len(rows), self.settings.batch_size):
                part = rows[start : start + self.settings.batch_size]
                x, present = self.batches.batch(part)
                generator = torch.Generator(device=self.device).manual_seed(start)
                losses: Losses = self.module(x, present=present, generator=generator)
                for name, value in {"loss": losses.total, **losses.parts}.items():
                    sums[name] = sums.get(name, 0.0) + float(value) * len(part)
        means = {f"validation_{name}": value / len(rows) for name, value in sums.items()}
        reconstruction = means.get("validation_reconstruction_1", means["validation_loss"])
        return {**means, "score": -reconstruction}

    def finish(self, run: RunFolder, metrics: dict[str, float]) -> None:
        """Write the autoencoder that is kept as a model."""
        assert isinstance(self.module, Dama | Mae)
        self.card.metrics = {"validation": metrics}
        model = Model(self.card, {"reconstruct": self.module.autoencoder}, device=str(self.device))
        save_model(model, run.path / "model", overwrite=True)

    def _card(self) -> Card:
        settings, store = self.settings, self.store
        depth, width, heads = settings.decoder()
        card = brain_card(settings.name or settings.out.name, tasks=("reconstruct",), size=settings.size)
        if list(store.markers) != card.panel:
            raise ModelError(
                f"{store.path} holds {', '.join(store.markers)}, the model takes {', '.join(card.panel)}"
            )
        card.architecture = Architecture(
            size=settings.size, decoder_depth=depth, decoder_width=width, decoder_heads=heads
        )
        card.summary = f"Encoder and decoder pretrained by {settings.method} on {len(store)} crops."
        card.crop_um = store.crop_um
        card.pixel_um = store.crop_um / card.image_px
        card.parent = None if settings.init == "random" else settings.init
        card.statistics = typical_statistics(store)
        card.training = training_facts(settings, store)
        return card


def typical_statistics(store: CropStore) -> dict[str, dict[str, float]]:
    """Median background and bright level of each marker over the slides that have it."""
    found = {}
    for index, marker in enumerate(store.markers):
        has = store.present[:, index]
        if has.any():
            low, high = np.median(store.stats[has, :, index], axis=0)
            found[marker] = {"low": float(low), "high": float(high)}
    return found


def training_facts(settings: Any, store: CropStore) -> dict[str, Any]:
    """What a card says of the data and the settings of a run."""
    return {
        "napari_dama": __version__,
        "settings": settings.model_dump(mode="json", exclude={"out", "device", "threads"}),
        "crops": len(store),
        "slides": [slide.name for slide in store.slides][:200],
    }


def _start_from(module: nn.Module, init: str) -> None:
    """Take weights of another model's autoencoder, or at least of its encoder."""
    model = load_model(init)
    name = "reconstruct" if "reconstruct" in model.parts else model.card.tasks[0]
    source = model.parts[name].state_dict()
    targets = [part for part in module.modules() if isinstance(part, MaskedAutoencoder)]
    for target in targets:
        load_matching(target, source, where=init)


def load_matching(target: nn.Module, source: dict[str, Tensor], *, where: str) -> None:
    """Copy the encoder, and whatever else has the same name and shape, from ``source`` into ``target``.

    Raises
    ------
    ModelError
        If the encoder itself does not fit.
    """
    wanted = target.state_dict()
    fits = {k: v for k, v in source.items() if k in wanted and wanted[k].shape == v.shape}
    lost = [k for k in wanted if k.startswith("encoder.") and k not in fits]
    if lost:
        raise ModelError(f"{where} does not fit: its encoder has another shape at {lost[0]}")
    target.load_state_dict({**wanted, **fits})


def pretrain(
    settings: PretrainSettings,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: ProgressFn | None = None,
    stop: StopFn | None = None,
) -> dict[str, float]:
    """Pretrain an encoder, and leave a model in ``settings.out / "model"``.

    Parameters
    ----------
    settings
        The whole run.
    resume, overwrite
        Continue, or replace, a run that stands in ``settings.out``.
    progress
        Called every ``log_every`` steps with a `RunProgress`.
    stop
        Asked before each step; True ends the run with a checkpoint.

    Returns
    -------
    dict
        Validation metrics of the model that was kept.

    Raises
    ------
    StoreError, ModelError, SettingsError, OutputError
        Before the first step, for what is wrong with store, start, settings or folder.
    Interrupted
        If a stop was asked for.
    """
    device = prepare_device(settings)
    store = CropStore.open(settings.crops)
    run = RunFolder.begin(settings, resume=resume, overwrite=overwrite)
    try:
        task = PretrainTask(settings, store, device)
    except DamaError as error:
        run.status(state="failed", why=str(error))
        raise
    run.event(
        "data",
        crops=len(store),
        split=task.split.note,
        training=len(task.split.train),
        validation=len(task.split.validation),
    )
    return run_training(task, settings, run, device=device, progress=progress, stop=stop)
