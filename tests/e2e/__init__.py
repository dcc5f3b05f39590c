"""Tests on a real cluster: the one in KUBECONFIG."""
