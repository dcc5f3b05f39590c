"""Tests of ``cycleqd_runner``."""
