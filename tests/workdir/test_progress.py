"""Progress on the screen: no time left before one is known, and evaluations on lines of their own."""

import sys

import pytest

from warmup_jax.workdir import progress

EVALUATION = "run 0 (warmup_steps=50) update 10 of 30: test loss 1.234 test accuracy 0.9"


@pytest.fixture
def clock(monkeypatch):
    """A list with the time in seconds."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    return now


@pytest.fixture
def terminal(monkeypatch):
    """Makes stderr a terminal of some columns."""

    def of(columns):
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        monkeypatch.setenv("COLUMNS", str(columns))

    return of


def test_there_is_no_time_left_before_one_is_known_and_at_the_end(capsys, clock):
    bar = progress.Progress(total=30, runs=1)
    for _ in range(3):
        clock[0] += 11
        bar.advance(10, "loss 2")
        bar.evaluated("test loss 1")
    bar.close()
    assert capsys.readouterr().out.splitlines() == [
        "10/30 updates, loss 2",
        "test loss 1",
        "20/30 updates, ETA 11 s, loss 2",
        "test loss 1",
        "30/30 updates, loss 2",
        "test loss 1",
    ]


def test_without_a_terminal_there_is_a_line_now_and_then(capsys, clock):
    bar = progress.Progress(total=300, runs=1)
    for step in range(30):
        bar.advance(1, f"loss {step}")
        clock[0] += 1
    assert capsys.readouterr().out.splitlines() == [
        "12/300 updates, ETA 5 min, loss 11",
        "23/300 updates, ETA 5 min, loss 22",
    ]


@pytest.mark.parametrize("columns", [40, 80])
def test_an_evaluation_has_its_own_line_on_a_terminal(capsys, terminal, columns):
    terminal(columns)
    bar = progress.Progress(total=30, runs=2)
    bar.advance(10, "loss 1")
    bar.evaluated(EVALUATION)
    bar.close()
    assert EVALUATION in capsys.readouterr().out.splitlines()


def test_a_terminal_of_80_columns_shows_what_a_run_says(capsys, terminal, clock):
    terminal(80)
    bar = progress.Progress(total=200, runs=2)
    bar.advance(1, "")
    clock[0] += 30
    text = "run 1 lr 1.72 loss 0.043 acc 0.987 840 ex/s"
    bar.advance(99, text)
    bar.close()
    shown = [line.strip() for line in capsys.readouterr().err.split("\r")]
    assert any("compiling" in line for line in shown) and not any("ETA" in line for line in shown[:-1])
    assert shown[-1].startswith("50%|") and shown[-1].endswith(f"| 100/200, ETA 30 s, {text}")


@pytest.mark.parametrize("is_terminal", [False, True])
def test_many_runs_are_counted_to_the_last_one(capsys, terminal, is_terminal):
    runs = progress.FEW_RUNS + 1
    if is_terminal:
        terminal(80)
    bar = progress.Progress(total=20, runs=runs)
    bar.advance(20, "loss 1")
    bar.evaluated(EVALUATION)
    bar.runs_ended(runs, diverged=3)
    bar.close()
    out, err = capsys.readouterr()
    assert EVALUATION not in out
    last = (err if is_terminal else out).splitlines()[-1]
    assert last.strip().endswith(f"20/20{'' if is_terminal else ' updates'}, {runs}/{runs} runs done, 3 diverged")
