"""Reference decoders and the comparison of two checkpoints as functions.

Written from the published architectures, never from `mappings` or the layouts of `surgery`: a row that is wrong
in both directions survives every check that reads both sides through the same table, and does not survive this one.
This module and `convert.verification.child` import no torch; everything else here does and runs in the child process.
"""
