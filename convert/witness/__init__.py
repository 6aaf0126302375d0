"""The miniature witness: a small twin of this very checkpoint, judged by the library that will serve the output.

The decoders and the tables of this project may share a belief that is false. So a miniature is made whose config is the
source's own but for sizes; random weights go through the same tables, passes and edits as the real ones; and the stock
classes of transformers compute both sides: the output by the config.json that lies on disk, the source by its own class
where the library has one, else by our decoder.
"""
