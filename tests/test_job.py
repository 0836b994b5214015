"""A config made concrete."""

import jax
import numpy as np

from configs import phase_diagram
from warmup_jax import job


def test_the_program_for_the_first_states_is_there_until_the_last_runs_have_begun():
    config = phase_diagram.get_config("smoke").to_dict() | {
        "sweep": {"warmup_steps": (1,), "peak_lr": (0.1, 0.2), "seeds": 2}, "runs_at_once": 2}
    groups = job.set_up(config).groups
    assert [group.runs for group in groups] == [range(2), range(2, 4)] and groups[0].plan is groups[1].plan
    programs = groups[0].plan.init
    first = groups[0].init(groups[0].knobs())
    assert programs._cache_size() == 1
    last = groups[1].init(groups[1].knobs())
    assert programs._cache_size() == 0
    jax.tree.map(np.testing.assert_array_equal, first.params, last.params)  # of the same seeds
