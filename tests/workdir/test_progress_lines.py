"""What the screen shows: no time left before one is known, and evaluations on lines of their own."""

import sys

from warmup_jax.workdir import progress


def test_there_is_no_time_left_before_one_is_known_and_at_the_end(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    bar = progress.Progress(total=30, runs=1)
    for _ in range(3):
        bar.advance(10, "loss 1", always=True)
        now[0] += 10
    bar.close()
    assert capsys.readouterr().out.splitlines() == [
        "10/30 steps, loss 1",
        "20/30 steps, ETA 10 s, loss 1",
        "30/30 steps, loss 1",
    ]


def test_an_evaluation_has_its_own_line_on_a_narrow_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    bar = progress.Progress(total=30, runs=1)
    line = "run 0 (warmup_steps=50) step 10: test loss 1.234 test accuracy 0.9"
    bar.advance(10, line, always=True)
    bar.close()
    assert line in capsys.readouterr().out.splitlines()
