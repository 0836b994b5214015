"""Formulations of the operations of `ops` that XLA:CPU computes faster, in float32; README.md explains each."""
