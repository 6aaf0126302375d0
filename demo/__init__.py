"""What `make demo` runs: the story of the project in a minute or two, on real checkpoints."""
