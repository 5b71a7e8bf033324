"""Stage 1: labels of which trace helps with which problem, by labelers that `rarft audit` compares."""

from rarft.relevance.audit import AuditConfig, audit
from rarft.relevance.label import LabelConfig, label

__all__ = ["AuditConfig", "LabelConfig", "audit", "label"]
