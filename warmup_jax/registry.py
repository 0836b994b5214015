"""Looks things up by name and checks arguments: the one place that words errors about names and choices."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any


def unknown(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """The error for a name that is not among the known ones, with the nearest of them."""
    known = sorted(known)
    nearest = difflib.get_close_matches(str(name), known, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    return ValueError(f"unknown {kind} {name!r}{hint} (known: {', '.join(known)})")


def lookup(kind: str, table: Mapping[str, Any], name: str) -> Any:
    """`table[name]`, or a ValueError that lists the names it has."""
    if name not in table:
        raise unknown(kind, name, table)
    return table[name]


def construct(
    kind: str, table: Mapping[str, Callable[..., Any]], name: str, args: Mapping[str, Any], **supplied: Any
) -> Any:
    """Calls `table[name]` with exactly the arguments that it names.

    Args:
      kind: what the table holds, for error messages ("optimizer").
      table: name -> function.
      name: the entry to call.
      args: the arguments that a config gives; none may be missing or left over.
      **supplied: what the caller has to offer; passed only if the function asks for it.

    Raises:
      ValueError: for an unknown name, or an unknown or missing argument.
    """
    function = lookup(kind, table, name)
    check_arguments(f"{kind} {name!r}", function, args, supplied)
    offered = {p: supplied[p] for p in inspect.signature(function).parameters if p in supplied}
    return function(**offered, **args)


def check_arguments(what: str, function: Callable[..., Any], args: Iterable[str], supplied: Iterable[str]) -> None:
    """Raises a ValueError unless `args` are the arguments of `function` that are not supplied otherwise."""
    parameters = inspect.signature(function).parameters
    wanted = [p for p in parameters if p not in supplied]
    for arg in args:
        if arg not in wanted:
            raise ValueError(f"{what}: {unknown('argument', arg, wanted)}")
    for p in wanted:
        if p not in args and parameters[p].default is inspect.Parameter.empty:
            raise ValueError(f"{what} needs the argument {p!r} (its arguments: {', '.join(wanted)})")


def one_of(argument: str, value: Any, allowed: Iterable[Any], where: str = "") -> None:
    """Raises a ValueError unless `value` is among `allowed`; `where` says under which condition they are allowed."""
    if value not in allowed:
        raise ValueError(f"{argument}={value!r}; allowed{where}: {', '.join(map(repr, allowed))}")


def positive_integer(argument: str, value: Any) -> None:
    """Raises a ValueError unless `value` is an int of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{argument}={value!r}; allowed: integers from 1")
