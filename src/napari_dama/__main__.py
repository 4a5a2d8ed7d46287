"""``python -m napari_dama`` is ``napari-dama``."""

from __future__ import annotations

from napari_dama.cli import main

if __name__ == "__main__":
    main()
