"""Mutations of good files, put to whatever reads them: a refusal in words, or a result, in bounded time and memory.

`python -m tests.fuzz` (`make fuzz`) goes on for as long as it is told; what it found is kept in `corpus/`, for every suite.
"""
