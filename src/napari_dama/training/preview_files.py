"""Files in a run's ``previews/``: plain PNG and CSV, written whole or not at all, and few of them kept. No torch.

``step_00000500.png`` pictures what the run can do at a step; ``confusion.csv`` counts cells by true (rows) and guessed
class at the last validation. Of the pictures the last 20 are kept, and those at every power of two before.
"""

from __future__ import annotations

import csv
import os
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

PREVIEWS: Final = "previews"
LAST: Final = 20
_NAME: Final = re.compile(r"step_(\d+)\.png")


def preview_name(step: int) -> str:
    """File name of the preview at a step."""
    return f"step_{step:08d}.png"


def preview_steps(names: Iterable[str]) -> list[int]:
    """Steps of previews among file names, ascending."""
    return sorted(int(found[1]) for name in names if (found := _NAME.fullmatch(name)))


def kept_steps(steps: Sequence[int], every: int, *, last: int = LAST) -> set[int]:
    """Steps whose previews stay: the ``last`` ones, and every power of two counted in validations of ``every`` steps.

    So a run of any length keeps ``last`` and about log2 of its validations.
    """
    ordered = sorted(steps)
    numbers = {step: -(-step // every) for step in ordered}
    powers = {step for step, number in numbers.items() if number & (number - 1) == 0}
    return powers | set(ordered[-last:])


def save_preview(run: Path, step: int, picture: NDArray[np.uint8], *, every: int, note: str = "") -> Path:
    """Write a picture (H, W, 3) for a step, whole or not at all, and drop those that are no longer kept.

    ``note`` goes into the PNG's own description.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    folder = run / PREVIEWS
    folder.mkdir(exist_ok=True)
    about = PngInfo()
    about.add_text("Description", f"step {step}. {note}".strip())
    file = folder / preview_name(step)
    partial = file.with_suffix(".part")
    Image.fromarray(picture).save(partial, format="PNG", pnginfo=about)
    os.replace(partial, file)
    steps = preview_steps(path.name for path in folder.iterdir())
    for old in set(steps) - kept_steps(steps, every):
        (folder / preview_name(old)).unlink(missing_ok=True)
    return file


def save_confusion(run: Path, step: int, classes: Sequence[str], counts: NDArray[np.int64]) -> None:
    """Write ``confusion.csv``: counts (K, K), rows are true classes; the first cell of the head names the step."""
    folder = run / PREVIEWS
    folder.mkdir(exist_ok=True)
    file = folder / "confusion.csv"
    partial = file.with_suffix(".part")
    with partial.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow([f"true (step {step})", *classes])
        writer.writerows([name, *row] for name, row in zip(classes, counts.tolist(), strict=True))
    os.replace(partial, file)
