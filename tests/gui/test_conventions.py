"""Menus, preferences and keys, as napari has them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from napari_dama.gui import commands
from napari_dama.gui.preferences import FOLDERS, Preferences, apply_folders, read_preferences

MENUS = ("segment", "classify", "annotate", "data", "visualize")


def titles(menu: Any) -> dict[str, Any]:
    return {action.text().replace("&", ""): action for action in menu.actions()}


@pytest.mark.parametrize("name", MENUS)
def test_a_submenu_in_each_menu_of_layers(dock: Any, name: str) -> None:
    window = dock.viewer.window
    layers = window.layers_menu
    menu = next(action.menu() for text, action in titles(layers).items() if text.lower() == name)
    sub = titles(menu)["DAMA"].menu()
    assert sub is not None and sub.actions()


def test_an_entry_of_a_menu_opens_its_tab(make_napari_viewer: Any, on_shelf: Path) -> None:
    from napari._app_model import get_app_model

    viewer = make_napari_viewer()
    get_app_model().commands.execute_command("napari-dama.explain").result()
    dock = commands.open_dock(viewer)
    assert dock.tabs.tabText(dock.tabs.currentIndex()) == "Explain"
    get_app_model().commands.execute_command("napari-dama.find_cells").result()
    assert commands.open_dock(viewer) is dock  # one dock, not two
    assert dock.tabs.tabText(dock.tabs.currentIndex()) == "Analyse"


def test_preferences_live_in_naparis_settings(
    request: pytest.FixtureRequest, npe2pm: Any, on_shelf: Path
) -> None:
    settings = pytest.importorskip("napari.settings")
    if not hasattr(settings, "get_plugin_settings"):
        pytest.skip("this napari keeps no settings of plugins (0.9 and newer do)")
    request.getfixturevalue("plugin_settings")
    make_napari_viewer = request.getfixturevalue("make_napari_viewer")
    get_plugin_settings = settings.get_plugin_settings
    from npe2 import PluginManifest

    if "napari-dama" not in npe2pm:
        npe2pm.register(PluginManifest.from_distribution("napari-dama"))
    viewer = make_napari_viewer()
    assert read_preferences() == Preferences()
    get_plugin_settings("napari-dama").work.device = "cpu"
    assert read_preferences().device == "cpu"
    assert commands.open_dock(viewer).state.analyse.device == "cpu"


def test_a_preferred_folder_reaches_other_processes_and_never_wins_over_the_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    models, jobs = FOLDERS["model_folder"], FOLDERS["job_folder"]
    monkeypatch.delenv(models, raising=False)
    monkeypatch.setenv(jobs, "mine")
    try:
        apply_folders(Preferences(model_folder="~/my models", job_folder="other"))
        assert os.environ[models] == os.path.expanduser("~/my models")
        assert os.environ[jobs] == "mine"
        apply_folders(Preferences(model_folder="elsewhere"))
        assert os.environ[models] == "elsewhere"
    finally:
        apply_folders(Preferences())
    assert models not in os.environ


def test_the_keys_are_shown(dock: Any, qtbot: Any) -> None:
    from qtpy.QtWidgets import QLabel

    from napari_dama.gui.keys import KEYS, KeysDialog

    dialog = KeysDialog()
    qtbot.addWidget(dialog)
    shown = {label.text() for label in dialog.findChildren(QLabel)}
    for keys in KEYS.values():
        for key in keys:
            assert key.keys in shown and key.does in shown
