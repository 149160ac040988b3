"""SipHash-1-3, compiled: hashes that nobody can make collide who doesn't know the keys.

After Aumasson and Bernstein, SipHash: a fast short-input PRF (2012), with one and three rounds as Python
itself hashes bytes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from readvault.reads.native import compiled, inlined


@inlined
def _turned(word: np.uint64, bits: int) -> np.uint64:
    return (word << np.uint64(bits)) | (word >> np.uint64(64 - bits))


@compiled("int64(uint8[::1], int64, int64, uint64[::1])")
def sip_hash(text: npt.NDArray[np.uint8], start: int, end: int, keys: npt.NDArray[np.uint64]) -> int:
    """The hash of `text[start:end]` under two keys, as a signed number of 64 bits."""
    v0 = keys[0] ^ np.uint64(0x736F6D6570736575)
    v1 = keys[1] ^ np.uint64(0x646F72616E646F6D)
    v2 = keys[0] ^ np.uint64(0x6C7967656E657261)
    v3 = keys[1] ^ np.uint64(0x7465646279746573)
    whole = (end - start) // 8
    for turn in range(whole + 4):
        word = np.uint64(0)
        if turn <= whole:
            place = start + 8 * turn
            for byte in range(min(8, end - place)):
                word |= np.uint64(text[place + byte]) << np.uint64(8 * byte)
            if turn == whole:
                word |= np.uint64(end - start) << np.uint64(56)
            v3 ^= word
        elif turn == whole + 1:
            v2 ^= np.uint64(255)
        v0 += v1
        v2 += v3
        v1 = _turned(v1, 13) ^ v0
        v3 = _turned(v3, 16) ^ v2
        v0 = _turned(v0, 32)
        v2 += v1
        v0 += v3
        v1 = _turned(v1, 17) ^ v2
        v3 = _turned(v3, 21) ^ v0
        v2 = _turned(v2, 32)
        if turn <= whole:
            v0 ^= word
    return np.int64(v0 ^ v1 ^ v2 ^ v3)  # type: ignore[return-value]
