"""Tokenizers as values: bytes in, bytes out. Nothing here opens a path, and the libraries load when they are needed."""
