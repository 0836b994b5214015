"""Lookup by name and checks of arguments; words every error about an unknown name or a value out of its range."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any


def unknown(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """Returns the error for an unknown name; it suggests the nearest known one and lists them all."""
    names = sorted(known)
    nearest = difflib.get_close_matches(str(name), names, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    return ValueError(f"unknown {kind} {name!r}{hint} (known: {', '.join(names)})")


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


def one_of(argument: str, value: Any, allowed: Iterable[Any], where: str = "") -> None:
    """Raises a ValueError unless `value` is among `allowed`; `where` names the condition, as in " with x=1"."""
    if value not in allowed:
        raise ValueError(f"{argument}={value!r}; allowed{where}: {', '.join(map(repr, allowed))}")


def positive_integer(argument: str, value: Any) -> None:
    """Raises a ValueError unless `value` is an int of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{argument}={value!r}; allowed: integers from 1")
