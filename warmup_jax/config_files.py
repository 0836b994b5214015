"""Config files, and the config.json of a run: found, loaded, changed by overrides, written as overrides."""

import ast
import difflib
import functools
import importlib
import importlib.machinery
import importlib.util
import json
import shlex
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict, config_dict

from warmup_jax import places, registry

ROOT = Path(__file__).parent.parent  # of the folder `configs`
sys.path.append(str(ROOT))  # config files import what they share from `configs`

BOOLEANS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
ALLOWED = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a text",
    tuple: "a tuple, as in (0,50) or ('post','pre'), or its only value",
    ConfigDict: "a dict, as in {'length':24}",
}


def load(path: str) -> ConfigDict:
    """Returns the config of a file, locked.

    Args:
      path: FILE[:ARG]; the file has a function `get_config`, which is called with ARG if there is one. Or the
        `config.json` of a run, which takes no ARG.

    Raises:
      ValueError: if there is no such file, or it fails.
    """
    file, colon, arg = path.partition(":")
    source = places.local("--config", file)
    if not source.exists():
        raise registry.unknown("config file", file, map(str, available()))
    if source.suffix == ".json":
        if colon:
            raise ValueError(f"--config={path}: allowed: {file}, which takes no argument")
        return _stored(source).lock()
    try:
        config = _module(source).get_config(*[arg] if colon else [])
    except ValueError as error:  # of get_config, about its argument
        raise ValueError(f"{path}: {error}") from error
    except Exception as error:  # it is a program, and can raise anything
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise ValueError(f"{path}: {type(error).__name__}: {error} ({last.filename}, line {last.lineno})") from error
    if isinstance(config, Mapping):
        config = ConfigDict(config)
    if not isinstance(config, ConfigDict):
        raise ValueError(f"{path}: get_config() returned {config!r}; allowed: a ConfigDict")
    return config.lock()


def _stored(path: Path) -> ConfigDict:
    """Returns the config in the `config.json` of a run.

    JSON has no tuples and no types of values that are not set: lists become tuples, and a key that is None has the type
    that a key of its name has in the configs. Keys that are newer than the file are not set.
    """
    try:
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError("it holds no JSON object")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    common = importlib.import_module("configs.common")
    unset = {name: None for name, value in common.base("sgd").items() if value is None}
    return _typed(unset | content, common.types_of_unset())


def _typed(content: Mapping[str, Any], types: Mapping[str, type]) -> ConfigDict:
    """Returns nested JSON objects as a ConfigDict; `types` has those of keys that may be None, by name."""
    config = ConfigDict()
    for name, value in content.items():
        if isinstance(value, dict):
            config[name] = _typed(value, types)
        elif name in types and (value is None or isinstance(value, types[name])):
            config[name] = config_dict.placeholder(types[name])
            config[name] = value
        else:
            config[name] = _tuples(value)
    return config


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def available() -> list[Path]:
    """Returns the config files that come with the code, from the current folder if they are below it."""
    found = [path for path in sorted(ROOT.glob("configs/*.py")) if "def get_config(" in path.read_text()]
    here = Path.cwd()
    return [path.relative_to(here) if path.is_relative_to(here) else path for path in found]


def summary(path: Path) -> str:
    """Returns the first line of a config file's docstring, without running the file."""
    return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]


def arguments(path: Path) -> str:
    """Returns the arguments that a config file takes, "" if it does not tell.

    `configs.common.parse` raises an error that lists them for the argument `help`.
    """
    try:
        _module(path).get_config("help")
    except Exception as error:  # it is a program, and can raise anything
        return str(error).partition("(known: ")[2].removesuffix(")")
    return ""


def override(config: ConfigDict, overrides: Iterable[tuple[str, str | None]]) -> None:
    """Changes values of a config, one after another.

    A value has the type that its key has in the config file. A key may be new only below `sweep` and keys that end
    in `_args`; its value is a Python literal, else text. In an arm of a sweep it has the type of the key that it
    changes. A single value where a tuple is meant is a tuple of one. None unsets a value; it empties a dict, and
    removes one below another.

    Args:
      config: a ConfigDict.
      overrides: ("config.KEY", value as text or None if there is none), or ("noconfig.KEY", None) for False.

    Raises:
      ValueError: for an unknown key or a value of the wrong type.
    """
    kinds = dict(_kinds(config))
    with config.unlocked():
        for name, text in overrides:
            no, _, key = name.partition("config.")
            *parents, last = key.split(".")
            holder = _holder(config, parents, last)
            kind = kinds.get(key) or _new_kind(kinds, parents, last)
            if text is None and kind is not bool:
                raise ValueError(f"--{name} needs a value: --config.{key}=VALUE")
            try:
                value = parse(kind, text if text is not None else "false" if no else "true")
            except ValueError:
                given = f"--{name}" if text is None else f"--{name}={text}"
                raise ValueError(f"{given}; allowed: {ALLOWED[kind]} or None") from None
            if kind is ConfigDict:
                kinds = {each: its for each, its in kinds.items() if not each.startswith(f"{key}.")}
                kinds |= _kinds(value or ConfigDict(), f"{key}.")
            if kind is ConfigDict and value is None and parents:
                if last in holder:
                    del holder[last]
            elif kind is ConfigDict:
                holder[last] = value or ConfigDict()
            else:
                if kind not in ALLOWED and holder.get(last) is not None:
                    del holder[last]  # with its type, which the next value need not have
                holder[last] = value


def parse(kind: type, text: str) -> Any:
    """Returns the value of a text for a key of some type, None for "None"; any literal for a type not in `ALLOWED`.

    Raises:
      ValueError: if it has none.
    """
    if text == "None":
        return None
    if kind is bool and text.lower() in BOOLEANS:
        return BOOLEANS[text.lower()]
    if kind in (int, float):
        return kind(text)
    value = _literal(text)
    if kind is str:
        return value if isinstance(value, str) else text
    if kind is tuple:
        if isinstance(value, str) and set(value) & set("()[]{}, "):
            raise ValueError(text)
        return value if isinstance(value, tuple) else (value,)
    if kind is ConfigDict and isinstance(value, dict) and _has_text_keys(value):
        return ConfigDict(value)
    if kind in (bool, ConfigDict):
        raise ValueError(text)
    return value


def _has_text_keys(value: Any) -> bool:
    return not isinstance(value, dict) or all(isinstance(key, str) and _has_text_keys(value[key]) for key in value)


def lines(config: ConfigDict) -> Iterator[str]:
    """Yields every key of a config as the command line that sets its value; a value that is not set with its type."""
    for key, kind in _kinds(config):
        value = functools.reduce(lambda holder, name: holder[name], key.split("."), config)
        if not isinstance(value, ConfigDict) or not value:
            text = repr(value.to_dict()) if isinstance(value, ConfigDict) else str(value)
            comment = f"  # or {ALLOWED[kind]}" if value is None and kind in ALLOWED else ""
            yield f"--config.{key}={shlex.quote(text)}{comment}"


def _new_kind(kinds: Mapping[str, type], parents: list[str], last: str) -> type:
    """Returns the type of a key that a config does not have yet; in an arm, of the key that it changes."""
    if parents[:2] == ["sweep", "arms"]:
        changed = [*parents[3:], last] if len(parents) > 2 else []
        if not changed:
            return ConfigDict
        return kinds.get(".".join(changed)) or _new_kind(kinds, changed[:-1], last)
    if parents == ["sweep"]:
        return {"seeds": int, "share_order": bool, "arms": ConfigDict}.get(last, tuple)
    return object


def _holder(config: ConfigDict, parents: list[str], last: str) -> Any:
    """Returns the dict of a config that holds the key `last` or may hold it; creates it where it may be new."""
    holder, where = config, ""
    parents_of_arm = parents[:2] == ["sweep", "arms"]
    may_be_new = bool(parents) and (parents == ["sweep"] or parents_of_arm or parents[0].endswith("_args"))
    for depth, name in enumerate([*parents, last]):
        if not isinstance(holder, ConfigDict):
            raise ValueError(f"config key{where} is {holder!r}; allowed: a dict, to have a key {name!r}")
        if name not in holder:
            if depth == 0 or not may_be_new:
                raise _unknown(config, where, name, holder)
            if depth < len(parents):
                holder[name] = ConfigDict()
        if depth < len(parents):
            holder, where = holder[name], f"{where or ' in'} {name}"
    return holder


def _unknown(config: ConfigDict, where: str, name: str, holder: ConfigDict) -> ValueError:
    """Returns the error for an unknown key; it suggests a key of the same name in another place."""
    elsewhere = [key for key, _ in _kinds(config) if key.endswith(f".{name}")]
    if elsewhere and not difflib.get_close_matches(name, list(holder), n=1):
        return ValueError(f"unknown config key{where} {name!r}; did you mean {elsewhere[0]!r}?")
    return registry.unknown(f"config key{where}", name, list(holder) or ["none"])


def _kinds(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, type]]:
    """Yields every key with its type, dicts included: ("model", ConfigDict), ("model.depth", int), ..."""
    for name, value in config.items():
        yield f"{prefix}{name}", config.get_type(name)
        if isinstance(value, ConfigDict):
            yield from _kinds(value, f"{prefix}{name}.")


def _literal(text: str) -> Any:
    """Returns the Python literal that a text is, lists as tuples, or the text itself."""
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):  # TypeError: {[]: 1}
        return text
    return tuple(value) if isinstance(value, list) else value


def _module(path: Path) -> Any:
    """Runs a config file and returns its module."""
    loader = importlib.machinery.SourceFileLoader(f"config_{path.stem}", str(path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module
