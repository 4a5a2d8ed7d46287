"""How an improvement says what it does and how long it still takes, in its folder and to whoever asked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_dama.training.folder import RunFolder

_TELL_S: Final = 0.5


class Telling:
    """Says in the folder, and to whoever asked, how far the run is and how long it still takes."""

    def __init__(
        self,
        run: RunFolder,
        progress: Callable[[int, int, str], None] | None,
        stop: Callable[[], bool] | None,
    ) -> None:
        self.run, self._progress, self._stop = run, progress, stop
        self.facts: dict[str, Any] = {}
        self._doing, self._begun, self._told = "", 0.0, 0.0

    def stop(self) -> bool:
        """Whether the run is to end."""
        return self.run.stop_asked() or (self._stop is not None and self._stop())

    def say(self, doing: str, done: int, total: int, rest_s: float = 0.0, first: int = 0) -> None:
        """Say how much of ``total`` is done.

        ``rest_s``: seconds that what comes after this takes; ``first``: what was done before this session.
        """
        now = time.monotonic()
        if doing != self._doing:
            self._doing, self._begun, self._told = doing, now, 0.0
        if now - self._told < _TELL_S and done < total:
            return
        self._told = now
        fresh = done - first
        left = (now - self._begun) / fresh * (total - done) + rest_s if fresh > 0 else None
        self.facts |= {"step": done, "steps": total, "doing": doing, "share": done / max(total, 1)}
        self.run.status(state="running", **self.facts, **({} if left is None else {"eta_s": left}))
        if self._progress is not None:
            self._progress(done, total, doing)

    def ended(self, state: str, **facts: Any) -> None:
        """Say how the run ended."""
        self.facts.pop("doing", None)
        self.run.status(state=state, **self.facts, **facts)
        self.run.event(state, step=self.facts.get("step", 0), **facts)
