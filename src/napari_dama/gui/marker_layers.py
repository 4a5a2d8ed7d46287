"""Markers and napari's layers, linked both ways: one layer per marker, or one layer with an axis of channels. No Qt.

Nothing here reads pixels. What a link sets on a layer comes back as the layer's own event and changes nothing, since values
that are equal are not set again.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

from napari_dama.gui.layers import KEY, SHADE, about, colour_ramp, shown_colour
from napari_dama.gui.markers import Marker, Markers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dama.slides.intensity import IntensityStats


class Link(Protocol):
    """A live link between markers and layers."""

    layers: tuple[Any, ...]

    def sync_names(self) -> None:
        """Write the markers' names into the layers."""
        ...

    def close(self) -> None:
        """Let go of both."""
        ...


def marker_of(layer: Any, *, index: int, name: str) -> Marker:
    """Return a marker as a layer shows it now; the model's dark and bright end come from the layer's metadata."""
    facts = about(layer)
    low, high = _limits(layer)
    return Marker(
        index=index,
        name=name,
        visible=bool(layer.visible),
        colour=shown_colour(layer),
        contrast=(low, high),
        gamma=float(layer.gamma),
        low=facts.get("low"),
        high=facts.get("high"),
    )


def read_markers(slide: str, layers: Sequence[Any]) -> Markers:
    """Return the markers of a slide as its layers show them; one layer with an axis of channels, or one per marker."""
    axis_layer = channel_layer(layers)
    if axis_layer is not None:
        names = [str(name) for name in about(axis_layer)["markers"]]
        looks, colours = about(axis_layer).get("looks") or {}, about(axis_layer).get("colours") or []
        markers = []
        for index, name in enumerate(names):
            marker = marker_of(axis_layer, index=index, name=name)
            marker.visible = False
            if len(colours) == len(names):
                marker.colour = colours[index]
            for field, value in looks.get(index, {}).items():
                setattr(marker, field, value)
            markers.append(marker)
        shown = min(max(int(about(axis_layer).get("index", 0)), 0), len(markers) - 1)
        markers[shown].visible = bool(axis_layer.visible)
        found = Markers(slide, markers, one_at_a_time=True)
        found.current = shown
        return found
    by_index = {int(about(layer)["index"]): layer for layer in layers}
    # a slide may lack the layers of some markers: what the others know of their number and names helps
    count = max(by_index) + 1
    markers = [
        marker_of(by_index[i], index=i, name=str(about(by_index[i])["marker"]))
        if i in by_index
        else Marker(index=i, name=f"channel {i + 1}", visible=False, has_layer=False)
        for i in range(count)
    ]
    return Markers(slide, markers)


def take_stats(markers: Markers, stats: IntensityStats, layers: Sequence[Any]) -> None:
    """Take over the ends by which the model scales every marker, into the markers and their layers.

    A layer with an axis of channels came with one contrast for all of them: each marker then gets its own.
    """
    axis_layer = channel_layer(layers)
    for marker, low, high in zip(markers.all, stats.low, stats.high, strict=True):
        marker.low, marker.high = float(low), float(high)
        if axis_layer is not None and not about(axis_layer).get("looks"):
            marker.contrast = (marker.low + SHADE * (marker.high - marker.low), marker.high)
    for layer in layers:
        if layer is not axis_layer:
            marker = markers[int(about(layer)["index"])]
            tag(layer, low=marker.low, high=marker.high)


def channel_layer(layers: Sequence[Any]) -> Any:
    """Return the layer with an axis of channels among a slide's layers, None where there is one layer per marker."""
    return next((layer for layer in layers if about(layer).get("axis") is not None), None)


def tag(layer: Any, **facts: Any) -> None:
    """Write facts into what DAMA knows of a layer."""
    layer.metadata = {**layer.metadata, KEY: {**about(layer), **facts}}


class LayerLink:
    """One layer per marker."""

    def __init__(self, markers: Markers, layers: Sequence[Any]) -> None:
        self.layers = tuple(layers)
        self.markers = markers
        self._pairs = [
            _Pair(markers[int(about(layer)["index"])], layer)
            for layer in layers
            if int(about(layer)["index"]) < len(markers)
        ]
        shown = {pair.marker.index for pair in self._pairs}
        for marker in markers.all:
            marker.has_layer = marker.index in shown
            if not marker.has_layer:
                marker.visible = False
        markers.order = [pair.marker.index for pair in self._pairs]

    def sync_names(self) -> None:
        """Write the markers' names into the layers."""
        for pair in self._pairs:
            tag(pair.layer, marker=pair.marker.name)
            pair.layer.name = pair.marker.name

    def close(self) -> None:
        """Let go of both."""
        for pair in self._pairs:
            pair.close()
        self._pairs = []


class _Pair:
    """One marker and the layer that shows it."""

    def __init__(self, marker: Marker, layer: Any) -> None:
        self.marker, self.layer = marker, layer
        pull(layer, marker)
        marker.visible = bool(layer.visible)
        for name in ("visible", "colormap", "contrast_limits", "gamma"):
            getattr(layer.events, name).connect(self._from_layer)
        if hasattr(layer.events, "metadata"):
            layer.events.metadata.connect(self._from_facts)
        for name in ("visible", "colour", "contrast", "gamma"):
            getattr(marker.events, name).connect(self._to_layer)

    def _from_facts(self, event: object = None) -> None:
        """What was measured of the slide meanwhile; see `napari_dama.gui.limits`."""
        facts = about(self.layer)
        if self.marker.low is None and facts.get("low") is not None:
            self.marker.low, self.marker.high = facts["low"], facts["high"]

    def _from_layer(self, event: object = None) -> None:
        pull(self.layer, self.marker)
        self.marker.visible = bool(self.layer.visible)

    def _to_layer(self) -> None:
        push(self.marker, self.layer)
        if bool(self.layer.visible) != self.marker.visible:
            self.layer.visible = self.marker.visible

    def close(self) -> None:
        for name in ("visible", "colormap", "contrast_limits", "gamma"):
            getattr(self.layer.events, name).disconnect(self._from_layer)
        if hasattr(self.layer.events, "metadata"):
            self.layer.events.metadata.disconnect(self._from_facts)
        for name in ("visible", "colour", "contrast", "gamma"):
            getattr(self.marker.events, name).disconnect(self._to_layer)


class ChannelLink:
    """One layer whose channels lie along an axis: its slider chooses the marker, which brings its own colour and contrast.

    Parameters
    ----------
    markers : Markers
        With ``one_at_a_time``.
    layer : napari Image layer
        Its metadata name the axis (``axis``).
    dims : napari Dims
        The viewer's.
    """

    def __init__(self, markers: Markers, layer: Any, dims: Any) -> None:
        self.markers, self.layer, self.dims = markers, layer, dims
        self.layers = (layer,)
        self.axis = int(about(layer)["axis"])
        self._busy = False
        for name in ("visible", "colormap", "contrast_limits", "gamma"):
            getattr(layer.events, name).connect(self._from_layer)
        dims.events.point.connect(self._from_slider)
        markers.current_changed.connect(self._to_slider)
        for marker in markers.all:
            for name in ("visible", "colour", "contrast", "gamma"):
                getattr(marker.events, name).connect(self._to_layer)
        self._from_slider()
        self._take_on()

    @property
    def shown(self) -> int:
        """The channel that the slider is at."""
        place = self.layer.world_to_data(self.dims.point)[-self.layer.ndim :][self.axis]
        return min(max(round(float(place)), 0), len(self.markers) - 1)

    def _from_slider(self, event: object = None) -> None:
        if self._busy:
            return
        shown = self.shown
        if shown != self.markers.current:
            self._busy = True
            try:
                self.markers.current = shown
            finally:
                self._busy = False
            self._take_on()

    def _to_slider(self) -> None:
        if self._busy:
            return
        self._busy = True
        try:
            place = list(self.layer.world_to_data(self.dims.point)[-self.layer.ndim :])
            place[self.axis] = self.markers.current
            dim = self.dims.ndim - self.layer.ndim + self.axis
            self.dims.set_point(dim, float(self.layer.data_to_world(place)[self.axis]))
        finally:
            self._busy = False
        self._take_on()

    def _take_on(self) -> None:
        """Give the layer the look of the marker that is shown."""
        marker = self.markers[self.markers.current]
        self._busy = True
        try:
            push(marker, self.layer)
            if (
                about(self.layer).get("index") != marker.index
                or about(self.layer).get("marker") != marker.name
            ):
                tag(self.layer, index=marker.index, marker=marker.name)
            for other in self.markers.all:
                other.visible = other is marker and bool(self.layer.visible)
        finally:
            self._busy = False

    def _from_layer(self, event: object = None) -> None:
        if self._busy:
            return
        marker = self.markers[self.markers.current]
        self._busy = True
        try:
            pull(self.layer, marker)
            marker.visible = bool(self.layer.visible)
        finally:
            self._busy = False

    def _to_layer(self) -> None:
        if self._busy:
            return
        shown = [marker.index for marker in self.markers.all if marker.visible]
        others = [index for index in shown if index != self.markers.current]
        if others:  # the user asked for another one: it takes the place of the one shown
            self.layer.visible = True
            self.markers.current = others[0]
            return
        if bool(self.layer.visible) != bool(shown):
            self.layer.visible = bool(shown)
        self._take_on()

    def sync_names(self) -> None:
        """Write the markers' names into the layer."""
        now = self.markers[self.markers.current]
        tag(self.layer, markers=list(self.markers.names), marker=now.name, index=now.index)

    def close(self) -> None:
        """Let go of both; what each marker looked like stays in the layer's metadata."""
        looks = {
            marker.index: {"colour": marker.colour, "contrast": marker.contrast, "gamma": marker.gamma}
            | ({} if marker.low is None else {"low": marker.low, "high": marker.high})
            for marker in self.markers.all
        }
        tag(self.layer, looks=looks)
        for name in ("visible", "colormap", "contrast_limits", "gamma"):
            getattr(self.layer.events, name).disconnect(self._from_layer)
        self.dims.events.point.disconnect(self._from_slider)
        self.markers.current_changed.disconnect(self._to_slider)
        for marker in self.markers.all:
            for name in ("visible", "colour", "contrast", "gamma"):
                getattr(marker.events, name).disconnect(self._to_layer)


def pull(layer: Any, marker: Marker) -> None:
    """Take colour, contrast and gamma from a layer where they differ."""
    colour, limits, gamma = shown_colour(layer), _limits(layer), float(layer.gamma)
    if colour != marker.colour:
        marker.colour = colour
    if not _close(limits, marker.contrast):
        marker.contrast = limits
    if not math.isclose(gamma, marker.gamma, rel_tol=1e-6):
        marker.gamma = gamma


def push(marker: Marker, layer: Any) -> None:
    """Give a layer a marker's colour, contrast and gamma where they differ."""
    if shown_colour(layer) != marker.colour:
        layer.colormap = colour_ramp(marker.colour)
    if not _close(_limits(layer), marker.contrast):
        layer.contrast_limits = marker.contrast
    if not math.isclose(float(layer.gamma), marker.gamma, rel_tol=1e-6):
        layer.gamma = marker.gamma


def _limits(layer: Any) -> tuple[float, float]:
    low, high = (float(value) for value in layer.contrast_limits)
    return (low, high) if high > low else (low, low + 1.0)


def _close(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return all(math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9) for a, b in zip(one, other, strict=True))
