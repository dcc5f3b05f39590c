"""Where things lie under a run's prefix (design section 4). Ids are padded, so that key order is id order."""

from __future__ import annotations

RUN = "run.json"
SPEC = "spec.json"
RESULTS = "results/"
TRANSCRIPTS = "transcripts/"
ARCHIVE = "archive/"
QUARANTINE = "quarantine/"
FAILURES = "failures/"
SPLITS = "splits.json"
AFFINITY = "basis/affinity.json"
"""How close the experts are to each other, written before the last basis is complete."""
FINAL = "final/"
FINAL_EVALUATIONS = "final/evaluations/"
BENCHMARKS = "final/benchmarks/"
REPORT = "final/report.json"
REPORT_PAGE = "final/report.html"
MODEL = "final/model"
FOLDERS = ("basis/", "genomes/", TRANSCRIPTS, RESULTS, ARCHIVE, QUARANTINE, FAILURES, FINAL)
"""All folders of a run. Beside them lie only :data:`RUN`, :data:`SPEC` and :data:`SPLITS`."""


def basis(expert: str) -> str:
    """Return the folder of an expert's factors."""
    return f"basis/{expert}"


def basis_manifest(expert: str) -> str:
    """Return the object that is written last: where it exists, the expert's basis is complete."""
    return f"{basis(expert)}/manifest.json"


def genome(individual: int) -> str:
    """Return the key of an individual's genome."""
    return f"genomes/{individual:07d}.safetensors"


def result(individual: int, evaluation: int = 0) -> str:
    """Return the key of the n-th evaluation of an individual."""
    return f"{RESULTS}{individual:07d}{f'-{evaluation}' if evaluation else ''}.json"


def parse_result(key: str) -> tuple[int, int] | None:
    """Return (individual, evaluation) of a result's key, or None for a foreign object."""
    stem = key.removeprefix(RESULTS).removesuffix(".json")
    individual, _, evaluation = stem.partition("-")
    if not individual.isdecimal() or not (evaluation or "0").isdecimal():
        return None
    pair = int(individual), int(evaluation or 0)
    return pair if key == result(*pair) else None


def quarantine(individual: int) -> str:
    """Return the key of the note that a child was given up because it kills its workers."""
    return f"{QUARANTINE}{individual:07d}.json"


def parse_quarantine(key: str) -> int | None:
    """Return the individual of a quarantine note's key, or None for a foreign object."""
    stem = key.removeprefix(QUARANTINE).removesuffix(".json")
    return int(stem) if stem.isdecimal() and key == quarantine(int(stem)) else None


def failure(job_uid: str) -> str:
    """Return the key of the note about a Job that failed."""
    return f"{FAILURES}{job_uid}.json"


def compaction(results: int) -> str:
    """Return the key of the compaction of so many results."""
    return f"{ARCHIVE}{results:07d}.json"


def transcripts(individual: int, evaluation: int = 0) -> str:
    """Return the key of the transcripts of an individual's n-th evaluation (JSON Lines, zstandard)."""
    return f"{TRANSCRIPTS}{individual:07d}{f'-{evaluation}' if evaluation else ''}.jsonl.zst"


def parse_transcripts(key: str) -> tuple[int, int] | None:
    """Return (individual, evaluation) of a key of transcripts, or None for a foreign object."""
    pair = parse_result(f"{RESULTS}{key.removeprefix(TRANSCRIPTS).removesuffix('.jsonl.zst')}.json")
    return pair if pair and key == transcripts(*pair) else None


def final_evaluation(genome_sha256: str, split: str) -> str:
    """Return the key of what finalize found out about one genome on one split."""
    return f"{FINAL_EVALUATIONS}{split}/{genome_sha256[:32]}.json"


def benchmark(genome_sha256: str, benchmark_sha256: str) -> str:
    """Return the key of what finalize found out about one genome on one benchmark."""
    return f"{BENCHMARKS}{benchmark_sha256[:16]}/{genome_sha256[:32]}.json"


def polished(genome_sha256: str, steps: int) -> str:
    """Return the key of what so many steps of guidance made of a candidate's genome."""
    return f"final/polished/{genome_sha256[:32]}-{steps}.safetensors"
