"""Packed run lengths of bytes, as Label Studio's brush writes them.

The form is that of https://github.com/thi-ng/umbrella, package rle-pack: a stream of bits, the
highest of a byte first. Its head has the number of values (32 bits), their width less one (5 bits),
and four widths of lengths, each less one (4 bits each). Then come blocks: a bit that says whether
one value is repeated, two bits that choose one of the four widths, the length less one, and the
value or values.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mrcnn.data.coco_fields import shorten


def unpack(packed: Any, count: int) -> np.ndarray:
    """The values of packed run lengths: uint8 [count].

    Args:
        packed: a list of bytes, as numbers.
        count: how many values they have to hold.

    Raises:
        ValueError: they hold another number of values, or are broken; says what was received.
    """
    is_list = isinstance(packed, list)
    if not is_list or not all(type(b) is int and 0 <= b < 256 for b in packed):
        raise ValueError(f"{shorten(packed, 40)}, where packed run lengths were expected")
    bits = _Bits(np.array(packed, np.uint8))
    stated = bits.read(32)
    if stated != count:
        raise ValueError(f"packed run lengths of {stated} values, where {count} were expected")
    width = bits.read(5) + 1
    if width > 8:
        raise ValueError(f"packed values of {width} bits, where at most 8 were expected")
    lengths = [bits.read(4) + 1 for _ in range(4)]
    values = np.zeros(count, np.uint8)
    start = 0
    while start < count:
        is_run = bits.read(1)
        end = start + 1 + bits.read(lengths[bits.read(2)])
        if end > count:
            raise ValueError(f"packed run lengths of more than the {count} values expected")
        values[start:end] = bits.read(width) if is_run else bits.read_many(width, end - start)
        start = end
    return values


class _Bits:
    """A stream of bits."""

    def __init__(self, data: np.ndarray) -> None:
        self._data = data.tobytes()
        self._place, self._size = 0, 8 * len(data)

    def read(self, count: int) -> int:
        """The next bits as a number."""
        end = self._take(count)
        first, last = (end - count) // 8, (end + 7) // 8
        number = int.from_bytes(self._data[first:last], "big")
        return (number >> (8 * last - end)) & ((1 << count) - 1)

    def read_many(self, width: int, count: int) -> np.ndarray:
        """The next numbers of some width: int [count]."""
        end = self._take(width * count)
        start = end - width * count
        first = start // 8
        bits = np.unpackbits(np.frombuffer(self._data[first : (end + 7) // 8], np.uint8))
        part = bits[start - 8 * first : end - 8 * first].reshape(count, width)
        return part @ (1 << np.arange(width - 1, -1, -1))

    def _take(self, count: int) -> int:
        self._place += count
        if self._place > self._size:
            raise ValueError("packed run lengths that end too early")
        return self._place
