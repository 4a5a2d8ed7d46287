"""Supervised training of the typing head or of a segmentation head, together with its encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from napari_dama.errors import ModelError, SettingsError
from napari_dama.models.build import brain_card, new_model, panel_card, save_model
from napari_dama.models.model import Model
from napari_dama.models.shelf import load_model
from napari_dama.nets.autoencoder import MaskedAutoencoder
from napari_dama.nets.classifier import TypeClassifier
from napari_dama.nets.mask_rcnn import BOX_WIDTHS
from napari_dama.nets.segmenter import DenseSegmenter
from napari_dama.training.classes import head_of_parent
from napari_dama.training.followed import begun
from napari_dama.training.guards import memory_findings, report
from napari_dama.training.loop import ProgressFn, StopFn, prepare_device, run_training
from napari_dama.training.parent import measure_parent, tell_of_parent
from napari_dama.training.place import find_place
from napari_dama.training.pretrain import load_matching
from napari_dama.training.sources import ensure_store

if TYPE_CHECKING:
    from pathlib import Path

    from napari_dama.models.card import Card
    from napari_dama.training.folder import RunFolder
    from napari_dama.training.settings import FinetuneSettings


def starting_model(
    settings: FinetuneSettings,
    classes: list[str],
    colours: list[str],
    *,
    markers: tuple[str, ...] | None = None,
) -> Model:
    """The parent with a fresh or matching network for the task; without a parent, a new model for the data's ``markers``.

    The network of the task starts from the parent's own one where classes and shapes allow, else from the parent's
    pretrained encoder. The parent's other networks are kept, so that the finished model still does what the parent did.
    """
    parent = None if settings.init == "random" else load_model(settings.init)
    if parent is None:
        card = brain_card(settings.name or settings.out.name, tasks=(settings.task,), size=settings.size)
        if markers is not None and list(markers) != card.panel:
            card = panel_card(card.name, markers)
            card.tasks, card.architecture.size = [settings.task], settings.size
        if settings.image_px is not None:
            card.image_px, card.pixel_um = settings.image_px, card.crop_um / settings.image_px
    else:
        card = parent.card.model_copy(deep=True)
        if settings.image_px not in (None, card.image_px):
            raise SettingsError(
                f"image_px is {settings.image_px}, {settings.init} takes {card.image_px} px; leave image_px out"
            )
        if settings.task == "segments" and not card.nuclear:
            raise ModelError(
                f"{settings.init} knows no nuclear marker among {', '.join(card.panel)}, which segments need; "
                "pretrain it with nuclear=[NAME]"
            )
        card.name = settings.name or settings.out.name
        card.parent = parent.card.name
        card.tasks = [task for task in card.tasks if task != settings.task] + [settings.task]
    if settings.task == "types":
        card.classes, card.class_colours = classes, colours
        probe = settings.mode == "linear-probe"
        card.architecture.pool = settings.pool
        card.architecture.type_zoom = 1.0 if probe else settings.zoom
        card.architecture.type_pixels = settings.use_pixels and not probe
        card.architecture.type_norm = "batch" if probe else "layer"
    else:
        if "types" not in card.tasks:  # a model that never learned types lists none
            card.classes, card.class_colours = [], []
        card.architecture.use_pixels = settings.use_pixels
        card.architecture.use_tokens = settings.use_tokens
        card.architecture.head = settings.head
        card.architecture.box_width = BOX_WIDTHS[card.architecture.size]
        card.architecture.anchors_px = settings.anchors_px
        card.architecture.detections = settings.detections
    fresh = card.model_copy(update={"tasks": [settings.task]})
    part = new_model(fresh, seed=settings.seed).parts[settings.task]
    parts: dict[str, nn.Module] = {}
    if parent is not None:
        parts = {name: old for name, old in parent.parts.items() if name != settings.task}
        if not (isinstance(part, DenseSegmenter) and part.encoder is None):
            _warm_start(part, parent, settings.task, classes)
    parts[settings.task] = part
    return Model(card, parts)


def _warm_start(part: nn.Module, parent: Model, task: str, classes: list[str]) -> None:
    own = parent.parts.get(task)
    if own is None:
        pretrained = (parent.parts.get(name) for name in ("reconstruct", "features"))
        own = next((part for part in pretrained if part is not None), None)
        own = next(iter(parent.parts.values())) if own is None else own
    source = own.state_dict()
    if isinstance(own, MaskedAutoencoder):
        source = {k: v for k, v in source.items() if k.startswith("encoder.")}
    elif isinstance(own, TypeClassifier) and isinstance(part, TypeClassifier):
        source = head_of_parent(part, own, classes, parent.card.classes)
    load_matching(part, source, where=parent.card.name)


def finish_model(model: Model, run: RunFolder, metrics: dict[str, float], task: str) -> None:
    """Write the model with its metrics in the card."""
    own: dict[str, Any] = {"validation": metrics}
    model.card.metrics = {**model.card.metrics, task: own}
    tell_of_parent(model.card, run, own)
    for part in model.parts.values():
        part.eval()
    save_model(model, run.path / "model", overwrite=True)


def set_drop_path(module: nn.Module, rate: float) -> None:
    """Set stochastic depth of an encoder's blocks, rising linearly to ``rate`` as in timm."""
    encoder = getattr(module, "encoder", None)
    if encoder is None:
        return
    from timm.layers.drop import DropPath

    blocks = encoder.blocks
    for index, block in enumerate(blocks):
        share = rate * index / max(1, len(blocks) - 1)
        block.drop_path1 = DropPath(share) if share else nn.Identity()
        block.drop_path2 = DropPath(share) if share else nn.Identity()


def finetune(
    settings: FinetuneSettings,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: ProgressFn | None = None,
    stop: StopFn | None = None,
    folder: RunFolder | None = None,
) -> dict[str, float]:
    """Train types or segments, and leave a model in ``settings.out / "model"``.

    Parameters
    ----------
    settings
        The whole run. For ``task="types"``, ``data`` is one crop store with types; for ``"segments"``, folders of
        ``NAME.ome.tif`` + ``NAME_cells.tif``, as `napari-dama simulate` writes them, or such images.
    resume, overwrite, progress, stop, folder
        As in `napari_dama.training.pretrain.pretrain`.

    Returns
    -------
    dict
        Validation metrics of the model that was kept.
    """
    from napari_dama.training.segments import SegmentTask
    from napari_dama.training.types import TypeTask

    settings = settings.with_own_store()
    place = find_place(settings)
    device = prepare_device(settings, place)
    with begun(folder, settings, place, device, resume=resume, overwrite=overwrite) as (run, team):
        if team is None or team.leads:
            ensure_store(settings.sources, settings.data[0], run, stop)
        if team is not None:
            team.meet()
        task: TypeTask | SegmentTask = (
            TypeTask(settings, device) if settings.task == "types" else SegmentTask(settings, device)
        )
        run.event("data", samples=task.samples, notes=getattr(task, "notes", []))
        if team is None or team.leads:
            report(run, [*task.findings(), *memory_findings(task.module, device)])
            measure_parent(task, run, device)
        return run_training(
            task,
            settings,
            run,
            device=device,
            layer_decay=settings.layer_decay,
            progress=progress,
            stop=stop,
            team=team,
        )


def check_panel(card: Card, markers: tuple[str, ...], where: Path) -> None:
    """Refuse data of another panel.

    Raises
    ------
    ModelError
        Naming both panels.
    """
    if list(markers) != card.panel:
        raise ModelError(f"{where} holds {', '.join(markers)}; the model takes {', '.join(card.panel)}")
