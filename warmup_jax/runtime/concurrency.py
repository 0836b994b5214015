"""Several calls at the same time, in threads."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax


def map_concurrently(function: Callable[[Any], Any], items: Iterable[Any], at_once: int) -> Iterator[Any]:
    """Yields `function(item)` for each item, in order, with up to `at_once` calls at the same time.

    On CPU, JAX computes the programs that one thread dispatches one after another, and those of several threads at
    the same time. The first call runs alone, so that its program is compiled once. Items are drawn in the caller's
    thread, and only when they are needed.

    >>> list(map_concurrently(abs, [3, -2, 1], 2))
    [3, 2, 1]
    """
    items = iter(items)
    if at_once == 1:
        yield from map(function, items)
        return
    yield from map(function, itertools.islice(items, 1))
    results: deque[Future] = deque()
    with ThreadPoolExecutor(at_once) as threads:
        for item in items:
            results.append(threads.submit(lambda item: jax.block_until_ready(function(item)), item))
            if len(results) == at_once:
                yield results.popleft().result()
        while results:
            yield results.popleft().result()
