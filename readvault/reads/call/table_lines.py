"""Lines of a table, written digit by digit in native code: genomes have many positions, tables many columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from readvault.reads.align.bam_records import Bytes
from readvault.reads.native import compiled

_TAB, _ZERO, _END = ord("\t"), ord("0"), ord("\n")


def lines(prefix: bytes, numbers: NDArray[np.int64], letters: str | None = None) -> bytes:
    """Tab-separated lines of non-negative numbers after a prefix; `letters` become the second column."""
    widest = len(str(int(numbers.max(initial=0))))
    text = np.empty(len(numbers) * (len(prefix) + 2 + (widest + 1) * numbers.shape[1]), dtype=np.uint8)
    column = np.frombuffer((letters or "").encode("ascii"), dtype=np.uint8)
    length = _write(np.frombuffer(prefix, dtype=np.uint8), np.ascontiguousarray(numbers), column, text)
    return text[:length].tobytes()


@compiled("int64(Array(uint8, 1, 'C', readonly=True), int64[:,::1], Array(uint8, 1, 'C', readonly=True), uint8[::1])")
def _write(prefix: Bytes, numbers: NDArray[np.int64], letters: Bytes, text: Bytes) -> int:
    """Fill `text`; how many bytes it has then."""
    at = 0
    for row in range(numbers.shape[0]):
        for byte in prefix:
            text[at] = byte
            at += 1
        for column in range(numbers.shape[1]):
            left = numbers[row, column]
            width, bound = 1, np.int64(10)
            while left >= bound and width < 19:
                width += 1
                bound = bound * 10 if width < 19 else bound
            for digit in range(at + width - 1, at - 1, -1):
                text[digit] = _ZERO + left % 10
                left //= 10
            at += width
            text[at] = _TAB
            at += 1
            if column == 0 and len(letters):
                text[at] = letters[row]
                text[at + 1] = _TAB
                at += 2
        text[at - 1] = _END
    return at
