"""Large libraries are loaded in a thread without holding up the others."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading

import pytest

from napari_dama.gui.quiet import collector_resting

LOAD = """
import gc, sys, threading
from napari_dama.gui.quiet import load_torch
assert "torch" not in sys.modules
collections = []
gc.callbacks.append(lambda phase, info: collections.append(info["generation"]))
thread = threading.Thread(target=load_torch)
thread.start()
thread.join()
full = collections.count(2)
import torch
assert float((torch.ones(2) @ torch.ones(2))) == 2.0
assert "napari_dama.predict.explain" in sys.modules
assert gc.isenabled()
assert gc.get_freeze_count() > 50_000, gc.get_freeze_count()
print(full)
"""


def test_torch_is_loaded_without_a_collection_and_works() -> None:
    done = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "0"


def test_the_collector_comes_back_after_the_last_of_several_threads() -> None:
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with collector_resting():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    try:
        with pytest.raises(KeyError), collector_resting():
            thread.start()
            assert inside.wait(10)
            raise KeyError("an error in the block")
        assert not gc.isenabled()
        leave.set()
        thread.join(10)
        assert gc.isenabled()
    finally:
        leave.set()
        gc.unfreeze()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with collector_resting():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
