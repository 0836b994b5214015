"""The table of runs."""

from warmup_jax import report
from warmup_jax.report import run_record

RUNS = [({"warmup_steps": 0}, "diverged"), ({"warmup_steps": 50}, "trained")]


def test_table_of_runs(write):
    summary = run_record.read(write(RUNS, tokens_per_second=99.6, bleu_signature="nrefs:1")).summary
    del summary["runs"][0]["final"]["eval/accuracy"]
    assert report.table(summary).split("\n") == [
        "run                   peak rate  train loss  test loss  test acc.  best         diverged",
        "-" * 88,
        "0    warmup_steps=0   0.5        nan         nan                   0.0% at 20   at 11",
        "1    warmup_steps=50  0.5        0.4         0.5        90.0%      90.0% at 20  no",
        "61 s in all, 2.2 s to the first step, 1234 examples/s, 100 tokens/s, 0.50 GiB at most",
        "BLEU: nrefs:1",
    ]


def test_a_terminal_of_80_columns_holds_runs_that_did_not_diverge(write):
    summary = run_record.read(write(RUNS[1:])).summary
    summary["runs"][0]["final"] |= {"train/loss": 0.0006215, "eval/loss": 1.058e5}  # of the most digits
    summary["runs"][0]["best"]["step"] = 1640
    lines = report.table(summary).split("\n")
    assert max(map(len, lines[:3])) <= 80 and "diverged" not in lines[0]
