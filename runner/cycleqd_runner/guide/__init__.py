"""Guidance: gradient steps on a genome towards successful transcripts (design section 3). See :mod:`.emitter`."""
