"""The history of the repository: its commits, and whether anything was changed since the last one."""

import subprocess
from pathlib import Path

from warmup_jax.claims.ledger import FOLDER


def head(root: Path) -> str | None:
    """Returns the current commit, None outside of a repository or before its first commit."""
    return _git(root, "rev-parse", "--verify", "HEAD")


def is_dirty(root: Path) -> bool:
    """Returns True if a file is not as in the current commit, other than those that a run of claims appends to."""
    changes = _git(root, "status", "--porcelain", "--", ".", f":(exclude){FOLDER.as_posix()}")
    return changes is None or changes != ""


def is_ancestor(root: Path, commit: str) -> bool:
    """Returns True if a commit is the current one or an ancestor of it."""
    return _git(root, "merge-base", "--is-ancestor", commit, "HEAD") is not None


def content(root: Path, commit: str, path: Path) -> bytes | None:
    """Returns a file as it was at a commit, None if there was none."""
    text = _git(root, "show", f"{commit}:./{path.as_posix()}")
    return None if text is None else text.encode()


def commits(root: Path, path: Path) -> list[str]:
    """Returns the commits of the current history that changed a file, the newest first."""
    return (_git(root, "log", "--full-history", "--format=%H", "--", path.as_posix()) or "").split()


def _git(root: Path, *arguments: str) -> str | None:
    """Returns the output of a git command without blanks around it, None if it fails."""
    try:
        answer = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
