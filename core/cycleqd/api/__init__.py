"""The API: ``CycleQDRun``, group ``cycleqd.dev``, version ``v1alpha1``, as pydantic models.

The models are the single source of the CRD, of the manifest reference and of all defaults.
"""

from cycleqd.api.run import API_VERSION, GROUP, KIND, VERSION, CycleQDRun, RunSpec

__all__ = ["API_VERSION", "GROUP", "KIND", "VERSION", "CycleQDRun", "RunSpec"]
