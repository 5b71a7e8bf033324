"""Clean problems and traces: checked, without duplicates and contamination; kinds and missing traces filled in."""

from rarft.preparation.prepare import PrepareConfig, prepare

__all__ = ["PrepareConfig", "prepare"]
