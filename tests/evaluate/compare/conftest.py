"""One small comparison with small networks, run once and looked at from all sides."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from napari_dama.evaluate.compare import Comparison, Experiment, compare
from napari_dama.nets.encoder import SIZES
from training.conftest import write_store

SMALL = (32, 2, 2)
COMMON = {"batch_size": 8, "device": "cpu", "precision": "float32"}


@pytest.fixture(autouse=True, scope="package")
def _small_networks() -> Iterator[None]:
    """``tiny`` is two blocks of width 32 in these tests, in one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "tiny", SMALL)
        patch.setattr("napari_dama.models.model.fastest_precision", lambda device: "float32")
        yield
    torch.set_num_threads(threads)


def plain(store: Path, **changes: Any) -> dict[str, Any]:
    """An experiment as plain values."""
    return {
        "store": str(store),
        "methods": [{"name": "dama", "method": "dama"}, {"name": "random", "init": "random"}],
        "pretrain": {**COMMON, "max_steps": 2, "decoder_depth": 1, "decoder_width": 32, "decoder_heads": 2}
        | {"last_blocks": 2},
        "finetune": {**COMMON, "max_steps": 4, "use_pixels": False, "lr": 0.05},
        "folds": 2,
        "label_fractions": [0.2, 1.0],
        "seeds": [0],
    } | changes


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """72 typed crops of six fields; do not write into it."""
    return write_store(tmp_path_factory.mktemp("compared") / "sim_store", groups=6, per_group=12)


@pytest.fixture(scope="package")
def whole(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """The experiment, run from end to end."""
    out = tmp_path_factory.mktemp("whole") / "out"
    return compare(Experiment.from_raw(plain(store)), out)
