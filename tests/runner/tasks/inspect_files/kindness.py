"""What the dialogue says when it does not believe."""

DOUBT = "Are you sure?"
