"""One conformance suite for every object store, and what each store alone can suffer."""
