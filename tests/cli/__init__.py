"""Tests of the cycleqd command."""
