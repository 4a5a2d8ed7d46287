"""How many threads an answer is computed with: many threads that wait for each other are slow on a busy machine."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def quiet() -> bool:
    """Whether at least half of the processors have had nothing to do in the last minute."""
    import psutil

    return bool(psutil.getloadavg()[0] < (os.cpu_count() or 1) / 2)


@contextmanager
def few_threads(*, small: bool) -> Iterator[None]:
    """Compute a ``with`` block in one thread where that is quicker: a ``small`` task always, others on a busy machine.

    A crop takes a few hundredths of a second. Beside a training that uses every processor, two threads that wait for each
    other after every layer were seen to take tens of times as long as one (`benchmarks/explain.py`).
    """
    import torch

    before = torch.get_num_threads()
    if before == 1 or not (small or not quiet()):
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
