"""Modules that Matterport's modules had as names of their own, and scripts take from there.

`from mrcnn.utils import *` brought `np`, `tf` and `skimage` with it. What is costly or optional of
these stands here, and is imported when something is asked of it: importing `mrcnn.utils` loads no
TensorFlow, so that worker processes stay small.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

_PACKAGES = {"cv2": "opencv-python", "IPython": "ipython"}


class LazyModule(ModuleType):
    """A module that is imported when the first of its attributes is asked for.

    Args:
        name: of the module.
        submodules: of it, to be imported as well, as `import a.b` does.
    """

    def __init__(self, name: str, *submodules: str) -> None:
        super().__init__(name)
        self._submodules = submodules

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__") and attribute != "__version__":
            raise AttributeError(attribute)  # of Python's own, which looks at modules unasked
        name = self.__name__
        try:
            module = importlib.import_module(name)
            for submodule in self._submodules:
                importlib.import_module(f"{name}.{submodule}")
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            raise ModuleNotFoundError(
                f"{name}: expected this package to be installed, because the script uses it; it "
                f"is not. Install it: pip install {_PACKAGES.get(name, name)}",
                name=name,
            ) from error
        return getattr(module, attribute)

    def __dir__(self) -> list[str]:
        return dir(importlib.import_module(self.__name__))


# Any: a type checker would look for their attributes here.
tf: Any = LazyModule("tensorflow")
skimage: Any = LazyModule("skimage", "color", "io", "transform")
scipy: Any = LazyModule("scipy")
cv2: Any = LazyModule("cv2")
IPython: Any = LazyModule("IPython", "display")
