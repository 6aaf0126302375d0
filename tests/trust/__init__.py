"""What was tried against the promises of SECURITY.md, and how it ended: the counts that the sweeps keep, as docs/trust.md."""
