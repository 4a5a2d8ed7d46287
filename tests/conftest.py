"""What every test may lean on: real images where they are, a simulated slide, a screen, two threads."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

# numpy and torch size their pools of threads when they are imported, which no test has done yet.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "2")
# no test puts its jobs on the list of whoever runs the tests
os.environ["NAPARI_DAMA_JOBS"] = tempfile.mkdtemp(prefix="napari_dama_jobs_")

REPOSITORY = Path(__file__).resolve().parents[1]


class SimulatedSlide(NamedTuple):
    """The three files of one simulated slide, as `napari-dama simulate` names them."""

    image: Path
    labels: Path
    cells: Path


def _has_screen() -> bool:
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    gui = [item for item in items if item.get_closest_marker("gui")]
    if gui and not _has_screen():
        skip = pytest.mark.skip(reason="needs a screen: run `make pytest`, or xvfb-run -a pytest")
        for item in gui:
            item.add_marker(skip)
    interop = [item for item in items if item.get_closest_marker("interop")]
    if interop and not os.environ.get("NAPARI_DAMA_INTEROP"):
        skip = pytest.mark.skip(reason="needs libraries of other tools: run `make interop`")
        for item in interop:
            item.add_marker(skip)
    gpu = [item for item in items if item.get_closest_marker("gpu")]
    if gpu and not _has_cuda():
        skip = pytest.mark.skip(reason="needs a CUDA device")
        for item in gpu:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def _two_torch_threads() -> None:
    """Keep torch to two threads, without importing it into tests that need none."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() > 2:
        torch.set_num_threads(2)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout that the tests stand in."""
    return REPOSITORY


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real images; its README says what may be concluded from them."""
    given = os.environ.get("NAPARI_DAMA_DATA")
    folder = Path(given) if given else REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real images are not here: no folder {folder} (set NAPARI_DAMA_DATA)")
    return folder


@pytest.fixture(scope="session")
def simulated_slide(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSlide:
    """One simulated slide of 512 x 512 px with instance labels and types; do not write into its folder."""
    from napari_dama.simulate.write import write_simulated

    folder = tmp_path_factory.mktemp("simulated")
    write_simulated(folder, n=1, size=512, seed=1, difficulty="normal", bits=16, overwrite=False)
    (image,) = folder.glob("*.ome.tif")
    stem = image.name.removesuffix(".ome.tif")
    return SimulatedSlide(image, folder / f"{stem}_cells.tif", folder / f"{stem}_cells.csv")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Many small steps: a second thread costs more than it brings, the more so on a busy machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
