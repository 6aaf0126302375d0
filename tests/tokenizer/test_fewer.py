"""A SentencePiece model with fewer pieces cuts what it still has pieces for as the whole one does: sentencepiece says so."""

import pytest

from surgery.tokenizer.fewer import agrees, fewer_pieces
from tests.trained.corpus import ASKED
from tests.trained.kinds import Kind, kind
from tests.trained.truth import processor

KINDS = [kind(name) for name in ("llama-other-size", "gemma", "minicpm")]


@pytest.mark.parametrize("own", KINDS, ids=str)
def test_pieces_that_are_kept_are_cut_as_before_under_new_ids(own: Kind) -> None:
    model = own.files["tokenizer.model"]
    whole = processor(model)
    size = whole.get_piece_size()
    bare = [place for place in range(size) if whole.is_byte(place) or whole.is_control(place) or whole.is_unknown(place)]
    letters = [place for place in range(size) if len(whole.id_to_piece(place)) == 1]
    kept = sorted({*bare, *letters, *range(size // 2)})
    made = fewer_pieces(model, [*kept, size + 3])  # an id behind the pieces is another file's
    fewer = processor(made)
    assert fewer.get_piece_size() == len(kept)
    assert [fewer.id_to_piece(new) for new in range(len(kept))] == [whole.id_to_piece(old) for old in kept]
    assert (fewer.unk_id(), fewer.bos_id()) == (kept.index(whole.unk_id()), kept.index(whole.bos_id()))
    covered = [text for text in ASKED if set(whole.encode(text)) <= set(kept)]
    assert len(covered) > 20
    for text in covered:
        assert [kept[new] for new in fewer.encode(text)] == whole.encode(text), text
    assert agrees(made, fewer.encode, ASKED, ())
    assert not agrees(made, whole.encode, ASKED, ())
