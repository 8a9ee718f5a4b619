"""Proof by running: permute every group of a redrawn network, and its output must not change."""
