"""Where the Explain tab looks: the outlined square on the slide, and the camera that goes to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_dama.gui.explain_layers import mark_square
from napari_dama.gui.place import camera_of

if TYPE_CHECKING:
    import napari

    from napari_dama.gui.later import Later
    from napari_dama.gui.session import Session

SEEN_PX = 80
"""A square smaller than this on the screen is too small to look at."""
REACH_PX = 300
"""A square further from the middle of the view than this counts as out of sight."""
SQUARE_PX = 350
"""How large a square is shown that the camera goes to."""


def outline(viewer: napari.Viewer, later: Later, session: Session, at: tuple[float, float]) -> None:
    """Outline what the model looks at around a place (y, x in level-0 pixels); the typing network sees less of it."""
    card, um = session.card, session.pixel.pixel_um or 1.0
    if card is not None:
        zoom = card.architecture.type_zoom if session.state.explain.question == "type" else 1.0
        mark_square(viewer, later, session, at, card.crop_um / zoom / um)


def bring_into_view(viewer: napari.Viewer, session: Session, at: tuple[float, float]) -> None:
    """Move the camera to a place when it is out of sight or very small."""
    card = session.card
    if card is None:
        return
    um = session.pixel.pixel_um or 1.0
    middle, side = (at[0] * um, at[1] * um), card.crop_um
    camera = camera_of(viewer)
    y, x = camera.center[-2:]
    reach = REACH_PX / max(camera.zoom, 1e-9)
    if camera.zoom * side < SEEN_PX or abs(middle[0] - y) > reach or abs(middle[1] - x) > reach:
        camera.center = (*camera.center[:-2], *middle)
        camera.zoom = max(camera.zoom, SQUARE_PX / side)


def go_to(viewer: napari.Viewer, session: Session, at: tuple[float, float]) -> None:
    """Move the camera to a cell, near enough to see it."""
    um = session.pixel.pixel_um or 1.0
    camera = camera_of(viewer)
    camera.center = (*camera.center[:-2], at[0] * um, at[1] * um)
    camera.zoom = max(camera.zoom, 200 / 32.5)
