"""The command line that all programs of a config share: --config=FILE[:ARG] --config.KEY=VALUE ...

Importing this module defines the flags.
"""

import ast
import atexit
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from warmup_jax import registry

sys.path.append(str(Path(__file__).parent.parent))  # config files import what they share from `configs`
logging.set_verbosity(logging.FATAL)  # errors of libraries reach the user once, as one line

OVERRIDES = [arg for arg in sys.argv if arg.startswith("--config.")]
# Overrides that ml_collections cannot apply: they unset a value, give a component a new argument, or sweep a new name.
OWN_OVERRIDES = [
    arg
    for arg in OVERRIDES
    if arg.endswith("=None") or "_args." in arg.partition("=")[0] or arg.startswith("--config.sweep.")
]
CONFIG = config_flags.DEFINE_config_file(
    "config",
    help_string="configs/NAME.py[:ARG]; --config.KEY=VALUE changes a value, None unsets it",
    sys_argv=[arg for arg in sys.argv if arg not in OWN_OVERRIDES],
)


def run(main: Callable[[], None]) -> None:
    """Parses the command line, calls `main()` and ends the process."""
    sys.unraisablehook = _ignore_closed_loops
    atexit.register(gc.freeze)  # otherwise Python searches all of JAX for garbage as it ends, for half a second
    app.run(lambda argv: main(), flags_parser=_parse)


def fail(message: object, status: int = 2) -> NoReturn:
    """Ends the program with one line on stderr."""
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
    sys.exit(status)


def config_name() -> str:
    """Returns the name of the config file, without folder and ending."""
    flag: Any = flags.FLAGS["config"]
    return Path(flag.config_filename.partition(":")[0]).stem


def _parse(argv: list[str]) -> list[str]:
    """Parses the flags; a mistake in them or in the config file ends the program with one line."""
    try:
        rest = flags.FLAGS([arg for arg in argv if arg not in OWN_OVERRIDES])
        if CONFIG.value is None:
            raise flags.Error("--config is missing; for example --config=configs/resnet_warmup.py")
        list(CONFIG.value)  # the config file is read only now, and may fail
        for arg in OWN_OVERRIDES:
            _override(CONFIG.value, _key(arg).split("."), arg.partition("=")[2])
        if len(rest) > 1:
            raise flags.Error(f"unknown argument {rest[1]!r}")
        return rest
    except (AttributeError, KeyError, TypeError) as error:  # an override of an unknown key
        fail(_unknown_key(argv) or error)
    except Exception as error:  # flags and config files can raise anything
        fail(str(error).rpartition("Error: ")[2])


def _override(config: ConfigDict, path: list[str], text: str) -> None:
    """Sets config.a.b = value; the path may be new only below `sweep` and keys that end in _args."""
    holder = config
    for name in path[:-1]:
        if name not in holder and holder is not config:
            with config.unlocked():
                holder[name] = ConfigDict()
        holder = holder[name]
    if path[-1] not in holder and holder is config:
        raise KeyError(path[-1])
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        value = text
    try:
        with config.unlocked():
            holder[path[-1]] = value
    except TypeError as error:
        raise ValueError(f"--config.{'.'.join(path)}={text}: {error}") from error


def _key(arg: str) -> str:
    """Returns the dotted key of a `--config.KEY=VALUE` argument."""
    return arg.removeprefix("--config.").partition("=")[0]


def _unknown_key(argv: list[str]) -> Exception | None:
    """Returns the error for the first override of an unknown key, None if the config has all keys."""
    paths = [arg.partition("=")[2] for arg in argv if arg.startswith("--config=")]
    for arg in OVERRIDES if paths else ():
        holder, parents = config_flags.config_flags.ConfigFileFlagParser("config").parse(paths[-1]), ""
        for name in _key(arg).split("."):
            known = list(holder) if hasattr(holder, "keys") else []
            if name not in known and parents.endswith(("_args", " sweep")):
                break
            if name not in known:
                return registry.unknown(f"config key{parents}", name, known)
            holder, parents = holder[name], f"{parents or ' in'} {name}"
    return None


def _ignore_closed_loops(unraisable: Any) -> None:
    """Suppresses messages of Orbax's background writers after an error that has already been reported."""
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)
