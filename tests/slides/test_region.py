"""Rectangles of pixels."""

from __future__ import annotations

import pytest

from napari_dama.errors import SettingsError
from napari_dama.slides.region import Region


def test_parse_and_back() -> None:
    region = Region.parse(" 0:512, 10:522 ")
    assert region == Region(0, 512, 10, 522)
    assert Region.parse(str(region)) == region
    assert region.shape == (512, 512)
    assert region.slices == (slice(0, 512), slice(10, 522))


@pytest.mark.parametrize(
    "text", ["", "0:512", "a:b,c:d", "0:512,0:512,0:1", "5:5,0:9", "9:2,0:9", "-3:9,0:9", "0.5:2,0:9"]
)
def test_nonsense_is_named(text: str) -> None:
    with pytest.raises(SettingsError, match=r"Y0:Y1,X0:X1|below 0"):
        Region.parse(text)


def test_clip_and_grow() -> None:
    assert Region(-5, 20, 30, 99).clip((10, 40)) == Region(0, 10, 30, 40)
    assert Region(50, 60, 0, 5).clip((10, 40)).is_empty
    assert Region(0, 9, 0, 9).grow(-5).is_empty
    assert Region(5, 9, 5, 9).grow(2) == Region(3, 11, 3, 11)
    assert Region.whole((7, 10, 40)) == Region(0, 10, 0, 40)
