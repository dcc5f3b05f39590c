"""Contests: named methods on one manifest, at an equal budget of tokens, with several seeds (docs/comparisons.md)."""
