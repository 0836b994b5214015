"""The table of runs."""

from warmup_jax import report
from warmup_jax.report import run_record

RUNS = [({"warmup_steps": 0}, "diverged"), ({"warmup_steps": 50}, "trained")]


def test_table_of_runs(write):
    summary = run_record.read(write(RUNS, tokens_per_second=99.6, bleu_signature="nrefs:1")).summary
    del summary["runs"][0]["final"]["eval/accuracy"]
    assert report.table(summary).split("\n") == [
        "run  warmup_steps  highest rate  train loss  test loss  test acc.  best        diverged",
        "-" * 87,
        "0    0             0.5           nan         nan                   0.0% at 20  at 11",
        "1    50            0.5           0.4         0.5        90.0%                  no",
        "total 61 s, first update after 2.2 s, 1234 examples/s, 100 tokens/s, peak memory 0.50 GiB",
        "BLEU: nrefs:1",
    ]


def test_a_terminal_of_80_columns_holds_runs_that_did_not_diverge(write):
    summary = run_record.read(write(RUNS[1:])).summary
    summary["runs"][0]["final"] |= {"train/loss": 0.0006215, "eval/loss": 1.058e5}  # of the most digits
    summary["runs"][0]["best"]["step"] = 1640
    lines = report.table(summary).split("\n")
    assert max(map(len, lines[:3])) <= 80 and "diverged" not in lines[0]


def test_what_says_nothing_has_no_column(write):
    runs = [({"norm": "post", "peak_lr": 0.5}, "trained"), ({"norm": "pre", "peak_lr": 0.25}, "trained")]
    summary = run_record.read(write(runs)).summary
    titles = "run  norm  peak_lr  train loss  test loss  test acc."
    assert report.table(summary).split("\n")[0] == titles
    summary["runs"][1]["highest_rate"] = 0.125  # its warmup did not end
    assert "peak_lr  highest rate  train" in report.table(summary)
    summary["runs"][0]["best"]["eval/accuracy"] = 0.95
    assert "best\n" in report.table(summary) and "95.0% at 20" in report.table(summary)
