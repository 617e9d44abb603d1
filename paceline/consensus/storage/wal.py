"""Finds damage in a write-ahead file that SQLite itself would pass over.

When SQLite opens a database it replays the write-ahead file up to the first frame whose checksum
is wrong, and takes that for the end: a crash in the middle of a write looks just so. A frame that
was damaged later looks the same, and then every transaction behind it, acknowledged long ago, is
dropped without a word. But the two can be told apart. With `synchronous=FULL` a transaction begins
only after the one before it was synced, so a crash can leave at most one commit behind the first
bad frame. Two or more mean damage. (Damage to the very last transaction cannot be told from a
crash; the other nodes have it, and the core notices when they speak of it.)

File format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

import struct
from pathlib import Path

HEADER = struct.Struct(">8I")  # magic, version, page size, sequence, salt 1, salt 2, checksum 1, 2
FRAME = struct.Struct(">6I")  # page, size of the database if this commits, salt 1, 2, checksum 1, 2
MAGIC = 0x377F0682
WORDS_LIMIT = 1 << 32

Sums = tuple[int, int]


def commits_behind_damage(path: Path) -> int:
    """Answer how many commits of the present generation stand behind the first bad frame."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return 0
    if len(data) < HEADER.size:
        return 0
    magic, _, page_size, _, salt1, salt2, sum1, sum2 = HEADER.unpack_from(data)
    if magic & ~1 != MAGIC or page_size == 0:
        return 0
    order = ">" if magic & 1 else "<"
    if _checksum(data[: HEADER.size - 8], (0, 0), order) == (sum1, sum2):
        return _scan(data, page_size, (salt1, salt2), (sum1, sum2), order)
    # The header is one sector, synced before any frame: it is not torn but damaged, and its salts
    # may be. Any frame's will do.
    salts = FRAME.unpack_from(data, HEADER.size)[2:4] if len(data) > HEADER.size + 24 else (0, 0)
    return _scan(data, page_size, salts, None, order)


def _scan(data: bytes, page_size: int, salts: Sums, sums: Sums | None, order: str) -> int:
    """Count commits of the generation `salts` after the first bad frame; all, if `sums` is None."""
    commits = 0
    step = FRAME.size + page_size
    for at in range(HEADER.size, len(data) - step + 1, step):
        _, size_after_commit, salt1, salt2, sum1, sum2 = FRAME.unpack_from(data, at)
        same_generation = (salt1, salt2) == salts
        if sums is not None and same_generation:
            sums = _checksum(data[at : at + 8], sums, order)
            sums = _checksum(data[at + FRAME.size : at + step], sums, order)
            if sums == (sum1, sum2):
                continue
        sums = None
        commits += same_generation and size_after_commit > 0
    return commits


def _checksum(data: bytes, sums: Sums, order: str) -> Sums:
    """Go on with SQLite's checksum (a Fibonacci-weighted sum of pairs of 32-bit words)."""
    first, second = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for one, other in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) % WORDS_LIMIT
        second = (second + other + first) % WORDS_LIMIT
    return first, second
