"""Models from elsewhere onto the user's shelf: checkpoints of the authors' code, of MAE and of timm, and model folders.

Nothing in a file is ever run: a pickle is read with ``weights_only=True``, which builds tensors and plain values and
refuses all else. `argparse.Namespace` is let through, because the authors' code and MAE store their options as one.
"""

from __future__ import annotations

import argparse
import os
import pickle
import re
import shutil
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from napari_dama.errors import ModelError, OutputError
from napari_dama.models.build import brain_card, new_model, save_model
from napari_dama.models.card import CARD, WEIGHTS, Architecture, Card
from napari_dama.models.model import Model
from napari_dama.models.shelf import user_folder
from napari_dama.nets.encoder import SIZES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

_WRAPPERS = ("model", "state_dict", "model_state_dict", "module")
_STUDENT = "base_encoder."
_DECODER = {
    "mask_token": "mask_token",
    "decoder_embed.": "bridge.",
    "decoder_blocks.": "blocks.",
    "decoder_norm.": "norm.",
    "decoder_pred.": "head.",
}
"""Names of the decoder in MAE's and the authors' code, and here."""
_UNUSED = ("decoder_pos_embed", "head.", "head_dist.", "fc_norm.")
"""What a checkpoint may hold beside encoder and decoder; the decoder's positions are computed."""

# what torch and its unpickler raise over bytes that are no checkpoint
_UNREADABLE = (
    SafetensorError, OSError, RuntimeError, ValueError, LookupError, EOFError, AttributeError, TypeError,
    AssertionError, struct.error,
)  # fmt: skip


def import_model(
    file: str | Path,
    *,
    name: str,
    size: str | None = None,
    folder: str | Path | None = None,
    card: Card | None = None,
    overwrite: bool = False,
) -> Path:
    """Bring a checkpoint, or a model folder, onto the shelf.

    Parameters
    ----------
    file
        A checkpoint (``.pth``, ``.pt`` or ``.safetensors``) with keys ``base_encoder.*`` (the authors' code: network 1
        is kept) or with timm's keys, by itself or under ``model`` or ``state_dict``; or a model folder, which is checked
        and copied.
    name
        Name of the model on the shelf, and of its folder there.
    size
        ``tiny``, ``small`` or ``base``; found from the weights when None, and checked against them otherwise.
    folder
        The shelf: the model becomes ``folder / name``. The user's own by default.
    card
        Panel, pixel size and classes of a checkpoint; the seven-marker brain panel by default. Task and shapes
        follow from the weights. A model folder brings its own.
    overwrite
        Replace a model of that name.

    Returns
    -------
    Path
        The model's folder, for `napari_dama.models.shelf.load_model`.

    Raises
    ------
    ModelError
        If the file is missing, damaged or holds code; if a tensor is missing, unknown or of another shape; or if the
        number of channels is not that of the panel.
    OutputError
        If a model of that name exists, or the shelf cannot be written.
    """
    source = Path(file)
    if not source.exists():
        raise ModelError(f"{source} does not exist")
    if source.name in (CARD, WEIGHTS) and (source.parent / CARD).is_file():
        source = source.parent
    shelf = Path(folder) if folder is not None else user_folder()
    if source.is_dir():
        model = Model.load(Card.read(source), precision="float32")
        model.card = _card_with(model.card, name=name)
    else:
        state = _network(_tensors(source), source)
        model = _model_of(state, source, name=name, size=size, card=card)
    return _place(model, shelf, overwrite=overwrite)


def _tensors(file: Path) -> dict[str, Tensor]:
    """Named tensors of a checkpoint, wrappers taken off."""
    found: Any
    try:
        if file.suffix == ".safetensors":
            found = load_file(file)
        else:
            with torch.serialization.safe_globals([argparse.Namespace]):
                found = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused is None:
            raise ModelError(f"{file} is damaged or no checkpoint of torch") from error
        raise ModelError(
            f"{file} holds more than weights ({refused[1]}), and code in a file is never run here; "
            "where it was made, save its tensors alone: torch.save(checkpoint['model'], file)"
        ) from error
    except _UNREADABLE as error:
        first = str(error).partition("\n")[0]
        raise ModelError(f"{file} is damaged or no checkpoint of torch: {first}") from error
    while isinstance(found, dict) and not any(isinstance(value, Tensor) for value in found.values()):
        inner = next((found[key] for key in _WRAPPERS if isinstance(found.get(key), dict)), None)
        if inner is None:
            break
        found = inner
    tensors = (
        {str(key): value for key, value in found.items() if isinstance(value, Tensor)}
        if isinstance(found, dict)
        else {}
    )
    if not tensors:
        raise ModelError(
            f"{file} holds no named tensors, neither by itself nor under 'model' or 'state_dict'"
        )
    return {key.removeprefix("module."): value for key, value in tensors.items()}


def _network(tensors: Mapping[str, Tensor], file: Path) -> dict[str, Tensor]:
    """The one autoencoder or encoder in a checkpoint, under this project's names."""
    if any(key.startswith(_STUDENT) for key in tensors):
        tensors = {
            key.removeprefix(_STUDENT): value for key, value in tensors.items() if key.startswith(_STUDENT)
        }
    if "fc_norm.weight" in tensors:
        raise ModelError(
            f"{file} is a fine-tuned classifier (it has fc_norm.weight), whose last norm stands elsewhere; "
            "import the checkpoint of its pretraining"
        )
    state = {}
    for key, value in tensors.items():
        if key.startswith(_UNUSED):
            continue
        here = next((to + key.removeprefix(old) for old, to in _DECODER.items() if key.startswith(old)), None)
        state[here or f"encoder.{key}"] = value
    return state


def _model_of(
    state: dict[str, Tensor], file: Path, *, name: str, size: str | None, card: Card | None
) -> Model:
    """A model with these weights, after every shape was checked."""
    kernel = _get(state, "encoder.patch_embed.proj.weight", file, axes=4)
    width, channels, patch_px, _ = kernel.shape
    found = _size(width, _depth(state, "encoder.blocks."), size, file)
    limits = ["Imported: its training normalised intensities in its own way, so fine-tune it before use."]
    if "bridge.weight" in state:
        decoder_width = _get(state, "bridge.weight", file, axes=2).shape[0]
        shape = Architecture(
            size=found,
            decoder_depth=_depth(state, "blocks."),
            decoder_width=decoder_width,
            # weights do not tell: 32 per head, as in the authors' code and MAE
            decoder_heads=max(1, decoder_width // 32),
        )
    else:
        shape = Architecture(size=found, decoder_depth=1)
        limits.append(
            "The file held no decoder, so reconstructions mean nothing: it is a start for fine-tuning."
        )
    base = card if card is not None else brain_card("import", tasks=("reconstruct",))
    if channels != len(base.panel):
        raise ModelError(
            f"{file} takes {channels} channels, the panel has {len(base.panel)} ({', '.join(base.panel)}); "
            f"give a card whose panel names its {channels} markers in order"
        )
    if base.image_px % patch_px:
        raise ModelError(
            f"{file} has patches of {patch_px} px, which do not divide an image of {base.image_px} px"
        )
    made = _card_with(
        base,
        name=name,
        tasks=["reconstruct"],
        summary=base.summary or f"ViT-{found} imported from {file.name}.",
        patch_px=patch_px,
        architecture=shape.model_dump(),
        training={**base.training, "imported_from": file.name},
        limits=[*base.limits, *limits],
    )
    state["encoder.pos_embed"], note = _positions(
        _get(state, "encoder.pos_embed", file, axes=3), made.image_px // patch_px, width, file
    )
    if note:
        made.limits.append(note)
    model = new_model(made)
    _fill(model.parts["reconstruct"], state, file, whole="bridge.weight" in state)
    return model


def _get(state: Mapping[str, Tensor], key: str, file: Path, *, axes: int) -> Tensor:
    value = state.get(key)
    plain = key.removeprefix("encoder.")
    if value is None:
        some = ", ".join(sorted(name.removeprefix("encoder.") for name in state)[:3]) or "nothing"
        raise ModelError(
            f"{file} is no vision transformer that is known here: it lacks {plain} and holds {some}, ..."
        )
    if value.ndim != axes:
        raise ModelError(f"{file}: {plain} has shape {tuple(value.shape)}, {axes} axes are needed")
    return value


def _depth(state: Mapping[str, Tensor], prefix: str) -> int:
    indices = {key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)}
    return max(1, len(indices))


def _size(width: int, depth: int, asked: str | None, file: Path) -> str:
    """Name of the size with this width and depth."""
    known = "; ".join(f"{name}: width {w}, {d} blocks" for name, (w, d, _) in SIZES.items())
    found = next((name for name, (w, d, _) in SIZES.items() if (w, d) == (width, depth)), None)
    if found is None:
        raise ModelError(f"{file} has width {width} and {depth} blocks; known sizes are {known}")
    if asked is not None and asked != found:
        raise ModelError(f"{file} is of size {found}, not {asked} (width {width}, {depth} blocks)")
    return found


def _positions(positions: Tensor, grid: int, width: int, file: Path) -> tuple[Tensor, str]:
    """Positions (1, 1 + grid * grid, D) with the class token's, resampled where the grid differs; a note on that."""
    tokens = positions.shape[1]
    with_class = next((c for c in (1, 0) if round((tokens - c) ** 0.5) ** 2 == tokens - c), None)
    if with_class is None or positions.shape[2] != width:
        raise ModelError(
            f"{file}: pos_embed has shape {tuple(positions.shape)}, which is no square grid of width {width}"
        )
    first = positions[:, :with_class] if with_class else torch.zeros(1, 1, width)
    places = positions[:, with_class:].float()
    side = round(places.shape[1] ** 0.5)
    if side == grid:
        return torch.cat([first.float(), places], dim=1), ""
    square = places.reshape(1, side, side, width).permute(0, 3, 1, 2)
    square = F.interpolate(
        square, size=(grid, grid), mode="bicubic", align_corners=False, antialias=grid < side
    )
    places = square.permute(0, 2, 3, 1).reshape(1, grid * grid, width)
    note = f"Its positions were resampled from {side} x {side} to {grid} x {grid} patches."
    return torch.cat([first.float(), places], dim=1), note


def _there(key: str) -> str:
    """Name of a tensor in the file that was imported."""
    if key.startswith("encoder."):
        return key.removeprefix("encoder.")
    return next((old + key.removeprefix(to) for old, to in _DECODER.items() if key.startswith(to)), key)


def _fill(part: nn.Module, state: Mapping[str, Tensor], file: Path, *, whole: bool) -> None:
    """Load the tensors; without a decoder (``whole`` False) the part's own stays."""
    wanted = part.state_dict()
    needed = {key for key in wanted if whole or key.startswith("encoder.")}
    for key in sorted(needed | set(state)):
        plain = _there(key)
        if key not in state:
            raise ModelError(f"{file} lacks {plain}")
        if key not in wanted:
            raise ModelError(f"{file} has {plain}, which no layer here takes")
        if state[key].shape != wanted[key].shape:
            raise ModelError(
                f"{file}: {plain} has shape {tuple(state[key].shape)}, {tuple(wanted[key].shape)} is needed"
            )
        if not bool(state[key].half().isfinite().all()):
            raise ModelError(
                f"{file}: {plain} holds values that are no numbers, or beyond what weights can be"
            )
    part.load_state_dict(wanted | {key: value.to(wanted[key].dtype) for key, value in state.items()})


def _card_with(card: Card, **changes: Any) -> Card:
    """A checked copy of a card."""
    try:
        return Card.model_validate(card.model_dump() | changes)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "card"
        raise ModelError(f"the model's {place}: {first['msg']}, got {first['input']!r}") from error


def _place(model: Model, shelf: Path, *, overwrite: bool) -> Path:
    """Write the model beside its final place, then move it there."""
    target = shelf / model.card.name
    if target.exists() and not overwrite:
        raise OutputError(f"{target} exists; choose another name, or overwrite it")
    if target.exists() and not (target / CARD).is_file():
        raise OutputError(f"{target} exists and is no model; choose another name")
    partial = shelf / f".{model.card.name}.{os.getpid()}.part"
    try:
        save_model(model, partial, overwrite=True)
        if target.exists():
            shutil.rmtree(target)
        os.replace(partial, target)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"cannot write the model to {target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target
