"""Tests of ``cycleqd_runner.tasks``."""
