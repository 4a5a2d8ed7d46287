"""Small JSON files that others read while they are written. No torch."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path


ANNOTATIONS: Final = "annotations"
"""Folder in a run's with what was annotated for it by hand; it may lie there before the run begins."""


def write_json(file: Path, value: dict[str, Any]) -> None:
    """Write JSON so that readers see the old or the new text, never a part."""
    partial = file.with_name(file.name + ".part")
    partial.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")
    for left in range(9, -1, -1):
        try:
            os.replace(partial, file)
            return
        except PermissionError:  # on Windows, while someone reads it
            if not left:
                raise
            time.sleep(0.02)


def read_json(file: Path) -> dict[str, Any]:
    """What `write_json` wrote; empty where the file is missing or damaged."""
    for _ in range(3):
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            return found if isinstance(found, dict) else {}
        except PermissionError:  # on Windows, while it is replaced
            time.sleep(0.02)
        except (OSError, ValueError):
            break
    return {}
