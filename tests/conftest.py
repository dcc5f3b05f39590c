"""What holds for all tests: how long an example of hypothesis takes says something about the machine, not about us."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
