"""What the library costs beside the bare network, as ratios within one process: ``python -m benchmarks``."""
