"""Memory that runs out: what people are told, from the libraries' own words and from real shortages."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from cycleqd.errors import OutOfMemory
from cycleqd_runner.engines.memory import memory_for
from tests.runner.engines.support import save_chat_model
from tests.runner.models import save_llama


@pytest.mark.parametrize(
    ("error", "says"),
    [
        pytest.param(
            torch.OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.15 GiB of which "
                "512.00 MiB is free. Process 7 has 78.65 GiB memory in use."
            ),
            r"another 2\.5 GiB was needed and 512\.0 MiB were free",
            id="PyTorch on a GPU",
        ),
        pytest.param(
            RuntimeError("Worker failed with error 'CUDA out of memory. Tried to allocate 20.00 MiB. GPU 1 has a total "
                         "capacity of 79.15 GiB of which 5.06 MiB is free.', please check the stack trace above"),
            r"another 20\.0 MiB was needed and 5\.1 MiB were free",
            id="PyTorch in a process of vLLM",
        ),
        pytest.param(
            RuntimeError("[enforce fail at alloc_cpu.cpp:128] err == 0. DefaultCPUAllocator: can't allocate memory: "
                         "you tried to allocate 3221225472 bytes. Error code 12 (Cannot allocate memory)"),
            r"another 3\.0 GiB was needed and [\d.,]+ GiB were free",
            id="PyTorch on a CPU",
        ),
        pytest.param(
            MemoryError("Unable to allocate 8.00 GiB for an array with shape (1073741824,) and data type float64"),
            r"another 8\.0 GiB was needed and [\d.,]+ GiB were free",
            id="NumPy",
        ),
        pytest.param(MemoryError(), r"more was needed and [\d.,]+ GiB were free", id="Python"),
        pytest.param(OSError(12, "No memory"), r"more was needed and [\d.,]+ GiB were free", id="the system"),
        pytest.param(
            ValueError("To serve at least one request with the model's max seq len (8192), (16.0 GiB KV cache is "
                       "needed, which is larger than the available KV cache memory (9.25 GiB)."),
            r"another 16\.0 GiB was needed and 9\.2 GiB were free",
            id="vLLM's cache",
        ),
        pytest.param(
            ValueError("Free memory on device cuda:0 (10.5/79.1 GiB) on startup is less than desired GPU memory "
                       "utilization (0.9, 71.2 GiB)."),
            r"another 71\.2 GiB was needed and 10\.5 GiB were free",
            id="vLLM beside others",
        ),
    ],
)  # fmt: skip
def test_both_sizes_are_named(error: Exception, says: str) -> None:
    expected = rf"^There is not enough memory for the model: {says}; use a smaller one\.$"
    with pytest.raises(OutOfMemory, match=expected), memory_for("the model", "use a smaller one"):
        raise error


def test_other_errors_pass() -> None:
    with pytest.raises(ValueError, match="no number"), memory_for("the model", "use a smaller one"):
        raise ValueError("no number")


def limited(script: str, *arguments: Path) -> str:
    """Run a script that may call ``limit(mebibytes)``: the process gets no more than that from then on."""
    given = """
        import resource, sys
        from pathlib import Path
        import torch
        from cycleqd.api.engine import EngineArgs
        from cycleqd.errors import OutOfMemory
        from cycleqd_runner.engines.transformers import TransformersEngine
        from tests.runner.engines.support import answers, ask, weights

        def limit(mebibytes):
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            most = pages * resource.getpagesize() + mebibytes * 2**20
            resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))

        torch.set_num_threads(1)
        folder = Path(sys.argv[1])
    """
    program = textwrap.dedent(given) + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_model_that_does_not_fit_is_refused_when_the_engine_opens(tmp_path: Path) -> None:
    save_llama(tmp_path, dtype=torch.float32, hidden_size=512, intermediate_size=49152, num_hidden_layers=1)
    said = limited(
        """
        limit(128)
        try:
            TransformersEngine(folder, EngineArgs(dtype="Float32"))
        except OutOfMemory as error:
            print(error)
        """,
        tmp_path,
    )
    assert said.startswith(f"There is not enough memory for the model in {tmp_path}: ")
    assert "was needed and" in said
    assert "MiB were free; use a smaller one" in said


def test_a_batch_that_does_not_fit_is_refused_and_a_smaller_one_answered(tmp_path: Path) -> None:
    save_chat_model(tmp_path, max_position_embeddings=8192)
    said = limited(
        """
        engine = TransformersEngine(folder, EngineArgs(dtype="Float32", max_batch_tokens=2**20))
        one = [ask("hello", 5)]
        expected = answers(engine, one)
        limit(64)
        try:
            answers(engine, [ask("x" * i, 8000) for i in range(1, 100)])
        except OutOfMemory as error:
            print(error)
        assert answers(engine, one) == expected
        try:
            engine.load((name, torch.zeros(tensor.shape[0], 2**24)) for name, tensor in weights(folder))
        except OutOfMemory as error:
            print(error)
        """,
        tmp_path,
    )
    batch, load = said.splitlines()
    assert batch.startswith("There is not enough memory for a batch of 99 requests: another ")
    assert "MiB were free; lower engine.args.maxBatchTokens." in batch
    assert load.startswith("There is not enough memory for an individual's weights beside the model: another ")
