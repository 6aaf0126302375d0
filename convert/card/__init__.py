"""Model cards from facts: where a model comes from, its terms, what was proved, how to load it, what it needs."""

from convert.card.make import Made, Wishes, make_card, write_card

__all__ = ["Made", "Wishes", "make_card", "write_card"]
