import numpy as np
import pytest

from warmup_jax.data import batch_index


def indices(seed, size, batch_size, steps):
    return np.concatenate([batch_index(seed, step, size, batch_size) for step in range(steps)])


@pytest.mark.parametrize("size, batch_size", [(10, 3), (10, 10), (7, 1), (12, 4), (11, 10)])
def test_every_epoch_is_a_permutation(size, batch_size):
    epochs = 6
    index = indices(3, size, batch_size, -(-epochs * size // batch_size))[: epochs * size]
    for epoch in index.reshape(epochs, size):
        np.testing.assert_array_equal(np.sort(epoch), np.arange(size))


def test_batch_size_does_not_change_the_stream():
    np.testing.assert_array_equal(indices(0, 20, 5, 12), indices(0, 20, 12, 5))


def test_batches_do_not_depend_on_earlier_calls():
    expected = [batch_index(1, step, 50, 8) for step in range(40)]
    for step in np.random.default_rng(0).permutation(40):
        batch_index(2, 3 * step, 70, 9)
        np.testing.assert_array_equal(batch_index(1, int(step), 50, 8), expected[step])


def test_writing_into_a_batch_changes_no_later_one():
    # A batch may be a view of the cached permutation.
    before = batch_index(0, 0, 10, 5).copy()
    try:
        batch_index(0, 0, 10, 5)[:] = -1
    except ValueError:
        pass
    np.testing.assert_array_equal(batch_index(0, 0, 10, 5), before)


def test_seeds_and_epochs_differ():
    orders = [batch_index(seed, epoch, 100, 100) for seed in range(3) for epoch in range(3)]
    assert len({order.tobytes() for order in orders}) == 9


def test_positions_are_uniform():
    # Chi-square of the position of example 0 in 2,000 epochs: with 9 degrees of freedom, above 27.9 once in a thousand
    # seeds; the seed is fixed.
    position = [int(np.argmin(batch_index(5, epoch, 10, 10))) for epoch in range(2000)]
    counts = np.bincount(position, minlength=10)
    assert ((counts - 200) ** 2 / 200).sum() < 27.9


def test_golden_order():
    # A resumed run continues its order only if no version of numpy changes it.
    assert batch_index(0, 0, 10, 10).tolist() == [7, 6, 8, 3, 2, 4, 1, 5, 0, 9]
    assert batch_index(0, 0, 10, 10).dtype == np.int32


@pytest.mark.parametrize("batch_size", [0, -1, 11])
def test_batch_size_out_of_range(batch_size):
    with pytest.raises(ValueError, match=rf"batch_size={batch_size}; allowed: 1 to 10"):
        batch_index(0, 0, 10, batch_size)


def test_negative_seed_and_step():
    with pytest.raises(ValueError, match="seed=-1"):
        batch_index(-1, 0, 10, 2)
    with pytest.raises(ValueError, match="step=-1"):
        batch_index(0, -1, 10, 2)
