"""What the tutorials' steps tell people to press stands in the real window, word for word."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from napari.plugins import menu_item_template
from qtpy.QtWidgets import QAbstractButton, QApplication, QComboBox, QLabel, QMenu, QTabWidget, QWidget
from tests.gui.made_result import make_result

import napari_dama

pytestmark = pytest.mark.gui
DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = (
    "start.md",
    *(page.relative_to(DOCS).as_posix() for page in sorted((DOCS / "tutorial").glob("*.md"))),
)


def steps_of(page: str) -> list[str]:
    """The numbered steps of a page."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(r"(?m)^\d+\. .*(?:\n +\S.*)*", text)


def words_of(page: str) -> set[str]:
    """What stands in bold in the numbered steps of a page; a path through menus gives each of its parts."""
    bold = [word for step in steps_of(page) for word in re.findall(r"\*\*(.+?)\*\*", step)]
    return {part.strip() for word in bold for part in word.split("\u203a")}


def plain(text: str) -> str:
    """A text without what is not part of the words: shortcuts, dots, signs."""
    return re.sub(r"^[^\w]+|[\s.:…]+$", "", text.replace("&", ""))


def texts_in(widget: QWidget) -> Iterator[str]:
    """Every text that a widget and its children show or can show."""
    for child in (widget, *widget.findChildren(QWidget)):
        if isinstance(child, QLabel | QAbstractButton):
            yield child.text()
        elif isinstance(child, QComboBox):
            yield from (child.itemText(i) for i in range(child.count()))
        elif isinstance(child, QTabWidget):
            yield from (child.tabText(i) for i in range(child.count()))
        elif isinstance(child, QMenu):
            yield child.title()
            yield from (action.text() for action in child.actions())


def manifest_texts() -> Iterator[str]:
    """Texts of napari's menus that open the dock and the sample: one of a kind stands with the plugin's name behind it."""
    manifest = yaml.safe_load((Path(napari_dama.__file__).parent / "napari.yaml").read_text(encoding="utf-8"))
    for kind in ("widgets", "sample_data"):
        (only,) = manifest["contributions"][kind]
        yield menu_item_template.format(manifest["display_name"], only["display_name"])


@pytest.fixture
def window_texts(
    make_napari_viewer: Any, on_shelf: Path, tmp_path: Path, wait_for: Callable[..., None]
) -> Iterator[set[str]]:
    """All texts of the window with a result, its plots, gallery and matching open."""
    from napari_dama.gui.dock import DamaDock

    slide, out = make_result(tmp_path)
    viewer = make_napari_viewer(show=True)
    viewer.open(str(slide), plugin="napari-dama")
    dock = DamaDock(viewer)
    viewer.window.add_dock_widget(dock, name="DAMA")
    dock.results.open_folder(str(out))
    wait_for(lambda: dock.results.work is None and dock.annotate.work is None)
    dock.session.cells.select([3])
    texts = {plain(text) for text in manifest_texts()}
    main = viewer.window._qt_window
    for menu in main.menuBar().findChildren(QMenu):
        menu.aboutToShow.emit()
    texts |= {plain(text) for text in texts_in(main)}
    for name, tab in dock.named_tabs.items():
        dock.show_tab(tab)
        texts |= {plain(name)} | {plain(text) for text in texts_in(dock)}
    dock.results.plots_button.click()
    texts |= {plain(text) for text in texts_in(dock.results.plots)}
    gallery = dock.show_gallery()
    wait_for(lambda: gallery.work is None)
    texts |= {plain(text) for text in texts_in(gallery)}
    dock.channels.deeds.show_mapping()
    texts |= {plain(text) for text in texts_in(dock.channels.deeds.mapping_dialog)}
    dock.channels.deeds.mapping_dialog.close()
    QApplication.processEvents()
    yield texts
    dock.close_down()


def test_steps_name_what_the_window_shows(window_texts: set[str]) -> None:
    """A word is there when a text is that word, or begins with it (*Saved now, in ...*)."""
    missing = {
        page: sorted(
            word
            for word in words_of(page)
            if not any(text == plain(word) or text.startswith(plain(word) + " ") for text in window_texts)
        )
        for page in PAGES
    }
    assert not {page: words for page, words in missing.items() if words}


def test_tutorials_have_steps() -> None:
    for page in PAGES:
        if page not in ("tutorial/ten-minutes.md", "tutorial/improve.md", "tutorial/real-slide.md"):
            assert len(steps_of(page)) >= 5, page
            assert words_of(page), page
