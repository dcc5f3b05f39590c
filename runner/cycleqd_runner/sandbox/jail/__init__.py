"""The side of the sandbox that runs in the host process: standard library only, no cycleqd import, relative imports.

The host is started with this package's parent folder on its path, so that neither ``cycleqd_runner`` nor anything
that it imports becomes part of the small process from which model-written code is forked.
"""
