"""Lookup by name and checks of arguments; words every error about an unknown name or a value out of its range."""

import difflib
import functools
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any


def unknown(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """Returns the error for an unknown name; it suggests the nearest known one and lists them all."""
    names = sorted(known)
    nearest = difflib.get_close_matches(str(name), names, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    listed = f"known: {', '.join(names)}" if names else "it takes none"
    return ValueError(f"unknown {kind} {name!r}{hint} ({listed})")


def lookup(kind: str, table: Mapping[str, Any], name: str) -> Any:
    """Returns `table[name]`, or raises a ValueError that lists the known names."""
    if name not in table:
        raise unknown(kind, name, table)
    return table[name]


def construct(
    kind: str, table: Mapping[str, Callable[..., Any]], name: str, args: Mapping[str, Any], **supplied: Any
) -> Any:
    """Calls `table[name]` with the arguments it takes and returns the result.

    Args:
      kind: kind of entry in the table, for error messages ("optimizer").
      table: name -> function.
      name: the entry to call.
      args: the arguments from a config; every required one, and no unknown one.
      **supplied: arguments from the caller, passed only if the function takes them.

    Returns:
      The return value of the function.

    Raises:
      ValueError: for an unknown name, or an unknown or missing argument.
    """
    function = lookup(kind, table, name)
    check_arguments(f"{kind} {name!r}", function, args, supplied)
    taken = {p: supplied[p] for p in inspect.signature(function).parameters if p in supplied}
    return function(**taken, **args)


def check_arguments(what: str, function: Callable[..., Any], args: Iterable[str], supplied: Iterable[str]) -> None:
    """Raises a ValueError unless `args` are the arguments of `function`, apart from those that the caller supplies."""
    parameters = inspect.signature(function).parameters
    wanted = [p for p in parameters if p not in supplied]
    for arg in args:
        if arg not in wanted:
            raise ValueError(f"{what}: {unknown('argument', arg, wanted)}")
    for p in wanted:
        if p not in args and parameters[p].default is inspect.Parameter.empty:
            raise ValueError(f"{what} needs the argument {p!r} (its arguments: {', '.join(wanted)})")


def check_types(where: str, function: Callable[..., Any], args: Mapping[str, Any]) -> None:
    """Raises a ValueError for an argument from a config whose type is not the one that `function` is annotated with.

    A number is an int or a float, but no bool. Names that the function does not have are left to `check_arguments`.

    Args:
      where: dotted key of the arguments, for error messages ("schedule_args").
      function: takes the arguments; an argument without annotation, or of type Any, may have any type.
      args: name -> value, as the config has it.
    """
    kinds = _argument_types(function)
    for name, value in args.items():
        allowed = kinds.get(name, ())
        if allowed and not any(_is_a(kind, value) for kind in allowed):
            raise ValueError(f"{where}.{name}={value!r}; allowed: {' and '.join(allowed)}")


@functools.cache  # a sweep asks for every run
def _argument_types(function: Callable[..., Any]) -> dict[str, list[str]]:
    """Returns, for each argument of a function, the kinds of config values that it may have; [] for all."""
    parameters = inspect.signature(function, eval_str=True).parameters
    return {name: _allowed_types(parameter.annotation) for name, parameter in parameters.items()}


def _allowed_types(annotation: Any) -> list[str]:
    """Returns the kinds of config values that an annotation allows; [] if it allows all."""
    members = typing.get_args(annotation) if str in typing.get_args(annotation) else (annotation,)
    members = members if typing.get_origin(annotation) is None else typing.get_args(annotation) or members
    origins = [typing.get_origin(member) or member for member in members]
    if Any in origins or inspect.Parameter.empty in origins:
        return []
    kinds = {"True or False": bool, "integers": int, "numbers": float, "names": str, "tuples of numbers": tuple}
    found = [kind for kind, type_ in kinds.items() if type_ in origins]
    if "numbers" in found:  # a float may be written as an int, and array types allow bool
        found = [kind for kind in found if kind not in ("True or False", "integers")]
    if Sequence in origins:
        found.append("tuples of numbers")
    if Callable in origins and "names" not in found:
        found.append("dicts of a ramp")
    return [*found, "None"] if type(None) in origins else found


def _is_a(kind: str, value: Any) -> bool:
    """Returns True if a config value is of a kind that `_allowed_types` names."""
    if kind == "None":
        return value is None
    if kind == "dicts of a ramp":
        return isinstance(value, Mapping)
    if kind == "tuples of numbers":
        return isinstance(value, (tuple, list)) and all(_is_a("numbers", each) for each in value)
    types: dict[str, Any] = {"True or False": bool, "integers": int, "numbers": (int, float), "names": str}
    return isinstance(value, types[kind]) and (kind == "True or False" or not isinstance(value, bool))


def one_of(argument: str, value: Any, allowed: Iterable[Any], where: str = "") -> None:
    """Raises a ValueError unless `value` is among `allowed`; `where` names the condition, as in " with x=1"."""
    if value not in allowed:
        raise ValueError(f"{argument}={value!r}; allowed{where}: {', '.join(map(repr, allowed))}")


def positive_integer(argument: str, value: Any, most: int | None = None) -> None:
    """Raises a ValueError unless `value` is an int of at least 1, and at most `most` if that is given."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1 or (most is not None and value > most):
        raise ValueError(f"{argument}={value!r}; allowed: integers from 1{'' if most is None else f' to {most}'}")
