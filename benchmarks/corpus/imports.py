"""Which module a script gets when it imports one: ours for `mrcnn`, and hooks after some others."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

PACKAGE = "mrcnn"
Hook = Callable[[ModuleType], None]


class Redirect(MetaPathFinder):
    """The first finder of a run.

    Args:
        root: folder that holds our `mrcnn`.
        copies: folders of the project's own copy of `mrcnn`: a module that ours lacks, such as a
            data set of the project's, is taken from there.
        aliases: module of ours that a name of the project's stands for, as where the project has
            our modules beside its script (`import model`) or in a package of another name.
        silent: modules that do nothing, such as `google.colab`.
        hooks: what is done with a module after it has been executed.
    """

    def __init__(
        self,
        root: Path,
        copies: Sequence[Path] = (),
        aliases: Mapping[str, str] | None = None,
        silent: Sequence[str] = (),
        hooks: Mapping[str, Hook] | None = None,
    ) -> None:
        self.root = root
        self.copies = [str(path) for path in copies]
        self.aliases = dict(aliases or {})
        self.silent = set(silent)
        self.hooks = dict(hooks or {})

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """The module's specification, or None to let the other finders look."""
        if fullname in self.aliases:
            return ModuleSpec(fullname, Alias(self.aliases[fullname]))
        if fullname in self.silent:
            return ModuleSpec(fullname, SilentLoader(), is_package=True)
        if fullname == PACKAGE:
            return self.hooked(PathFinder.find_spec(fullname, [str(self.root)]))
        if fullname.startswith(PACKAGE + "."):
            found = PathFinder.find_spec(fullname, path)
            return self.hooked(found or PathFinder.find_spec(fullname, self.copies))
        if fullname in self.hooks:
            for finder in sys.meta_path:
                if finder is not self and hasattr(finder, "find_spec"):
                    found = finder.find_spec(fullname, path, target)
                    if found is not None:
                        return self.hooked(found)
        return None

    def hooked(self, spec: ModuleSpec | None) -> ModuleSpec | None:
        """The specification; its module is handed to the hook once it has been executed."""
        hook = self.hooks.get(spec.name) if spec is not None else None
        if spec is None or hook is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            hook(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


class Alias(Loader):
    """Loads a module of ours under another name; it is the same object."""

    def __init__(self, target: str) -> None:
        self.target = target

    def exec_module(self, module: ModuleType) -> None:
        """Put the module of ours in the place of the new one."""
        sys.modules[module.__name__] = importlib.import_module(self.target)


class Silent(ModuleType):
    """A module whose attributes can be called with anything, and return None."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: None


class SilentLoader(Loader):
    """Loads a `Silent` module."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module, empty."""
        return Silent(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is in it."""
