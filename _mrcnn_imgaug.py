"""Makes way for imgaug where a script imports it before mrcnn.

imgaug 0.4 reads names that NumPy 2 has dropped, while it is imported. `import mrcnn` puts them back
(`mrcnn.process.restore_numpy_names`), but Matterport's scripts import imgaug first. So installing
mrcnn installs `_mrcnn_imgaug.pth` too, which imports this file at every start of Python: it must
need next to no time, and nothing but what Python has loaded already.
"""

import sys


class ImgaugNotice:
    """Finds no module; notices that imgaug is looked for, and restores NumPy's names first."""

    noticed = False

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == "imgaug" and not cls.noticed:
            cls.noticed = True  # before the import, because mrcnn looks for imgaug itself
            try:
                from mrcnn.process import restore_numpy_names
            except ImportError:  # a checkout that is gone; imgaug then says what it lacks
                return
            restore_numpy_names()


# Others may look at what is in front of Python's own finders.
sys.meta_path.insert(0, ImgaugNotice)
