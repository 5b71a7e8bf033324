"""Python tasks for a fictional library, whose functions only a worked example names."""
