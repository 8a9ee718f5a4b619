"""Algorithms, one per file: what a peer does with its neighbours' payloads."""
