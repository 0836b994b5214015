"""Claims about warmup: listed, frozen, run and judged.

python -m warmup_jax.claims list [--json] [--scale=gpu]
  prints every claim with its prediction and its verdict

python -m warmup_jax.claims show ID
  prints source, criteria, commands and the history of a claim

python -m warmup_jax.claims freeze ID... --why=TEXT
  writes the fingerprint of claims to the registry; commit it before you run them

python -m warmup_jax.claims run ID... [--scale=gpu] [--workdir=DIR] [--smoke]
  trains what is not trained yet, judges, and appends to the ledger; resumes
  what was stopped. "K-*" stands for all claims of a letter

python -m warmup_jax.claims judge | report [--check] | audit
  judges all entries again by their numbers; writes the page, or compares it;
  compares registry and ledger with the history in git
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from warmup_jax import config_files, places, registry, streams
from warmup_jax.claims import claim as claims
from warmup_jax.claims import ledger, page, trial, verdicts
from warmup_jax.claims.audit import audit
from warmup_jax.claims.catalog import CLAIMS
from warmup_jax.claims.claim import Claim
from warmup_jax.claims.ledger import Line
from warmup_jax.runtime import process

Options = argparse.Namespace


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status: 2 for a user's mistake, 1 if something is unfinished or wrong."""
    options = _parser().parse_args(arguments)
    try:
        options.root = places.local("--root", options.root)
        return COMMANDS[options.command](options)
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def list_claims(options: Options) -> int:
    """Prints a line for each claim."""
    newest = ledger.newest(ledger.read(options.root / ledger.LEDGER))
    for claim in CLAIMS.values():
        verdict, _ = page.verdict_of(claim, options.scale, newest)
        if options.json:
            described = {
                "id": claim.id,
                "family": claim.family,
                "predicted": claim.predicted,
                "verdict": verdict,
                "scale": options.scale,
                "seeds": claims.seeds(claim, options.scale),
                "fingerprint": claims.fingerprint(claim),
                "ready": options.scale in claims.scales(claim),
                "needs": claim.needs,
                "statement": claim.statement,
            }
            print(json.dumps(described))
        else:
            says = claim.statement if len(claim.statement) <= 76 else f"{claim.statement[:73]}..."
            print(f"{claim.id:5} {claim.predicted:8} {verdict:10} {says}")
    return 0


def show(options: Options) -> int:
    """Prints all about a claim."""
    claim = registry.lookup("claim", CLAIMS, options.id)
    print(f"{claim.id}: {claim.statement}\nsource: {claim.source}")
    print(f"predicted: {claim.predicted}{' (after a prototype)' * claim.seen}")
    print(f"fingerprint: {claims.fingerprint(claim)}")
    if claim.needs:
        print(f"needs: {claim.needs}")
    for criterion in claim.criteria:
        given = ", ".join(f"{key}={value}" for key, value in criterion.parameters.items())
        print(
            f"criterion{' of the rig' * criterion.rig}: {criterion.statement} (rule {criterion.rule}; "
            f"{given or 'no number'})"
        )
    for scale, studies in claim.studies.items():
        for name, study in studies.items():
            print(f"{scale}, study {name}: {trial.command(study)}")
    for line in ledger.read(options.root / ledger.REGISTRY):
        if line["claim"] == claim.id:
            print(f"frozen on {line['date']} as {line['fingerprint']}: {line['why']}")
    for entry in ledger.read(options.root / ledger.LEDGER):
        if entry["claim"] == claim.id:
            print(f"run on {entry['date']} at {entry['scale']} scale as {entry['fingerprint']}: {entry['verdict']}")
            _print_criteria(entry)
    return 0


def freeze(options: Options) -> int:
    """Appends claims to the registry, with all that makes their fingerprint but the source texts."""
    chosen = [claim for claim in _chosen(options.ids) if claim.measure is not None]
    known = {(line["claim"], line["fingerprint"]) for line in ledger.read(options.root / ledger.REGISTRY)}
    for claim in chosen:
        fingerprint = claims.fingerprint(claim)
        if (claim.id, fingerprint) in known:
            print(f"{claim.id}: {fingerprint} is frozen already")
            continue
        content = claims.content(claim)
        content["measure"] = sorted(content["measure"])
        line = {"claim": content.pop("id"), "fingerprint": fingerprint, "date": _today(), "why": options.why} | content
        ledger.append(options.root / ledger.REGISTRY, line)
        print(f"{claim.id}: {fingerprint} is frozen")
    print(f"next: commit {ledger.REGISTRY}, then run")
    return 0


def run(options: Options) -> int:
    """Runs claims one after another."""
    process.one_device_for_each_core()  # before the claims that train nothing start JAX
    from warmup_jax.training import experiment  # after the arguments are known to be right: it imports much

    chosen = [claim for claim in _chosen(options.ids) if options.scale in claims.scales(claim)]
    if not chosen:
        raise ValueError(f"{', '.join(options.ids)}: no study at {options.scale} scale; see show ID")
    workdir = places.local("--workdir", options.workdir)
    # Those that train nothing come last: an interruption should not wait for them.
    for claim in sorted(chosen, key=lambda claim: not claim.studies):
        try:
            entry = trial.run(claim, options.scale, workdir, options.root, options.smoke)
        except experiment.UserError as error:
            raise ValueError(f"{claim.id}: {error}") from error
        except experiment.Interrupted as interruption:
            print(f"{claim.id} is unfinished: {interruption}; the same command resumes it")
            return 1
        if not options.smoke:
            ledger.append(options.root / ledger.LEDGER, entry)
        kind = (
            "smoke, not in the ledger" if options.smoke else "exploratory" if entry["exploratory"] else "frozen before"
        )
        print(f"{claim.id}: {entry['verdict']} (predicted: {claim.predicted}; {kind}; {entry['seconds']} s)")
        _print_criteria(entry)
    return 0


def judge(options: Options) -> int:
    """Judges all entries again by their numbers, and says which verdicts differ."""
    wrong, entries = 0, ledger.read(options.root / ledger.LEDGER)
    for number, entry in enumerate(entries, 1):
        found = verdicts.again(entry["criteria"], ledger.decode(entry["numbers"]))
        outcomes = [[line["outcome"] for line in of] for of in (found, entry["criteria"])]
        if outcomes[0] != outcomes[1] or verdicts.verdict(found) != entry["verdict"]:
            wrong += 1
            print(
                f"{ledger.LEDGER.name}, line {number}: {entry['claim']} is {entry['verdict']}, by its numbers "
                f"{verdicts.verdict(found).value} ({', '.join(outcomes[0])})",
                file=sys.stderr,
            )
    print(f"{len(entries)} entries judged again, {wrong} differ")
    return int(wrong > 0)


def report(options: Options) -> int:
    """Writes the page, or compares it."""
    path = options.root / ledger.PAGE
    text = page.page(CLAIMS, ledger.read(options.root / ledger.LEDGER))
    if not options.check:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path}")
        return 0
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return 0
    print(f"{path} is not what the ledger gives; run: python -m warmup_jax.claims report", file=sys.stderr)
    return 1


def check_history(options: Options) -> int:
    """Audits registry and ledger."""
    found = audit(options.root, CLAIMS)
    for line in found:
        print(line, file=sys.stderr)
    if not found:
        entries = ledger.read(options.root / ledger.LEDGER)
        print(
            f"{sum(not entry['exploratory'] for entry in entries)} of {len(entries)} entries are confirmatory, and "
            "are so"
        )
    return int(bool(found))


COMMANDS: dict[str, Callable[[Options], int]] = {
    "list": list_claims,
    "show": show,
    "freeze": freeze,
    "run": run,
    "judge": judge,
    "report": report,
    "audit": check_history,
}


def _chosen(patterns: Sequence[str]) -> list[Claim]:
    """Returns the claims of some ids, without those of a pattern that cannot be tried."""
    named = [claim for claim in claims.select(CLAIMS, [each for each in patterns if not each.endswith("*")])]
    for claim in named:
        if claim.measure is None:
            raise ValueError(f"{claim.id} cannot be tried yet; it needs {claim.needs}")
    return claims.select(CLAIMS, patterns)


def _print_criteria(entry: Line) -> None:
    for line in entry["criteria"]:
        interval = f"{line['estimate']} [{line['lower']}, {line['upper']}]"
        print(f"  {line['outcome']:10} {line['rule']:5} {interval:45} {line['statement']}")


def _today() -> str:
    return time.strftime("%Y-%m-%d", time.gmtime())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m warmup_jax.claims",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--root", type=Path, default=config_files.ROOT, help="folder of docs/claims (default: this code's)"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    of = {
        name: commands.add_parser(name, help=function.__doc__, allow_abbrev=False)
        for name, function in COMMANDS.items()
    }
    of["list"].add_argument("--json", action="store_true", help="one JSON object a line")
    of["show"].add_argument("id", metavar="ID")
    for name in ("freeze", "run"):
        of[name].add_argument("ids", nargs="+", metavar="ID", help='such as T-1, or "K-*"')
    for name in ("list", "run"):
        of[name].add_argument("--scale", choices=claims.SCALES, default="cpu", help="rig (default: %(default)s)")
    of["freeze"].add_argument("--why", required=True, metavar="TEXT", help="reason, kept in the registry")
    of["run"].add_argument(
        "--workdir", type=Path, default=trial.WORKDIR, help="of all trainings (default: %(default)s)"
    )
    of["run"].add_argument(
        "--smoke", action="store_true", help="tiny models, two seeds, nothing is written to the ledger"
    )
    of["report"].add_argument("--check", action="store_true", help="only compare; exit status 1 if the page differs")
    return parser


if __name__ == "__main__":
    if "run" in sys.argv[1:2]:
        process.restart_with_huge_pages()
    streams.make_safe()
    sys.exit(main())
