"""Checkpoints that are wrong, hostile, or odd and good, with what must happen to each: `python -m tests.corpus`.

Every case is made from a good checkpoint by one change (`case`), in two halves: the same trick with other details (sizes, family,
tensor, variant). The classes are those of a corpus that others wrote for tools of this kind. Two things about the good files
took thought:

- Their `tokenizer.model` is a real SentencePiece model, trained here (`tests.trained`). A dummy of one piece is none that a
  conversion can prove anything about, so that cases which must be accepted had to ask for ``--tokenizer carry``.
- Baichuan 2 divides each row of its head by its norm whenever it runs. The head of an output is therefore compared with the
  rows of unit norm, which PyTorch's `normalize` makes (`judge.expected`), not with the rows that the file has.
"""
