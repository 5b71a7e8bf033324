"""Preflight: what worked examples do for a policy before anything is trained. Start at `preflight.py`."""

from rarft.preflight.preflight import PreflightConfig, run_preflight

__all__ = ["PreflightConfig", "run_preflight"]
