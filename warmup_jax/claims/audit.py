"""The audit of the ledger: what is called confirmatory was frozen, in git, before it was run."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from warmup_jax.claims import claim as claims
from warmup_jax.claims import history, ledger, trial
from warmup_jax.claims.claim import Claim
from warmup_jax.claims.ledger import Line


def audit(root: Path, catalog: Mapping[str, Claim]) -> list[str]:
    """Returns all that is wrong with registry and ledger, one line each.

    Args:
      root: of the repository.
      catalog: the claims of today by id.

    Raises:
      ValueError: if one of the files was changed by hand.
      OSError: if it cannot be read.
    """
    if history.head(root) is None:
        return [f"{root} has no git history, which an audit needs"]
    found = [line for path in (ledger.REGISTRY, ledger.LEDGER) for line in _lost_lines(root, path)]
    ledger.read(root / ledger.REGISTRY)
    entries = ledger.read(root / ledger.LEDGER)
    for number, entry in enumerate(entries, 1):
        where = f"{ledger.LEDGER.name}, line {number}: {entry['claim']}"
        if not entry["exploratory"]:
            found += [f"{where} {problem}; allowed: an entry marked exploratory" for problem in _problems(root, entry)]
    for (id, scale), entry in ledger.newest(entries).items():
        if id not in catalog:
            found.append(f"{id} is in the ledger and is no claim")
        elif entry["fingerprint"] != claims.fingerprint(catalog[id]):
            found.append(
                f"{id} has changed since it was run at {scale} scale: fingerprint {entry['fingerprint']} then, "
                f"{claims.fingerprint(catalog[id])} now; freeze, commit and run it again"
            )
    return found


def _problems(root: Path, entry: Line) -> list[str]:
    """Returns why an entry is not confirmatory."""
    found = ["was run with uncommitted changes"] if entry["dirty"] else []
    for what, commit in [("", entry["commit"])] + [
        ("trained ", study["commit"]) for study in entry["studies"].values()
    ]:
        if commit is None or not history.is_ancestor(root, commit):
            return [*found, f"was {what or 'run '}at {commit}, which is no ancestor of this commit"]
        line = trial.frozen(root, commit, entry["claim"]).get(entry["fingerprint"])
        if line is None:
            found.append(f"has the fingerprint {entry['fingerprint']}, which was not frozen at {commit[:12]}")
        elif entry["seeds"] != line["seeds"].get(entry["scale"]):
            found.append(f"has seeds {entry['seeds']}, frozen were {line['seeds'].get(entry['scale'])}")
    return found


def _lost_lines(root: Path, path: Path) -> list[str]:
    """Returns the lines that a file had at some commit and has no more, in words."""
    kept = Counter((root / path).read_bytes().splitlines()) if (root / path).exists() else Counter()
    found = []
    for commit in history.commits(root, path):
        lost = Counter((history.content(root, commit, path) or b"").splitlines()) - kept
        if lost:
            found.append(f"{path}: {sum(lost.values())} lines of {commit[:12]} were changed or removed")
    return found[:1]  # the newest says it all
