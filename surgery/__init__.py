"""The language of weights: roles, layouts, movement, values, traits, passes. Opens nothing, imports no torch."""
