"""Progress on stderr: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Any

_EVERY = 10.0  # seconds between plain lines


class Bar:
    """Counts bytes; safe to call from several threads."""

    def __init__(self, total: int) -> None:
        self._lock = threading.Lock()
        self._total, self._done = total, 0
        self._started = self._told = time.monotonic()
        self._bar: Any = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit="B", unit_scale=True, file=sys.stderr, dynamic_ncols=True, leave=False)

    def __call__(self, nbytes: int, tensor: str) -> None:
        with self._lock:
            self._done += nbytes
            if self._bar is not None:
                self._bar.set_postfix_str(tensor[-40:], refresh=False)
                self._bar.update(nbytes)
            elif (now := time.monotonic()) - self._told >= _EVERY:
                self._told = now
                rate = self._done / (now - self._started)
                left = (self._total - self._done) / rate if rate else 0.0
                print(
                    f"{self._done / self._total:.0%} {self._done / 1e9:.2f} of {self._total / 1e9:.2f} GB, "
                    f"{rate / 1e6:.0f} MB/s, {left:.0f} s left, {tensor}",
                    file=sys.stderr,
                )

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
