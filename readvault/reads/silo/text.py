"""The pieces that a line is put together from, in native code."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from readvault.reads.align.bam_records import Bytes, nibble_at
from readvault.reads.native import inlined
from readvault.reads.silo.layout import SYMBOLS

SEQUENCE = np.frombuffer(b'{"sequence":"', dtype=np.uint8).copy()
INSERTIONS = np.frombuffer(b'","insertions":[', dtype=np.uint8).copy()
OFFSET = np.frombuffer(b'],"offset":', dtype=np.uint8).copy()
NULL = np.frombuffer(b"null", dtype=np.uint8).copy()
QUOTE, COLON, COMMA, CLOSE, NEWLINE, SLASH, ZERO = 34, 58, 44, 125, 10, 47, 48
INTEGER = 20
"""The most bytes of a number with what stands around it."""


@inlined
def put_text(content: Bytes, out: Bytes, at: Any) -> Any:
    """Append a text; where it ends."""
    for i in range(len(content)):
        out[at + i] = content[i]
    return at + len(content)


@inlined
def put_number(value: Any, out: Bytes, at: Any) -> Any:
    """Append a number that is not negative; where it ends."""
    digits, rest = 1, value // 10
    while rest:
        digits, rest = digits + 1, rest // 10
    for i in range(digits):
        out[at + digits - 1 - i] = ZERO + value % 10
        value //= 10
    return at + digits


@inlined
def put_insertions(buffer: Bytes, events: NDArray[np.int64], count: Any, out: Bytes, at: Any) -> Any:
    """Append a list of inserted bases; where it ends."""
    for event in range(count):
        if event:
            out[at] = COMMA
            at += 1
        out[at] = QUOTE
        at = put_number(events[event, 0], out, at + 1)
        out[at] = COLON
        at += 1
        for i in range(events[event, 1]):
            out[at + i] = SYMBOLS[nibble_at(buffer, events[event, 2] + i)]
        at += events[event, 1]
        out[at] = QUOTE
        at += 1
    return at
