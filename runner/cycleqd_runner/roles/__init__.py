"""The four roles of a worker (design section 5): prepare, evaluate, breed, finalize."""
