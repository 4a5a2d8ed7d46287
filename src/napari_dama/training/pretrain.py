"""Self-supervised pretraining on a crop store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_dama import __version__
from napari_dama.cells.augment import NO_VARIATION, Variation
from napari_dama.cells.store import CropStore
from napari_dama.errors import ModelError, StoreError
from napari_dama.models.build import panel_card, save_model
from napari_dama.models.card import Architecture, Card
from napari_dama.models.model import Model
from napari_dama.models.shelf import load_model
from napari_dama.nets.autoencoder import MaskedAutoencoder
from napari_dama.nets.encoder import EncoderSpec, FeatureEncoder
from napari_dama.nets.share import rows_here
from napari_dama.slides.profile import typical_profiles
from napari_dama.training.accumulate import WHOLE, Part, part_of
from napari_dama.training.crops import CropBatches, rows_of_step, split_of
from napari_dama.training.followed import begun
from napari_dama.training.guards import Finding, memory_findings, report, store_findings
from napari_dama.training.loop import ProgressFn, StopFn, prepare_device, run_training
from napari_dama.training.methods import method_module
from napari_dama.training.parent import measure_parent, tell_of_parent
from napari_dama.training.place import find_place
from napari_dama.training.preview import CELLS, masked_views, strip
from napari_dama.training.preview_files import save_preview
from napari_dama.training.settings import WHERE
from napari_dama.training.sources import ensure_store

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_dama.nets.method import Losses, Method
    from napari_dama.training.folder import RunFolder
    from napari_dama.training.settings import PretrainSettings

VARIATION = Variation(zoom=(0.8, 1.35), shift=0.1, gain=0.1, gamma=0.1, noise=0.0, drop_marker=0.1)
"""Pretraining varies geometry widely and intensity little: patches are normalised by themselves anyway."""
VALIDATION_CELLS = 1024
TRIAL_CELLS = 32


class PretrainTask:
    """Batches, losses and the finished model of a pretraining run."""

    def __init__(self, settings: PretrainSettings, store: CropStore, device: torch.device) -> None:
        self.settings = settings
        self.store = store
        self.device = device
        self.card = self._card()
        torch.manual_seed(settings.seed)
        shape = EncoderSpec(settings.size, len(store.markers), self.card.image_px, self.card.patch_px)
        self.method: Method = method_module(settings, shape)
        self.module: nn.Module = self.method
        self.starts_as_parent = settings.init != "random" and _start_from(self.method, settings.init, store)
        self.split = split_of(store, settings)
        self.samples = len(self.split.train)
        nuclear = tuple(self.card.nuclear)
        self.batches = CropBatches(store, nuclear=nuclear, image_px=self.card.image_px, device=device)

        self.least = self.method.views  # two views are told apart from those of other crops

    def findings(self) -> list[Finding]:
        """What is worth saying of the data before the first step."""
        settings = self.settings
        return store_findings(
            self.store,
            self.split,
            self.batches.crops,
            batch_size=settings.batch_size,
            image_px=settings.image_px,
        )

    def loss(self, step: int, generator: torch.Generator, part: Part = WHOLE) -> Losses:
        """Losses of one step's batch, or of a part of it."""
        rows = part_of(self._rows(step), part)
        here = rows_here(len(rows), generator)
        losses = self._losses(rows[here], VARIATION, generator)
        if part == WHOLE:
            self.batches.expect(self._rows(step + 1)[here])  # the device is still at work on this one
        return losses

    def _rows(self, step: int) -> NDArray[np.int64]:
        return rows_of_step(
            self.split.train, step, batch_size=self.settings.batch_size, seed=self.settings.seed
        )

    def after_step(self, progress: float) -> None:
        """Let a teacher follow."""
        self.method.after_step(progress)

    def validate(self) -> dict[str, float]:
        """Losses over validation crops under fixed masks, or in fixed pairs of views.

        The score is the negative loss, or 0 at all times where a teacher moves and losses of two steps do not compare, so
        that the last weights are kept.
        """
        return self._validated(VALIDATION_CELLS)

    def trial(self) -> dict[str, float]:
        """A validation of a few crops, before the first step."""
        return self._validated(TRIAL_CELLS)

    def _validated(self, most: int) -> dict[str, float]:
        rows = np.random.default_rng(0).permutation(self.split.validation)[:most]
        how = (
            NO_VARIATION if self.method.views == 1 else VARIATION
        )  # two views of the same pixels would be no task
        sums: dict[str, float] = {}
        counted = 0
        with torch.no_grad():
            for start in range(0, len(rows), self.settings.batch_size):
                part = rows[start : start + self.settings.batch_size]
                if len(part) < self.method.views:  # one crop is no batch to be told apart in
                    continue
                generator = torch.Generator(device=self.device).manual_seed(start)
                losses = self._losses(part, how, generator)
                for name, value in {"loss": losses.total, **losses.parts}.items():
                    sums[name] = sums.get(name, 0.0) + float(value) * len(part)
                counted += len(part)
        means = {f"validation_{name}": value / counted for name, value in sums.items()}
        if not self.method.comparable:
            return {**means, "score": 0.0}
        reconstruction = means.get("validation_reconstruction_1", means["validation_loss"])
        return {**means, "score": -reconstruction}

    def parent_metrics(self) -> tuple[str, dict[str, float]] | None:
        """The parent's losses on validation crops: those of this network while it still is the parent's."""
        if not self.starts_as_parent or not self.method.comparable:
            return None
        return self.settings.init, self.validate()

    def preview(self, run: RunFolder, step: int) -> None:
        """Leave a picture of a few validation cells, masked and rebuilt; nothing where the method has no decoder."""
        network = self.method.autoencoder
        if network is None:
            return
        rows = np.random.default_rng(0).permutation(self.split.validation)[:CELLS]
        x, present = self.batches.batch(rows)
        views = masked_views(network, x, present, self.settings)
        picture = strip(views, self.store.markers, self.card.nuclear)
        note = "Validation cells, markers in their colours; what is grey was hidden from the network."
        save_preview(run.path, step, picture, every=self.settings.validate_every, note=note)

    def _losses(self, rows: NDArray[np.int64], how: Variation, generator: torch.Generator) -> Losses:
        pixels = self.batches.raw(rows)
        seen = [
            self.batches.prepared(pixels, rows, how=how, generator=generator)
            for _ in range(self.method.views)
        ]
        losses: Losses = self.method(*(x for x, _ in seen), present=seen[0][1], generator=generator)
        return losses

    def finish(self, run: RunFolder, metrics: dict[str, float]) -> None:
        """Write what is kept as a model: the autoencoder, or the encoder of a method that has none."""
        self.card.metrics = {"validation": metrics}
        tell_of_parent(self.card, run, self.card.metrics)
        autoencoder = self.method.autoencoder
        kept: dict[str, nn.Module] = (
            {"features": FeatureEncoder(self.method.encoder)}
            if autoencoder is None
            else {"reconstruct": autoencoder}
        )
        self.card.tasks = ["features"] if autoencoder is None else ["reconstruct"]
        model = Model(self.card, kept, device=str(self.device))
        save_model(model, run.path / "model", overwrite=True)

    def _card(self) -> Card:
        settings, store = self.settings, self.store
        if settings.channels not in (None, len(store.markers)):
            raise StoreError(
                f"{store.path} holds {len(store.markers)} markers ({', '.join(store.markers)}), the settings ask for "
                f"channels={settings.channels}"
            )
        depth, width, heads = settings.decoder()
        card = panel_card(settings.name or settings.out.name, store.markers, nuclear=settings.nuclear)
        card.architecture = Architecture(
            size=settings.size, decoder_depth=depth, decoder_width=width, decoder_heads=heads
        )
        card.image_px, card.patch_px = settings.image_px, settings.patch_px
        card.summary = f"Pretrained by {settings.method} on {len(store)} crops."
        card.crop_um = store.crop_um
        card.pixel_um = store.crop_um / card.image_px
        card.parent = None if settings.init == "random" else settings.init
        card.statistics = typical_statistics(store)
        card.moments = "present"
        card.training = training_facts(settings, store)
        return card


def typical_statistics(store: CropStore) -> dict[str, dict[str, float]]:
    """Median background and bright level of each marker over the slides that have it, and what it looks like there."""
    found = {}
    looks = typical_profiles([slide.profile for slide in store.slides])
    for index, marker in enumerate(store.markers):
        has = store.present[:, index]
        if has.any():
            low, high = np.median(store.stats[has, :, index], axis=0)
            found[marker] = {"low": float(low), "high": float(high)} | looks.get(marker, {})
    return found


def training_facts(settings: Any, store: CropStore) -> dict[str, Any]:
    """What a card says of the data and the settings of a run."""
    return {
        "napari_dama": __version__,
        "settings": settings.model_dump(mode="json", exclude={"out", "sources", *WHERE}),
        "crops": len(store),
        "slides": [slide.name for slide in store.slides][:200],
    }


def _start_from(method: Method, init: str, store: CropStore) -> bool:
    """Take weights of another model's autoencoder, or at least of its encoder.

    True where what is kept is the parent's as a whole, decoder included.
    """
    model = load_model(init)
    if list(store.markers) != model.card.panel:
        raise ModelError(
            f"{store.path} holds {', '.join(store.markers)}; {init} takes {', '.join(model.card.panel)}"
        )
    own = [model.parts[name] for name in ("reconstruct", "features") if name in model.parts]
    part = own[0] if own else model.parts[model.card.tasks[0]]
    source = part.state_dict()
    encoder = {name: value for name, value in source.items() if name.startswith("encoder.")}
    students = [each for each in method.modules() if isinstance(each, MaskedAutoencoder)]
    for student in students:
        load_matching(student, source if isinstance(part, MaskedAutoencoder) else encoder, where=init)
    if not students:
        load_matching(FeatureEncoder(method.encoder), encoder, where=init)
    method.restart()
    kept = {} if method.autoencoder is None else method.autoencoder.state_dict()
    return bool(kept) and all(k in source and source[k].shape == v.shape for k, v in kept.items())


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
    folder: RunFolder | None = None,
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
    folder
        The run's folder where it has been begun already; it stays open. ``resume`` and ``overwrite`` then say nothing.

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
    settings = settings.with_own_store()
    place = find_place(settings)
    device = prepare_device(settings, place)
    if settings.sources is None:
        CropStore.open(settings.crops)  # a wrong path shows before a folder is made
    with begun(folder, settings, place, device, resume=resume, overwrite=overwrite) as (run, team):
        if team is None or team.leads:
            ensure_store(settings.sources, settings.crops, run, stop)
        if team is not None:
            team.meet()
        store = CropStore.open(settings.crops)
        task = PretrainTask(settings, store, device)
        run.event(
            "data",
            crops=len(store),
            split=task.split.note,
            training=len(task.split.train),
            validation=len(task.split.validation),
        )
        if team is None or team.leads:
            report(run, [*task.findings(), *memory_findings(task.module, device)])
            measure_parent(task, run, device)
        return run_training(task, settings, run, device=device, progress=progress, stop=stop, team=team)
