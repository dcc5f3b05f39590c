"""AgentBench's operating-system task: ``items`` are read, ``protocol`` says what is said, ``episode`` plays and judges.

The protocol is that of AgentBench (THUDM/AgentBench, Apache-2.0): its data files, actions, limits and check scripts.
"""

from __future__ import annotations

from cycleqd_runner.tasks.agentbench_os.evaluator import AgentBenchOs, agentbench_os_evaluator

__all__ = ["AgentBenchOs", "agentbench_os_evaluator"]
