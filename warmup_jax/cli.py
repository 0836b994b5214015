"""The command line that all programs of a config share: --config=FILE[:ARG] --config.KEY=VALUE ...

Importing this module defines the flags.
"""

import ast
import atexit
import gc
import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from warmup_jax import registry

sys.path.append(str(Path(__file__).parent.parent))  # config files import what they share from `configs`
logging.set_verbosity(logging.FATAL)  # what goes wrong in a library reaches the user as an error, once

OVERRIDES = [arg for arg in sys.argv if arg.startswith("--config.")]
# What the flags by themselves cannot do: unset a value, give a component an argument it had not, and
# sweep what was not swept.
OURS = [
    arg
    for arg in OVERRIDES
    if arg.endswith("=None") or "_args." in arg.partition("=")[0] or arg.startswith("--config.sweep.")
]
CONFIG = config_flags.DEFINE_config_file(
    "config",
    help_string="configs/NAME.py[:ARG]; --config.KEY=VALUE changes a value, None unsets it",
    sys_argv=[arg for arg in sys.argv if arg not in OURS],
)


def run(main):
    """Parses the command line, calls `main()` and ends the process."""
    sys.unraisablehook = _ignore_closed_loops
    atexit.register(gc.freeze)  # or Python would search all of JAX for garbage as it ends: half a second
    app.run(lambda argv: main(), flags_parser=_parse)


def fail(message, status=2):
    """Ends the program with one line."""
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
    sys.exit(status)


def config_name():
    """The name of the config file, without folder and ending."""
    return Path(flags.FLAGS["config"].config_filename.partition(":")[0]).stem


def _parse(argv):
    """Parses the flags; a mistake in them, or in the config file, ends the program with one line."""
    try:
        rest = flags.FLAGS([arg for arg in argv if arg not in OURS])
        if CONFIG.value is None:
            raise flags.Error("--config is missing; for example --config=configs/resnet_warmup.py")
        list(CONFIG.value)  # a config file that could not be read shows only now
        for arg in OURS:
            _override(CONFIG.value, _key(arg).split("."), arg.partition("=")[2])
        if len(rest) > 1:
            raise flags.Error(f"unknown argument {rest[1]!r}")
        return rest
    except (AttributeError, KeyError, TypeError) as error:  # an override of a key that is not there
        fail(_unknown_key(argv) or error)
    except Exception as error:  # whatever else the flags or a config file raise
        fail(str(error).rpartition("Error: ")[2])


def _override(config, path, text):
    """Sets config.a.b = value; only below `sweep` and keys that end in _args may the path be new."""
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


def _key(arg):
    """The dotted key of a `--config.KEY=VALUE` argument."""
    return arg.removeprefix("--config.").partition("=")[0]


def _unknown_key(argv):
    """What to say of the first override whose key the config does not have, None if it has them all."""
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


def _ignore_closed_loops(unraisable):
    """Keeps quiet what Orbax's background writers say after an error that has been reported."""
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)
