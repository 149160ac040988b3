"""Who waits longest comes first."""

from __future__ import annotations

import threading
import time

from readvault.db.turns import Turns


def _wait_for(count: int, turns: Turns) -> None:
    end = time.monotonic() + 10
    while len(turns._waiting) < count:
        assert time.monotonic() < end
        time.sleep(0.001)


def test_in_the_order_of_asking_and_one_at_a_time() -> None:
    turns, order, inside = Turns(), [], 0

    def work(number: int) -> None:
        nonlocal inside
        with turns.turn(10):
            inside += 1
            assert inside == 1
            order.append(number)
            inside -= 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
    with turns.turn(10):
        for number, thread in enumerate(threads):
            thread.start()
            _wait_for(number + 1, turns)
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, 4]


def test_a_fault_ends_the_turn() -> None:
    turns = Turns()
    for _ in range(2):
        try:
            with turns.turn(0):
                assert turns._taken
                raise ValueError
        except ValueError:
            assert not turns._taken


def test_who_has_waited_too_long_goes_on_and_takes_nobodys_turn() -> None:
    turns = Turns()
    with turns.turn(10):
        with turns.turn(0.01):
            assert turns._taken
        assert turns._taken
        assert not turns._waiting
    assert not turns._taken
