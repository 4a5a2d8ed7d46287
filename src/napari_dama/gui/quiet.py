"""Libraries that are large are loaded in a thread without the window standing still.

Three things hold up Qt's thread while another one imports torch, for 100 to 900 ms at a time: Python's lock is held while a
shared library of hundreds of megabytes is read and linked; Python's collector of unreachable objects goes through all of
the million objects that the window and the library have, several times; and functions in C that hold the lock. The first two
are avoided here: the libraries are linked by the system's own ``dlopen`` without Python's lock before torch asks for them,
and the collector rests meanwhile. What was made by then is then set apart, so that later collections do not go through it,
either.

While a network answers, its Python side and Qt's thread want Python's lock by turns. Qt's thread gives it up at nearly every
call into Qt, and gets it back only when the other thread has had its 5 ms: twenty such calls make a tenth of a second.
`window_first` shortens that.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import importlib.util
import os
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TORCH_LIBRARIES = ("libtorch_cpu.so", "libtorch_python.so")
SWITCH_S = 0.0005
"""How long another thread may keep Python's lock when Qt's thread wants it, while a network answers."""
NETWORKS = ("torch", "napari_dama.predict.explain", "napari_dama.models.model")
"""What is imported with torch; the last one brings timm and torchvision, 200 000 objects, for loading a model."""

_lock = threading.Lock()
_resting = 0
_collects = False
_hurried = 0
_switch_s = 0.0


def load_torch() -> None:
    """Import torch and what the networks need of it, as quietly as it goes; at once when that was done before.

    Call it in a thread, never in Qt's. Where torch is missing nothing happens: whoever needs it says so.
    """
    if all(name in sys.modules for name in NETWORKS):
        return
    from napari_dama.gui.work import keep_triton_out

    keep_triton_out()
    with collector_resting():
        if "torch" not in sys.modules:
            _link_torch()
        for name in NETWORKS:
            try:
                importlib.import_module(name)
            except ImportError:
                return


def load_in_thread(modules: Sequence[str]) -> threading.Thread | None:
    """Import modules, and all that they import, in a thread; None when all of them are there already.

    Only modules that make no Qt objects while they are imported: these would belong to that thread. A module that cannot be
    imported is left to whoever needs it, who then says so.
    """
    missing = [name for name in modules if name not in sys.modules]
    if not missing:
        return None

    def load() -> None:
        with collector_resting():
            for name in missing:
                with suppress(Exception):
                    importlib.import_module(name)

    thread = threading.Thread(target=load, name="napari-dama-import", daemon=True)
    thread.start()
    return thread


@contextmanager
def collector_resting() -> Iterator[None]:
    """Let Python's collector rest while many objects are made that will stay, and set them apart afterwards.

    May be nested, in several threads: the last one to leave switches the collector on again, if it was on.
    """
    global _resting, _collects
    with _lock:
        if not _resting:
            _collects = gc.isenabled()
            gc.disable()
        _resting += 1
    try:
        yield
    finally:
        with _lock:
            _resting -= 1
            if not _resting and _collects:
                gc.freeze()
                gc.enable()


@contextmanager
def window_first() -> Iterator[None]:
    """Let threads hand Python's lock on ten times as often while a ``with`` block computes in a thread of its own.

    May be nested, in several threads: the last one to leave sets the interval that was found.
    """
    global _hurried, _switch_s
    with _lock:
        if not _hurried:
            _switch_s = sys.getswitchinterval()
            sys.setswitchinterval(min(SWITCH_S, _switch_s))
        _hurried += 1
    try:
        yield
    finally:
        with _lock:
            _hurried -= 1
            if not _hurried:
                sys.setswitchinterval(_switch_s)


def _link_torch() -> None:
    """Link torch's libraries without Python's lock; a failure is left to torch, which then says what is wrong."""
    if sys.platform != "linux":  # where it was measured
        return
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return
    try:
        link = ctypes.CDLL(
            None
        ).dlopen  # a function called by ctypes runs without the lock; CDLL(name) keeps it
    except (OSError, AttributeError):
        return
    link.argtypes, link.restype = [ctypes.c_char_p, ctypes.c_int], ctypes.c_void_p
    for name in TORCH_LIBRARIES:
        file = Path(found.origin).parent / "lib" / name
        if file.is_file():
            link(os.fsencode(file), os.RTLD_NOW | os.RTLD_LOCAL)
