"""Clean problems and traces: checked, without duplicates and contamination; kinds and missing traces filled in."""
