"""Situations told in plain English, each handled by a rule that only a precedent shows."""
