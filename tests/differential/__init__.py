"""The net: thousands of small checkpoints converted, edited and merged, and an outsider asked what came out.

The judges are transformers' stock classes (logits of SRC and of OUT, float32, eager attention) and peft's unmerged forward;
where no library has a class, the vendors' logits that the goldens hold. A reference decoder of this project is asked only
where there is neither, and the page says so. `make differential` runs everything and writes docs/differential.md.
"""
