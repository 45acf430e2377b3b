"""What is changed around a script, which itself stays as its author wrote it.

Settings become small, epochs few, windows invisible, and paths of the author's machine lead into
the run's folder.
"""

from __future__ import annotations

import builtins
import functools
import inspect
import io
import os
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

# No setting becomes larger than this; most scripts then take seconds on one core.
CAPS: dict[str, int] = {
    "IMAGES_PER_GPU": 2,
    "IMAGE_MIN_DIM": 128,
    "IMAGE_MAX_DIM": 128,
    "STEPS_PER_EPOCH": 2,
    "VALIDATION_STEPS": 1,
    "TOP_DOWN_PYRAMID_SIZE": 32,
    "RPN_CONV_FILTERS": 32,
    "MASK_CONV_FILTERS": 32,
    "FPN_CLASSIF_FC_LAYERS_SIZE": 64,
    "PRE_NMS_LIMIT": 600,
    "POST_NMS_ROIS_TRAINING": 200,
    "POST_NMS_ROIS_INFERENCE": 100,
    "TRAIN_ROIS_PER_IMAGE": 20,
    "MAX_GT_INSTANCES": 20,
    "DETECTION_MAX_INSTANCES": 20,
}
SMALL: dict[str, Any] = {"BACKBONE": "resnet10"}
FIT_STEPS = 2


def capped(value: Any, cap: int) -> Any:
    """The smaller of both, in the type of the first; a number that is not whole stays so."""
    if not isinstance(value, int | float) or isinstance(value, bool) or value <= cap:
        return value
    if isinstance(value, float):
        return float(cap) if value.is_integer() else cap - 0.5
    return type(value)(cap)


def shrink(settings: Mapping[str, Any], caps: Mapping[str, int] = CAPS) -> Callable[..., None]:
    """A hook for `mrcnn.config`: every configuration is made small as it is made.

    Args:
        settings: what is set, whatever the script says.
        caps: what the settings may be at most.
    """

    def hook(module: ModuleType) -> None:
        initialize = module.Config.__init__

        @functools.wraps(initialize)
        def small(self: Any, *args: Any, **kwargs: Any) -> None:
            for name, cap in caps.items():
                setattr(self, name, capped(getattr(self, name), cap))
            for name, value in settings.items():
                setattr(self, name, value)
            initialize(self, *args, **kwargs)

        module.Config.__init__ = small

    return hook


def one_epoch(imagenet: str | None) -> Callable[[ModuleType], None]:
    """A hook for `mrcnn.model`: each call of `train` is one epoch.

    Args:
        imagenet: the file that `get_imagenet_weights` gives, instead of a download.
    """

    def hook(module: ModuleType) -> None:
        model = module.MaskRCNN
        train = model.train
        signature = inspect.signature(train)

        @functools.wraps(train)
        def short(self: Any, *args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(self, *args, **kwargs)
            if "epochs" in bound.arguments:
                bound.arguments["epochs"] = min(bound.arguments["epochs"], self.epoch + 1)
            return train(*bound.args, **bound.kwargs)

        model.train = short
        if imagenet:
            model.get_imagenet_weights = lambda self: imagenet

    return hook


def short_fit(module: ModuleType) -> None:
    """A hook for `keras`: `fit` makes one epoch of few steps, for loops of the script's own."""
    fit = module.Model.fit

    @functools.wraps(fit)
    def short(self: Any, *args: Any, **kwargs: Any) -> Any:
        first = kwargs.get("initial_epoch", 0)
        if "epochs" in kwargs:
            kwargs["epochs"] = min(kwargs["epochs"], first + 1)
        for name in ("steps_per_epoch", "validation_steps"):
            if kwargs.get(name):
                kwargs[name] = capped(kwargs[name], FIT_STEPS)
        return fit(self, *args, **kwargs)

    module.Model.fit = short


def no_windows(module: ModuleType) -> None:
    """A hook for `matplotlib`: the backend stays the one without windows."""
    module.use = lambda *args, **kwargs: None


def no_screen(camera: str | None, keys: int) -> Callable[[ModuleType], None]:
    """A hook for `cv2`: no windows, and a film in the place of the camera.

    Args:
        camera: path of the film.
        keys: the how-manieth question for a key is answered with "q".
    """
    asked = iter(range(1, 1 + keys))

    def hook(module: ModuleType) -> None:
        def key(*args: Any) -> int:
            return ord("q") if next(asked, keys) >= keys else -1

        for name in ("imshow", "namedWindow", "moveWindow", "resizeWindow", "destroyAllWindows"):
            setattr(module, name, lambda *args, **kwargs: None)
        module.waitKey = key
        capture = module.VideoCapture
        module.VideoCapture = lambda source, *args: capture(
            camera if camera and isinstance(source, int) else translated(source), *args
        )
        for name in ("imread", "imwrite", "VideoWriter"):
            setattr(module, name, first_translated(getattr(module, name)))

    return hook


_places: dict[str, str] = {}


def translated(path: Any) -> Any:
    """The path that is meant: other machines' folders are in the run's, and `\\` separates too."""
    if not isinstance(path, str | os.PathLike):
        return path
    text = os.fspath(path)
    if not isinstance(text, str):
        return path
    for prefix, place in _places.items():
        if text.startswith(prefix):
            return (place + text[len(prefix) :]).replace("\\", "/")
    return text.replace("\\", "/") if "\\" in text else path


def first_translated(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose first argument is a path."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*(translated(value) for value in args[:1]), *args[1:], **kwargs)

    return call


def all_translated(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, all of whose arguments by position are paths."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*map(translated, args), **kwargs)

    return call


def redirect_paths(places: Mapping[str, str]) -> None:
    """Let every path that starts like a key of `places` lead to its value instead."""
    _places.update(places)
    names = ("listdir", "scandir", "stat", "lstat", "mkdir", "open", "chdir")
    names += ("remove", "unlink", "rmdir", "statvfs")
    for name in names:
        setattr(os, name, first_translated(getattr(os, name)))
    for name in ("abspath", "realpath"):
        setattr(os.path, name, first_translated(getattr(os.path, name)))
    for name in ("replace", "rename"):
        setattr(os, name, all_translated(getattr(os, name)))
    builtins.open = io.open = first_translated(io.open)  # type: ignore[assignment]


def translate_file(module: ModuleType) -> None:
    """A hook for `h5py`, whose files are not opened by Python."""

    class File(module.File):  # type: ignore[name-defined, misc]
        def __init__(self, name: Any, *args: Any, **kwargs: Any) -> None:
            super().__init__(translated(name), *args, **kwargs)

    module.File = File
    module.is_hdf5 = first_translated(module.is_hdf5)
