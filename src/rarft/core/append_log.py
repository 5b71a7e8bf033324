"""Rows of work that survive a kill: JSON lines, each on disk before it counts."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SYNC_EVERY_SECONDS = 1.0


class AppendLog:
    """JSON lines that survive a kill: a row is one system call, so what was appended is there afterwards.

    Once a second the file is also forced to the disk, so a power cut loses a second. A last line without its end, as
    a kill may leave it, is dropped on opening: it was not counted yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._synced = time.monotonic()
        self._cut_torn_line()

    def _cut_torn_line(self) -> None:
        size = os.fstat(self._file).st_size
        position, tail = size, b""
        while position and b"\n" not in tail:
            step = min(65536, position)
            position -= step
            tail = os.pread(self._file, step, position) + tail
        whole = position + tail.rfind(b"\n") + 1 if b"\n" in tail else 0
        if whole != size:
            os.ftruncate(self._file, whole)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every row so far."""
        with self.path.open("rb") as lines:
            for line in lines:
                yield json.loads(line)

    def append(self, row: dict[str, Any]) -> None:
        """Write one row; it is in the file when this returns."""
        data = json.dumps(row).encode() + b"\n"
        while data:
            data = data[os.write(self._file, data) :]
        if time.monotonic() - self._synced > SYNC_EVERY_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Force what was appended to the disk: it then survives a power cut too."""
        os.fsync(self._file)
        self._synced = time.monotonic()

    def close(self) -> None:
        """Force to the disk and close."""
        os.fsync(self._file)
        os.close(self._file)
