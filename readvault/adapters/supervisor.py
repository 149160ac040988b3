"""Keep a handful of processes running: start them in order, restart what dies, stop all in order."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from readvault.adapters.processes import Child, RunningChild
from readvault.domain.errors import NotReady

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
"""Seconds. A child that served for longer than it paused before counts as healthy: its next pause is the first one."""
STARTS_BEFORE_READY = 3
"""A child that dies so often without ever having been ready won't be ready the next time either."""
TICK = 0.1

Say = Callable[[str, str], None]


@dataclass
class _Watched:
    child: Child
    running: RunningChild | None = None
    was_ready: bool = False
    is_ready: bool = False
    starts: int = 0
    pause: float = 0.0
    start_at: float = 0.0
    ready_at: float = 0.0


class Supervisor:
    """Runs children that are given as data. Use from one thread only: they die with the thread that starts them.

    `say(component, text)` gets one line for each event.
    """

    def __init__(self, children: Sequence[Child], say: Say) -> None:
        self._watched = {child.name: _Watched(child) for child in children}
        self._say = say

    @property
    def pids(self) -> dict[str, int]:
        """The process IDs of what runs now."""
        return {name: w.running.pid for name, w in self._watched.items() if w.running is not None}

    @property
    def ready(self) -> bool:
        """Whether every child is ready now."""
        return all(w.is_ready for w in self._watched.values())

    def tick(self) -> bool:
        """Look at every child once and do what is due; whether a process was started or ended.

        Raises NotReady when a child can't be brought up at all.
        """
        changed = False
        for watched in self._watched.values():
            changed |= self._look_at(watched)
        return changed

    def _look_at(self, watched: _Watched) -> bool:
        if watched.running is None:
            if time.monotonic() < watched.start_at or not self._may_start(watched.child):
                return False
            watched.running = RunningChild(watched.child)
            watched.starts += 1
            return True
        if watched.running.exit_code is not None:
            self._bury(watched)
            return True
        if not watched.is_ready and watched.running.is_ready():
            self._welcome(watched)
        return False

    def _may_start(self, child: Child) -> bool:
        return all(self._watched[name].is_ready for name in child.needs)

    def _welcome(self, watched: _Watched) -> None:
        assert watched.running is not None
        if not watched.was_ready and watched.child.when_ready is not None:
            watched.child.when_ready()
        watched.is_ready = watched.was_ready = True
        watched.ready_at = time.monotonic()
        self._say(watched.child.name, f"ready after {time.time() - watched.running.started_at:.1f} s")

    def _bury(self, watched: _Watched) -> None:
        """Note an unexpected end and when to start again: soon after it served well, later and later if it didn't."""
        assert watched.running is not None
        served = time.monotonic() - watched.ready_at if watched.is_ready else 0.0
        ended, watched.running, watched.is_ready = watched.running, None, False
        lived = time.time() - ended.started_at
        how = _how_it_ended(ended.exit_code)
        if not watched.was_ready and watched.starts >= STARTS_BEFORE_READY:
            tail = "\n  ".join(ended.last_lines())
            raise NotReady(f"{watched.child.name} {how} before it was ready; see {watched.child.log}\n  {tail}")
        healthy = served > watched.pause
        watched.pause = FIRST_PAUSE if healthy else min(LONGEST_PAUSE, 2 * watched.pause or FIRST_PAUSE)
        watched.start_at = time.monotonic() + watched.pause
        self._say(watched.child.name, f"{how} after {lived:.0f} s; starts again in {watched.pause:.0f} s")

    def stop(self, hurry: Callable[[], bool] = lambda: False) -> None:
        """Stop the children, each with its own time to drain; `hurry` cuts that short.

        First those that no other needs or uses, together; then those that only they needed; and so on.
        """
        while running := {name: w for name, w in self._watched.items() if w.running is not None}:
            needed = {name for watched in running.values() for name in watched.child.needs + watched.child.uses}
            self._stop_together([w for name, w in running.items() if name not in needed], hurry)

    def _stop_together(self, wave: Sequence[_Watched], hurry: Callable[[], bool]) -> None:
        began = time.monotonic()
        left = [(watched, watched.running) for watched in wave if watched.running is not None]
        for _, running in left:
            running.ask_to_stop()
        while left:
            for watched, running in list(left):
                took = time.monotonic() - began
                if running.exit_code is None and (took > watched.child.grace or hurry()):
                    running.kill()
                if running.exit_code is not None:
                    how = "killed" if running.exit_code == -signal.SIGKILL else "stopped"
                    self._say(watched.child.name, f"{how} after {took:.1f} s")
                    watched.running, watched.is_ready = None, False
                    left.remove((watched, running))
            time.sleep(TICK / 2)


def _how_it_ended(code: int | None) -> str:
    return f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
