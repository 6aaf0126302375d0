"""Sizes as people write them."""

from __future__ import annotations

import re

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def nbytes(text: str) -> int | None:
    """The bytes that a text such as 5GB, 500MB, 1GiB or 4096 means; None where it means none.

    >>> nbytes("1.5KB"), nbytes("1 GiB"), nbytes("many"), nbytes("0")
    (1500, 1073741824, None, None)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?", text.strip().lower())
    if match is None or match[2] not in _UNITS or float(match[1]) == 0:
        return None
    return int(float(match[1]) * _UNITS[match[2]])
