"""The API over real HTTP, before a stand-in for vLLM: shapes, contexts, limits, and what goes wrong upstream."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serve.conftest import QUESTION, Running, raw_connection
from tests.serve.stub_upstream import StubUpstream, name_of


def text(reply: httpx.Response) -> str:
    assert reply.status_code == 200, reply.text
    return str(reply.json()["choices"][0]["message"]["content"])


def error(reply: httpx.Response, status: int) -> dict[str, Any]:
    assert reply.status_code == status, reply.text
    return dict(reply.json()["error"])


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_chat_is_answered_with_its_context(server: Running, stub: StubUpstream) -> None:
    reply = server.chat(n=2, temperature=0.5, top_p=0.9, max_tokens=7, stop="x", seed=3)
    assert reply.status_code == 200, reply.text
    answer = reply.json()
    (sent,) = stub.bodies
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    for choice in answer["choices"]:
        assert choice["message"]["content"].startswith(name_of(sent["prompt"]))
        context = choice["message"]["context"]
        assert context["retrieval"] == "used" and [c["id"] for c in context["citations"]] == [
            hit["id"] for hit in server.post("/v1/retrieve", queries=[QUESTION], top_k=1).json()["data"][0]["traces"]
        ]
    asked = {"n": 2, "temperature": 0.5, "top_p": 0.9, "max_tokens": 7, "stop": ["x"], "seed": 3}
    assert asked.items() <= sent.items() and sent["stop_token_ids"] == [1]
    assert answer["usage"]["prompt_tokens"] == len(sent["prompt"])


def test_what_is_not_given_is_not_left_to_the_upstream(server: Running, stub: StubUpstream) -> None:
    text(server.chat())
    (sent,) = stub.bodies
    expected = {"n": 1, "temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
    assert expected.items() <= sent.items() and sent["max_tokens"] == 64 and "seed" not in sent


def test_a_stream_begins_with_the_context_and_ends_whole(server: Running, stub: StubUpstream) -> None:
    body = {"model": "rarft", "messages": [{"role": "user", "content": QUESTION}], "n": 2}
    *events, done = server.events("/v1/chat/completions", **body, stream_options={"include_usage": True})
    assert done == "[DONE]" and len({event["id"] for event in events}) == 1
    assert events[0]["object"] == "chat.completion.chunk"
    first = [event["choices"][0]["delta"] for event in events[:2]]
    assert all(delta["role"] == "assistant" and delta["context"]["citations"] for delta in first)
    for i in range(2):
        deltas = [c["delta"].get("content", "") for e in events for c in e["choices"] if c["index"] == i]
        assert "".join(deltas).strip() == stub.answer(stub.bodies[0]["prompt"], i)
        assert [c["finish_reason"] for e in events for c in e["choices"] if c["index"] == i][-1] == "stop"
    assert events[-1]["choices"] == [] and events[-1]["usage"]["completion_tokens"] == 6
    assert not any("usage" in event for event in server.events("/v1/chat/completions", **body)[:-1])


def test_log_probs_in_the_shape_of_chat_and_of_completions(server: Running) -> None:
    chat = server.chat(logprobs=True, top_logprobs=2).json()["choices"][0]["logprobs"]["content"]
    assert [(token["token"], token["logprob"], token["bytes"]) for token in chat] == [
        ("a", -0.5, [97]),
        ("b", -1, [98]),
    ]
    assert chat[1]["top_logprobs"][1]["token"] == "c"
    plain = server.post("/v1/completions", model="rarft", prompt=QUESTION, logprobs=2).json()["choices"][0]
    assert plain["logprobs"]["tokens"] == ["a", "b"] and plain["context"]["citations"]


def test_the_bare_twin_and_retrieve_false_show_the_policy_no_trace(server: Running, stub: StubUpstream) -> None:
    for body in ({"model": "rarft-bare"}, {"rarft": {"retrieve": False}}):
        context = server.chat(**body).json()["choices"][0]["message"]["context"]
        assert context == {"citations": [], "retrieval": "off"}
    assert stub.bodies[0]["prompt"] == stub.bodies[1]["prompt"]
    assert "Example" not in server.service.prompter.tokenizer.decode(stub.bodies[0]["prompt"])
    names = [model["id"] for model in server.client.get("/v1/models").json()["data"]]
    assert names == ["rarft", "rarft-bare"]


def test_top_k_and_named_traces(server: Running, stub: StubUpstream) -> None:
    found = server.chat(rarft={"top_k": 3}).json()["choices"][0]["message"]["context"]["citations"]
    assert len(found) == 3 and found == sorted(found, key=lambda c: -c["score"])
    named = server.chat(rarft={"trace_ids": ["t5", "t2"]}).json()["choices"][0]["message"]["context"]
    assert [c["id"] for c in named["citations"]] == ["t5", "t2"] and named["citations"][0]["score"] is None
    said = error(server.chat(rarft={"trace_ids": ["../../etc/passwd"]}), 400)
    assert said["code"] == "trace_not_found" and "'../../etc/passwd'" in said["message"]


def test_below_the_minimum_score_the_prompt_is_bare_and_the_answer_says_so(server: Running, stub: StubUpstream) -> None:
    context = server.chat(rarft={"min_score": 1.5}).json()["choices"][0]["message"]["context"]
    assert context["citations"] == [] and context["retrieval"] == "below_min_score"
    assert context["min_score"] == 1.5 and context["best_score"] < 1
    text(server.chat(model="rarft-bare"))
    assert stub.bodies[0]["prompt"] == stub.bodies[1]["prompt"]


def test_earlier_turns_and_a_system_message_keep_their_places(server: Running, stub: StubUpstream) -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "First question"},
        {"role": "assistant", "content": "First answer"},
        {"role": "user", "content": [{"type": "text", "text": QUESTION}]},
    ]
    reply = server.post("/v1/chat/completions", model="rarft", messages=turns)
    text(reply)
    prompt = server.service.prompter.tokenizer.decode(stub.bodies[0]["prompt"])
    where = [prompt.index(part) for part in ("Be brief.", "First question", "First answer", "Example", QUESTION)]
    assert where == sorted(where) and prompt.count("Example problem") == 1


def test_an_answer_may_come_back_as_a_turn(server: Running) -> None:
    message = server.chat().json()["choices"][0]["message"]
    turns = [{"role": "user", "content": QUESTION}, message, {"role": "user", "content": "And then?"}]
    text(server.post("/v1/chat/completions", model="rarft", messages=turns))


def test_completions_take_problems_or_token_ids(server: Running, stub: StubUpstream) -> None:
    reply = server.post("/v1/completions", model="rarft", prompt=[QUESTION, "thingpx cdone"], n=2).json()
    assert [choice["index"] for choice in reply["choices"]] == [0, 1, 2, 3]
    first, second = stub.bodies[0]["prompt"]
    for choice, prompt in zip(reply["choices"], [first, first, second, second], strict=True):
        assert choice["text"].startswith(name_of(prompt))
    assert reply["choices"][0]["context"] != reply["choices"][2]["context"]
    server.chat()
    assert stub.bodies[1]["prompt"] == first, "a text is a problem, and has the prompt that chat gives it"
    raw = server.post("/v1/completions", model="rarft", prompt=[5, 6, 7]).json()
    assert stub.bodies[2]["prompt"] == [5, 6, 7] and raw["choices"][0]["context"]["citations"] == []
    assert "from 0 to" in error(server.post("/v1/completions", model="rarft", prompt=[10**9]), 400)["message"]
    *_, done = server.events("/v1/completions", model="rarft", prompt=QUESTION)
    assert done == "[DONE]"


def test_the_majority_over_contexts(folder: Path) -> None:
    answers = iter(["\\boxed{3}", "no idea", "\\boxed{4}", "I say \\boxed{4.0}"])
    with StubUpstream(answer=lambda ids, i: next(answers)) as stub, Running(folder, stub.url) as server:
        reply = server.chat(rarft={"vote": 4}).json()
        (choice,) = reply["choices"]
        votes = choice["message"]["context"]["votes"]
        asked = [body["prompt"] for body in stub.bodies]
        assert len(set(map(tuple, asked))) == 4, "each context in a prompt of its own"
        assert sorted(str(vote["answer"]) for vote in votes) == ["3", "4", "4", "None"]
        assert "4" in choice["message"]["content"] and len(choice["message"]["context"]["citations"]) == 1
        assert reply["usage"]["prompt_tokens"] == sum(map(len, asked))
        error(server.chat(rarft={"vote": 3}, stream=True), 400)


def test_the_prompt_can_be_looked_at(server: Running, stub: StubUpstream) -> None:
    body = {"model": "rarft", "messages": [{"role": "user", "content": QUESTION}]}
    shown = server.post("/v1/prompt", **body).json()
    text(server.chat())
    assert shown["prompt_token_ids"] == stub.bodies[0]["prompt"] and QUESTION in shown["prompt"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", [{"type": "function"}]),
        ("frequency_penalty", 0.5),
        ("response_format", {"type": "json_object"}),
        ("logit_bias", {"5": 1}),
        ("top_k", 5),
        ("best_of", 2),
        ("nonsense", 1),
    ],
)
def test_what_is_not_supported_is_refused_by_name(server: Running, field: str, value: Any) -> None:
    said = error(server.chat(**{field: value}), 400)
    assert said["param"] == field and f"`{field}`" in said["message"] and said["code"] == "unsupported_parameter"


def test_a_value_that_asks_for_nothing_is_taken(server: Running) -> None:
    nothing = {"frequency_penalty": 0, "tools": [], "response_format": {"type": "text"}, "logit_bias": None, "n": None}
    text(server.chat(**nothing, user="somebody", stop=None, max_completion_tokens=5))


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"temperature": 3}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"n": 0}, "n"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content"),
        ({"rarft": {"top_q": 1}}, "rarft.top_q"),
        ({"rarft": {"retrieve": False, "top_k": 1}}, "rarft"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"stop": [""]}, "stop"),
    ],
)
def test_a_wrong_value_is_named(server: Running, body: dict[str, Any], param: str) -> None:
    assert error(server.chat(**body), 400)["param"] == param


def test_no_such_model(server: Running) -> None:
    assert "rarft-bare" in error(server.chat(model="gpt-4"), 404)["message"]


def test_too_long_is_refused_with_the_counts(server: Running, stub: StubUpstream) -> None:
    said = error(server.chat("a" * 5000), 400)
    assert said["code"] == "context_length_exceeded" and "4096" in said["message"]
    n = int(said["message"].split("the prompt has ")[1].split()[0])
    assert n > 5000
    error(server.chat("a" * 50_000), 400)
    short = server.post("/v1/prompt", model="rarft-bare", messages=[{"role": "user", "content": "a"}]).json()
    left = 4096 - len(short["prompt_token_ids"])
    text(server.chat("a", model="rarft-bare", max_tokens=left))
    error(server.chat("a", model="rarft-bare", max_tokens=left + 1), 400)
    assert len(stub.bodies) == 1


def test_the_upstreams_own_limit_counts(folder: Path) -> None:
    with StubUpstream(context_length=100) as stub, Running(folder, stub.url) as server:
        assert "takes 100 in all" in error(server.chat(), 400)["message"]


# The upstream


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("500", 502, "upstream_failed"),
        ("503", 502, "upstream_failed"),
        ("429", 429, "rate_limit_exceeded"),
        ("401", 502, "upstream_refused_key"),
        ("400", 400, "upstream_refused"),
        ("cut", 502, "upstream_broke_off"),
        ("strange", 502, "upstream_strange"),
        ("hang", 504, "upstream_timeout"),
    ],
)
def test_an_upstream_that_fails_is_told_once(folder: Path, fault: str, status: int, code: str) -> None:
    with StubUpstream(fault=lambda n, body: fault) as stub, Running(folder, stub.url, timeout=1.0) as server:
        assert error(server.chat(), status)["code"] == code
        assert len(stub.bodies) == 1, "it was asked once"
        with server.client.stream("POST", "/v1/chat/completions", json={
            "model": "rarft", "messages": [{"role": "user", "content": QUESTION}], "stream": True,
        }) as reply:  # fmt: skip
            if fault != "strange":  # which a stream shows later
                assert reply.status_code == status


def test_a_stream_that_breaks_off_ends_in_an_error(folder: Path) -> None:
    with StubUpstream(fault=lambda n, body: "half") as stub, Running(folder, stub.url) as server:
        *_, last = server.events(
            "/v1/chat/completions", model="rarft", messages=[{"role": "user", "content": QUESTION}]
        )
        assert last["error"]["code"] == "upstream_broke_off"


def test_no_upstream_then_one(folder: Path) -> None:
    with StubUpstream() as stub:
        url, port = stub.url, stub.port
    with Running(folder, url) as server:
        assert error(server.chat(), 502)["code"] == "upstream_down"
        health = server.client.get("/health")
        assert health.status_code == 503 and health.json() == {"status": "degraded", "index": "ok", "upstream": "down"}
        with StubUpstream(port=port):
            text(server.chat())
            wait_for(lambda: server.client.get("/health").status_code == 200)


def test_another_model_upstream_is_refused(folder: Path) -> None:
    class Strange(StubUpstream):
        def _other(self, path: str) -> tuple[int, dict[str, Any]]:
            return (200, {"tokens": [1, 2, 3]}) if path == "/tokenize" else super()._other(path)

    with Strange() as stub, Running(folder, stub.url) as server:
        assert error(server.chat(), 502)["code"] == "wrong_upstream"


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_takes_its_request_along(folder: Path, stream: bool) -> None:
    with StubUpstream(delay=0.2 if stream else 3600) as stub, Running(folder, stub.url) as server:
        stub.answer = lambda ids, i: "word " * 10_000
        body = {"model": "rarft", "messages": [{"role": "user", "content": QUESTION}], "stream": stream}
        if stream:
            with server.client.stream("POST", "/v1/chat/completions", json=body) as reply:
                next(reply.iter_lines())
        else:
            raw = json.dumps(body).encode()
            head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            with raw_connection(server.url) as connection:
                connection.sendall(f"{head}Content-Length: {len(raw)}\r\n\r\n".encode() + raw)
                assert stub.started.wait(30)
        wait_for(lambda: stub.cancelled == 1)
        assert stub.finished == 0


def test_metrics(fresh: Running) -> None:
    text(fresh.chat())
    fresh.chat(model="nobody")
    fresh.chat(rarft={"min_score": 2})
    page = fresh.client.get("/metrics").text
    for line in (
        'rarft_requests_total{endpoint="/v1/chat/completions",status="200"} 2.0',
        'rarft_requests_total{endpoint="/v1/chat/completions",status="404"} 1.0',
        'rarft_errors_total{kind="model_not_found"} 1.0',
        'rarft_empty_retrievals_total{reason="below_min_score"} 1.0',
        "rarft_retrieval_seconds_count 2.0",
        "rarft_upstream_seconds_count 2.0",
        'rarft_tokens_total{direction="out"} 6.0',
        "rarft_traces 36.0",
    ):
        assert line in page, line


# Keys and doors


def test_the_key_is_wanted_on_everything_but_health(folder: Path, stub: StubUpstream) -> None:
    import base64

    with Running(folder, stub.url, key="s3cret") as server:
        text(server.chat())
        with httpx.Client(base_url=server.url) as other:
            assert other.get("/health").status_code == 200
            for path in ("/", "/metrics", "/v1/models", "/v1/nothing"):
                said = other.get(path)
                assert said.status_code == 401 and said.headers["www-authenticate"].startswith("Basic")
            for header in ("Bearer wrong", "Bearer", "s3cret", "Basic !!", "Bearer s3cre", "bearer s3cret2"):
                assert other.get("/v1/models", headers={"Authorization": header}).status_code == 401
            given = base64.b64encode(b"anybody:s3cret").decode()
            assert other.get("/", headers={"Authorization": f"Basic {given}"}).status_code == 200
        assert "s3cret" not in json.dumps(stub.headers), "our clients' key is not the upstream's"


def test_without_a_key_only_names_of_this_machine_are_answered_to(server: Running) -> None:
    assert server.client.get("/v1/models", headers={"Host": "evil.example"}).status_code == 421
    assert server.client.get("/v1/models", headers={"Host": "localhost:1"}).status_code == 200


def test_a_foreign_page_cannot_write(server: Running) -> None:
    body = json.dumps({"traces": [{"problem": "p", "solution": "s"}]})
    reply = server.client.post("/v1/traces", content=body, headers={"Content-Type": "text/plain"})
    assert reply.status_code == 415
