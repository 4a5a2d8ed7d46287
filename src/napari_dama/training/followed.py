"""The folder of a run as the processes see it that do not write it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from napari_dama.training.folder import RunFolder, opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from types import TracebackType

    import torch
    from torch import Tensor

    from napari_dama.training.place import Place
    from napari_dama.training.settings import RunSettings
    from napari_dama.training.team import Team


class FollowedFolder(RunFolder):
    """Reads checkpoints, and writes nothing: one process does that, and only it heeds the file that asks for a stop."""

    def __enter__(self) -> Self:
        """No heartbeat."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held."""

    def status(self, **facts: Any) -> None:
        """Say nothing."""

    def event(self, kind: str, **facts: Any) -> None:
        """Say nothing."""

    def log(self, text: str) -> None:
        """Say nothing."""

    def metrics(self, row: dict[str, float | int]) -> None:
        """Say nothing."""

    def forget_after(self, step: int) -> None:
        """Leave it to the process that writes."""

    @contextmanager
    def failures_told(self) -> Iterator[None]:
        """Leave it to the process that writes."""
        yield

    def failed(self, why: str) -> None:
        """Say nothing."""

    def stop_asked(self) -> bool:
        """Whether this process heard of a stop: never."""
        return False

    def save_checkpoint(self, name: str, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Write nothing."""


def opened_at(
    place: Place | None, folder: RunFolder | None, settings: RunSettings, *, resume: bool, overwrite: bool
) -> AbstractContextManager[RunFolder]:
    """The folder of a run: begun (or taken) by its first process, looked at by the others."""
    if place is None or place.leads:
        return opened(folder, settings, resume=resume, overwrite=overwrite)
    return FollowedFolder(settings.out)


@contextmanager
def begun(
    folder: RunFolder | None,
    settings: RunSettings,
    place: Place | None,
    device: torch.device,
    *,
    resume: bool,
    overwrite: bool,
) -> Iterator[tuple[RunFolder, Team | None]]:
    """A run's folder, and the team of its processes where there are several; what fails in the block is told to both."""
    if place is None:
        with opened(folder, settings, resume=resume, overwrite=overwrite) as run, run.failures_told():
            yield run, None
        return
    from napari_dama.training.team import team_for, together

    with (
        team_for(place, device) as team,
        opened_at(place, folder, settings, resume=resume, overwrite=overwrite) as run,
        run.failures_told(),
        together(team, run),
    ):
        yield run, team
