"""AgentBench's database task: ``evaluator`` plays and judges, ``items``, ``protocol`` and ``values`` know its rules.

Where statements run is behind ``databases``: ``mysql`` is a server of MySQL's protocol, as in the paper, and
``embedded`` is SQLite.
"""

from __future__ import annotations

from cycleqd_runner.tasks.agentbench_db.evaluator import AgentBenchDb, agentbench_db_evaluator

__all__ = ["AgentBenchDb", "agentbench_db_evaluator"]
