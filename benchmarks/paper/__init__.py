"""The paper's comparisons, each with an interval and a verdict: `python -m benchmarks.paper --scale cpu`."""
