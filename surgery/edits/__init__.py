"""Edits: changes of a model that a user asks for by name. One module per kind; ``surgery`` exports the functions."""
