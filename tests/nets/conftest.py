"""Small networks: ``tiny`` is three blocks of width 48 here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from napari_dama.nets.encoder import SIZES


@pytest.fixture(autouse=True, scope="module")
def small_networks() -> Iterator[None]:
    """For the whole module, as its networks are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "tiny", (48, 3, 3))
        yield
