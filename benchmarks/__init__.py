"""Measurements, never assertions: what a promise of speed costs on the machine at hand."""
