"""Chunks: a run is cut at every pause, into chunks of at most two lengths, by the step alone."""

import itertools

import pytest

from warmup_jax.training import chunks


def lengths(chunk_steps, pauses, start=0):
    """The lengths of the chunks from `start` to the end."""
    step, found = start, []
    while step < pauses.num_steps:
        found.append(chunks.next_chunk(chunk_steps, pauses, step))
        step += found[-1]
    return found


def test_no_chunk_passes_a_pause():
    pauses = chunks.Pauses(20, (), (10, 13))
    assert lengths(10, pauses) == [10, *[1] * 10]  # to 13 and from there to 20 a whole chunk would go too far
    assert lengths(5, pauses) == [5, 5, 1, 1, 1, 5, 1, 1]


@pytest.mark.parametrize("chunk_steps", [1, 3, 10])
def test_a_resumed_run_is_cut_like_one_that_was_not_interrupted(chunk_steps):
    pauses = chunks.Pauses(31, (chunks.Regular(12, 0, 31),), (7, 30))
    whole = lengths(chunk_steps, pauses)
    assert set(whole) <= {1, chunk_steps} and sum(whole) == 31
    for chunk, end in enumerate(itertools.accumulate(whole[:-1]), 1):
        assert lengths(chunk_steps, pauses, end) == whole[chunk:]
