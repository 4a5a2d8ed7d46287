"""Design questions, settled by training each answer for the same number of steps on the same simulated slides.

1. Are tokens of 16 px enough for outlines, or does the head need a convolutional path from the pixels beside them?
2. How do dense maps compare with ViTDet + Mask R-CNN, the paper's head?
3. Can one encoder, as pretrained, serve outlines and types (frozen), or does each task want its own (fine-tuned)?

WORK is a folder of scripts/build_weights.py with tissue/, crops_typed/ and pretrain/. Scores are on validation slides, the
same for all rows; these are short runs to compare designs, not the bundled model's accuracy. AP is of masks that do not
overlap, over the detections that the limit beside it lets through (per 640 x 640 px; none for dense maps).

Example: python benchmarks/heads.py /work/train --steps 150 --json heads.json
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from _table import Report
from napari_dama.training.finetune import finetune
from napari_dama.training.settings import FinetuneSettings

SEGMENTS: dict[str, dict[str, Any]] = {
    "tokens only": {"use_pixels": False},
    "pixels only (no encoder)": {"use_tokens": False},
    "tokens + pixels, encoder frozen": {"freeze_encoder": True},
    "tokens + pixels, encoder fine-tuned": {},
    "mask-rcnn, tokens only (paper)": {"head": "mask-rcnn", "use_pixels": False},
    "mask-rcnn, tokens + pixels": {"head": "mask-rcnn"},
}
TYPES: dict[str, dict[str, Any]] = {
    "encoder frozen": {"freeze_encoder": True},
    "encoder fine-tuned": {},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--slides", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--tasks", nargs="*", choices=("segments", "types"), default=["segments", "types"])
    parser.add_argument("--heads", nargs="*", choices=("dense", "mask-rcnn"), default=["dense", "mask-rcnn"])
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()
    init = str(args.work / "pretrain" / "model")
    report = Report(
        "design of the heads, short runs of equal length on simulated tissue",
        (
            *("task", "variant", "seed", "score", "nuclear_only_F1"),
            *("mAP", "AP50", "AP75", "detection_limit", "seconds"),
        ),
        facts={
            "steps": args.steps,
            "score": "segments: F1 at IoU 0.5; types: balanced accuracy; validation slides",
        },
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tissue = folder / "tissue"
        tissue.mkdir()
        for file in sorted((args.work / "tissue").glob("sim_normal_*.ome.tif"))[: args.slides]:
            stem = file.name.removesuffix(".ome.tif")
            for part in (file, file.with_name(f"{stem}_cells.tif")):
                shutil.copy(part, tissue / part.name)
        for task, variants, data in (
            ("segments", SEGMENTS, tissue),
            ("types", TYPES, args.work / "crops_typed"),
        ):
            for variant, changes in variants.items() if task in args.tasks else ():
                if task == "segments" and changes.get("head", "dense") not in args.heads:
                    continue
                for seed in range(args.seeds):
                    settings = FinetuneSettings(
                        task=task,
                        data=[data],
                        out=folder / f"{task}_{variant.replace(' ', '_')}_{seed}",
                        init=init,
                        seed=seed,
                        max_steps=args.steps,
                        epochs=10_000,
                        batch_size=8 if task == "segments" else 64,
                        lr=3e-2 if task == "segments" else 4e-3,
                        layer_decay=0.9,
                        validate_every=args.steps,
                        validation_share=0.3,
                        **changes,
                    )
                    began = time.perf_counter()
                    found = finetune(settings)
                    seconds = time.perf_counter() - began
                    score = found.get("f1_50", found.get("balanced_accuracy", float("nan")))
                    nan = float("nan")
                    alone = found.get("f1_50_nuclear_only", nan)
                    ap = [found.get(name, nan) for name in ("mAP", "AP50", "AP75")]
                    limit = int(found["detection_limit"]) if "detection_limit" in found else "none"
                    report.add(task, variant, seed, score, alone, *ap, limit, seconds)
                    print(task, variant, seed, found, f"{seconds:.0f} s", flush=True)
    report.finish(args.json)


if __name__ == "__main__":
    main()
