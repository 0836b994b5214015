"""The figures of docs/performance.md are those of the tables in benchmarks/RESULTS.md and benchmarks/NOTES.md."""

import re
from typing import Any, NamedTuple

import pytest
from commands import ROOT
from test_docs import table

RESULTS = (ROOT / "benchmarks" / "RESULTS.md").read_text()
PERFORMANCE = " ".join((ROOT / "docs" / "performance.md").read_text().split())
# column of the document -> how the titles of the sections of its machine begin
MACHINES = {
    1: ("An update, one core", "An update, both cores"),
    2: ("An update with AVX-512 at half the rate",),
    3: ("An update without AVX-512",),
}
MODELS = {
    "encoder-decoder, d256, 3 + 3 layers": "transformer",
    "encoder-decoder, base (63 M)": "base",
    "decoder, d256, 6 layers": "decoder",
    "decoder, GPT-2 small (124 M)": "gpt2",
    "ResNet-50, 224x224": "resnet50",
    "ResNet-18, 32x32": "resnet18",
    "ResNet-20, 32x32": "resnet20",
}


class Row(NamedTuple):
    """A row of a table of updates: section, cores ("1" or "all"), model, side, its numbers, and the row of our side."""

    section: str
    cores: str
    model: str
    side: str
    numbers: dict[str, float]
    ours: Any


def measured():
    """All rows of RESULTS.md about an update with jax 0.10.2, without those that shared their core with a program."""
    rows, section, command, jax, titles, ours = [], "", "", "", [], None
    for line in RESULTS.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("## "):
            section = line[3:]
        elif line.startswith("`python"):
            command = line
        elif versions := re.match(r"20.*, jax ([\d.]+)", line):
            jax = versions[1]
        elif line.startswith("| model |"):
            titles = cells
        elif line.startswith("| ") and len(cells) == len(titles) and cells[1] in ("ours", "eager", "compiled", "flax"):
            numbers = dict(zip(titles[2:], (float(cell.split()[0]) for cell in cells[2:] if cell != "-")))
            row = Row(section, re.search(r"--threads=(\w+)", command)[1], cells[0], cells[1], numbers, ours)
            ours = row if row.side == "ours" else ours
            ratio = numbers["time / ours"]
            if jax == "0.10.2" and abs(numbers.get("by CPU time", ratio) / ratio - 1) < 0.1:
                rows.append(row._replace(ours=ours))
    return rows


ROWS = measured()
TABLE = table("performance.md", "| | 235 GFLOP/s (AVX-512) | 95 (double-pumped AVX-512) | 75 (AVX2) |")


def of(side, column=None):
    """The rows of a side, of one machine or all, for the models of the document."""
    sections = sum(MACHINES.values(), ()) if column is None else MACHINES[column]
    return [row for row in ROWS if row.side == side and row.section in sections and row.model in MODELS.values()]


def test_all_tables_are_read():
    assert len(of("eager")) >= 35 and {row.cores for row in ROWS} == {"1", "all"}
    assert [row[0] for row in TABLE] == list(MODELS)


@pytest.mark.parametrize("column", MACHINES)
@pytest.mark.parametrize("row", TABLE, ids=lambda row: MODELS[row[0]])
def test_a_ratio_is_that_of_a_table(row, column):
    one, _, both = row[column].partition(" and ")
    for cores, quoted in (("1", one), ("all", both)):
        for number in filter(None, quoted.split(" to ")):
            found = [r for r in of("eager", column) if (r.model, r.cores) == (MODELS[row[0]], cores)]
            assert float(number) in [r.numbers["time / ours"] for r in found], (row[0], column, cores)


def quoted(pattern):
    """The numbers in a sentence of the document."""
    found = re.search(pattern, PERFORMANCE)
    assert found, f"performance.md does not say {pattern!r}"
    return [float(number) for number in found.groups()]


def test_the_range_of_compiled_pytorch():
    ratios = [
        eager.numbers["time / ours"] / row.numbers["time / ours"]
        for row in of("compiled")
        for eager in of("eager")
        if eager.ours is row.ours
    ]
    assert quoted(r"`torch.compile` is between ([\d.]+) and ([\d.]+) times as fast as eager PyTorch") == [
        round(min(ratios), 2),
        round(max(ratios), 2),
    ]


def test_the_range_of_flax():
    ratios = [row.numbers["time / ours"] for row in of("flax")]
    assert quoted(r"Flax's own examples take ([\d.]+) to ([\d.]+) times our time") == [
        min(ratios),
        round(max(ratios), 1),
    ]


def test_the_range_of_memory():
    ratios = [row.ours.numbers["peak MB"] / row.numbers["peak MB"] for row in of("eager", 1)]
    expected = [round(min(ratios), 2), round(max(ratios), 2)]
    assert (
        quoted(r"our processes take ([\d.]+) to ([\d.]+) times the memory of eager PyTorch's in the first") == expected
    )


def test_the_memory_of_a_first_start():
    notes = (ROOT / "benchmarks" / "NOTES.md").read_text()
    line = next(line for line in notes.splitlines() if "first start against eager PyTorch: " in line)
    pairs = re.findall(r"([\d,]+)(?: MB against | / )([\d,]+)", line.partition("against eager PyTorch: ")[2])
    ratios = [int(ours.replace(",", "")) / int(theirs.replace(",", "")) for ours, theirs in pairs][:-1]  # without tiny
    assert len(ratios) == 7
    assert quoted(r"at a first start, which compiles, those of the third take ([\d.]+) to ([\d.]+) times") == [
        round(min(ratios), 2),
        round(max(ratios), 2),
    ]


def test_the_share_of_the_rate_of_a_matrix_product():
    shares = {row.model: row.ours.numbers["MFU %"] for row in of("eager", 2) if row.cores == "1"}
    expected = [round(shares["base"]), round(shares["gpt2"])]
    assert quoted(r"in the middle column our larger Transformers reach (\d+) and (\d+) % of it") == expected


def test_the_rates_that_name_the_machines():
    rates = [float(rate) for rate in re.findall(r"(\d+) (?:GFLOP/s )?\((?:AVX|double)", PERFORMANCE)]
    said = " ".join(RESULTS.partition("There are three machines")[2].partition("\n\n")[0].split())
    assert rates == [float(rate) for rate in re.findall(r"(\d+) (?:GFLOP/s )?\((?:AVX|double)", said)] == [235, 95, 75]


@pytest.mark.parametrize("name, model", [("transformer", "base"), ("decoder", "gpt2")])
def test_the_sizes_of_the_models(name, model):
    count = int(re.search(rf"^- {model}: ([\d,]+) parameters", RESULTS, re.MULTILINE)[1].replace(",", ""))
    row = next(row for row in table("models.md", "| `config.model.name` | model |") if row[0] == f"`{name}`")
    assert f"; {count / 1e6:.1f} M parameters" in row[1]
    title = next(title for title, its in MODELS.items() if its == model)
    assert title.endswith(f"({count / 1e6:.0f} M)")


@pytest.mark.parametrize(
    "config, said, task",
    [
        ("transformer_warmup", r"layers of width 128, ([\d.]+) M parameters", r"Transformer on Multi30k [^:]*"),
        ("lm_warmup", r"GPT-2 small, ([\d.]+) M parameters", "- gpt2"),
    ],
)
def test_the_sizes_in_the_configs(config, said, task):
    count = int(re.search(rf"^{task}: ([\d,]+) parameters", RESULTS, re.MULTILINE)[1].replace(",", ""))
    quoted = re.search(said, " ".join((ROOT / "configs" / f"{config}.py").read_text().split()))[1]
    assert round(count / 1e6, len(quoted.partition(".")[2])) == float(quoted)


def test_the_speed_of_a_sweep():
    pattern = r"PyTorch took ([\d.]+) times as long.*? and ([\d.]+) times on a CPU with double-pumped"
    found = re.search(pattern, PERFORMANCE)
    section = RESULTS.partition("## A phase diagram")[2]
    first = re.search(r"one run after another on each core \| ([\d.]+) \|", section)[1]
    second = re.search(r"\| torch, one run after another on each core \| ([\d.]+) \|", section)[1]
    assert found and found.groups() == (first, second)
