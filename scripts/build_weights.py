"""Make the bundled model from nothing: simulate, crop, pretrain with DAMA, fine-tune types and segments, assemble.

    python scripts/build_weights.py WORK_DIR [--real ../shared/data] [--only STAGE ...] [--set STAGE.key=value ...]

Every stage leaves its folder in WORK_DIR and is skipped when it is finished, or resumed when it was cut off, so that the
script can be run again until it is through. The same script with bigger settings makes better weights where a GPU is at
hand, e.g. ``--slides 200 --set pretrain.max_steps=40000 --set pretrain.batch_size=512``.

What the weights see: simulated tissue (seeds from 1000; tests and benchmarks use seeds below 1000 or from 5000), and for
pretraining also the nuclei of the real images named in REAL, whose other markers are not of this panel. The image
`codex_lymphoid` is never used, so that it stays a fair test.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from napari_dama.cells.crops import crop_slides
from napari_dama.cells.store import CropStore
from napari_dama.errors import DamaError
from napari_dama.models.build import brain_card, save_model
from napari_dama.models.card import Architecture
from napari_dama.models.model import Model
from napari_dama.models.shelf import BUNDLED, DEFAULT_MODEL, load_model
from napari_dama.simulate import write_simulated
from napari_dama.slides.panel import BRAIN7, match
from napari_dama.slides.slide import open_slide
from napari_dama.training.finetune import finetune
from napari_dama.training.pretrain import pretrain
from napari_dama.training.settings import FinetuneSettings, PretrainSettings

if TYPE_CHECKING:
    from napari_dama.training.loop import RunProgress

STAGES = ("simulate", "crops", "pretrain", "types_tokens", "types", "segments", "assemble")
FIRST_SEED = 1000
# name, pixel size where the file has none (an assumption), channel map where names do not tell
REAL = (
    ("mif_breast/ABCM22001_B14_MiniCrop.ome.tif", 0.5, {}),
    ("mif_lymphoma/FIHC4_HP_IM3_2.ome.tif", None, {}),
    ("codex_lymph/input_500.ome.tif", 0.377, {}),
    ("cellpainting/plate1_A14_site1_Ch1.ome.tif", None, {"DAPI": 0}),
)
# which network decides which fields of the card's architecture
SHAPES = {
    "segments": {"dense_widths", "use_pixels", "use_tokens", "head", "box_width", "anchors_px", "detections"},
    "types": {"pool", "type_zoom", "type_pixels"},
    "reconstruct": {"size", "decoder_depth", "decoder_width", "decoder_heads"},
}
SUPERVISED = {"epochs": 1000, "warmup": 0.08, "layer_decay": 0.9}
DEFAULTS: dict[str, dict[str, object]] = {
    "pretrain": {"epochs": 1000, "max_steps": 450, "batch_size": 128, "lr": 1.5e-3, "warmup": 0.1},
    # the encoder first learns the task alone, then together with the convolutional path beside it
    "types_tokens": {**SUPERVISED, "max_steps": 800, "batch_size": 64, "lr": 4e-3, "use_pixels": False},
    "types": {**SUPERVISED, "max_steps": 500, "batch_size": 64, "lr": 4e-3},
    "segments": {**SUPERVISED, "max_steps": 400, "batch_size": 8, "lr": 3e-2},
}
STARTS = {"types_tokens": "pretrain", "types": "types_tokens", "segments": "pretrain"}


def main() -> int:
    """Run the stages that are asked for."""
    args = _arguments()
    args.work.mkdir(parents=True, exist_ok=True)
    overrides = {stage: [f"{key}={value}" for key, value in kept.items()] for stage, kept in DEFAULTS.items()}
    for text in args.set:
        stage, _, pair = text.partition(".")
        overrides[stage].append(pair)
    common = [f"device={args.device}", "log_every=10"]
    for stage in args.only or STAGES:
        began = time.monotonic()
        print(f"== {stage}", flush=True)
        if stage == "simulate":
            simulate(args.work / "tissue", args.slides)
        elif stage == "crops":
            make_crops(args.work, args.real)
        elif stage == "pretrain":
            settings = PretrainSettings(crops=args.work / "crops_all", out=args.work / "pretrain")
            run(pretrain, settings.with_overrides([*common, "validate_every=100", *overrides[stage]]))
        elif stage in STARTS:
            task = "segments" if stage == "segments" else "types"
            data = [args.work / ("tissue" if task == "segments" else "crops_typed")]
            init = str(args.work / STARTS[stage] / "model")
            settings = FinetuneSettings(task=task, data=data, out=args.work / stage, init=init)
            run(finetune, settings.with_overrides([*common, "validate_every=200", *overrides[stage]]))
        else:
            assemble(args.work, args.out)
        print(f"== {stage} done in {time.monotonic() - began:.0f} s", flush=True)
    return 0


def simulate(folder: Path, slides: int) -> None:
    """Simulated tissue: half of normal difficulty, a quarter easy, a quarter hard; a third of it 8 bit."""
    for index in range(slides):
        difficulty = ("normal", "easy", "normal", "hard")[index % 4]
        seed = FIRST_SEED + index
        if not (folder / f"sim_{difficulty}_{seed:04d}_cells.csv").is_file():
            bits = 8 if index % 3 == 2 else 16
            write_simulated(
                folder, n=1, size=1024, seed=seed, difficulty=difficulty, bits=bits, overwrite=True
            )


def make_crops(work: Path, real: Path | None) -> None:
    """Two stores: simulated cells with types, and all cells for pretraining."""
    tissue = sorted((work / "tissue").glob("*.ome.tif"))
    jobs = [("crops_typed", tissue, True), ("crops_all", tissue, False)]
    for name, files, typed in jobs:
        out = work / name
        if (out / "store.json").is_file():
            continue
        slides = [open_slide(file) for file in files]
        pairs = [(slide, match(slide.markers, BRAIN7)) for slide in slides]
        labels: list[Path | None] = [
            file.with_name(file.name.replace(".ome.tif", "_cells.tif")) for file in files
        ]
        if not typed and real is not None:
            for relative, pixel_um, by_index in REAL:
                slide = open_slide(real / relative, pixel_um=pixel_um)
                chosen = {marker: slide.markers[index] for marker, index in by_index.items()}
                pairs.append((slide, match(slide.markers, BRAIN7, chosen=chosen or None)))
                labels.append(None)
        store = crop_slides(pairs, out, labels=labels)
        print(f"{name}: {len(store)} crops of {len(store.slides)} slides", flush=True)


def run(kind: object, settings: object) -> None:
    """Run or resume a training, unless it is finished."""
    status = settings.out / "status.json"  # type: ignore[attr-defined]
    if status.is_file() and json.loads(status.read_text())["state"] == "finished":
        return
    resume = (settings.out / "job.yaml").is_file()  # type: ignore[attr-defined]
    print(kind(settings, resume=resume, progress=show), flush=True)  # type: ignore[operator]


def show(now: RunProgress) -> None:
    """Print a line of progress."""
    print(
        f"step {now.step}/{now.steps} loss {now.loss:.4f} {now.images_per_s:.1f} images/s {now.eta_s:.0f} s left",
        flush=True,
    )


def assemble(work: Path, out: Path) -> None:
    """Put the three networks into one model with one card."""
    parts, metrics, training, shape = {}, {}, {}, {}
    for task, folder in (("segments", "segments"), ("types", "types"), ("reconstruct", "pretrain")):
        model = load_model(work / folder / "model")
        parts[task] = model.parts[task]
        found = model.card.metrics
        metrics[task] = found.get(task, found)
        training[task] = without_folders(model.card.training.get(task, model.card.training), work)
        own = model.card.architecture.model_dump(include=SHAPES[task])
        shape.update(own)
        if task == "reconstruct":
            statistics, moments = model.card.statistics, model.card.moments
    card = brain_card(DEFAULT_MODEL)
    card.version = "1"
    card.summary = "DAMA-pretrained ViT-tiny for seven-marker brain tissue: cell outlines, five cell types, reconstructions."
    card.architecture = Architecture.model_validate(shape)
    card.statistics, card.moments = statistics, moments
    card.metrics = {"on_validation_slides": metrics}
    store = CropStore.open(work / "crops_all")
    simulated = [slide.name for slide in store.slides if slide.name.startswith("sim_")]
    real = [slide.name for slide in store.slides if not slide.name.startswith("sim_")]
    card.training = {
        "made": date.today().isoformat(),
        "command": "python scripts/build_weights.py WORK_DIR --real ../shared/data",
        "torch": torch.__version__,
        "simulated_slides": len(simulated),
        "real_slides_for_pretraining_only": real,
        "crops": len(store),
        "stages": training,
    }
    card.limits = [
        "Types and outlines were learned from simulated tissue alone; no real brain slide was seen.",
        "Real images took part in pretraining only, with their nuclear channel; their other markers are not of this panel.",
        "Cell types rest on NeuN, S100, Olig2, Iba1 and RECA1; at least four of them must be mapped.",
        "Pretraining was short (see stages); it is no replication of the paper's 500 epochs.",
    ]
    shutil.rmtree(out / DEFAULT_MODEL, ignore_errors=True)
    save_model(Model(card, parts), out / DEFAULT_MODEL)
    print(out / DEFAULT_MODEL, flush=True)


def without_folders(facts: dict[str, Any], work: Path) -> dict[str, Any]:
    """Facts of a run with paths relative to the work folder: a card travels, the builder's disk does not."""
    text = json.dumps(facts)
    for root in (work.resolve(), work):
        text = text.replace(f"{root}/", "")
    return dict(json.loads(text))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("--real", type=Path, default=None, help="folder with the real images of REAL")
    parser.add_argument("--slides", type=int, default=32)
    parser.add_argument("--only", nargs="*", choices=STAGES)
    parser.add_argument("--set", nargs="*", default=[], metavar="STAGE.key=value")
    parser.add_argument(
        "--init", default=None, help="start of the fine-tuning, instead of this run's pretraining"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=BUNDLED)
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except DamaError as error:
        sys.exit(f"build_weights: {error}")
