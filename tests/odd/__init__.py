"""Odd values at every key of every document, through every command that reads it: nobody's bad file is a bug of ours."""
