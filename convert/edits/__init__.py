"""Edits that read further checkpoints, adapters and deltas, and recipes of several edits.

The part that is about weights is ``surgery``'s.
"""
