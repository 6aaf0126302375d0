"""Every vocabulary x what is done to it x who reads the result: ids, decoding, and what stands around a text.

`python -m tests.tokenizer_table` prints it (`make tokenizers`); docs/vocabulary.md says how to read it.
"""
