"""Manifests for the definition's tests: a small good one, edits of it, and tables of good and bad ones."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cycleqd.api import API_VERSION, KIND

Edits = dict[str, Any]

REMOVED = object()
"""As a value of an edit: the field is taken out."""

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "examples" / "quickstart"

CHILDREN = int(os.environ.get("CYCLEQD_E2E_CHILDREN", "4"))
ITEMS = int(os.environ.get("CYCLEQD_E2E_ITEMS", "4"))
"""Search items of each task. The quickstart's own 48 are too many for pods that share two cores with other tests."""

SMALLER: Edits = {
    "spec.search.children": CHILDREN,
    **{f"spec.tasks.{k}.items": {"search": ITEMS, "validation": 2, "test": 3} for k in range(3)},
    "spec.search.emitter": {"type": "Guided", "steps": 2, "firstSteps": 4, "batchItems": 6},
    "spec.finalize": {"candidates": 1, "greedySteps": 0},
}
"""Makes the quickstart one for tests; nothing but sizes."""


def minimal(name: str = "minimal", n_tasks: int = 2) -> dict[str, Any]:
    """Return the shortest good manifest with so many experts and tasks."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name},
        "spec": {
            "baseModel": {"uri": "hf://some/base"},
            "experts": [{"name": f"expert-{k}", "uri": f"s3://models/{k}"} for k in range(n_tasks)],
            "tasks": [
                {"name": f"task-{k}", "expert": f"expert-{k}", "evaluator": {"type": "Sql"}} for k in range(n_tasks)
            ],
            "storage": {"uri": "s3://runs/minimal"},
        },
    }


def edited(manifest: Mapping[str, Any], edits: Edits) -> dict[str, Any]:
    """Return a copy with other values at some paths (``spec.tasks.0.expert``); missing objects are made."""
    result: dict[str, Any] = copy.deepcopy(dict(manifest))
    for path, value in edits.items():
        *parents, last = path.split(".")
        place: Any = result
        for step in parents:
            place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
        if value is REMOVED:
            del place[last]
        elif isinstance(place, list):
            place[int(last)] = value
        else:
            place[last] = value
    return result


def largest() -> dict[str, Any]:
    """Return a manifest with as many experts, and as long names and texts, as the schema allows."""
    n_tasks = 64
    manifest = minimal("l" * 40, n_tasks)
    for k in range(n_tasks):
        expert = f"expert-{k}-".ljust(40, "x")
        manifest["spec"]["experts"][k] = {"name": expert, "uri": "s3://" + "b" * 1019, "revision": "r" * 100}
        # The task's expert stands as far away as possible, so that the rules have the most to look at.
        manifest["spec"]["tasks"][n_tasks - 1 - k] = {
            "name": f"task-{k}-".ljust(40, "x"),
            "expert": expert,
            "evaluator": {"type": "Sql", "systemPrompt": "p" * 8192, "data": "s3://" + "d" * 1019},
        }
    return edited(manifest, {"spec.search.archive.bins": 1})


def quickstart(name: str = "run.yaml", edits: Edits | None = None) -> dict[str, Any]:
    """Return one of the manifests of the example that everybody runs first."""
    return edited(yaml.safe_load((QUICKSTART / name).read_text(encoding="utf-8")), edits or {})


def _evaluated_by(evaluator: dict[str, Any]) -> dict[str, Any]:
    return edited(minimal(), {"spec.tasks.1.evaluator": evaluator})


POD_TEMPLATE: dict[str, Any] = {
    "labels": {"team": "research"},
    "annotations": {"example.org/cost": "12"},
    "nodeSelector": {"gpu": "h100"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}],
    "volumeMounts": [{"name": "models", "mountPath": "/models", "readOnly": True}],
    "env": [{"name": "NCCL_DEBUG", "value": "INFO"}],
    "resources": {"requests": {"cpu": 2, "memory": "24Gi"}, "limits": {"nvidia.com/gpu": "1"}},
    "imagePullSecrets": [{"name": "pull"}],
    "priorityClassName": "batch",
    "serviceAccountName": "workers",
    "runtimeClassName": "gvisor",
    "terminationGracePeriodSeconds": 120,
}

GOOD: dict[str, dict[str, Any]] = {
    "minimal": minimal(),
    "quickstart": quickstart(),
    "largest": largest(),
    "nulls": edited(
        minimal(),
        {
            "spec.baseModel.revision": None,
            "spec.activeDeadlineSeconds": None,
            "spec.tasks.0.evaluator.maxTokens": None,
            "spec.desiredState": None,
            "spec.search": None,
        },
    ),
    "whole-numbers-where-fractions-are-meant": edited(
        minimal(),
        {"spec.search": {"crossover": {"type": "Linear", "mean": 1}, "archive": {"lowerFactor": 1, "upperFactor": 2}}},
    ),
    "seventeen-tasks-with-the-default-bins": minimal(n_tasks=17),
    "largest-numbers": edited(minimal(), {"spec.search": {"seed": 2**63 - 1, "children": 1_000_000, "lag": 0}}),
    "fixed-cycle": edited(minimal(), {"spec.search": {"cycle": "Fixed", "fixedTask": 1}}),
    "fixed-task-of-another-cycle": edited(minimal(), {"spec.search": {"fixedTask": 7}}),
    "random-sampling": edited(minimal(), {"spec.search.sampling": {"type": "Random"}}),
    "elite-sampling": edited(minimal(), {"spec.search.sampling": {"type": "Elite", "alphaLow": 0.25}}),
    "no-mutation": edited(minimal(), {"spec.search.mutation": {"type": "None"}}),
    "gaussian-mutation": edited(minimal(), {"spec.search.mutation": {"type": "Gaussian", "standardDeviation": 0.1}}),
    "cells-of-a-tessellation": edited(
        minimal(), {"spec.search.archive": {"type": "Cvt", "cells": 50, "lowerFactor": 0.5}}
    ),
    "archives-of-items": edited(minimal(), {"spec.search.archive": {"type": "DominatedNovelty", "behaviour": "Items"}}),
    "eighteen-tasks-without-a-grid": edited(minimal(n_tasks=18), {"spec.search.archive": {"type": "DominatedNovelty"}}),
    "layers-of-either-parent": edited(
        minimal(), {"spec.search.crossover": {"type": "Uniform", "granularity": "Layer", "probability": 0.3}}
    ),
    "weights-per-matrix-of-children": edited(
        minimal(),
        {
            "spec.search.crossover": {"type": "Linear", "granularity": "Module"},
            "spec.search.mutation": {"type": "Svd", "basis": "Child", "density": 0.1, "stepLearningRate": 0.2},
        },
    ),
    "svd-mutation-in-short": edited(minimal(), {"spec.search.mutation": {"type": "Svd"}}),
    "guided": edited(minimal(), {"spec.search.emitter": {"type": "Guided", "steps": 3, "share": 0.5}}),
    "sql": _evaluated_by({"type": "Sql", "itemsSeed": 3, "systemPrompt": ""}),
    "shell": _evaluated_by({"type": "Shell", "data": "s3://data/shell.jsonl", "maxTokens": 64}),
    "python-tests": _evaluated_by({"type": "PythonTests", "extraTests": False}),
    "agentbench-db": _evaluated_by({"type": "AgentBenchDB", "data": "s3://data/db.jsonl", "server": "SQLite"}),
    "agentbench-os": _evaluated_by({"type": "AgentBenchOS", "data": "s3://data/os.json", "maxTurns": 8}),
    "lm-eval": _evaluated_by({"type": "LmEval", "task": "gsm8k", "numFewshot": 5}),
    "inspect": _evaluated_by({"type": "Inspect", "task": "theory.py@riddles", "args": {"level": "2"}}),
    "container": _evaluated_by(
        {"type": "Container", "image": "judge:1", "command": ["judge", "--all"], "data": "s3://data/judged.jsonl"}
    ),
    "benchmarks": edited(
        minimal(), {"spec.report.benchmarks": [{"name": "gsm8k", "evaluator": {"type": "LmEval", "task": "gsm8k"}}]}
    ),
    "workers": edited(
        minimal(),
        {
            "spec.workers": {
                "parallelism": 8,
                "childrenPerJob": 10,
                "gpus": 1,
                "image": "runner:2",
                "queueName": "research",
                "modelCacheClaimName": "models",
                "template": POD_TEMPLATE,
            }
        },
    ),
    "failure-policy": edited(minimal(), {"spec.failurePolicy": {"attempts": 1, "maxQuarantined": 0}}),
    "ends-and-times": edited(
        minimal(),
        {"spec.desiredState": "Suspended", "spec.activeDeadlineSeconds": 60, "spec.ttlSecondsAfterFinished": 0},
    ),
}

BAD: dict[str, tuple[Edits, str]] = {
    "unknown-field": ({"spec.foo": 1}, 'unknown field "spec.foo"'),
    "unknown-field-inside": ({"spec.search.racing.on": True}, 'unknown field "spec.search.racing.on"'),
    "unknown-field-of-a-list": ({"spec.experts.1.url": "x"}, 'unknown field "spec.experts[1].url"'),
    "no-spec": ({"spec": REMOVED}, "spec: Required value"),
    "no-base-model": ({"spec.baseModel": REMOVED}, "spec.baseModel: Required value"),
    "no-storage": ({"spec.storage": REMOVED}, "spec.storage: Required value"),
    "no-uri": ({"spec.experts.0.uri": REMOVED}, "spec.experts[0].uri: Required value"),
    "no-evaluator-type": ({"spec.tasks.0.evaluator": {"data": "s3://x/y"}}, "spec.tasks[0].evaluator.type: Required"),
    "long-run-name": ({"metadata.name": "x" * 41}, "metadata.name: Too long"),
    "run-name-with-dots": ({"metadata.name": "a.b"}, "metadata.name: Invalid value"),
    "capital-expert": ({"spec.experts.0.name": "SQL"}, "spec.experts[0].name: Invalid value"),
    "unknown-scheme": ({"spec.baseModel.uri": "gs://models/x"}, "spec.baseModel.uri: Invalid value"),
    "empty-uri": ({"spec.baseModel.uri": ""}, "spec.baseModel.uri"),
    "storage-in-a-folder": ({"spec.storage.uri": "/runs/x"}, "storage.uri must be s3://BUCKET/PREFIX on a cluster"),
    "storage-in-a-file": ({"spec.storage.uri": "file:///x"}, "storage.uri must be s3://BUCKET/PREFIX on a cluster"),
    "storage-in-the-hub": ({"spec.storage.uri": "hf://a/b"}, "storage.uri must be s3://BUCKET/PREFIX on a cluster"),
    "one-expert": (
        {"spec.experts": minimal()["spec"]["experts"][:1], "spec.tasks": minimal()["spec"]["tasks"][:1]},
        "spec.experts in body should have at least 2 items",
    ),
    "sixty-five-experts": (
        {"spec.experts": minimal("x", 65)["spec"]["experts"], "spec.tasks": minimal("x", 65)["spec"]["tasks"]},
        "spec.experts: Too many: 65: must have at most 64 items",
    ),
    "same-expert-twice": ({"spec.experts.1.name": "expert-0"}, 'spec.experts[1]: Duplicate value: {"name":"expert-0"}'),
    "same-task-twice": ({"spec.tasks.1.name": "task-0"}, 'spec.tasks[1]: Duplicate value: {"name":"task-0"}'),
    "task-of-nobody": ({"spec.tasks.1.expert": "expert-9"}, "every task must name one of spec.experts"),
    "expert-without-task": ({"spec.tasks.1.expert": "expert-0"}, "give every expert exactly one task"),
    "reserved-expert": (
        {"spec.experts.0.name": "merged", "spec.tasks.0.expert": "merged"},
        'spec.experts[0].name: Invalid value: "string": the names base, average and merged are the report\'s own',
    ),
    "negative-children": ({"spec.search.children": -1}, "spec.search.children"),
    "children-as-text": ({"spec.search.children": "many"}, "spec.search.children"),
    "half-a-child": ({"spec.search.children": 1.5}, "spec.search.children"),
    "seed-beyond-64-bits": ({"spec.search.seed": 2**63}, "spec.search.seed"),
    "factor-above-one": ({"spec.search.archive.lowerFactor": 1.5}, "spec.search.archive.lowerFactor"),
    "directions-of-children": (
        {"spec.search.crossover": {"type": "Uniform"}, "spec.search.mutation": {"type": "Svd", "basis": "Child"}},
        "search.crossover.granularity Direction needs search.mutation.basis Expert",
    ),
    "zero-where-positive": ({"spec.search.crossover": {"type": "Linear", "mean": 0}}, "spec.search.crossover.mean"),
    "too-many-cells": (
        {"spec.search.archive.bins": 2, **{f"spec.{n}": minimal("x", 64)["spec"][n] for n in ("experts", "tasks")}},
        "search.archive.bins makes more cells than 64 bits can count",
    ),
    "too-many-cells-by-default": (
        {f"spec.{name}": minimal("x", 18)["spec"][name] for name in ("experts", "tasks")},
        "search.archive.bins makes more cells than 64 bits can count",
    ),
    "fixed-task-out-of-range": ({"spec.search": {"cycle": "Fixed", "fixedTask": 2}}, "search.fixedTask is an index"),
    "unknown-cycle": ({"spec.search.cycle": "Random"}, 'spec.search.cycle: Unsupported value: "Random"'),
    "unknown-state": ({"spec.desiredState": "Stopped"}, 'spec.desiredState: Unsupported value: "Stopped"'),
    "unknown-engine": ({"spec.engine.type": "vllm"}, 'spec.engine.type: Unsupported value: "vllm"'),
    "unknown-evaluator": ({"spec.tasks.0.evaluator.type": "SQL"}, "spec.tasks[0].evaluator.type: Unsupported value"),
    "unknown-mutation": ({"spec.search.mutation.type": "svd"}, 'spec.search.mutation.type: Unsupported value: "svd"'),
    "scale-without-svd": (
        {"spec.search.mutation": {"type": "None", "maxScale": 0.3}},
        'spec.search.mutation: Invalid value: "object": maxScale goes with type Svd only',
    ),
    "steps-without-guide": ({"spec.search.emitter": {"type": "Paper", "steps": 8}}, "steps goes with type Guided only"),
    "bins-without-grid": ({"spec.search.archive": {"type": "Cvt", "bins": 8}}, "bins goes with type Grid only"),
    "racing-where-items-decide": (
        {"spec.search": {"racing": {"enabled": True}, "archive": {"type": "DominatedNovelty", "behaviour": "Items"}}},
        "search.racing.enabled needs search.archive.behaviour Scores",
    ),
    "alpha-of-random": ({"spec.search.sampling": {"type": "Random", "alphaLow": 0.5}}, "alphaLow goes with type Elite"),
    "data-of-lm-eval": (
        {"spec.tasks.0.evaluator": {"type": "LmEval", "task": "x", "data": "s3://x/y"}},
        'spec.tasks[0].evaluator: Invalid value: "object": data goes with type',
    ),
    "lm-eval-without-task": ({"spec.tasks.0.evaluator.type": "LmEval"}, "needs task"),
    "agentbench-without-data": ({"spec.tasks.0.evaluator.type": "AgentBenchDB"}, "needs data"),
    "agentbench-with-null-data": (
        {"spec.tasks.0.evaluator": {"type": "AgentBenchOS", "data": None}},
        "needs data",
    ),
    "container-without-image": ({"spec.tasks.0.evaluator.type": "Container"}, "type Container needs image"),
    "no-workers": ({"spec.workers.parallelism": 0}, "spec.workers.parallelism"),
    "label-that-is-a-number": ({"spec.workers.template.labels": {"a": 1}}, "spec.workers.template.labels.a"),
    "tolerations-that-are-no-list": ({"spec.workers.template.tolerations": {}}, "spec.workers.template.tolerations"),
    "no-attempts": ({"spec.failurePolicy.attempts": 0}, "spec.failurePolicy.attempts"),
    "no-time": ({"spec.activeDeadlineSeconds": 0}, "spec.activeDeadlineSeconds"),
    "negative-ttl": ({"spec.ttlSecondsAfterFinished": -1}, "spec.ttlSecondsAfterFinished"),
    "sandbox-nobody-has": ({"spec.sandbox": "Docker"}, 'spec.sandbox: Unsupported value: "Docker"'),
}
"""Edits of the minimal manifest, and what the API server says about them."""

ONLY_ON_CLUSTERS = {"storage-in-a-folder", "storage-in-a-file", "storage-in-the-hub"}
"""Rows of the table that a laptop takes."""
