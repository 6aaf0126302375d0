"""One short file per family: what differs from Llama, as data."""
