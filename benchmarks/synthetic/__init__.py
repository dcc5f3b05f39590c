"""Made-up individuals with the statistics of real ones, for what a benchmark of the search needs many runs of."""
