"""The page about all claims, docs/claims/README.md, made of the claims and their ledger alone."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from warmup_jax.claims import claim as claims
from warmup_jax.claims import ledger, rules, verdicts
from warmup_jax.claims.claim import Claim
from warmup_jax.claims.ledger import Line

HEADER = """# Claims about warmup, and what came of them

This page is generated from [ledger.jsonl](ledger.jsonl) by `python -m warmup_jax.claims report`; do not edit it.
[registry.jsonl](registry.jsonl) holds the criteria of a claim as they were frozen before it was run, and
`python -m warmup_jax.claims audit` compares the two with the history in git. Seeds begin with {first}: smaller ones
were seen while predictions were made.

A claim **holds** or is **refuted** only where the data exclude the opposite at {alpha}, else it is **undecided**;
it is **invalid** where the rig cannot show the effect. Figures are means over seeds with one-sided bounds (medians
where a run diverged). A prediction with * was written after a prototype had shown the outcome.
"""
NONE = "none"
TOLERANCES = {"absolute": "", "relative": " of it"}  # of rule E


def page(catalog: Mapping[str, Claim], entries: Sequence[Line]) -> str:
    """Returns the page.

    Args:
      catalog: the claims of today by id.
      entries: of the ledger, in its order.
    """
    newest = ledger.newest(list(entries))
    parts = [
        HEADER.format(first=claims.FIRST_SEED, alpha=f"{100 * rules.ALPHA:g} %"),
        _summary(catalog, entries, newest),
    ]
    for family, title in claims.FAMILIES.items():
        of_family = [claim for claim in catalog.values() if claim.family == family]
        if of_family:
            parts.append(_table(title, of_family, newest))
    tried = [(catalog[id], entry) for (id, _), entry in sorted(newest.items(), key=_place(catalog)) if id in catalog]
    if tried:
        parts.append("## Evidence\n")
        parts += [_evidence(claim, entry, _times(entries, entry)) for claim, entry in tried]
    return "\n".join(parts)


def verdict_of(claim: Claim, scale: str, newest: Mapping[tuple[str, str], Line]) -> tuple[str, Line | None]:
    """Returns the verdict of a claim at a scale and its entry; "none" without an entry by today's criteria."""
    entry = newest.get((claim.id, scale))
    if entry is None or entry["fingerprint"] != claims.fingerprint(claim):
        return NONE, None
    return entry["verdict"], entry


def _place(catalog: Mapping[str, Claim]) -> Callable[[tuple[tuple[str, str], Line]], tuple[int, str]]:
    order = list(catalog)
    return lambda item: (order.index(item[0][0]) if item[0][0] in catalog else len(order), item[0][1])


def _times(entries: Sequence[Line], entry: Line) -> int:
    return sum(each["claim"] == entry["claim"] and each["scale"] == entry["scale"] for each in entries)


def _summary(catalog: Mapping[str, Claim], entries: Sequence[Line], newest: Mapping[tuple[str, str], Line]) -> str:
    found = [verdict_of(claim, scale, newest) for claim in catalog.values() for scale in claims.SCALES]
    current = [(verdict, entry) for verdict, entry in found if entry is not None]
    counts = ", ".join(
        f"{sum(verdict == outcome for verdict, _ in current)} {'hold' if outcome == 'holds' else outcome}"
        for outcome in (outcome.value for outcome in rules.Outcome)
    )
    tested = [entry for _, entry in current if any(line["rule"] not in verdicts.CERTAIN for line in entry["criteria"])]
    criteria = sum(
        line["rule"] not in verdicts.CERTAIN and not line["rig"] for entry in tested for line in entry["criteria"]
    )
    ready = sum(claim.measure is not None for claim in catalog.values())
    lines = [
        "## In short\n",
        f"- {len(catalog)} claims, {ready} of them ready to run; {len(entries)} trials, of which "
        f"{sum(entry['exploratory'] for entry in entries)} are exploratory.",
        f"- Verdicts by today's criteria: {counts}.",
        f"- {len(tested)} of these verdicts rest on statistics, with {criteria} criteria at a level of "
        f"{rules.ALPHA:g}: at most {rules.ALPHA * criteria:.2g} false ones are to be expected among them.",
    ]
    against = [entry for verdict, entry in current if verdicts.contradicts(entry["predicted"], verdict)]
    said = ", ".join(
        f"{entry['claim']} ({entry['predicted']} was predicted, {entry['verdict']} found)" for entry in against
    )
    lines.append(f"- Contradictions of our predictions: {said or 'none'}.")
    return "\n".join([*lines, "", *_adjusted(current)])


def _adjusted(current: Iterable[tuple[str, Line]]) -> list[str]:
    """Returns the table of p-values of all decided verdicts, adjusted for their number."""
    pairs = [(entry, verdicts.p_value(entry["criteria"])) for _, entry in current]
    decided = [(entry, value) for entry, value in pairs if value is not None]
    if not decided:
        return []
    adjusted = rules.holm([value for _, value in decided])
    rows = [
        f"| {entry['claim']} | {entry['scale']} | {entry['verdict']} | {value:.2g} | {holm:.2g} |"
        for (entry, value), holm in sorted(zip(decided, adjusted, strict=True), key=lambda row: row[1])
    ]
    return [
        "p-values of the decided verdicts, and as adjusted by Holm for their number:\n",
        "| claim | scale | verdict | p | adjusted |",
        "|---|---|---|---|---|",
        *rows,
        "",
    ]


def _table(title: str, of_family: Sequence[Claim], newest: Mapping[tuple[str, str], Line]) -> str:
    lines = [f"## {title}\n", "| claim | says | predicted | verdict | source |", "|---|---|---|---|---|"]
    for claim in of_family:
        lines.append(
            f"| {claim.id} | {_cell(claim.statement)} | {claim.predicted}{'*' * claim.seen} | {_said(claim, newest)} | "
            f"{_cell(claim.source)} |"
        )
    return "\n".join([*lines, ""])


def _said(claim: Claim, newest: Mapping[tuple[str, str], Line]) -> str:
    """Returns the verdicts of a claim by scale, or why there is none."""
    said = []
    for scale in claims.SCALES:
        verdict, entry = verdict_of(claim, scale, newest)
        if entry is not None:
            marks = [" (exploratory)"] * entry["exploratory"]
            marks += [" **against the prediction**"] * verdicts.contradicts(entry["predicted"], verdict)
            said.append(f"{verdict}{' on GPU' if scale == 'gpu' else ''}{''.join(marks)}")
    if said:
        return "; ".join(said) + (f" (needs for the rest: {_cell(claim.needs)})" if claim.needs else "")
    return f"none, needs: {_cell(claim.needs)}" if claim.measure is None else "none yet"


def _evidence(claim: Claim, entry: Line, times: int) -> str:
    """Returns the section of an entry: its criteria with figures, and how to repeat it."""
    stale = entry["fingerprint"] != claims.fingerprint(claim)
    lines = [
        f"### {claim.id}, {entry['scale']}: {entry['verdict']}\n",
        f"{claim.statement} Predicted: {entry['predicted']}{' (after a prototype)' * claim.seen}."
        f"{' **Stale: the claim has changed since.**' * stale}\n",
        "| criterion | figure | bar | outcome |",
        "|---|---|---|---|",
    ]
    for line in entry["criteria"]:
        rig = " (of the rig)" * line["rig"]
        lines.append(f"| {_cell(line['statement'])}{rig} | {_figure(line, entry)} | {_bar(line)} | {line['outcome']} |")
    status = "exploratory" if entry["exploratory"] else "frozen before the run"
    seeds = f", seeds {entry['seeds'][0]} to {entry['seeds'][-1]}" if entry["seeds"] else ""
    environment = entry["environment"]
    lines += [
        "",
        f"{entry['date']}{seeds}, {status}, trial {times} at this scale; {environment['cores']} cores of "
        f"{environment['cpu']}, Python {environment['python']}, jax {environment['packages'].get('jax')}, commit "
        f"{(entry['commit'] or 'none')[:12]}.\n",
        "```bash",
        f"python -m warmup_jax.claims run {claim.id}{' --scale=gpu' * (entry['scale'] == 'gpu')}",
        *(study["command"] for study in entry["studies"].values()),
        "```\n",
    ]
    return "\n".join(lines)


def _figure(line: Line, entry: Line) -> str:
    """Returns the estimate of a criterion with its interval; of a number without chance, that number."""
    if line["rule"] in verdicts.CERTAIN:
        values = entry["numbers"][line["values"]]
        return ", ".join(map(_number, values if isinstance(values, list) else [values]))
    share = " of seeds" * (line["rule"] in ("B", "M"))
    return f"{_number(line['estimate'])}{share} [{_number(line['lower'])}, {_number(line['upper'])}]"


def _bar(line: Line) -> str:
    """Returns what a criterion asks for."""
    parameters = line["parameters"]
    match line["rule"]:
        case "T":
            return f"above {_number(parameters['delta'])}"
        case "EQ":
            return f"within ±{_number(parameters['delta'])}"
        case "B":
            return "more often (Fisher)"
        case "M":
            return "in most seeds"
        case "E":
            expected = parameters["expected"]
            tolerances = [f"{_number(parameters[key])}{unit}" for key, unit in TOLERANCES.items() if key in parameters]
            said = ", ".join(map(_number, expected if isinstance(expected, (list, tuple)) else [expected]))
            return f"{said} ±{' or '.join(tolerances)}" if tolerances else f"{said}, exactly"
        case _:
            low, high = (_number(parameters[end]) if end in parameters else None for end in ("low", "high"))
            return f"{low} to {high}" if low and high else f"from {low}" if low else f"up to {high}"


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _cell(text: str) -> str:
    """Returns a text for a cell of a table: a bar would end it, and a pair of * would be read as markup."""
    return text.replace("|", "\\|").replace("*", "\\*")
