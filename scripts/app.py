"""Open napari with the DAMA dock and a slide: the simulated sample, or the slides that are named.

Run it as `make app`, or as `.venv/bin/python scripts/app.py /data/slide.ome.tif`.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> None:
    """Build the window, fill it, and stay until it is closed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slides", nargs="*", type=Path, help="slides to open instead of the sample")
    parser.add_argument("--seconds", type=float, help="close the window after so long")
    args = parser.parse_args()

    import napari
    from qtpy.QtCore import QTimer

    viewer = napari.Viewer(title="napari-dama")
    if args.slides:
        for slide in args.slides:
            viewer.open(slide, plugin="napari-dama")
    else:
        viewer.open_sample("napari-dama", "simulated_brain_tissue")
    viewer.window.add_plugin_dock_widget("napari-dama", "DAMA")
    if args.seconds is not None:
        QTimer.singleShot(round(1000 * args.seconds), viewer.close)
    napari.run()


if __name__ == "__main__":
    main()
