"""The command line: thin, over the same functions as the window."""

from __future__ import annotations

from napari_dama.cli.app import app, main

__all__ = ["app", "main"]
