"""Which settings a trial's fingerprint covers: all that decide, but no default that came later than the first trials.

Fingerprints tell whether a trial may be shown with others; hours of work lie behind one. They were first made of whole
specs, defaults included, so each new field of the manifest would have made every earlier trial a stranger.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

_FIRST = {
    "RunSpec": "search",
    "ModelSource": "revision credentialsSecretName",
    "Expert": "revision credentialsSecretName",
    "Task": "items repeats limits",
    "SqlEvaluator": "maxTokens systemPrompt data itemsSeed",
    "ShellEvaluator": "maxTokens systemPrompt data itemsSeed",
    "PythonTestsEvaluator": "maxTokens systemPrompt data itemsSeed extraTests",
    "SplitSizes": "search validation test reserve lessons",
    "SandboxLimits": "timeoutSeconds memoryMebibytes processes outputKibibytes filesMebibytes",
    "Search": "children seed strict lag cycle fixedTask sampling crossover mutation emitter racing noise archive basis",
    "EliteSampling": "alphaLow alphaHigh",
    "LinearCrossover": "mean standardDeviation granularity",
    "UniformCrossover": "probability granularity",
    "SvdMutation": "basis maxScale signed density stepLearningRate",
    "GaussianMutation": "standardDeviation stepLearningRate",
    "GuidedEmitter": "steps start firstGain firstSteps learningRate batchItems lean schedule share",
    "Racing": "enabled threshold minItems",
    "Noise": "priorItems reevaluateEvery",
    "Grid": "lowerFactor upperFactor bins",
    "Cvt": "lowerFactor upperFactor cells",
    "DominatedNovelty": "size neighbours behaviour",
    "Basis": "rank",
    "Storage": "credentialsSecretName deleteOnRemoval",
    "Budget": "children tokens",
}
"""By class, the fields that count even at their defaults. Nothing is ever added or taken away here: that would change
the fingerprints of the trials there are."""


def counted(setting: object) -> Any:  # noqa: ANN401 - JSON
    """Return a setting as JSON (camelCase), without the fields at their defaults that the first trials did not have."""
    if isinstance(setting, BaseModel):
        kept = {"type", *_FIRST.get(type(setting).__name__, "").split()}
        found = {}
        for name, field in type(setting).model_fields.items():
            value, written = getattr(setting, name), field.alias or name
            if written in kept or field.is_required() or value != field.get_default(call_default_factory=True):
                found[written] = counted(value)
        return found
    if isinstance(setting, tuple):
        return [counted(one) for one in setting]
    return to_jsonable_python(setting)
