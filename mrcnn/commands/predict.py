"""The command `mrcnn predict`: find objects in pictures, folders, videos and from cameras."""

from __future__ import annotations

import argparse
import functools
import hashlib
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcnn.commands import chosen, options
from mrcnn.config import Config
from mrcnn.logger import logger

if TYPE_CHECKING:
    import numpy as np

    from mrcnn.prediction.annotations import Losses
    from mrcnn.prediction.prediction import Prediction
    from mrcnn.prediction.records import Records
    from mrcnn.prediction.sources import Picture, Source, Video
    from mrcnn.prediction.stream import Predictor

HELP = "find objects in pictures, folders, videos or a camera's frames"
DEFAULT_SIZE = 1000  # pictures of a part
OVERLAYS, LABELME, COCO, PARQUET = FORMS = ("overlays", "labelme", "coco", "parquet")
COCO_FILE = "annotations.json"
DEFAULT_OUTPUT, DEMO_OUTPUT = "predictions", "demo_predictions"
_NAMED = 20  # pictures that could not be read
_WRITABLE = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mrcnn predict`."""
    parser.description = (
        "Find objects in pictures with trained weights. Writes predictions.json (COCO's results), "
        "images.json (which picture has which id), predictions.csv, and the pictures with the "
        "objects drawn on them."
    )
    parser.add_argument(
        "source",
        nargs="*",
        metavar="SOURCE",
        help="a picture, a folder (with its subfolders), a pattern such as 'photos/*.jpg', a "
        "video, the number of a camera, such as 0, a tar file of pictures, or an address such as "
        "s3://bucket/photos",
    )
    parser.add_argument(
        "--demo",
        action="store_true",
        help="with the small network of nuclei that comes with mrcnn; without a SOURCE on its two "
        f"images, into {DEMO_OUTPUT}",
    )
    options.add_options(
        parser,
        *("trained_model", "name", "run_name", "logs", "output", "limit"),
        *(*options.NETWORK, *options.LOOKS, "workers"),
        trained_model="last, the newest run in the folder of --logs",
        output=DEFAULT_OUTPUT,
        backbone="default: the run's",
        image_size="default: the run's",
    )
    group = parser.add_argument_group("detections")
    group.add_argument(
        "--score",
        type=float,
        metavar="SCORE",
        help="keep detections from this score on, from 0 to 1 "
        "(default: the run's DETECTION_MIN_CONFIDENCE)",
    )
    group.add_argument(
        "--classes", nargs="+", metavar="NAME", help="keep these classes (default: all)"
    )
    group.add_argument(
        "--max-detections",
        type=int,
        metavar="N",
        help="keep the N surest of a picture (default: the run's DETECTION_MAX_INSTANCES)",
    )
    group = parser.add_argument_group("files")
    group.add_argument(
        "--save",
        nargs="*",
        choices=FORMS,
        help="what is written beside predictions.json: overlays, the pictures with the objects "
        "drawn on them; labelme, a file for each picture and a copy of it, to correct in labelme "
        "and to train on; coco, a data set of polygons that tools and `mrcnn train` read; "
        "parquet, tables of pictures and objects for DuckDB, Spark or pandas; without a word, "
        "nothing "
        "(default: overlays; with --ray parquet, which is all it writes)",
    )
    group.add_argument(
        "--resume",
        action="store_true",
        help="leave out the pictures that an earlier call has predicted on in the same folder",
    )
    group.add_argument(
        "--part-size",
        type=int,
        metavar="N",
        help=f"with --ray: pictures of a part, which one worker does (default: {DEFAULT_SIZE})",
    )
    group.add_argument(
        "--image-ids",
        metavar="JSON",
        help="a COCO json file whose ids of images (by file_name) and categories are used "
        "(default: numbers from 1 on)",
    )
    group = parser.add_argument_group("many machines")
    group.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="predict with the workers of a Ray cluster at this address, such as auto or "
        "ray://head:10001, or local to start one here; writes Parquet tables in parts "
        "(default: in this process)",
    )
    group.add_argument(
        "--ray-workers",
        type=int,
        metavar="N",
        help="how many workers (default: one a GPU, or one for two cores)",
    )


def run(args: argparse.Namespace) -> int:
    """Predict on the sources; returns 1 when some pictures could not be read."""
    from mrcnn.prediction import sources
    from mrcnn.prediction.records import OWN_IDS, Ids, Records
    from mrcnn.runs import results

    own_pictures = _prepare_demo(args) if args.demo else False
    if not args.source:
        raise ValueError(
            "SOURCE: expected a picture, a folder, a video or a camera's number; received none. "
            "mrcnn predict --demo needs none."
        )
    if args.score is not None and not 0 <= args.score <= 1:
        raise ValueError(f"--score: expected a number from 0 to 1; received {args.score:g}.")
    if args.limit < 0:
        raise ValueError(f"--limit: expected a number of at least 0; received {args.limit}.")
    _check_forms(args)
    found = sources.find_sources(args.source)
    if args.limit:
        found = _limited(found, args.limit)
    ids = Ids.of_dataset(args.image_ids) if args.image_ids else OWN_IDS
    weights = chosen.trained_weights_from_args(args)
    given = chosen.settings_from_args(args)
    if args.score is not None:
        given.setdefault("DETECTION_MIN_CONFIDENCE", args.score)
    if args.max_detections is not None:
        limit = given.get("DETECTION_MAX_INSTANCES")
        given["DETECTION_MAX_INSTANCES"] = max(args.max_detections, limit or 0)
    output = Path(args.output or DEFAULT_OUTPUT)
    if args.ray is not None:
        return _on_cluster(args, output, found, weights, given)
    predictor = make_predictor(args, weights, given)
    logger.info(f"Weights: {weights}\n{results.describe_run(predictor.config)}")
    settings = _settings(args, weights, given)
    records = Records(output, settings, predictor.class_names, ids, resume=args.resume)
    code = _Run(predictor, records, args).over(found)
    if own_pictures:
        _compare_demo(records)
    return code


def make_predictor(args: argparse.Namespace, weights: str, given: dict[str, Any]) -> Predictor:
    """The predictor that the options ask for; on a cluster, each worker makes its own.

    Args:
        args: of `mrcnn predict`.
        weights: the file.
        given: settings by name.
    """
    from mrcnn.prediction.stream import Predictor, Selection, numbered_classes
    from mrcnn.runs import trained

    config = trained.inference_config(weights, Config, given)
    model = trained.load_detector(config, weights)
    return Predictor(
        chosen.detector_from_args(model, args),
        model.class_names or numbered_classes(config.NUM_CLASSES),
        Selection(args.score, tuple(args.classes) if args.classes else None, args.max_detections),
        keep_images=OVERLAYS in args.save,
        workers=args.workers,
    )


def _check_forms(args: argparse.Namespace) -> None:
    """Let `save` be what is written; raises where that does not go together, or needs a package."""
    if args.ray is None:
        for name in ("ray_workers", "part_size"):
            if getattr(args, name) is not None:
                raise ValueError(f"--{name.replace('_', '-')}: expected --ray, of which it is.")
        args.save = [OVERLAYS] if args.save is None else args.save
    else:
        if args.save not in (None, [PARQUET]):
            raise ValueError(
                f"--save: expected parquet alone with --ray; received {' '.join(args.save)}."
            )
        if args.image_ids is not None:
            raise ValueError(
                "--ray: expected no --image-ids; pictures are numbered in their order there. "
                "(mrcnn predict --demo without a SOURCE has ids.)"
            )
        from mrcnn.prediction.cluster import import_ray

        import_ray()
        args.save = [PARQUET]
    if PARQUET in args.save:
        from mrcnn.prediction.parquet import import_pyarrow

        import_pyarrow()  # not found missing when all is done


def _on_cluster(
    args: argparse.Namespace,
    output: Path,
    found: list[Source],
    weights: str,
    given: dict[str, Any],
) -> int:
    """Predict with the workers of a Ray cluster; returns 1 when pictures could not be read."""
    from tqdm import tqdm

    from mrcnn.prediction import cluster, parts
    from mrcnn.prediction.pictures import Picture

    pictures = [source for source in found if isinstance(source, Picture)]
    if len(pictures) < len(found):
        raise ValueError(
            f"--ray: expected pictures; {len(found) - len(pictures)} of {len(found)} sources are "
            "videos. Predict on them without it."
        )
    all_parts = parts.divide(pictures, DEFAULT_SIZE if args.part_size is None else args.part_size)
    todo = parts.take_up(output, all_parts, _settings(args, weights, given), args.resume)
    parts.say_what_is_left(all_parts, todo)
    logger.info(f"Weights: {weights}; {len(pictures)} pictures in {len(all_parts)} parts")
    if todo:
        # What a worker needs of the options; parsers and functions do not travel.
        names = ("score", "classes", "max_detections", "save", "workers", *options.LOOKS)
        of_worker = argparse.Namespace(**{name: getattr(args, name) for name in names})
        make = functools.partial(make_predictor, of_worker, str(Path(weights).absolute()), given)
        workers = cluster.Workers(args.ray_workers)
        done = cluster.predict_on_cluster(args.ray, output, todo, make, workers)
        for _ in tqdm(done, total=len(todo), desc="Predict", unit="part", disable=None):
            pass
    totals = parts.finish(output, all_parts)
    logger.info(
        f"{totals.objects} objects in {totals.pictures} pictures, {totals.unreadable} could not be "
        f"read: {output}/part-*/{{pictures,objects}}.parquet"
    )
    for name, reason in islice(parts.unreadable_in(output), _NAMED):
        logger.warning(f"{name}: {reason}")
    if totals.unreadable > _NAMED:
        logger.warning(f"… and {totals.unreadable - _NAMED} more, in part-*/unreadable.jsonl")
    return 1 if totals.unreadable else 0


def _prepare_demo(args: argparse.Namespace) -> bool:
    """Let the options be those of the demo; whether it looks at its own pictures."""
    from mrcnn.prediction.records import LINES_FILE
    from mrcnn.runs import nuclei

    if args.model is not None:
        raise ValueError(
            f"--demo: expected no --model, because it has a network of its own; received "
            f"{args.model}. Leave out one of them."
        )
    args.model = str(nuclei.WEIGHTS)
    if args.source:
        return False
    args.source = [str(path) for path in nuclei.PICTURES]
    args.image_ids = args.image_ids or str(nuclei.ANNOTATIONS)
    if args.output is None:  # a folder that is the demo's alone
        args.output = DEMO_OUTPUT
        Path(args.output, LINES_FILE).unlink(missing_ok=True)
    return args.image_ids == str(nuclei.ANNOTATIONS) and not args.limit


def _compare_demo(records: Records) -> None:
    """Say what was found beside what is annotated."""
    from mrcnn.runs import nuclei

    results = [result for _, found in records.predictions() for result in found]
    counts, precision = nuclei.compare(results)
    logger.info("\n".join(["", *map(str, counts)]))
    logger.info(
        f"Mask AP of these detections: {precision:.2f}. What the network was trained on, and what "
        f"it cannot do: {nuclei.CARD}\nPictures of your own: mrcnn predict --demo FOLDER"
    )


def _settings(args: argparse.Namespace, weights: str, given: dict[str, Any]) -> dict[str, Any]:
    """What predictions depend on, for a call that resumes them."""
    digest = hashlib.sha256()
    with open(weights, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return {
        "weights": digest.hexdigest(),
        "settings": {name: repr(value) for name, value in given.items()},
        **{name: getattr(args, name) for name in ("score", "classes", "max_detections")},
        **{name: getattr(args, name) for name in options.LOOKS},
    }


def _limited(found: list[Source], limit: int) -> list[Source]:
    """The first pictures; a video counts as one, and of it the first frames are taken."""
    from dataclasses import replace

    from mrcnn.prediction.sources import Video

    kept: list[Source] = []
    for source in found[:limit]:
        if isinstance(source, Video):
            kept.append(replace(source, frames=_first_frames(source, limit)))
        else:
            kept.append(source)
    return kept


def _first_frames(video: Video, limit: int) -> Any:
    from mrcnn.data.video import VideoFrames

    frames = video.frames
    count = limit if frames.count is None else min(limit, frames.count)
    return VideoFrames(count, frames.rate, lambda: islice(frames.read(), limit))


class _Run:
    """A call of the command: it goes through the sources and writes what is found."""

    def __init__(self, predictor: Predictor, records: Records, args: argparse.Namespace) -> None:
        from mrcnn.prediction.annotations import Losses

        self._predictor, self._records = predictor, records
        self._folder, self._forms = records.folder, tuple(args.save)
        self._losses: Losses = Losses()
        self._unreadable = 0
        self._elsewhere = 0  # pictures that are no files here
        self._stopped = False
        self._seconds = 0.0
        self._count = 0

    def over(self, found: list[Source]) -> int:
        """Predict on all sources, write the files, and say what was done."""
        from mrcnn.prediction.pictures import Picture

        started = time.perf_counter()
        pictures: list[Picture] = []  # that follow each other share batches
        for source in [*found, None]:
            if isinstance(source, Picture):
                pictures.append(source)
                continue
            self._pictures(pictures)
            pictures = []
            if self._stopped:
                break
            if source is not None:
                self._video(source)
        self._seconds = time.perf_counter() - started
        self._finish()
        if self._stopped:
            raise KeyboardInterrupt
        return 1 if self._unreadable else 0

    def _pictures(self, pictures: list[Picture]) -> None:
        if not pictures:
            return
        todo = [picture for picture in pictures if picture.name not in self._records.done]
        if len(todo) < len(pictures):
            logger.info(f"{len(pictures) - len(todo)} pictures are done already and left out.")
        for prediction in self._predicted(todo, len(todo)):
            if OVERLAYS in self._forms:
                prediction.save(self._folder / OVERLAYS / _overlay_name(prediction.name))
            if LABELME in self._forms:
                self._write_labelme(prediction)
            self._records.add(prediction)

    def _video(self, video: Video) -> None:
        from mrcnn.data.video import write_frames

        path = self._folder / OVERLAYS / (video.name if video.path else f"{video.name}.mp4")
        frames = self._video_frames(video)
        if OVERLAYS not in self._forms:
            for _ in frames:
                pass
        elif path.exists() and self._records.done:
            logger.info(f"{video.name} is done already and left out.")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f"part_{path.name}")
            write_frames(part, frames, video.frames.rate)
            part.replace(path)
        if LABELME in self._forms:
            logger.warning(
                f"{video.name}: labelme opens pictures; of the frames of a video no file was "
                "written. Take the video apart into pictures first."
            )

    def _video_frames(self, video: Video) -> Iterator[np.ndarray]:
        """Predict on the frames, and hand them on with the objects drawn."""
        for prediction in self._predicted(video.pictures(), video.frames.count):
            if prediction.name not in self._records.done:
                self._records.add(prediction)
            if OVERLAYS in self._forms:
                yield prediction.draw()

    def _predicted(self, pictures: Iterable[Picture], total: int | None) -> Iterator[Prediction]:
        """What is found, with a progress bar; unreadable pictures are named and counted."""
        from tqdm import tqdm

        from mrcnn.prediction.stream import Unreadable

        bar = {"total": total, "desc": "Predict", "unit": "image"}
        found = tqdm(self._predictor(pictures), disable=None, **bar)
        try:
            for prediction in found:
                if isinstance(prediction, Unreadable):
                    self._unreadable += 1
                    found.clear()
                    logger.warning(prediction.reason)
                    self._records.add_unreadable(prediction.picture.name, prediction.reason)
                    continue
                self._count += 1
                yield prediction
        except KeyboardInterrupt:
            self._stopped = True
        finally:
            found.close()

    def _write_labelme(self, prediction: Prediction) -> None:
        from mrcnn.prediction.annotations import write_labelme

        if prediction.path is None:
            self._elsewhere += 1
            return
        path = self._folder / LABELME / Path(prediction.name).with_suffix(".json")
        try:
            write_labelme(path, prediction, prediction.path, self._losses)
        except FileExistsError as error:
            logger.warning(str(error))

    def _finish(self) -> None:
        from mrcnn.files.atomic import write_json
        from mrcnn.prediction.annotations import coco_dataset

        self._records.finish()
        if COCO in self._forms:
            content = coco_dataset(
                self._records.predictions(), self._records.categories, self._losses
            )
            write_json(self._folder / COCO_FILE, content)
            logger.info(f"Data set of polygons: {self._folder / COCO_FILE}")
        if PARQUET in self._forms:
            from mrcnn.prediction.parquet import OBJECTS_FILE, PICTURES_FILE, write_tables

            pictures, objects = write_tables(
                self._folder,
                self._records.predictions(),
                self._records.categories,
                self._records.image_ids_are_text,
            )
            logger.info(
                f"Tables: {self._folder / PICTURES_FILE} ({pictures} rows), {OBJECTS_FILE} "
                f"({objects} rows)"
            )
        for form in (OVERLAYS, LABELME):
            if form in self._forms:
                logger.info(f"{form}: {self._folder / form}")
        if self._elsewhere:
            logger.warning(
                f"labelme opens files: of {self._elsewhere} pictures, which lie at addresses or in "
                "tar files, no file was written. Copy them here first."
            )
        if str(self._losses):
            logger.info(str(self._losses))
        rate = self._count / self._seconds if self._seconds else 0
        logger.info(
            f"{self._count} pictures in {self._seconds:.1f} s ({rate:.2f} a second); "
            f"{self._unreadable} could not be read."
        )
        if self._stopped:
            logger.info("Stopped; the same command with --resume does the rest.")


def _overlay_name(name: str) -> str:
    """The file of a drawn picture: the picture's name, of a format that can be written."""
    return name if Path(name).suffix.lower() in _WRITABLE else f"{name}.png"
