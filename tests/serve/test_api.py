"""The API over real HTTP, before a stand-in for vLLM: shapes, prompts, contexts, errors."""

from __future__ import annotations

from tests.serve.conftest import QUESTION, Running
from tests.serve.stub_upstream import StubUpstream, name_of


def test_a_chat_is_answered_with_its_context(server: Running, stub: StubUpstream) -> None:
    reply = server.chat()
    assert reply.status_code == 200, reply.text
    answer = reply.json()
    (choice,) = answer["choices"]
    (sent,) = stub.bodies
    assert choice["message"]["content"].startswith(name_of(sent["prompt"]))
    context = choice["message"]["context"]
    assert context["retrieval"] == "used" and len(context["citations"]) == 1
    assert QUESTION in server.service.prompter.tokenizer.decode(sent["prompt"])
