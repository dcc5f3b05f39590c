"""Tests of the Helm chart that need helm, but no cluster."""
