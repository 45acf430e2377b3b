"""Names that NumPy 2 has dropped and imgaug still reads."""

from __future__ import annotations

from importlib.util import find_spec


def restore_numpy_names() -> None:
    """Give NumPy 2 the names `sctypes` and `complex` again, if imgaug is installed.

    imgaug 0.4 reads them, the first while it is imported. Names that are there stay as they are.
    """
    if find_spec("imgaug") is None:
        return
    import numpy as np

    if "sctypes" not in vars(np):
        np.sctypes = {
            "int": [np.int8, np.int16, np.int32, np.int64],
            "uint": [np.uint8, np.uint16, np.uint32, np.uint64],
            "float": [np.float16, np.float32, np.float64, np.longdouble],
            "complex": [np.complex64, np.complex128, np.clongdouble],
            "others": [bool, object, bytes, str, np.void],
        }
    if "complex" not in vars(np):
        np.complex = complex
