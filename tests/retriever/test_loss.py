"""Losses against their formulas, and gradient caching against the plain gradient."""

import math

import numpy as np
import pytest
import torch

from rarft.records.problems import Problem, Trace
from rarft.retriever import loss as losses
from rarft.retriever import maxsim
from rarft.retriever.labels import Labels, Relations
from rarft.retriever.maxsim import Packed, top_traces, top_vectors
from rarft.retriever.maxsim import scores as exact_scores


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_info_nce_is_the_papers_sum() -> None:
    scores = torch.tensor([[0.9, 0.2, 0.4], [0.1, 0.8, 0.3]])
    positive = torch.tensor([[True, False, True], [False, True, False]])
    negative = torch.tensor([[False, True, False], [True, False, False]])  # (1, 2) was never judged
    tau = 0.1

    def each(pos: float, negatives: list[float]) -> float:
        return -math.log(math.exp(pos / tau) / (math.exp(pos / tau) + sum(math.exp(n / tau) for n in negatives)))

    wanted = ((each(0.9, [0.2]) + each(0.4, [0.2])) / 2 + each(0.8, [0.1])) / 2
    assert losses.info_nce(scores, positive, negative, tau).item() == pytest.approx(wanted, rel=1e-5)


def test_a_row_without_a_positive_counts_for_nothing() -> None:
    scores = torch.tensor([[0.9, 0.2], [0.1, 0.8]])
    positive = torch.tensor([[True, False], [False, False]])
    one = losses.info_nce(scores[:1], positive[:1], ~positive[:1], 0.05)
    assert losses.info_nce(scores, positive, ~positive, 0.05).item() == pytest.approx(one.item())


def test_kl_is_zero_where_distributions_agree_and_ignores_unjudged() -> None:
    targets = torch.tensor([[0.0, 0.5, 1.0, 9.0]])
    judged = torch.tensor([[True, True, True, False]])
    agree = losses.kl_loss(targets * 0.1 / 0.2 + 0.3, targets, judged, 0.1, 0.2)
    assert agree.item() == pytest.approx(0, abs=1e-6)
    other = losses.kl_loss(-targets, targets, judged, 0.1, 0.2)
    wanted_p = torch.softmax(targets[0, :3] / 0.2, 0)
    wanted_q = torch.softmax(-targets[0, :3] / 0.1, 0)
    assert other.item() == pytest.approx(float((wanted_p * (wanted_p / wanted_q).log()).sum()), rel=1e-4)


def test_max_sim() -> None:
    queries, traces = unit(3, 4, 8), unit(5, 6, 8, seed=1)
    query_mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]]).bool()
    trace_mask = torch.ones(5, 6).bool()
    trace_mask[2, 3:] = trace_mask[4, :2] = False  # padding on either side
    found = losses.max_sim(queries, query_mask, traces, trace_mask)
    for b in range(3):
        for d in range(5):
            pairs = queries[b][query_mask[b]] @ traces[d][trace_mask[d]].T
            assert found[b, d].item() == pytest.approx(pairs.max(1).values.mean().item(), abs=1e-5)


def test_the_gradient_of_max_sim() -> None:
    """Against finite differences, in double precision."""
    queries, traces = unit(3, 4, 5).double().requires_grad_(), unit(4, 6, 5, seed=1).double().requires_grad_()
    query_mask = torch.tensor([[1, 1, 1, 1], [0, 1, 1, 0], [1, 0, 0, 0]]).bool()
    trace_mask = torch.ones(4, 6).bool()
    trace_mask[1, :3] = trace_mask[2, 4:] = False
    assert torch.autograd.gradcheck(lambda q, t: losses.max_sim(q, query_mask, t, trace_mask), (queries, traces))


def test_exact_search_agrees_with_max_sim() -> None:
    rng = np.random.default_rng(0)

    def texts(n: int) -> list[np.ndarray]:
        found = [rng.standard_normal((int(rng.integers(1, 7)), 16)).astype(np.float32) for _ in range(n)]
        return [x / np.linalg.norm(x, axis=1, keepdims=True) for x in found]

    queries, traces = texts(7), texts(40)
    wanted = np.array([[(q @ t.T).max(1).mean() for t in traces] for q in queries])
    assert exact_scores(queries, traces) == pytest.approx(wanted, abs=0.02)  # bfloat16 where the CPU has it
    assert exact_scores(queries, traces, budget=1) == pytest.approx(exact_scores(queries, traces), abs=1e-7)
    best, value = top_traces(queries, [traces[:15], traces[15:16], traces[16:]], 5)
    full = exact_scores(queries, traces)
    assert value == pytest.approx(-np.sort(-full, axis=1)[:, :5])
    assert np.take_along_axis(full, best, 1) == pytest.approx(value)


class Bag(torch.nn.Module):
    """An encoder stand-in: token embeddings through a layer with dropout."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.layer, self.drop = torch.nn.Embedding(50, 16), torch.nn.Linear(16, 16), torch.nn.Dropout(0.2)

    def forward(self, features: dict, task: str | None = None) -> dict:
        hidden = self.drop(torch.tanh(self.layer(self.table(features["input_ids"]))))
        return {"token_embeddings": hidden, "attention_mask": features["attention_mask"]}


def batch(n_problems: int, n_traces: int) -> tuple[list[dict], torch.Tensor, Relations]:
    generator = torch.Generator().manual_seed(1)

    def features(n: int) -> dict:
        mask = torch.arange(9)[None] < torch.randint(2, 10, (n, 1), generator=generator)
        return {"input_ids": torch.randint(0, 50, (n, 9), generator=generator), "attention_mask": mask.long()}

    problems = [Problem(str(i), f"q {'x' * i}", "1", kind="k") for i in range(n_problems)]
    traces = [Trace(str(i), f"p {'y' * i}", "s", kind="k") for i in range(n_traces)]
    pairs = [(p, t) for p in range(n_problems) for t in range(n_traces) if (p + t) % 3]
    p, t = np.array(pairs).T
    relevant = (p + t) % 3 == 1
    relations = Relations(Labels(p, t, relevant, relevant.astype(float), False), problems, traces)
    labels = torch.cat([torch.arange(n_problems), torch.arange(n_traces)])
    return [features(n_problems), features(n_traces)], labels, relations


@pytest.mark.parametrize("name", ["infonce", "kl"])
def test_gradient_caching_gives_the_plain_gradient(name: str) -> None:
    features, labels, relations = batch(7, 11)
    found = []
    for mini_batch_size in (0, 3):
        model = Bag()
        model.drop.p = 0.0
        loss = losses.AnalogyLoss(model, relations, name=name, mini_batch_size=mini_batch_size)(features, labels)
        loss.backward()
        found.append((loss.item(), [p.grad.clone() for p in model.parameters()]))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    for plain, cached in zip(found[0][1], found[1][1], strict=True):
        assert torch.allclose(plain, cached, atol=1e-5)


def test_gradient_caching_replays_dropout() -> None:
    """With dropout, the second forward pass must draw the same masks: the gradient is that of the loss returned."""
    features, labels, relations = batch(4, 6)
    model = Bag()
    torch.manual_seed(3)
    loss = losses.AnalogyLoss(model, relations, mini_batch_size=2)(features, labels)
    loss.backward()
    step, direction = 1e-3, model.layer.weight.grad / model.layer.weight.grad.norm()
    with torch.no_grad():
        model.layer.weight -= step * direction
    torch.manual_seed(3)
    moved = losses.AnalogyLoss(model, relations, mini_batch_size=2)(features, labels)
    assert (loss - moved).item() / step == pytest.approx(model.layer.weight.grad.norm().item(), rel=0.05)


def test_dropout_can_be_off() -> None:
    features, labels, relations = batch(4, 6)
    for dropout in (False, True):
        model = Bag().train()
        loss = losses.AnalogyLoss(model, relations, dropout=dropout)
        assert (loss(features, labels).item() == loss(features, labels).item()) is not dropout


def test_what_was_never_judged_is_no_negative() -> None:
    problems = [Problem(i, f"{i} q", "1", kind="algebra") for i in "ab"]
    traces = [Trace(i, f"{i} p", "s", kind=kind) for i, kind in [("x", "algebra"), ("y", "algebra"), ("z", "geo")]]
    labels = Labels(np.array([0, 1]), np.array([0, 1]), np.array([True, True]), np.ones(2), False)
    relations = Relations(labels, problems, traces)
    relevant, labelled, _, same_kind, same_problem = relations.look_up(torch.tensor([0, 1]), torch.tensor([0, 1, 2]))
    assert relevant.tolist() == [[True, False, False], [False, True, False]]
    assert labelled.tolist() == relevant.tolist()
    assert same_kind.tolist() == [[True, True, False]] * 2 and not same_problem.any()

    features, _, _ = batch(2, 3)
    ids = torch.tensor([0, 1, 0, 1, 2])
    model = Bag()
    model.drop.p = 0.0
    masked = losses.AnalogyLoss(model, relations)(features, ids)
    plain = losses.AnalogyLoss(model, relations, mask_unjudged=False)(features, ids)
    assert masked.item() < plain.item()  # fewer negatives in the denominator


def test_one_vector_per_text_ranks_as_many_do() -> None:
    rng = np.random.default_rng(3)
    traces = [rng.integers(-2, 3, (1, 4)).astype(np.float32) for _ in range(60)]  # whole numbers: many ties
    queries = [rng.integers(-2, 3, (1, 4)).astype(np.float32) for _ in range(7)]
    for k in (1, 9, 60, 80):
        best, value = top_traces(queries, [traces], k)
        found = top_vectors(np.concatenate(queries), Packed.of(traces), k)
        assert [places for places, _ in found] == best.tolist()
        assert [scores for _, scores in found] == value.tolist()


def test_one_vector_per_text_is_scored_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the CPU has bfloat16 products, in which these two would tie."""
    monkeypatch.setattr(maxsim, "fast_bfloat16", lambda device: True)
    query = np.array([[1, 0]], dtype=np.float32)
    traces = [np.array([[cosine, (1 - cosine**2) ** 0.5]], dtype=np.float32) for cosine in (0.8399, 0.8412)]
    assert exact_scores([query], traces)[0] == pytest.approx([0.8399, 0.8412], abs=1e-6)
    best, value = top_traces([query], [traces], 2)
    assert best.tolist() == [[1, 0]] and value[0] == pytest.approx([0.8412, 0.8399], abs=1e-6)
    assert top_vectors(query, Packed.of(traces), 2) == [(best[0].tolist(), value[0].tolist())]
    mixed = [np.concatenate(traces), traces[0]]  # of two vectors and of one
    wanted = np.array([[(a @ b.T).max(1).mean() for b in mixed] for a in [query, *mixed]])
    assert exact_scores([query], mixed) == pytest.approx(wanted[:1], abs=0.01)
    assert exact_scores(mixed, [traces[0]]) == pytest.approx(wanted[1:, 1:], abs=0.01)
