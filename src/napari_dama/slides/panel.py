"""Which channel of a slide serves which marker of a model: names, other names, and a map that never changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from napari_dama.errors import PanelError, SettingsError
from napari_dama.slides.names import canonical, plain, spellings, words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "BRAIN7",
    "DEFAULT_COLOURS",
    "ChannelMap",
    "ChannelMatch",
    "Marker",
    "Panel",
    "canonical",
    "colour_of",
    "match",
    "own_panel",
    "parse_map",
]

How = Literal["exact", "alias", "chosen", "absent"]

DEFAULT_COLOURS = (
    "#4d7cff", "#2ecc71", "#ffd23f", "#ff4fd8", "#ff5a4f", "#21d4fd", "#ff9f1c",
    "#b388ff", "#a4e05f", "#ff8fab", "#00bfa5", "#e0e0e0",
)  # fmt: skip
"""Colours for markers that no panel knows; `colour_of` picks one of them by name."""


@dataclass(frozen=True, slots=True)
class Marker:
    """One marker of a panel: its name, other names it goes by, and how it is shown."""

    name: str
    aliases: tuple[str, ...] = ()
    nuclear: bool = False
    colour: str = "#ffffff"


@dataclass(frozen=True, slots=True)
class Panel:
    """The markers of a model, in the order of its input channels."""

    name: str
    markers: tuple[Marker, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Marker names in order."""
        return tuple(marker.name for marker in self.markers)

    def __len__(self) -> int:
        return len(self.markers)


_NUCLEUS = (
    "DAPI", "Hoechst", "Hoechst 33342", "Hoechst 33258", "dsDNA", "DNA", "DRAQ5", "DRAQ7", "SYTO", "SYTOX", "TO-PRO-3",
    "propidium iodide", "7-AAD", "YO-PRO", "nucleus", "nuclei", "nuclear", "nuclear stain", "nuclear counterstain",
    "HH3", "histone H3", "H3", "Ir191", "Ir193", "191Ir", "193Ir", "DNA1", "DNA2", "histone", "histones", "pan-histone",
    "H3K9Ac",
)  # fmt: skip
_HISTONES = (
    "histone", "pan-histone", "histones pan", "HH3", "histone H3", "H3", "histone H1", "histone H2B", "H2B",
    "histone H4", "H3K9Ac", "H3K9me3", "H3K27me3", "H3K27ac", "H3K4me3",
)  # fmt: skip

BRAIN7 = Panel(
    "brain7",
    (
        Marker("DAPI", _NUCLEUS[1:], nuclear=True, colour="#4d7cff"),
        Marker("Histones", _HISTONES, colour="#21d4fd"),
        Marker("NeuN", ("RBFOX3", "Fox-3", "FOX3", "neuronal nuclei"), colour="#2ecc71"),
        Marker("S100", ("S100B", "S100 beta", "S100β", "GFAP", "ALDH1L1", "astrocyte"), colour="#ffd23f"),
        Marker("Olig2", ("oligodendrocyte transcription factor 2", "Olig-2", "oligo2"), colour="#ff4fd8"),
        Marker("Iba1", ("AIF1", "AIF-1", "Iba-1", "IBA1/AIF1"), colour="#ff5a4f"),
        Marker("RECA1", ("RECA-1", "RECA", "CD31", "PECAM1", "PECAM", "CD31/PECAM1"), colour="#ff9f1c"),
    ),
)
"""The seven markers of the DAMA paper (rat brain), in the order of its input channels."""


def colour_of(name: str) -> str:
    """Give a marker's colour ``#rrggbb``: that of BRAIN7 where it is known, else always the same one for the same name."""
    key = canonical(name)
    own = {canonical(marker.name): marker.colour for marker in BRAIN7.markers}
    if key in own:  # "Histones" is a marker of its own before it is another name for the nucleus
        return own[key]
    for marker in BRAIN7.markers:
        if key in {canonical(known) for known in marker.aliases}:
            return marker.colour
    return DEFAULT_COLOURS[sum((i + 1) * ord(letter) for i, letter in enumerate(key)) % len(DEFAULT_COLOURS)]


@dataclass(frozen=True, slots=True)
class ChannelMatch:
    """Which slide channel serves one model marker, and how it was found."""

    marker: str
    slide_index: int | None
    slide_marker: str | None
    how: How


@dataclass(frozen=True, slots=True)
class ChannelMap:
    """For each marker of a model, in its order, the channel of a slide that serves it.

    Attributes
    ----------
    matches
        One per model marker.
    left
        ``(slide marker, model marker)``: channels that could have served too but were left out.
    unused
        Every slide marker that serves nothing, in the slide's order.
    """

    matches: tuple[ChannelMatch, ...]
    left: tuple[tuple[str, str], ...] = ()
    unused: tuple[str, ...] = ()

    @property
    def indices(self) -> tuple[int | None, ...]:
        """Slide channel per model marker, None where the marker is absent."""
        return tuple(found.slide_index for found in self.matches)

    @property
    def present(self) -> tuple[bool, ...]:
        """Whether each model marker is served."""
        return tuple(found.slide_index is not None for found in self.matches)

    def describe(self) -> list[str]:
        """Say in plain sentences what was matched with what, and what was left."""
        lines = []
        for found in self.matches:
            if found.slide_index is None:
                by = (
                    "left out as you chose"
                    if found.how == "chosen"
                    else "not on this slide; the model sees it as dark"
                )
                lines.append(f"{found.marker}: {by}.")
            elif found.how == "chosen":
                lines.append(f"{found.marker}: channel '{found.slide_marker}', as you chose.")
            elif plain(found.slide_marker or "") == plain(found.marker):
                lines.append(f"{found.marker}: channel '{found.slide_marker}'.")
            else:
                lines.append(f"{found.marker}: channel '{found.slide_marker}', another name for it.")
        lines += [f"Channel '{slide}' could also be {model}; it is left out." for slide, model in self.left]
        spoken = {slide for slide, _ in self.left}
        rest = [name for name in self.unused if name not in spoken]
        if rest:
            lines.append(f"Not used by the model: {', '.join(rest)}.")
        return lines

    def to_json(self) -> dict[str, Any]:
        """Give plain types for ``run.json``."""
        return {
            "channels": [
                {
                    "marker": m.marker,
                    "slide_index": m.slide_index,
                    "slide_marker": m.slide_marker,
                    "how": m.how,
                }
                for m in self.matches
            ],
            "left_out": [list(pair) for pair in self.left],
            "unused": list(self.unused),
        }


class _Candidate(NamedTuple):
    """A possible match; sorts best first."""

    alias: int  # 0 is the marker's own name
    spelling: int  # 0 is the name as written
    model: int
    slide: int


def match(
    slide_markers: Sequence[str], panel: Panel, *, chosen: Mapping[str, str | None] | None = None
) -> ChannelMap:
    """Find for every marker of `panel` the slide channel that serves it.

    Parameters
    ----------
    slide_markers
        The slide's marker names, in channel order.
    panel
        The model's panel.
    chosen
        Model marker to slide marker, as the user decided; it beats every rule. ``""``, ``"-"``, ``"none"`` or None
        for a slide marker means that the model marker is absent on purpose.

    Returns
    -------
    ChannelMap
        A channel serves one marker at most. The marker's own name wins, then its other names in their order, then
        the slide's order.

    Raises
    ------
    PanelError
        If no nuclear marker is served, or `chosen` names something that neither side has.
    """
    fixed = _resolve_chosen(list(slide_markers), panel, chosen or {})
    taken = {slide for slide in fixed.values() if slide is not None}
    candidates = sorted(
        candidate
        for candidate in _candidates(slide_markers, panel)
        if candidate.model not in fixed and candidate.slide not in taken
    )
    nuclear = {i for i, marker in enumerate(panel.markers) if marker.nuclear}
    served = _assign(candidates)
    if nuclear and not any(i in served or fixed.get(i) is not None for i in nuclear):
        # A nuclear marker is needed more than any other: it may take what a better name gave to a neighbour.
        served = _assign(sorted(candidates, key=lambda c: (c.model not in nuclear, c)))
    final: dict[int, int | None] = {**{model: c.slide for model, c in served.items()}, **fixed}
    if nuclear and all(final.get(i) is None for i in nuclear):
        raise PanelError(
            _no_nucleus(slide_markers, panel, sorted(nuclear), chosen_away=bool(nuclear & fixed.keys()))
        )

    matches = []
    for i, marker in enumerate(panel.markers):
        slide = final.get(i)
        how: How = "absent"
        if i in fixed:
            how = "chosen"
        elif i in served:
            how = "exact" if served[i].alias == 0 and served[i].spelling <= 1 else "alias"
        matches.append(ChannelMatch(marker.name, slide, None if slide is None else slide_markers[slide], how))
    used = {slide for slide in final.values() if slide is not None}
    best: dict[int, int] = {}
    for candidate in candidates:
        if candidate.slide not in used:
            best.setdefault(candidate.slide, candidate.model)
    left = tuple((slide_markers[s], panel.markers[m].name) for s, m in sorted(best.items()))
    unused = tuple(name for i, name in enumerate(slide_markers) if i not in used)
    return ChannelMap(tuple(matches), left, unused)


def own_panel(markers: Sequence[str], *, chosen: Mapping[str, str | None] | None = None) -> Panel:
    """Make a panel of a slide's own markers, in its order.

    Nuclear are those that `match` finds for the brain panel's nuclear markers, or that `chosen` names for them; there may be
    none.

    Raises
    ------
    PanelError
        If `chosen` names something that neither the brain panel nor the slide has.
    """
    nuclear = {marker.name for marker in BRAIN7.markers if marker.nuclear}
    try:
        found = {m.slide_marker for m in match(markers, BRAIN7, chosen=chosen).matches if m.marker in nuclear}
    except PanelError:
        if chosen:
            raise
        found = set()
    return Panel(
        "own", tuple(Marker(name, nuclear=name in found, colour=colour_of(name)) for name in markers)
    )


def parse_map(text: str) -> dict[str, str]:
    """Read ``"DAPI=nucleus,NeuN=CH_7"`` into ``{"DAPI": "nucleus", "NeuN": "CH_7"}``.

    A slide marker of ``""``, ``"-"`` or ``"none"`` means absent on purpose and is kept as ``""``. A comma inside a
    slide's marker name is fine; an ``=`` belongs to the first marker before it.

    Raises
    ------
    SettingsError
        If a part has no ``=``, or a marker stands there twice.
    """
    parts: list[str] = []
    for piece in text.split(","):
        if "=" in piece or not parts:
            parts.append(piece)
        else:
            parts[-1] += "," + piece
    chosen: dict[str, str] = {}
    for part in parts:
        marker, equals, channel = (bit.strip() for bit in part.partition("="))
        if not equals or not marker:
            raise SettingsError(
                f"{part.strip()!r} in the channel map {text!r} is not of the form MARKER=CHANNEL, "
                "for example DAPI=nucleus,NeuN=CH_7."
            )
        if marker in chosen:
            raise SettingsError(f"The channel map {text!r} gives the marker {marker!r} twice.")
        chosen[marker] = "" if _means_absent(channel) else channel
    return chosen


def _means_absent(channel: str | None) -> bool:
    return channel is None or channel.strip().casefold() in {"", "-", "none"}


def _candidates(slide_markers: Sequence[str], panel: Panel) -> list[_Candidate]:
    """List every way in which a slide channel could serve a model marker."""
    known = [
        [canonical(marker.name), *(canonical(alias) for alias in marker.aliases)] for marker in panel.markers
    ]
    found = []
    for slide, name in enumerate(slide_markers):
        whole = False
        for step, spelling in enumerate(spellings(name)):
            for model, names in enumerate(known):
                if spelling in names:
                    found.append(_Candidate(names.index(spelling), step, model, slide))
                    whole = True
            if whole:
                break
        if not whole:
            found += _by_word(name, slide, known)
    return found


def _by_word(name: str, slide: int, known: list[list[str]]) -> list[_Candidate]:
    """Look for one word that is a marker's name, as in 'DAPI 405 nm raw'; words of two markers decide nothing."""
    hits = [
        _Candidate(names.index(word), 9, model, slide)
        for word in words(name)
        for model, names in enumerate(known)
        if word in names
    ]
    own = [hit for hit in hits if hit.alias == 0]
    hits = own or hits
    return sorted(hits)[:1] if len({hit.model for hit in hits}) == 1 else []


def _assign(candidates: Sequence[_Candidate]) -> dict[int, _Candidate]:
    """Serve each model marker once and use each slide channel once, in the order given."""
    served: dict[int, _Candidate] = {}
    taken: set[int] = set()
    for candidate in candidates:
        if candidate.model not in served and candidate.slide not in taken:
            served[candidate.model] = candidate
            taken.add(candidate.slide)
    return served


def _resolve_chosen(
    slide_markers: list[str], panel: Panel, chosen: Mapping[str, str | None]
) -> dict[int, int | None]:
    """Turn the user's names into indices: model marker to slide channel, None for absent on purpose."""
    fixed: dict[int, int | None] = {}
    both = f"The model has {', '.join(panel.names)}; the slide has {', '.join(slide_markers)}."
    for marker, channel in chosen.items():
        model = _find(marker, list(panel.names))
        if model is None:
            raise PanelError(f"The model has no marker {marker!r}. {both}")
        if channel is None or (_means_absent(channel) and channel not in slide_markers):
            fixed[model] = None
            continue
        slide = _find(channel, slide_markers)
        if slide is None:
            raise PanelError(f"The slide has no channel {channel!r} to serve as {marker}. {both}")
        if slide in fixed.values():
            other = next(panel.names[m] for m, s in fixed.items() if s == slide)
            raise PanelError(
                f"Channel {slide_markers[slide]!r} is chosen for {other} and for {panel.names[model]}; "
                "a channel can serve one marker only."
            )
        fixed[model] = slide
    return fixed


def _find(name: str, names: list[str]) -> int | None:
    """Find a name as written, else without regard to case and punctuation if that is unique."""
    if name in names:
        return names.index(name)
    for simplify in (str.casefold, plain):
        hits = [i for i, known in enumerate(names) if simplify(known) == simplify(name)]
        if len(hits) == 1:
            return hits[0]
    return None


def _no_nucleus(slide_markers: Sequence[str], panel: Panel, nuclear: list[int], *, chosen_away: bool) -> str:
    accepted = "; ".join(", ".join((panel.markers[i].name, *panel.markers[i].aliases[:8])) for i in nuclear)
    names = panel.markers[nuclear[0]].name
    why = " (it was left out by your own choice)" if chosen_away else ""
    example = slide_markers[0] if slide_markers else "CHANNEL"
    return (
        f"No channel of this slide serves as the nuclear marker {names}{why}. Accepted names are {accepted}. "
        f"The slide has {', '.join(slide_markers)}. Choose one, for example {names}={example}."
    )
