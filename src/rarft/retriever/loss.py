"""Losses of the retriever, over all problems and traces of a batch.

InfoNCE (arXiv 2606.13680, stage 2): `L = - mean over problems i, relevant c+ of log( e^{s(i,c+)/tau} / (e^{s(i,c+)/tau}
+ sum over negatives c of e^{s(i,c)/tau}) )`. Every relevant trace in the batch counts as one; a negative is a trace
labelled not relevant, or one that was never judged and is of another kind. What was never judged and is of the same
kind is left out: it may be relevant (`mask_unjudged`). So is a trace of the problem itself: it is the one most like it.

KL: `L = mean over i of KL( softmax(score_i / tau_score) || softmax(s_i / tau) )` over the traces judged for problem i.

Gradient caching: texts are encoded `mini_batch_size` at a time and encoded again in the backward pass, so memory holds
the activations of one mini-batch, whatever the batch (Gao et al., 2021); the gradients are the same.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rarft.retriever.labels import Relations


class AnalogyLoss(nn.Module):
    """InfoNCE or KL over a batch of `B` problems and `D` distinct traces. The trainer calls it."""

    def __init__(
        self,
        model: nn.Module,
        relations: Relations,
        *,
        name: str = "infonce",
        temperature: float = 0.05,
        score_temperature: float = 1.0,
        mask_unjudged: bool = True,
        mini_batch_size: int = 0,
        dropout: bool = True,
    ) -> None:
        super().__init__()
        self.model = model
        self.relations = relations
        self.name = name
        self.temperature, self.score_temperature = temperature, score_temperature
        self.mask_unjudged = mask_unjudged
        self.mini_batch_size = mini_batch_size
        self.dropout = dropout

    def forward(self, sentence_features: Any, labels: Tensor) -> Tensor:
        """Loss of a batch.

        Args:
            sentence_features: tokenised problems `(B, tokens)`, then tokenised traces `(D, tokens)`.
            labels: `(B + D,)` their indices.
        """
        queries, documents = sentence_features
        size = len(queries["input_ids"])
        problems, traces = labels[:size].cpu(), labels[size:].cpu()
        query_vectors, query_mask = self.encode(queries, "query")
        trace_vectors, trace_mask = self.encode(documents, "document")
        scores = max_sim(query_vectors, query_mask, trace_vectors, trace_mask)
        found = (x.to(scores.device) for x in self.relations.look_up(problems, traces))
        relevant, labelled, score, same_kind, same_problem = found
        if self.name == "kl":
            return kl_loss(scores, score, labelled, self.temperature, self.score_temperature)
        left_out = same_problem | (~labelled & same_kind if self.mask_unjudged else False)
        return info_nce(scores, relevant, ~relevant & ~left_out, self.temperature)

    def encode(self, features: dict[str, Tensor], task: str) -> tuple[Tensor, Tensor]:
        """Vectors `(n, tokens, dim)` of length 1 and their mask `(n, tokens)`; texts of like length share a forward."""
        size = len(features["input_ids"])
        step = self.mini_batch_size or size
        order = torch.argsort(features["attention_mask"].sum(1), stable=True)
        cached = size > step and torch.is_grad_enabled()
        parts = []
        for rows in order.split(step):
            chunk = trim({key: value[rows] for key, value in features.items() if isinstance(value, Tensor)})
            if cached:
                parts.append(checkpoint(self.embed, chunk, task, use_reentrant=False))
            else:
                parts.append(self.embed(chunk, task))
        width = max(vectors.shape[1] for vectors, _ in parts)
        vectors = torch.cat([F.pad(v, (0, 0, 0, width - v.shape[1])) for v, _ in parts])
        mask = torch.cat([F.pad(m, (0, width - m.shape[1])) for _, m in parts])
        back = torch.argsort(order)
        return vectors[back], mask[back]

    def embed(self, features: dict[str, Tensor], task: str) -> tuple[Tensor, Tensor]:
        """One forward pass. A single vector counts as one token."""
        for module in self.model.children():
            learns = [weight.requires_grad for weight in module.parameters()]
            if not self.dropout or (learns and not any(learns)):  # a module without weights is not frozen
                module.eval()
        found = self.model(dict(features), task=task)
        if "sentence_embedding" in found:
            vectors = found["sentence_embedding"][:, None]
            mask = torch.ones_like(vectors[..., 0], dtype=torch.bool)
        else:
            vectors, mask = found["token_embeddings"], found["attention_mask"].bool()
        return F.normalize(vectors.float(), dim=-1), mask


def trim(features: dict[str, Tensor]) -> dict[str, Tensor]:
    """Drop padding columns that no row of the mini-batch needs (padding may be on either side)."""
    used = features["attention_mask"].bool()
    if "query_expansion_positions" in features:
        used = used | features["query_expansion_positions"].bool()
    columns = used.any(0).nonzero()[:, 0]
    first, last = int(columns[0]), int(columns[-1]) + 1
    width = used.shape[1]
    return {
        key: value[:, first:last] if value.ndim >= 2 and value.shape[1] == width else value
        for key, value in features.items()
    }


def max_sim(queries: Tensor, query_mask: Tensor, traces: Tensor, trace_mask: Tensor) -> Tensor:
    """Mean MaxSim of all pairs.

    Args:
        queries: `(B, Tq, dim)`; query_mask: `(B, Tq)`.
        traces: `(D, Tc, dim)`; trace_mask: `(D, Tc)`.

    Returns:
        `(B, D)` float32 in [-1, 1].
    """
    weights = query_mask / query_mask.sum(1, keepdim=True).clamp(min=1)
    with torch.autocast(queries.device.type, enabled=False):
        found: Tensor = _MaxSim.apply(queries, weights, traces, trace_mask)
    return found


class _MaxSim(torch.autograd.Function):
    """`(B, D)`: sum over query vectors i of `weights[b, i] * max over trace vectors j of queries[b, i] . traces[d, j]`.

    One query's similarities are held at a time, and of all of them only the places of the maxima are kept: the gradient
    is gathered there. Autograd would multiply twice more through all similarities, nearly all of which have none.
    """

    @staticmethod
    def forward(ctx: Any, queries: Tensor, weights: Tensor, traces: Tensor, mask: Tensor) -> Tensor:
        size, length, dim = traces.shape
        flat, empty = traces.reshape(-1, dim), ~mask[..., None]
        scores = queries.new_empty(len(queries), size)
        places = torch.empty(len(queries), size, queries.shape[1], dtype=torch.int32, device=queries.device)
        starts = torch.arange(0, size * length, length, device=queries.device)[:, None]
        for b, query in enumerate(queries):
            pairs = (flat @ query.T).view(size, length, -1).masked_fill_(empty, -1e4)
            best, at = pairs.max(1)
            scores[b] = (best * weights[b]).sum(1)
            places[b] = at + starts
        ctx.save_for_backward(queries, weights, traces, places)
        return scores

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        queries, weights, traces, places = ctx.saved_tensors
        flat = traces.reshape(-1, traces.shape[-1])
        to_queries, to_traces = torch.empty_like(queries), torch.zeros_like(flat)
        for b, gradient in enumerate(gradients[0]):
            shares = gradient[:, None] * weights[b]  # (D, Tq)
            to_queries[b] = F.embedding_bag(
                places[b].T.contiguous(), flat, per_sample_weights=shares.T.contiguous(), mode="sum"
            )
            to_traces.index_add_(0, places[b].view(-1), (shares[..., None] * queries[b]).view(-1, flat.shape[1]))
        return to_queries, None, to_traces.view_as(traces), None


def info_nce(scores: Tensor, positive: Tensor, negative: Tensor, temperature: float) -> Tensor:
    """InfoNCE of each positive against the negatives of its row; rows weigh alike.

    Args:
        scores: `(B, D)`; positive, negative: `(B, D)` bool, disjoint; in neither: left out.
        temperature: tau.
    """
    logits = scores / temperature
    others = logits.masked_fill(~negative, -1e9).logsumexp(1, keepdim=True)
    each = torch.logaddexp(logits, others) - logits
    count = positive.sum(1)
    per_row = (each * positive).sum(1) / count.clamp(min=1)
    return per_row.sum() / (count > 0).sum().clamp(min=1)


def kl_loss(scores: Tensor, targets: Tensor, judged: Tensor, temperature: float, target_temperature: float) -> Tensor:
    """KL of the retriever's distribution over the judged traces from that of the labels' scores; `(B, D)` each."""
    teacher = (targets / target_temperature).masked_fill(~judged, -1e9).log_softmax(1)
    student = (scores / temperature).masked_fill(~judged, -1e9).log_softmax(1)
    rows = judged.sum(1) > 1
    each = torch.where(judged, teacher.exp() * (teacher - student), torch.zeros(())).sum(1)
    return (each * rows).sum() / rows.sum().clamp(min=1)
