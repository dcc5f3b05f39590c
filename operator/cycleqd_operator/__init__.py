"""The Kubernetes operator: turns a ``CycleQDRun`` into Jobs and a finished model. The algorithm is the core's."""
