"""The command `mrcnn`: check, train, evaluate and compare on data in COCO's layout, and a demo.

Each command is a file of this folder with `HELP` (a line), `add_options(parser)` and `run(args)`,
which returns the exit status. These files import heavy modules where they use them, so that
`mrcnn --help` is quick and the loader's worker processes stay small.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType

from mrcnn import __version__
from mrcnn.commands import advice
from mrcnn.commands.backend_messages import without_backend_messages
from mrcnn.commands.options import add_verbose_option
from mrcnn.commands.parser import Parser
from mrcnn.logger import logger

# In the order of `mrcnn --help`; a name is that of the command's file, with "_" for "-".
COMMANDS = (
    *("check", "convert-data", "pretrain", "train", "evaluate", "predict"),
    *("export", "convert", "ablate", "edges", "demo", "replay", "doctor-env"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit status: 0; 1 when a run of several failed, or a check found an error; 2 for
        input that cannot be used, a loss that is not finite, a package that is missing, or memory
        that does not suffice; 130 after Ctrl-C.
    """
    args = _parser().parse_args(argv)
    status = _run(args)
    if status == 2:
        end_the_others(status)
    return status


def _run(args: argparse.Namespace) -> int:
    try:
        with without_backend_messages(args.verbose):
            return args.run(args)
    except (OSError, ValueError, FloatingPointError) as error:
        logger.error("mrcnn: %s", advice.message(error))
        return 2
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if not (advice.is_out_of_memory(error) or advice.is_missing_package(error)):
            logger.error(advice.UNEXPECTED)
            raise
        logger.error("mrcnn: %s", advice.message(error))
        return 2


def end_the_others(status: int) -> None:
    """After an error, end this one of processes that train together at once, and so the others.

    They wait for its part of the work. A process that trains alone ends as usual.
    """
    if (hosts := sys.modules.get("mrcnn.training.hosts")) is not None:
        hosts.leave(status)


def module_of(command: str) -> ModuleType:
    """The file of a command."""
    return importlib.import_module(f"mrcnn.commands.{command.replace('-', '_')}")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="mrcnn", description="Mask R-CNN with the Edge Agreement Head, on Keras 3."
    )
    parser.add_argument("--version", action="version", version=f"mrcnn {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name in COMMANDS:
        command = module_of(name)
        options = commands.add_parser(name, help=command.HELP)
        options.set_defaults(run=command.run)
        add_verbose_option(options)
        command.add_options(options)
    return parser


if __name__ == "__main__":
    sys.exit(main())
