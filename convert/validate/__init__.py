"""`convert validate`: everything that would embarrass whoever publishes a repository of weights, each with its fix."""
