"""How a slide's markers and a model's meet, as a table in plain words with what follows from each line. No Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from napari_dama.gui.resolve import join_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dama.gui.resolve import ChannelPlan
    from napari_dama.models.card import Card
    from napari_dama.slides.panel import How, Panel

WORDS: Final[dict[str, str]] = {
    "exact": "same name",
    "alias": "another name for it",
    "chosen": "you chose",
    "absent": "not on this slide",
}
LEFT_OUT: Final = "left out by you"


@dataclass(frozen=True, slots=True)
class MappingRow:
    """One marker of the model.

    Attributes
    ----------
    model : str
        Its name.
    slide : str
        The slide's marker that serves it, empty for none.
    how : str
        ``exact``, ``alias``, ``chosen`` or ``absent``.
    words : str
        The same in plain words.
    follows : str
        What that means for the analysis.
    grave : bool
        Whether it keeps the model from working, or from telling types.
    """

    model: str
    slide: str
    how: How
    words: str
    follows: str
    grave: bool = False


def mapping_rows(plan: ChannelPlan, panel: Panel, card: Card | None) -> tuple[MappingRow, ...]:
    """Return one row per marker of the model, in its order.

    Parameters
    ----------
    plan : ChannelPlan
        How the slide feeds the model.
    panel : Panel
        The model's markers.
    card : Card or None
        The model's card: which markers its types rest on.
    """
    served = {row.feeds: row.marker for row in plan.rows if row.feeds}
    how: dict[str, How] = {}
    if plan.channels is not None:
        how = {entry.marker: entry.how for entry in plan.channels.matches}
    nuclear = {marker.name for marker in panel.markers if marker.nuclear}
    rows = []
    for marker in panel.markers:
        slide = served.get(marker.name, "")
        kind = how.get(marker.name, "chosen" if slide else "absent")
        words = LEFT_OUT if kind == "chosen" and not slide else WORDS[kind]
        if slide:
            rows.append(
                MappingRow(marker.name, slide, kind, words, _served(marker.name, slide, kind, nuclear))
            )
        else:
            other = any(name in served for name in nuclear)
            follows, grave = _absent(marker.name, marker.name in nuclear, other, card, served)
            rows.append(MappingRow(marker.name, "", kind, words, follows, grave))
    return tuple(rows)


def _served(marker: str, slide: str, how: How, nuclear: set[str]) -> str:
    use = "Cells are found by it." if marker in nuclear else "The model sees it."
    if how == "alias":
        return f"{use} {slide} is taken for {marker}: choose another one if it stains other cells."
    return use


def _absent(
    marker: str, nuclear: bool, other: bool, card: Card | None, served: dict[str, str]
) -> tuple[str, bool]:
    if nuclear:
        if other:
            return "Nuclei are seen in another marker. It goes without this one, less surely.", False
        return "Nothing can be found without a nuclear marker: choose the channel that stains nuclei.", True
    if card is None or "types" not in card.tasks or marker not in card.type_markers:
        return "The model sees it as dark. Cells are found all the same.", False
    left = [name for name in card.type_markers if name in served]
    if len(left) < card.type_markers_min:
        return (
            f"Types rest on it: with {len(left)} of their {len(card.type_markers)} markers (at least "
            f"{card.type_markers_min}) none can be told.",
            True,
        )
    return (
        f"Types are told by the {len(left)} other markers they rest on; cells that only {marker} shows are missed.",
        False,
    )


def unused_sentence(plan: ChannelPlan) -> str:
    """Say which of the slide's markers the model does not see."""
    names = [row.marker for row in plan.rows if not row.feeds]
    if not names:
        return ""
    shown = join_words(names) if len(names) <= 12 else f"{', '.join(names[:12])} and {len(names) - 12} more"
    return f"Not used by the model, but measured in every cell: {shown}."


def choose_slide_marker(
    chosen: dict[str, str], model: str, slide: str, rows: Sequence[MappingRow]
) -> dict[str, str]:
    """Return the choices after the user said which slide marker serves a marker of the model (empty: none)."""
    out = {name: mine for name, mine in chosen.items() if name != model and (not mine or mine != slide)}
    for row in rows:  # a channel serves one marker: the one that it served before goes without
        if slide and row.slide == slide and row.model != model:
            out[row.model] = ""
    out[model] = slide
    return out
