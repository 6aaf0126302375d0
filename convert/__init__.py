"""Reads and writes checkpoints: the only package that opens anything."""
