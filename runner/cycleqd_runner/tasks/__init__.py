"""What a model is asked and how its answers are judged. Engines and sandbox are neighbours, not part of this."""
