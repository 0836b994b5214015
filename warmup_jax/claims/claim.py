"""A claim as data: what it says, how it is tried, by what it is judged, and its fingerprint."""

import ast
import functools
import hashlib
import inspect
import io
import json
import textwrap
import tokenize
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

from warmup_jax import registry
from warmup_jax.claims import rules

FAMILIES = {
    "note": "Statements of the note",
    "identities": "Identities",
    "images": "Image classification",
    "transformers": "Transformers: placement of the normalisation",
    "adam": "Adam's first steps",
    "architectures": "Architectures and initialisations",
    "curvature": "Curvature",
    "schedules": "Updates, schedules, recent work",
}
PREDICTIONS = ("holds", "refuted", "open")
SCALES = ("cpu", "gpu")
# Seeds 0 to 4 were seen while predictions were made.
FIRST_SEED = 10
# Modules whose functions and constants are part of a measure that uses them.
MEASURING = ("warmup_jax.claims.", "warmup_jax.report.phase_analysis")

# Name of a quantity -> its values by seed, or a number without chance.
Numbers = dict[str, Any]


class Study(NamedTuple):
    """One training with all of its arms, rates and seeds, which claims may share.

    Attributes:
      config: FILE[:ARG], as `--config` takes it.
      overrides: keys of the config and their values as text, as `--config.KEY=VALUE` takes them; arms and axes are
        those below `sweep`.
      seeds: how many, from `FIRST_SEED` on.
    """

    config: str
    overrides: Mapping[str, str] = {}
    seeds: int = 5


class Criterion(NamedTuple):
    """A criterion of a claim; it sees the numbers of the measure alone.

    Attributes:
      statement: what holds if it holds, in words.
      rule: a name in `rules.VERSIONS`.
      values: name of the quantity that the rule judges.
      against: of rules T and EQ the quantity that is subtracted by seed, of rule B the control; "" for none.
      parameters: of the rule, such as {"delta": 0.1}.
      rig: True if the claim is not judged, but invalid, where this does not hold.
    """

    statement: str
    rule: str
    values: str
    against: str = ""
    parameters: Mapping[str, Any] = {}
    rig: bool = False


class Claim(NamedTuple):
    """A claim of the literature, of the note, or of ours.

    Attributes:
      id: such as "T-1".
      family: a key of `FAMILIES`.
      source: who says so, and where.
      statement: what is judged, as one or two sentences.
      predicted: one of `PREDICTIONS`, written down before it is run.
      seen: True if a prototype had shown the outcome before the prediction was made.
      studies: scale -> name -> study; without any the numbers are computed and no training is needed.
      measure: {name of a study: Record} -> numbers; None for a claim that cannot be tried yet.
      criteria: they all have to hold.
      needs: what is missing to try it, or to try it whole; "" for nothing.
    """

    id: str
    family: str
    source: str
    statement: str
    predicted: str
    seen: bool = False
    studies: Mapping[str, Mapping[str, Study]] = {}
    measure: Callable[[Mapping[str, Any]], Numbers] | None = None
    criteria: Sequence[Criterion] = ()
    needs: str = ""


def scales(claim: Claim) -> tuple[str, ...]:
    """Returns the scales at which a claim can be tried today; computed numbers are those of the CPU."""
    if claim.measure is None:
        return ()
    return tuple(scale for scale in SCALES if scale in claim.studies) or ("cpu",)


def seeds(claim: Claim, scale: str) -> list[int]:
    """Returns the seeds of a claim at a scale; [] for computed numbers."""
    most = max((study.seeds for study in claim.studies.get(scale, {}).values()), default=0)
    return list(range(FIRST_SEED, FIRST_SEED + most))


def select(claims: Mapping[str, Claim], patterns: Sequence[str]) -> list[Claim]:
    """Returns the claims of some ids; "K-*" stands for all that begin with "K-".

    Raises:
      ValueError: for an id that no claim has.
    """
    found: dict[str, Claim] = {}
    for pattern in patterns:
        begin = pattern.removesuffix("*")
        ids = [each for each in claims if each == pattern or (pattern.endswith("*") and each.startswith(begin))]
        if not ids:
            raise registry.unknown("claim", pattern, claims)
        found |= {each: claims[each] for each in ids}
    return list(found.values())


def check(claim: Claim) -> None:
    """Raises a ValueError for a claim that is no complete one."""
    registry.one_of(f"{claim.id}.family", claim.family, FAMILIES)
    registry.one_of(f"{claim.id}.predicted", claim.predicted, PREDICTIONS)
    if (claim.measure is None) == bool(claim.criteria):
        raise ValueError(f"{claim.id} has a measure or criteria without the other")
    if claim.measure is None and not claim.needs:
        raise ValueError(f"{claim.id} cannot be tried and does not say why; allowed: a text for needs")
    for criterion in claim.criteria:
        registry.lookup("rule", rules.VERSIONS, criterion.rule)
    for scale in claim.studies:
        registry.one_of(f"{claim.id}.studies", scale, SCALES)


def fingerprint(claim: Claim) -> str:
    """Returns the SHA-256 of everything that a verdict depends on, shortened to 16 hexadecimal digits.

    That is statement, prediction, studies, seeds, criteria and the versions of their rules, and the code of the measure
    with all functions and constants of `MEASURING` that it uses. Docstrings and comments may change.
    """
    return hashlib.sha256(canonical(content(claim)).encode()).hexdigest()[:16]


def content(claim: Claim) -> dict[str, Any]:
    """Returns what the fingerprint is made of."""
    return {
        "id": claim.id,
        "statement": claim.statement,
        "predicted": claim.predicted,
        "studies": {
            scale: {name: [study.config, dict(study.overrides)] for name, study in of_scale.items()}
            for scale, of_scale in claim.studies.items()
        },
        "seeds": {scale: seeds(claim, scale) for scale in scales(claim)},
        "criteria": [as_json(criterion) for criterion in claim.criteria],
        "rules": {criterion.rule: rules.VERSIONS[criterion.rule] for criterion in claim.criteria},
        "measure": {} if claim.measure is None else sources(claim.measure),
    }


def as_json(criterion: Criterion) -> dict[str, Any]:
    """Returns a criterion as the files hold it."""
    return criterion._asdict() | {"parameters": dict(criterion.parameters)}


def canonical(content: Any) -> str:
    """Returns JSON of which there is one text for one content."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def sources(function: Callable[..., Any]) -> dict[str, str]:
    """Returns the code of a function and of all that it uses in `MEASURING`, constants as their values."""
    found: dict[str, str] = {}
    waiting: list[tuple[str, Any]] = [(function.__qualname__, function)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, (int, float, str, tuple)):
            found[name] = repr(value)
        elif (inspect.isfunction(value) or inspect.isclass(value)) and value.__module__.startswith(MEASURING):
            key = f"{value.__module__}.{value.__qualname__}"
            if key in found:
                continue
            found[key] = _code(value)  # type: ignore[arg-type]  # both kinds can be hashed
            if isinstance(value, FunctionType):
                waiting += _used(value)
    return found


@functools.cache  # claims share most of what their measures use
def _code(value: Any) -> str:
    """Returns the source text of a function or class without docstrings, comments and empty lines."""
    source = textwrap.dedent(inspect.getsource(value))
    lines = source.splitlines()
    said: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node, clean=False) is not None:
            said.update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    kept = (line.rstrip() for number, line in enumerate(lines, 1) if number not in said)
    return "\n".join(filter(None, kept))


def _used(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yields the globals that the code of a function names, and the members of modules among them."""
    names = set(_names(function.__code__))
    # What a factory of measures was called with.
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    yield from ((f"{function.__qualname__}.{name}", cell.cell_contents) for name, cell in cells)
    for name in names:
        value = function.__globals__.get(name)
        if isinstance(value, ModuleType):
            if value.__name__.startswith(MEASURING):
                yield from ((f"{value.__name__}.{m}", getattr(value, m)) for m in names if hasattr(value, m))
        elif value is not None:
            yield f"{function.__module__}.{name}", value


def _names(code: CodeType) -> Iterator[str]:
    """Yields the names that a code uses, its comprehensions and inner functions included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
