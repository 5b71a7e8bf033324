"""Retrieval-Augmented Reinforcement Fine-Tuning.

Every stage is a function that takes its config and an output folder, and returns the finished folder:

    from rarft import LabelConfig, label
    label(LabelConfig(problems="p.jsonl", traces="t.jsonl", labeler="oracle"), "runs/labels")

Names are imported on first use, so that `import rarft` is quick.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from rarft.core.errors import InputError
    from rarft.evaluation.evaluate import EvaluateConfig, evaluate
    from rarft.policy.train import TrainConfig, train
    from rarft.preparation.prepare import PrepareConfig, prepare
    from rarft.recipe import read_recipe, run_recipe
    from rarft.relevance.audit import AuditConfig, audit
    from rarft.relevance.label import LabelConfig, label
    from rarft.report.report import ReportConfig
    from rarft.report.report import report as write_report
    from rarft.retriever.config import TrainRetrieverConfig
    from rarft.retriever.evaluate import EvaluateRetrieverConfig, evaluate_retriever
    from rarft.retriever.index import IndexConfig, index
    from rarft.retriever.search import RetrieveConfig, retrieve
    from rarft.retriever.train import train_retriever
    from rarft.rewards import verify

WHERE = {
    "PrepareConfig": "preparation.prepare",
    "prepare": "preparation.prepare",
    "LabelConfig": "relevance.label",
    "label": "relevance.label",
    "AuditConfig": "relevance.audit",
    "audit": "relevance.audit",
    "TrainRetrieverConfig": "retriever.config",
    "train_retriever": "retriever.train",
    "EvaluateRetrieverConfig": "retriever.evaluate",
    "evaluate_retriever": "retriever.evaluate",
    "IndexConfig": "retriever.index",
    "index": "retriever.index",
    "RetrieveConfig": "retriever.search",
    "retrieve": "retriever.search",
    "TrainConfig": "policy.train",
    "train": "policy.train",
    "EvaluateConfig": "evaluation.evaluate",
    "evaluate": "evaluation.evaluate",
    "ReportConfig": "report.report",
    "write_report": "report.report",
    "read_recipe": "recipe",
    "run_recipe": "recipe",
    "verify": "rewards",
    "InputError": "core.errors",
}
RENAMED = {"write_report": "report"}  # `rarft.report` is the package
__all__ = ["__version__", *WHERE]


def __getattr__(name: str) -> Any:
    if name not in WHERE:
        raise AttributeError(f"module 'rarft' has no attribute {name!r}")
    return getattr(importlib.import_module(f"rarft.{WHERE[name]}"), RENAMED.get(name, name))
