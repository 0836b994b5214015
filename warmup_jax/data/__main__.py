"""Lists the data sets that warmup_jax knows or finds on disk, and prepares sets for it.

Training never downloads anything: it reads sets prepared here, or by TensorFlow Datasets (TFDS) as array_record.
"""

import argparse
import pickle
import sys
import tarfile
import textwrap
import zlib
from collections.abc import Sequence
from pathlib import Path

from warmup_jax import places, streams
from warmup_jax.data.catalog import DATASETS
from warmup_jax.data.own import prepare as own
from warmup_jax.data.own import store
from warmup_jax.data.tfds import paths
from warmup_jax.data.tfds.prepare import prepare

PROGRAM = "python -m warmup_jax.data"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "list":
            _list(options.data_dir)
        else:
            if options.files:
                if options.archive:
                    raise ValueError("--archive is for published sets, --from for files of your own: give one of them")
                _prepare_own(options.name, options.data_dir, options.files)
                return 0
            archives = [places.local("--archive", path) for path in options.archive]
            _prepare(options.name, options.data_dir, archives)
    except (ValueError, OSError, EOFError, zlib.error, tarfile.TarError, pickle.UnpicklingError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    examples = f"""
        examples:
          {PROGRAM} list
          {PROGRAM} prepare cifar10
          {PROGRAM} prepare cifar10 --archive ~/Downloads/cifar-10-python.tar.gz
          {PROGRAM} prepare my_pets --from ~/pets
          {PROGRAM} prepare my_novel --from novel.txt
          {PROGRAM} prepare my_menus --from train.en train.de
    """
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=__doc__,
        epilog=textwrap.dedent(examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    list_parser = commands.add_parser(
        "list",
        help="list the known data sets and those on disk",
        description="Lists each data set with its task, and its folder if it is prepared.",
    )
    prepare_parser = commands.add_parser(
        "prepare",
        help="write a data set to disk, downloaded or from files of your own",
        description="Downloads a data set, verifies it and writes it to disk in TFDS's format. Sets that the catalog "
        "has no archives for are left to TFDS, which may need TensorFlow. With --from, the set is made of files of "
        "your own: a folder of pictures by class, a text, or parallel files for translation.",
    )
    prepare_parser.add_argument(
        "name", metavar="NAME", help="NAME[/CONFIG][:VERSION] of the set in TFDS, for example cifar10"
    )
    prepare_parser.add_argument(
        "--archive",
        action="append",
        default=[],
        metavar="PATH",
        help="published file that you have downloaded, or a folder of such files; may be repeated; nothing is "
        "downloaded then",
    )
    prepare_parser.add_argument(
        "--from",
        dest="files",
        action="extend",
        nargs="+",
        default=[],
        metavar="PATH",
        help=f"files of your own: {own.FORMS}; NAME is the name that the set gets",
    )
    for command in (list_parser, prepare_parser):
        command.add_argument(
            "--data_dir",
            metavar="FOLDER",
            help="folder of prepared sets (default: $TFDS_DATA_DIR, else ~/tensorflow_datasets)",
        )
    return parser


def _prepare(name: str, data_dir: str | None, given: Sequence[Path]) -> None:
    folder, written = prepare(name, data_dir=data_dir, given=given)
    print(f"{name} is {'now' if written else 'already'} prepared in {folder}")


def _prepare_own(name: str, data_dir: str | None, files: Sequence[str]) -> None:
    print(f"reading {', '.join(files)}", flush=True)
    done = own.prepare(name, files, data_dir=data_dir)
    print("\n".join(done.notes))
    print(f"{name} is {'now' if done.written else 'already'} prepared in {done.folder}; to train on it:")
    print(f"\n  {done.command}\n")


def _list(data_dir: str | None) -> None:
    on_disk = paths.prepared_sets(data_dir)
    print(f"Prepared sets are looked for in {paths.root(data_dir)}.\n")
    print(f"  {'name':26} {'task':12} status")
    for name in sorted(DATASETS.keys() | on_disk.keys()):
        if name in on_disk:
            status = f"prepared in {on_disk[name]}"
        elif DATASETS[name].package:
            status = f"comes with {DATASETS[name].package}"
        else:
            status = "not prepared"
        task = DATASETS[name].task if name in DATASETS else store.recorded(on_disk[name]).get("task", "-")
        print(f"  {name:26} {task:12} {status}")
    print(f"\nPrepare a set with `{PROGRAM} prepare NAME`, files of your own with `... prepare NAME --from PATH`.")


if __name__ == "__main__":
    streams.begin_program()
    sys.exit(main())
