"""The command line that all programs of a config share: --config=FILE[:ARG] --config.KEY=VALUE ...

It is read once, when a program calls `run`: first brought into pairs of name and value, then checked and applied in
order. So `--config.peak_lr=0.5`, `--config.peak_lr 0.5` and `-config.peak_lr=0.5` mean the same.
"""

import atexit
import contextlib
import gc
import os
import shlex
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from absl import app, flags, logging
from ml_collections import ConfigDict

from warmup_jax import config_files, registry, streams

logging.set_verbosity(logging.FATAL)  # errors of libraries reach the user once, as one line

# name: (how it is written, what it does); programs add their own, which take a value.
OPTIONS = {
    "config": ("FILE[:ARG]", "what to train, as in configs/resnet_warmup.py:cifar10"),
    "config.KEY": ("VALUE", "changes a value; None unsets it; the last one counts"),
    "print_config": ("", "prints every key of the config with its value and exits"),
    "help": ("", "prints this and exits"),
}
SWITCHES = {"help": "help", "h": "help", "helpshort": "help", "helpfull": "help", "print_config": "print_config"}


class Arguments(NamedTuple):
    """What a command line asks for.

    Attributes:
      config: the config with all overrides applied, locked.
      name: the name of the config file, without folder and ending.
      options: the values of the program's own options, None where not given.
      given: the dotted keys of the overrides.
      pairs: name and value of every argument, in order.
    """

    config: ConfigDict
    name: str
    options: dict[str, str | None]
    given: tuple[str, ...]
    pairs: tuple[tuple[str, str | None], ...]


def run(main: Callable[[Arguments], None], about: str, **options: tuple[str, str]) -> None:
    """Parses the command line and calls `main` with what it asks for; a mistake ends the program with one line.

    Args:
      main: the program.
      about: the first lines of its help.
      **options: name -> (how its value is written, what it does) of the program's own options.
    """
    streams.make_safe()
    sys.unraisablehook = _ignore_closed_loops
    atexit.register(gc.freeze)  # otherwise Python searches all of JAX for garbage as it ends, for half a second
    try:
        arguments = parse(flags.FLAGS.read_flags_from_files(sys.argv[1:], force_gnu=True), about, options)
    except (ValueError, flags.Error) as error:
        fail(error)
    app.run(lambda argv: main(arguments), argv=sys.argv[:1])  # absl sees none of them


def fail(message: object, status: int = 2) -> NoReturn:
    """Ends the program with one line on stderr."""
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
    sys.exit(status)


def parse(argv: Sequence[str], about: str, options: dict[str, tuple[str, str]]) -> Arguments:
    """Returns what a command line asks for; prints the help or the config and exits if it asks for that.

    Raises:
      ValueError: for an unknown argument or key, a value of the wrong type, or a config file that fails.
    """
    pairs = list(normal_form(argv))
    if ("help", "true") in pairs:
        print(usage(about, options))
        sys.exit(0)
    chosen = dict.fromkeys(options)
    path, overrides = None, []
    for name, value in pairs:
        key = name.removeprefix("no")
        if key.startswith("config."):
            overrides.append((name, value))
        elif name not in (*options, "config", "print_config"):
            known = [f"--{known}" for known in (*OPTIONS, *options)]
            raise registry.unknown("argument", f"--{name}", known)
        elif value is None:
            raise ValueError(f"--{name} needs a value: --{name}={(OPTIONS | options)[name][0]}")
        elif name == "config":
            path = value
        elif name in chosen:
            chosen[name] = value
    if path is None:
        raise ValueError("--config is missing; for example --config=configs/resnet_warmup.py (--help lists them)")
    config = config_files.load(path)
    config_files.override(config, overrides)
    if ("print_config", "true") in pairs:
        print("\n".join(config_files.lines(config)))
        sys.exit(0)
    given = tuple(name.removeprefix("no").removeprefix("config.") for name, _ in overrides)
    return Arguments(config, Path(path.partition(":")[0]).stem, chosen, given, tuple(pairs))


def normal_form(argv: Iterable[str]) -> list[tuple[str, str | None]]:
    """Returns the arguments as pairs of name and value, however they are written.

    Raises:
      ValueError: for an argument that is neither a name nor the value of one.

    Examples:
      >>> normal_form(["--config=a.py", "-workdir", "runs/a", "--config.end_lr", "-1", "--noconfig.model.bias"])
      [('config', 'a.py'), ('workdir', 'runs/a'), ('config.end_lr', '-1'), ('noconfig.model.bias', None)]
    """
    pairs: list[tuple[str, str | None]] = []
    waits = False  # for a value
    for argument in argv:
        name, equals, value = argument.lstrip("-").partition("=")
        if waits and (not argument.startswith("-") or _is_number(argument)):
            pairs[-1] = (pairs[-1][0], argument)
            waits = False
        elif not argument.startswith("-") or not name:
            raise ValueError(f"unknown argument {argument!r}; allowed: --NAME=VALUE")
        elif name in SWITCHES and not equals:
            pairs.append((SWITCHES[name], "true"))
            waits = False
        else:
            pairs.append((name, value if equals else None))
            waits = not equals and not name.startswith("noconfig.")
    return pairs


def command(arguments: Arguments, *more: str, **options: object) -> str:
    """Returns the command of this program with some arguments more, as one line for a shell.

    Args:
      arguments: of this process; the program's own options among them are left out.
      *more: such as "--config.sweep.seeds=5".
      **options: values of the program's own options.
    """
    kept = [(name, value) for name, value in arguments.pairs if name not in arguments.options]
    written = [f"--{name}" if value is None else f"--{name}={value}" for name, value in (*kept, *options.items())]
    return shlex.join([python(), sys.argv[0], *written, *more])


def python() -> str:
    """Returns how to start the Python of this process from here."""
    if shutil.which("python") == sys.executable:
        return "python"
    near = os.path.relpath(sys.executable)
    return sys.executable if near.startswith(os.pardir) else near


def usage(about: str, options: dict[str, tuple[str, str]]) -> str:
    """Returns the help of a program: its arguments, and the configs with the arguments that they take."""
    described = OPTIONS | options
    described["help"] = described.pop("help")  # the last
    rows = {f"  --{name}{'=' if value else ''}{value}": does for name, (value, does) in described.items()}
    width = max(map(len, rows)) + 2
    lines = [about.strip(), ""]
    for written, does in rows.items():
        lines += _wrapped(does, f"{written:{width}}", " " * width)
    lines += ["", "Example: --config=configs/resnet_warmup.py:cifar10,smoke --config.peak_lr=0.5"]
    lines += ["", "Configs, each with the words that ARG is made of, commas between them:"]
    for path in config_files.available():
        known = config_files.arguments(path).replace("+", " + ")
        lines += ["", *_wrapped(f"{path}: {config_files.summary(path)}"), *_wrapped(known, "    ", "    ")]
    return "\n".join(lines)


def _wrapped(text: str, first: str = "", others: str = "") -> list[str]:
    """Returns the lines of a text for a terminal of 80 columns."""
    return textwrap.wrap(text, 80, initial_indent=first, subsequent_indent=others, break_on_hyphens=False)


def _is_number(text: str) -> bool:
    with contextlib.suppress(ValueError):
        float(text)
        return True
    return False


def _ignore_closed_loops(unraisable: Any) -> None:
    """Suppresses messages of Orbax's background writers after an error that has already been reported."""
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)
