"""Gzip (RFC 1952) on all cores: pieces of the content are packed side by side and joined to one stream.

Every piece ends on a byte (an empty stored block, RFC 1951 3.2.4), so the pieces follow each other in one member that
any reader takes. The pieces are of fixed size and there is no time stamp: same content, same bytes, on any machine.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO, TypeAlias

HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
PIECE = 1 << 21
"""Bytes packed as one: matches do not reach beyond, which costs 32 kB of history in 2 MB."""

LEVEL = 1  # half the time of the usual 6 for a few per cent more bytes
SAMPLE = 1 << 16
WORTH_IT = 0.85
"""Share of its bytes to which a sample has to shrink for the whole to be packed."""

THREADS = min(8, os.cpu_count() or 1)

Part: TypeAlias = "bytes | memoryview | Callable[[], memoryview]"


def pieces(content: memoryview) -> Iterator[memoryview]:
    """Bytes in pieces of :data:`PIECE`."""
    return (content[start : start + PIECE] for start in range(0, len(content), PIECE))


def pack(
    file: BinaryIO, parts: Iterable[Part], *, strategy: int = zlib.Z_DEFAULT_STRATEGY, try_first: bool = False
) -> None:
    """Write ``parts`` as one gzip member.

    Args:
        file: open for writing.
        parts: the content in order, as bytes or as functions that make them (run side by side).
        strategy: of zlib; ``zlib.Z_RLE`` for numbers that seldom repeat but for runs: a third of the time there.
        try_first: parts of which a sample hardly shrinks are stored as they are: several times as fast.
    """
    file.write(HEADER)
    crc, length = 0, 0
    with ThreadPoolExecutor(THREADS) as pool:
        waiting: deque[Future[tuple[bytes | memoryview, bytes]]] = deque()

        def finish() -> None:
            nonlocal crc, length
            plain, packed = waiting.popleft().result()
            crc, length = zlib.crc32(plain, crc), length + len(plain)
            file.write(packed)

        for part in parts:
            waiting.append(pool.submit(_packed, part, strategy, try_first))
            if len(waiting) > 2 * THREADS:  # bounds what lies in memory
                finish()
        while waiting:
            finish()
    file.write(b"\x03\0" + struct.pack("<II", crc, length & 0xFFFFFFFF))  # after an empty last block


def _packed(part: Part, strategy: int, try_first: bool) -> tuple[bytes | memoryview, bytes]:
    plain = part() if callable(part) else part
    level = LEVEL
    if try_first and len(plain) > 2 * SAMPLE:
        middle = plain[len(plain) // 2 :][:SAMPLE]
        if len(_deflated(middle, LEVEL, strategy)) > WORTH_IT * SAMPLE:
            level = 0
    return plain, _deflated(plain, level, strategy)


def _deflated(plain: bytes | memoryview, level: int, strategy: int) -> bytes:
    stream = zlib.compressobj(level, zlib.DEFLATED, -15, 8, strategy)
    return stream.compress(plain) + stream.flush(zlib.Z_SYNC_FLUSH)
