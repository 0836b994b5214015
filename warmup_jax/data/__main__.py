"""Command line: prepare a data set, or list what is there."""

import argparse
import pickle
import sys
import tarfile
import zlib

from warmup_jax.data.catalog import DATASETS
from warmup_jax.data.tfds import paths
from warmup_jax.data.tfds.prepare import prepare


def main(arguments=None):
    """Runs the command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "list":
            _list(options.data_dir)
        else:
            _prepare(options.name, options.data_dir, options.archive)
    except (ValueError, OSError, EOFError, zlib.error, tarfile.TarError, pickle.UnpicklingError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _parser():
    parser = argparse.ArgumentParser(prog="python -m warmup_jax.data", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("prepare", help="write a TFDS set to disk, without TensorFlow")
    one.add_argument("name", help="TFDS name, as in cifar10")
    one.add_argument(
        "--archive",
        action="append",
        default=[],
        help="a published file that you have, or a folder of them; may be repeated",
    )
    every = commands.add_parser("list", help="known sets, and those on disk")
    for command in (one, every):
        command.add_argument("--data_dir", help="folder of prepared sets (default: $TFDS_DATA_DIR or TFDS's own)")
    return parser


def _prepare(name, data_dir, given):
    folder, written = prepare(name, data_dir=data_dir, given=given)
    print(f"{name} is {'now' if written else 'already'} prepared in {folder}")


def _list(data_dir):
    on_disk = paths.prepared(data_dir)
    print(f"data sets in {paths.root(data_dir)}:")
    for name in sorted(DATASETS.keys() | on_disk.keys()):
        if name in on_disk:
            where = str(on_disk[name])
        elif DATASETS[name].package:
            where = f"comes with {DATASETS[name].package}"
        else:
            where = "not prepared"
        task = DATASETS[name].task if name in DATASETS else ""
        print(f"  {name:26} {task:12} {where}")


if __name__ == "__main__":
    sys.exit(main())
