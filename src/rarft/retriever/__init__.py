"""The retriever: training, index, search, and how good it is (stage 2)."""

from rarft.retriever.config import TrainRetrieverConfig
from rarft.retriever.evaluate import EvaluateRetrieverConfig, evaluate_retriever
from rarft.retriever.index import IndexConfig, index
from rarft.retriever.search import RetrieveConfig, find_analogies, retrieve
from rarft.retriever.trace_index import TraceIndex
from rarft.retriever.train import train_retriever

__all__ = [
    "EvaluateRetrieverConfig",
    "IndexConfig",
    "RetrieveConfig",
    "TraceIndex",
    "TrainRetrieverConfig",
    "evaluate_retriever",
    "find_analogies",
    "index",
    "retrieve",
    "train_retriever",
]
