"""How to let go of a database on a disk that cannot be trusted any more.

Closing SQLite's last connection to a file moves the write-ahead log into the file and deletes it:
it syncs the log, reads it back, writes and syncs the file. After a failed sync that is the very
retry which must not be: the kernel may have dropped what it could not write, report success now,
and hand out older bytes (Rebello et al. 2020, "Can Applications Recover from fsync Failures?"). So
the files are left as they are, as if the process had been killed. The next start reads them with
all their checksums, and from the disk.
"""

import ctypes
import sqlite3


def abandon(connection: sqlite3.Connection) -> None:
    """See to it that this connection is never closed: not now, and not when the process ends."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
