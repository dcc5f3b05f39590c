"""Genomes of candidate final models: blends, and what guidance makes of them, which is written once and read again."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property

from cycleqd import keys
from cycleqd.errors import MissingObject
from cycleqd.final import Blend
from cycleqd.genome import Genome
from cycleqd.records import Guidance
from cycleqd.rng import generator
from cycleqd_runner.guide.guide import Guide
from cycleqd_runner.guide.lessons import Lessons
from cycleqd_runner.session import Session


@dataclass
class CandidateGenomes:
    """Makes them, or remembers.

    Attributes:
        session: of this worker.
        training_tokens: that polishing passed forward and backward, by key; also what an interrupted finalize did.
        polishing: the time and memory that it took, by key; older versions did not write it down.
    """

    session: Session
    training_tokens: dict[str, int] = field(default_factory=dict)
    polishing: dict[str, Guidance] = field(default_factory=dict)

    def of(self, blend: Blend) -> Genome:
        """Return the genome of a candidate. Raises what :meth:`Guide.improve` raises."""
        start = blend.genome(self.session.genome_of)
        if not blend.polish:
            return start
        store, layout = self.session.store, self.session.layout
        key = keys.polished(start.digest, blend.polish)
        try:
            data = store.get(key)
        except MissingObject:
            data = self._polish(start, blend.polish)
            store.put_once(key, data)
        notes = json.loads(Genome.notes(data))
        self.training_tokens[key] = int(notes["tokens"])
        if "guidance" in notes:
            self.polishing[key] = Guidance.model_validate(notes["guidance"])
        return Genome.load(data, layout)

    def _polish(self, start: Genome, steps: int) -> bytes:
        """Take steps towards the right answers of the whole run, all tasks alike."""
        session = self.session
        lessons = Lessons(session.store, session.spec).of(session.population())
        rng, watch = generator(session.spec.search.seed, -1, "polish"), self._guide.watch()
        improved = self._guide.improve(start, lessons, [1.0] * len(session.tasks), steps, rng)
        taken = watch.taken().model_dump()
        notes = {"tokens": improved.tokens, "teachers": improved.teachers, "guidance": taken}
        return improved.genome.save(session.layout, json.dumps(notes))

    @cached_property
    def _guide(self) -> Guide:
        return Guide(self.session)
