"""Calls at the same time: their order, their items and their errors."""

import threading

import pytest

from warmup_jax.runtime.concurrency import map_concurrently


def test_programs_run_side_by_side_and_in_order():
    meeting, threads, taken = threading.Barrier(3, timeout=60), set(), []

    def items():
        for item in range(7):
            taken.append(threading.get_ident())
            yield item

    def square(item):
        if item > 0:  # the first, which would be compiled now, is alone
            meeting.wait()  # the others go on only if three of them have begun
            threads.add(threading.get_ident())
        return item**2

    assert list(map_concurrently(square, items(), 3)) == [item**2 for item in range(7)]
    assert len(threads) == 3 and threading.get_ident() not in threads and set(taken) == {threading.get_ident()}


@pytest.mark.parametrize("at_once", [1, 3])
def test_items_are_taken_when_they_are_needed(at_once):
    taken = []
    items = (taken.append(item) or item for item in range(10))
    for done, _ in enumerate(map_concurrently(abs, items, at_once)):
        assert len(taken) <= done + at_once


@pytest.mark.parametrize("at_once", [1, 2])
def test_an_error_of_one_program_is_the_callers(at_once):
    with pytest.raises(ZeroDivisionError):
        list(map_concurrently(lambda item: 1 / (3 - item), range(9), at_once))
