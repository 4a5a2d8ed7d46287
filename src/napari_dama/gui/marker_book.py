"""The markers of every open slide, each linked with its layers; the book follows napari's list of layers. No Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_dama.gui.layers import about, layers_of, slides_in
from napari_dama.gui.marker_layers import ChannelLink, LayerLink, Link, channel_layer, read_markers
from napari_dama.gui.markers import Marker, Markers

if TYPE_CHECKING:
    from collections.abc import Iterator


class MarkerBook:
    """Keeps one `Markers` per open slide.

    Parameters
    ----------
    viewer
        napari's viewer model.
    """

    def __init__(self, viewer: Any) -> None:
        self.viewer = viewer
        self._markers: dict[str, Markers] = {}
        self._links: dict[str, Link] = {}
        viewer.layers.events.reordered.connect(self._on_reordered)

    def __iter__(self) -> Iterator[Markers]:
        return iter(self._markers.values())

    def get(self, slide: str) -> Markers | None:
        """Return the markers of an open slide, None where it has no layers."""
        return self._markers.get(slide)

    def layers(self, slide: str) -> tuple[Any, ...]:
        """Return the layers that show a slide's markers."""
        link = self._links.get(slide)
        return () if link is None else link.layers

    def sync(self) -> bool:
        """Follow the list of layers; True where a slide came, went, or changed its layers."""
        now = {
            slide: layers_of(self.viewer.layers, "marker", slide) for slide in slides_in(self.viewer.layers)
        }
        changed = False
        for slide in [slide for slide in self._links if slide not in now]:
            self._links.pop(slide).close()
            del self._markers[slide]
            changed = True
        for slide, layers in now.items():
            link = self._links.get(slide)
            if link is not None and set(map(id, link.layers)) == set(map(id, layers)):
                continue
            if link is not None:
                link.close()
            self._begin(slide, layers)
            changed = True
        return changed

    def _begin(self, slide: str, layers: list[Any]) -> None:
        found = read_markers(slide, layers)
        known = self._markers.get(slide)
        if known is not None and known.one_at_a_time == found.one_at_a_time and len(known) >= len(found):
            found = known
        self._markers[slide] = found
        axis_layer = channel_layer(layers)
        self._links[slide] = (
            LayerLink(found, layers)
            if axis_layer is None
            else ChannelLink(found, axis_layer, self.viewer.dims)
        )

    def complete(self, slide: str, names: tuple[str, ...]) -> None:
        """Add the markers of a slide that no layer shows, once the slide itself says what there is."""
        found = self._markers.get(slide)
        if found is None or len(found) > len(names):
            return
        missing = [
            Marker(index=i, name=names[i], visible=False, has_layer=False)
            for i in range(len(found), len(names))
        ]
        if missing:
            link = self._links.pop(slide)
            link.close()
            layers = list(link.layers)
            self._markers[slide] = Markers(slide, (*found.all, *missing), one_at_a_time=found.one_at_a_time)
            self._begin(slide, layers)
        for marker, name in zip(self._markers[slide].all, names, strict=True):
            if not marker.has_layer:
                marker.name = name

    def sync_names(self, slide: str) -> None:
        """Write a slide's marker names into its layers."""
        link = self._links.get(slide)
        if link is not None:
            link.sync_names()

    def _on_reordered(self, event: object = None) -> None:
        for slide, link in self._links.items():
            if isinstance(link, LayerLink):
                layers = layers_of(self.viewer.layers, "marker", slide)
                self._markers[slide].order = [int(about(layer)["index"]) for layer in layers]

    def close(self) -> None:
        """Let go of every layer."""
        self.viewer.layers.events.reordered.disconnect(self._on_reordered)
        for link in self._links.values():
            link.close()
        self._links = {}
        self._markers = {}
