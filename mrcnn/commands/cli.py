"""The command `mrcnn`: check, train, evaluate and compare on data in COCO's layout, and a demo.

Heavy modules are imported where they are used, so that `mrcnn --help` is quick and the
loader's worker processes stay small.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mrcnn import __version__
from mrcnn.commands import check, edges


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit status: 0; 1 when a run of several failed, or a check found an error; 2 for
        input that cannot be used, or a loss that is not finite; 130 after Ctrl-C.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = _parser(arguments[:1])
    args = parser.parse_args(arguments)
    try:
        return args.run(args) or 0
    except (OSError, ValueError, FloatingPointError) as error:
        print(f"mrcnn: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser(command: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mrcnn", description="Mask R-CNN with the Edge Agreement Head, on Keras 3."
    )
    parser.add_argument("--version", action="version", version=f"mrcnn {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train on a data set in COCO's layout")
    train.set_defaults(run=_train)
    train.add_argument("dataset", help="folder with annotations/instances_SUBSET[YEAR].json")
    train.add_argument("--name", help="names the log folder (default: the data set's folder)")
    train.add_argument("--train-subset", default="train", metavar="SUBSET")
    train.add_argument("--val-subset", default="val", metavar="SUBSET")
    train.add_argument(
        "--box-only",
        action="store_true",
        help="accept annotations without a segmentation: they train boxes and classes",
    )
    train.add_argument(
        "--model", default="none", help="none, imagenet, coco, last, or a weights file"
    )
    train.add_argument(
        "--augment", nargs="*", default=["flip"], choices=("flip", "updown", "rotate")
    )

    train.add_argument("--no-check", action="store_true", help="do not look at the data set first")

    evaluate = commands.add_parser("evaluate", help="evaluate weights with pycocotools")
    evaluate.set_defaults(run=_evaluate)
    evaluate.add_argument("dataset", help="folder with annotations/instances_SUBSET[YEAR].json")
    evaluate.add_argument("--model", required=True, help="a weights file; settings lie beside it")
    evaluate.add_argument("--subset", default="val")
    evaluate.add_argument("--limit", type=int, default=0, help="number of images (default: all)")
    evaluate.add_argument("--output", help="folder of the results (default: beside the weights)")

    demo = commands.add_parser("demo", help="train, evaluate and draw on synthetic shapes")
    demo.set_defaults(run=_demo)
    demo.add_argument("--output", default="demo_output", help="folder of everything it writes")
    demo.add_argument("--steps", type=int, default=None, help="training steps")

    ablate = commands.add_parser(
        "ablate", help="compare settings: arms x seeds, with tables and figures"
    )
    ablate.set_defaults(run=_ablate)
    ablate.add_argument("dataset", help="folder with annotations/instances_SUBSET[YEAR].json")
    ablate.add_argument("--train-subset", default="train", metavar="SUBSET")
    ablate.add_argument("--val-subset", default="val", metavar="SUBSET")
    ablate.add_argument("--model", default="none", help="start weights: none, imagenet, or a file")
    ablate.add_argument("--year", default="", help="in the data set's file names")

    replay = commands.add_parser("replay", help="compute the step again whose loss was not finite")
    replay.set_defaults(run=_replay)
    replay.add_argument("file", help="the replay file that training wrote")

    edges.add_parser(commands)
    check.add_parser(commands)

    for command_parser in (train, evaluate):
        command_parser.add_argument("--year", default="", help="in the data set's file names")
        command_parser.add_argument("--logs", default="logs", help="folder of the log folders")
    if command and command[0] in ("train", "evaluate"):
        from mrcnn.commands import options

        options.add_settings_options(train)
        options.add_settings_options(evaluate)
        options.add_schedule_options(train, default="scratch")
    if command and command[0] == "ablate":
        from mrcnn.commands import ablate as commands_ablate
        from mrcnn.commands import options

        commands_ablate.add_options(ablate)
        options.add_settings_options(ablate)
        options.add_schedule_options(ablate, default="scratch")
    return parser


def _train(args: argparse.Namespace) -> None:
    from mrcnn.commands import options
    from mrcnn.commands import train as commands_train
    from mrcnn.data import augment
    from mrcnn.datasets.coco import CocoDataset
    from mrcnn.runs import settings

    base = _config(args.name or Path(args.dataset).resolve().name)
    if not args.no_check:
        check.before_training(args, settings.configure(base, options.settings_of(args)))
    train_set, val_set = (
        CocoDataset.of(args.dataset, subset, args.year, box_only=args.box_only)
        for subset in (args.train_subset, args.val_subset)
    )
    transforms = {
        "flip": augment.HorizontalFlip,
        "updown": augment.VerticalFlip,
        "rotate": augment.RandomRotate90,
    }
    augmentation = augment.Sequential([transforms[name]() for name in args.augment])
    commands_train.train(base, args, train_set, val_set, augmentation=augmentation)


def _evaluate(args: argparse.Namespace) -> None:
    from mrcnn.commands import evaluate as commands_evaluate
    from mrcnn.datasets.coco import CocoDataset

    dataset = CocoDataset.of(args.dataset, args.subset, args.year)
    subset = f"{args.subset}{args.year}"
    commands_evaluate.evaluate(
        _config("evaluation"), args, args.model, dataset, dataset.ground_truth, subset
    )


def _ablate(args: argparse.Namespace) -> int:
    from mrcnn.commands import ablate as commands_ablate

    return 1 if commands_ablate.run(args) else 0


def _replay(args: argparse.Namespace) -> None:
    from mrcnn.commands.replay import replay

    replay(args.file)


def _config(name: str) -> type:
    from mrcnn.config import Config

    return type("Config", (Config,), {"NAME": name})


def _demo(args: argparse.Namespace) -> None:
    from mrcnn.commands import demo

    demo.run(args.output, **({} if args.steps is None else {"steps": args.steps}))


if __name__ == "__main__":
    sys.exit(main())
