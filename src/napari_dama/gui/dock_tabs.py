"""The six tabs of the dock, made one after the other; importing this imports all that they need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_dama.gui.analyse_tab import AnalyseTab
from napari_dama.gui.annotate_tab import AnnotateTab
from napari_dama.gui.channels_tab import ChannelsTab
from napari_dama.gui.explain_tab import ExplainTab
from napari_dama.gui.results_tab import ResultsTab
from napari_dama.gui.train_tab import TrainTab

if TYPE_CHECKING:
    from collections.abc import Iterator

    import napari

    from napari_dama.gui.session import Session
    from napari_dama.gui.style import Tab


def make_tabs(viewer: napari.Viewer, session: Session) -> Iterator[tuple[str, Tab]]:
    """Make the tabs in the order of the work, each when it is asked for; yields its attribute of the dock and the tab."""
    yield "channels", ChannelsTab(viewer, session)
    yield "analyse", AnalyseTab(viewer, session)
    results = ResultsTab(viewer, session)
    yield "results", results
    yield "annotate", AnnotateTab(viewer, session, results)
    yield "explain", ExplainTab(viewer, session)
    yield "train", TrainTab(viewer, session)
