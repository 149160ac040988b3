"""Names are looked up in a bounded time, in a bounded number of threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from readvault.adapters.egress import Egress
from readvault.adapters.egress_names import Names, TooSlow
from readvault.config.pulls import PullSettings
from readvault.domain.pulls import SourceAway


def until(fits: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not fits():
        assert time.monotonic() < end
        time.sleep(0.005)


def lookups() -> int:
    return sum(thread.name == "names" for thread in threading.enumerate())


def test_a_name_that_is_not_answered_is_a_source_that_is_away() -> None:
    hangs = threading.Event()

    def resolver(_host: str, _port: int) -> list[str]:
        hangs.wait(10)
        return ["127.0.0.1"]

    out = Egress(PullSettings(hosts=("s3.lab.example",)), resolver=resolver)
    begun = time.monotonic()
    with pytest.raises(SourceAway, match="too slow"), out.get("https://s3.lab.example/b/x", {}, within=0.1):
        pass
    assert time.monotonic() - begun < 2
    hangs.set()
    until(lambda: lookups() == 0)


def test_names_that_hang_take_so_many_threads_and_no_more() -> None:
    hangs = threading.Event()

    def resolver(host: str, _port: int) -> list[str]:
        if host.startswith("hangs"):
            hangs.wait(10)
        return [host]

    names = Names(resolver, within=0.05, at_once=3)

    def asked(host: str) -> list[str] | str:
        try:
            return names.addresses(host, 443, 5)
        except TooSlow:
            return "too slow"

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(asked, [f"hangs-{number}" for number in range(20)])) == {"too slow"}
    assert lookups() == 3
    assert asked("good") == "too slow", "there is no place, and it ends all the same"
    hangs.set()
    until(lambda: lookups() == 0)
    assert [asked(host) for host in ("good", "hangs-1", "hangs-19")] == [["good"], ["hangs-1"], ["hangs-19"]]


def test_the_same_name_is_looked_up_once_at_a_time_and_a_failure_is_kept_by_nobody() -> None:
    asked, begun, goes_on = list[str](), threading.Event(), threading.Event()

    def resolver(host: str, _port: int) -> list[str]:
        asked.append(host)
        begun.set()
        goes_on.wait(10)
        if len(asked) == 1:
            raise OSError("no such name")
        return ["127.0.0.1"]

    names = Names(resolver)

    def told(_number: int) -> str:
        try:
            return names.addresses("a", 443, 5)[0]
        except OSError as fault:
            return str(fault)

    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(told, 0)]
        assert begun.wait(5)
        found += [pool.submit(told, number) for number in range(1, 6)]
        time.sleep(0.1)
        goes_on.set()
        assert {each.result() for each in found} == {"no such name"}
    assert asked == ["a"]
    assert told(0) == "127.0.0.1"


def test_what_has_no_time_left_asks_nobody_for_long() -> None:
    names = Names(lambda _host, _port: time.sleep(0.2) or ["127.0.0.1"])  # type: ignore[func-returns-value]
    with pytest.raises(TooSlow):
        names.addresses("a", 443, -1)
    until(lambda: lookups() == 0)
