"""A paragraph for the methods section: what was done to this slide, by which model, and what that model saw."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from napari_dama.errors import ModelError, OutputError
from napari_dama.export.atomic import replacing
from napari_dama.export.source import ResultSource
from napari_dama.export.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dama.models.card import Card

_REFERENCES: Final = {
    "dama": (
        "Ly ST, Lin B, Vo HQ, Maric D, Roysam B, Nguyen HV. Multiplexed immunofluorescence brain image analysis using "
        "self-supervised dual-loss adaptive masked autoencoder. arXiv:2205.05194 (2022)."
    ),
    "vit": (
        "Dosovitskiy A, et al. An image is worth 16x16 words: transformers for image recognition at scale. ICLR (2021). "
        "arXiv:2010.11929."
    ),
    "mask-rcnn": "He K, Gkioxari G, Dollar P, Girshick R. Mask R-CNN. ICCV (2017). arXiv:1703.06870.",
    "vitdet": (
        "Li Y, Mao H, Girshick R, He K. Exploring plain vision transformer backbones for object detection. ECCV (2022). "
        "arXiv:2203.16527."
    ),
    "timm": "Wightman R. PyTorch Image Models. Zenodo (2019). doi:10.5281/zenodo.4414861.",
    "torch": (
        "Paszke A, et al. PyTorch: an imperative style, high-performance deep learning library. NeurIPS (2019). "
        "arXiv:1912.01703."
    ),
    "skimage": (
        "van der Walt S, et al. scikit-image: image processing in Python. PeerJ 2:e453 (2014). doi:10.7717/peerj.453."
    ),
    "napari": "napari contributors. napari: a multi-dimensional image viewer for Python. doi:10.5281/zenodo.3555620.",
    "ngff": (
        "Moore J, et al. OME-NGFF: a next-generation file format for expanding bioimaging data-access strategies. "
        "Nature Methods 18, 1496-1498 (2021). doi:10.1038/s41592-021-01326-w."
    ),
}
_NAMED: Final = 6
"""Slides that are named; of more, the first."""
_SIZES: Final = {"tiny": "ViT-Tiny", "small": "ViT-Small", "base": "ViT-Base"}


def to_methods(
    result_dir: str | Path, file: str | Path, *, overwrite: bool = False, watch: Watch | None = None
) -> Path:
    """Write the paragraph, what must be said with it, and references.

    Parameters
    ----------
    result_dir
        What ``analyse`` left.
    file
        ``.md`` or ``.txt``.
    overwrite
        Replace a file that is there.
    watch
        Told when facts of the model could not be had.

    Raises
    ------
    OutputError
        There is no result, or the file exists or cannot be written.
    """
    target = Path(file)
    if target.suffix.lower() not in {".md", ".txt"}:
        raise OutputError(f"{target}: the methods paragraph is written to .md or .txt.")
    text = methods_text(result_dir, watch)
    with replacing(target, overwrite=overwrite) as part:
        part.write_text(text, encoding="utf-8")
    return target


def methods_text(result_dir: str | Path, watch: Watch | None = None) -> str:
    """The paragraph as Markdown, from the result's record and its model's card; nothing in it is guessed.

    Raises
    ------
    OutputError
        There is no result.
    """
    source = ResultSource.open(result_dir)
    card = _card(source.run, watch or Watch())
    numbers: list[str] = []

    def cite(*keys: str) -> str:
        for key in keys:
            if key not in numbers:
                numbers.append(key)
        return "[" + ",".join(str(numbers.index(key) + 1) for key in keys) + "]"

    parts = [
        _software(source.run, cite),
        _slide(source),
        _channels(source.run),
        _model(source.run, card, cite),
        _steps(source, card, cite),
        _found(source),
        _by_hand(source),
    ]
    limits = _limits(source, card)
    lines = ["## Cell segmentation and typing", "", " ".join(part for part in parts if part), ""]
    if limits:
        lines += ["## To be said with it", "", *[f"- {limit}" for limit in limits], ""]
    lines += ["## References", "", *[f"{n}. {_REFERENCES[key]}" for n, key in enumerate(numbers, 1)], ""]
    return "\n".join(lines)


def _card(run: dict[str, Any], watch: Watch) -> Card | None:
    """Card of the very model that was used; None where it is not here any more, or has other weights."""
    from napari_dama.models.card import Card
    from napari_dama.models.shelf import load_card
    from napari_dama.predict.prepare import fingerprint

    model = run.get("model", {})
    weights = run.get("settings", {}).get("model_weights")
    for place in (model.get("path"), model.get("name")):
        if not place:
            continue
        try:
            card = Card.read(Path(place)) if Path(place).is_dir() else load_card(place)
        except ModelError:
            continue
        if card.name == model.get("name") and (weights is None or fingerprint(card) == weights):
            return card
    watch.note(
        f"The model {model.get('name')} is not on this machine as it was used: the facts of its card are left out."
    )
    return None


def _software(run: dict[str, Any], cite: Any) -> str:
    method = f"an implementation of DAMA {cite('dama')} for napari {cite('napari')}"
    versions = run.get("versions", {})
    names = {"python": "Python", "torch": "PyTorch", "timm": "timm", "scikit-image": "scikit-image"}
    keys = {"torch": "torch", "timm": "timm", "scikit-image": "skimage"}
    used = [
        f"{title} {versions[name]}" + (f" {cite(keys[name])}" if name in keys else "")
        for name, title in names.items()
        if name in versions
    ]
    own = versions.get("napari-dama", "(version not recorded)")
    device = run.get("device", "")
    where = {"cpu": "a CPU", "cuda": "a CUDA GPU", "mps": "an Apple GPU"}.get(
        str(device).split(":")[0], device
    )
    how = f" on {where}" if where else ""
    how += f" in {run['precision']} precision" if run.get("precision") else ""
    return (
        f"Cells were segmented{' and typed' if run.get('types') else ''} with napari-dama {own}, "
        f"{method}" + (f" ({', '.join(used)})" if used else "") + f"{how}."
    )


def _slide(source: ResultSource) -> str:
    slide = source.run.get("slide", {})
    shape = slide.get("shape") or (None, *source.shape_yx)
    size = f"{shape[1]} x {shape[2]} pixels (height x width)"
    um = source.pixel_um
    markers = slide.get("markers") or source.markers
    text = f"The slide ({source.name}) has {size} of {um:.4g} µm and {len(markers)} markers ({', '.join(markers)})."
    if slide.get("pixel_um") is None:
        text += " The file does not say its pixel size; it was given by the user."
    elif abs(slide["pixel_um"] - um) > 1e-6 * um:
        text += f" The file's own pixel size, {slide['pixel_um']:.4g} µm, was overridden by the user."
    region = source.run.get("settings", {}).get("region")
    if region and list(region) != [0, shape[1], 0, shape[2]]:
        text += f" Rows {region[0]} to {region[1]} and columns {region[2]} to {region[3]} were analysed."
    return text


def _channels(run: dict[str, Any]) -> str:
    matches = (run.get("channel_map") or {}).get("channels", [])
    used = [m for m in matches if m.get("slide_marker")]
    absent = [str(m["marker"]) for m in matches if not m.get("slide_marker")]
    if not used:
        return ""
    other = [m for m in used if m["slide_marker"] != m["marker"]]
    text = f"{_count(len(used), 'marker')} fed the model"
    if other:
        named = "; ".join(
            f"{m['slide_marker']} as {m['marker']}"
            + (", chosen by the user" if m.get("how") == "chosen" else "")
            for m in other
        )
        text += f" ({named}" + ("; the others under their own names)" if len(other) < len(used) else ")")
    else:
        text += f" ({', '.join(str(m['marker']) for m in used)})"
    if absent:
        text += f"; {', '.join(absent)} {'was' if len(absent) == 1 else 'were'} absent"
    return text + "."


def _model(run: dict[str, Any], card: Card | None, cite: Any) -> str:
    model = run.get("model", {})
    weights = run.get("settings", {}).get("model_weights")
    text = f"The model was {model.get('name', '?')}, version {model.get('version', '?')}"
    text += f" (digest of its weights: {weights})" if weights else ""
    if card is None:
        return text + "."
    net = _SIZES.get(card.architecture.size, card.architecture.size)
    text += f": a {net} {cite('vit')} over {len(card.panel)} markers at {card.pixel_um:.4g} µm per pixel"
    saw = _training(card)
    licence = f" It is under the licence {card.licence}." if card.licence else ""
    return f"{text}.{saw}{licence}"


def _training(card: Card) -> str:
    training = card.training
    parts: list[str] = []
    simulated, crops = training.get("simulated_slides"), training.get("crops")
    slides = training.get("slides") or training.get("training") or []
    if simulated:
        parts.append(f" Its outlines and types were learned from {simulated} simulated slides.")
        real = training.get("real_slides_for_pretraining_only") or []
        saw = f" and of {_count(len(real), 'real image')} (pretraining only)" if real else ""
        if crops:
            parts.append(f" It was pretrained on {crops} crops of simulated tissue{saw}.")
    elif isinstance(slides, list) and slides:
        named = ", ".join(str(slide) for slide in slides[:_NAMED]) + (", ..." if len(slides) > _NAMED else "")
        cells = f"{crops} cells of " if crops else ""
        parts.append(f" It was trained on {cells}{_count(len(slides), 'slide')} ({named}).")
    if not parts and card.summary:
        parts.append(f" Its card says: {card.summary}")
    if card.parent:
        parts.append(f" It was fine-tuned from {card.parent}.")
    return "".join(parts)


def _steps(source: ResultSource, card: Card | None, cite: Any) -> str:
    head = card.architecture.head if card is not None else None
    how = {
        "dense": f"from maps of foreground and distance to the cell's edge by a watershed {cite('skimage')}"
        if head == "dense"
        else "",
        "mask-rcnn": f"by Mask R-CNN on a ViTDet pyramid {cite('mask-rcnn', 'vitdet')}"
        if head == "mask-rcnn"
        else "",
    }.get(head or "", "")
    text = (
        "Each marker was normalised on the slide between its background and its bright level and compressed by an arcsinh; "
        "the image was resampled to the model's pixel size and analysed in overlapping tiles."
    )
    text += f" Cells were found {how}." if how else ""
    if source.run.get("types"):
        text += " Each cell has the type of the highest probability."
    else:
        why = str(source.run.get("types_why") or "")
        text += f" Types were not told ({why})." if why else ""
    return (
        text
        + f" Intensities are means of the raw pixels inside an outline; labels are kept as OME-Zarr {cite('ngff')}."
    )


def _found(source: ResultSource) -> str:
    cells = source.cells
    text = f"{_count(len(cells), 'cell')} {'was' if len(cells) == 1 else 'were'} found"
    if source.types and len(cells):
        counts = cells["type"].value_counts()
        named = [f"{int(counts.get(name, 0))} {name}" for name in source.types]
        text += f" ({', '.join(named)})"
    if source.run.get("state") != "done":
        done, total = source.run.get("tiles_done", 0), source.run.get("tiles", "?")
        text += f"; the analysis is not complete ({done} of {total} tiles)"
    return text + "."


def _by_hand(source: ResultSource) -> str:
    changed = source.corrections
    if not changed:
        return "No correction by hand is recorded."
    named = ", ".join(f"{kind}: {count}" for kind, count in changed.items())
    return f"The result was then corrected by hand ({named}); the numbers above are those after correction."


def _limits(source: ResultSource, card: Card | None) -> list[str]:
    limits = [*card.limits] if card is not None else []
    if card is None:
        limits.append("The model was not at hand when this was written: add what it was trained on.")
    notes: Sequence[str] = [str(note) for note in source.run.get("notes", [])]
    return [*limits, *(f"On reading the slide: {note}" for note in notes)]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
