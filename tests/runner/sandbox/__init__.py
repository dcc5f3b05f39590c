"""Tests of the sandbox: one conformance suite for all providers, and what belongs to the client alone."""
