"""The client against a server that misbehaves in every way we know of."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest
from fault_server import FaultServer, completion

from rarft.core.errors import InputError
from rarft.llm import client as client_module
from rarft.llm.answers import Answer, AppendLog, Question, ask_all
from rarft.llm.client import ChatClient, LimitReached, ServerConfig, Unanswered, retry_after

KEY = "sk-test-0123456789"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "FIRST_DELAY", 0.02)
    monkeypatch.setattr(client_module, "LONGEST_DELAY", 0.1)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def server_config(url: str, **changes: object) -> ServerConfig:
    return ServerConfig.model_validate({"base_url": url, "model": "m", "timeout": 5, "concurrency": 8, **changes})


def chat(config: ServerConfig, n: int = 1, **kwargs: object) -> list[str]:
    async def main() -> list[str]:
        async with ChatClient(config) as client:
            said = []
            for i in range(n):
                reply = await client.chat([{"role": "user", "content": f"q{i}"}], **kwargs)  # type: ignore[arg-type]
                said.append(reply.text)
            return said

    return asyncio.run(main())


def ask(
    config: ServerConfig, folder: Path, n: int, parse: object = None, max_unusable: float = 1.0
) -> tuple[list[tuple[int, Answer]], object]:
    """Ask about 0..n-1; the answers in the order they were handed on, and the totals."""
    taken: list[tuple[int, Answer]] = []

    def question(item: int) -> Question:
        return Question([{"role": "user", "content": f"item {item}"}], parse or (lambda text: text or None))  # type: ignore[arg-type]

    totals = ask_all(
        iter(range(n)),
        question,
        lambda item, answer: taken.append((item, answer)),
        server=config,
        log_file=folder / "log.jsonl",
        key=str,
        what="asking",
        max_unusable=max_unusable,
    )
    return taken, totals


def echo(body: dict[str, object]) -> str:
    return "about " + body["messages"][0]["content"]  # type: ignore[index]


@pytest.mark.parametrize("fault", ["429", "429-date", "500", "503", "cut", "half-json", "no-choices"])
def test_a_fault_is_tried_again(fault: str) -> None:
    with FaultServer(fault=lambda n, body: fault if n in (1, 2) else "ok", answer=echo) as server:
        assert chat(server_config(server.url), n=2) == ["about q0", "about q1"]
        assert len(server.bodies) == 4


def test_a_hanging_request_is_given_up_and_tried_again() -> None:
    with FaultServer(fault=lambda n, body: "hang" if n == 1 else "ok", answer=echo) as server:
        start = time.monotonic()
        assert chat(server_config(server.url, timeout=2), n=2) == ["about q0", "about q1"]
        assert time.monotonic() - start < 15


def test_retry_after_holds_back_every_request() -> None:
    times: list[float] = []

    def fault(n: int, body: object) -> str:
        times.append(time.monotonic())
        return "429" if n == 1 else "ok"

    async def main(url: str) -> None:
        async with ChatClient(server_config(url)) as client:
            await client.chat([{"role": "user", "content": "first"}])
            await asyncio.gather(
                client.chat([{"role": "user", "content": "refused"}]),
                _later(client, 0.1),
            )

    async def _later(client: ChatClient, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await client.chat([{"role": "user", "content": "later"}])

    with FaultServer(fault=fault, answer=echo) as server:
        asyncio.run(main(server.url))
    assert len(times) == 4
    assert min(times[2:]) - times[1] >= 0.19  # the server said 0.2 s, to whoever asks


def test_retry_after_headers() -> None:
    assert retry_after({"retry-after": "3"}) == 3
    assert retry_after({"retry-after-ms": "250"}) == 0.25
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({}) is None


def ask_until_unanswered(config: ServerConfig) -> None:
    """One request that always fails, beside others that succeed."""

    async def main() -> None:
        async with ChatClient(config) as client:
            await client.chat([{"role": "user", "content": "good"}])
            bad = asyncio.create_task(client.chat([{"role": "user", "content": "bad"}]))
            while not bad.done():
                await client.chat([{"role": "user", "content": "good"}])
            await bad

    asyncio.run(main())


def test_after_every_retry_one_request_is_unanswered() -> None:
    with (
        FaultServer(fault=lambda n, body: "500" if "bad" in str(body) else "ok") as server,
        pytest.raises(Unanswered, match="HTTP 500"),
    ):
        ask_until_unanswered(server_config(server.url, retries=2))
    assert len(server.bodies) >= 4


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"key": "sk-another-key-here"}, r"refuses the key in \$OPENAI_API_KEY; check the key"),
        ({"models": ("other",)}, "knows no model 'm'"),
        ({"fault": lambda n, body: "402"}, "wants payment"),
        ({"fault": lambda n, body: "500"}, "no answer from http"),
        ({"fault": lambda n, body: "400"}, "refuses the request"),
    ],
)
def test_hopeless_cases_are_told_within_seconds(changes: dict[str, object], expected: str, tmp_path: Path) -> None:
    start = time.monotonic()
    with FaultServer(**changes) as server, pytest.raises(InputError, match=expected) as error:  # type: ignore[arg-type]
        ask(server_config(server.url), tmp_path, 5)
    assert time.monotonic() - start < 15
    assert KEY not in str(error.value)  # the server quotes the key that it refuses


def test_no_server_is_told_within_seconds(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(InputError, match="is the server up"):
        ask(server_config("http://127.0.0.1:9/v1"), tmp_path, 5)
    assert time.monotonic() - start < 15


def test_a_server_that_goes_away_stops_the_work_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "REFUSED_FOR", 0.3)
    with FaultServer(fault=lambda n, body: "hang" if n >= 20 else "ok", answer=echo) as server:
        config = server_config(server.url, timeout=1.5, retries=50)
        with pytest.raises(InputError, match="every answer so far is kept"):
            ask(config, tmp_path, 40)
    kept = len(list(AppendLog(tmp_path / "log.jsonl").rows()))
    assert 1 <= kept <= 20
    with FaultServer(answer=echo) as server:
        taken, _ = ask(server_config(server.url), tmp_path, 40)
        assert len(server.bodies) == 40 - kept
    assert [answer.value for _, answer in taken] == [f"about item {i}" for i in range(40)]


def test_settings_are_checked_before_any_request(monkeypatch: pytest.MonkeyPatch) -> None:
    for url, expected in (
        (None, "base-url is missing"),
        ("localhost:8000", "is no URL"),
        ("http://user:secret@host/v1", "must not hold a key"),
        ("http://host/v1?api-key=secret", "must not hold a key"),
    ):
        with pytest.raises(InputError, match=expected):
            ChatClient(server_config(url))  # type: ignore[arg-type]
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(InputError, match=r"\$OPENAI_API_KEY is empty"):
        ChatClient(server_config("https://api.openai.com/v1"))


def test_an_outage_leaves_nothing_unanswered(tmp_path: Path) -> None:
    began: list[float] = []

    def fault(n: int, body: object) -> str:
        if n < 20:
            return "ok"
        began.append(time.monotonic())
        return ("500", "429-date", "503")[n % 3] if began[-1] - began[0] < 1.5 else "ok"

    with FaultServer(fault=fault, answer=echo) as server:
        taken, totals = ask(server_config(server.url, retries=2), tmp_path, 60)
    assert [answer.value for _, answer in taken] == [f"about item {i}" for i in range(60)]
    assert totals.unusable == 0 and totals.calls == len(server.bodies) > 60  # type: ignore[attr-defined]


def test_a_limit_reached_while_others_wait_for_an_earlier_answer_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rarft.llm import answers

    monkeypatch.setattr(answers, "WINDOW", 4)
    with (
        FaultServer(fault=lambda n, body: "500" if "item 3" in str(body) else "ok", answer=echo) as server,
        pytest.raises(LimitReached, match="max-calls 20"),
    ):
        ask(server_config(server.url, max_calls=20, retries=50), tmp_path, 60)


def test_structured_output_is_dropped_where_the_server_refuses_it() -> None:
    with FaultServer(fault=lambda n, body: "400" if "response_format" in body else "ok", answer=echo) as server:
        assert chat(server_config(server.url), n=2, schema={"type": "object"}) == ["about q0", "about q1"]
        assert [("response_format" in body) for body in server.bodies] == [True, False, False]


def test_many_requests_are_in_flight_over_one_pool(tmp_path: Path) -> None:
    with FaultServer(answer=echo, delay=0.05) as server:
        ask(server_config(server.url, concurrency=16), tmp_path, 160)
        assert server.most_in_flight == 16


def test_answers_are_handed_on_in_order_whatever_order_they_come_in(tmp_path: Path) -> None:
    with FaultServer(fault=lambda n, body: "500" if n % 3 == 1 else "ok", answer=echo) as server:
        taken, totals = ask(server_config(server.url), tmp_path, 60)
    assert [item for item, _ in taken] == list(range(60))
    assert [answer.value for _, answer in taken] == [f"about item {i}" for i in range(60)]
    assert totals.calls == len(server.bodies) > 60  # type: ignore[attr-defined]


def test_max_calls_stops_cleanly_and_a_higher_one_goes_on(tmp_path: Path) -> None:
    with FaultServer(answer=echo) as server:
        with pytest.raises(LimitReached, match="max-calls 25; 25 answers are kept"):
            ask(server_config(server.url, max_calls=25), tmp_path, 60)
        assert len(server.bodies) == 25
        with pytest.raises(LimitReached, match="30 answers are kept"):  # those of the first run count
            ask(server_config(server.url, max_calls=30), tmp_path, 60)
        assert len(server.bodies) == 30
        taken, totals = ask(server_config(server.url), tmp_path, 60)
        assert len(server.bodies) == 60 and len(taken) == 60
    assert totals.calls == 60 and totals.tokens_in == 6000  # type: ignore[attr-defined]


def test_max_cost_is_never_exceeded(tmp_path: Path) -> None:
    prices = {"price_in": 10.0, "price_out": 100.0, "max_tokens": 20}  # 100 in, 20 out: $0.003 a call
    with FaultServer(answer=echo, delay=0.01) as server:
        with pytest.raises(LimitReached, match=r"max-cost 0.05"):
            ask(server_config(server.url, max_cost=0.05, **prices), tmp_path, 60)
        assert 10 <= len(server.bodies) <= 16  # 16.7 calls are worth $0.05


def test_an_answer_that_cannot_be_used_is_asked_for_again_then_kept_raw(tmp_path: Path) -> None:
    def answer(body: dict[str, object]) -> str:
        return "gibberish" if "item 3" in str(body) else echo(body)

    with FaultServer(answer=answer) as server:
        taken, totals = ask(server_config(server.url), tmp_path, 10, parse=lambda t: None if t == "gibberish" else t)
        assert len(server.bodies) == 9 + 3
    assert taken[3][1].value is None and taken[3][1].raw == "gibberish"
    assert totals.unusable == 1  # type: ignore[attr-defined]


def test_too_many_unusable_answers_fail_and_are_asked_for_again(tmp_path: Path) -> None:
    with (
        FaultServer(answer=lambda body: "gibberish" if "item 3" in str(body) else echo(body)) as server,
        pytest.raises(InputError, match="1 of 10 answers from m cannot be used"),
    ):
        ask(server_config(server.url, asks=1), tmp_path, 10, lambda t: None if t == "gibberish" else t, 0.05)
    assert len(server.bodies) == 10
    with FaultServer(answer=echo) as server:
        taken, _ = ask(server_config(server.url), tmp_path, 10, max_unusable=0.05)
        assert len(server.bodies) == 1  # the unusable one alone
    assert [answer.value for _, answer in taken] == [f"about item {i}" for i in range(10)]


def test_half_of_the_first_answers_unusable_fails_early(tmp_path: Path) -> None:
    with FaultServer(answer=lambda body: "?") as server, pytest.raises(InputError, match="cannot be used"):
        ask(server_config(server.url, asks=1), tmp_path, 5000, lambda text: None, 0.05)
    assert len(server.bodies) < 100


def test_a_torn_last_line_is_asked_again(tmp_path: Path) -> None:
    with FaultServer(answer=echo) as server:
        whole, _ = ask(server_config(server.url, concurrency=1), tmp_path, 10)
        log = tmp_path / "log.jsonl"
        log.write_bytes(log.read_bytes()[:-20])
        again, _ = ask(server_config(server.url), tmp_path, 10)
        assert len(server.bodies) == 11
    assert [answer.value for _, answer in again] == [answer.value for _, answer in whole]


def test_a_log_about_other_items_is_refused(tmp_path: Path) -> None:
    with FaultServer(answer=echo) as server:
        ask(server_config(server.url), tmp_path, 3)
        rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
        (tmp_path / "log.jsonl").write_text("".join(json.dumps(row | {"key": "x"}) + "\n" for row in rows))
        with pytest.raises(InputError, match="answers about other items"):
            ask(server_config(server.url), tmp_path, 3)


def test_the_key_reaches_the_server_and_nothing_else(tmp_path: Path) -> None:
    with FaultServer(answer=lambda body: f"your key is {KEY}", key=KEY) as server:
        taken, _ = ask(server_config(server.url), tmp_path, 3, parse=lambda text: None)
        assert any(KEY in head for head in server.headers)
    assert taken[0][1].raw == "your key is ***"
    assert KEY not in (tmp_path / "log.jsonl").read_text()


def test_memory_does_not_hold_answers_that_were_handed_on(tmp_path: Path) -> None:
    from rarft.llm import answers

    with FaultServer(answer=echo) as server:
        asker = answers._Asker(
            iter(range(300)),
            lambda item: Question([{"role": "user", "content": f"item {item}"}], lambda text: text),
            lambda item, answer: None,
            server_config(server.url),
            tmp_path / "log.jsonl",
            str,
            "asking",
            "judge",
            None,
            1.0,
        )
        most = 0
        take = asker._take

        def watch(index: int, item: int, answer: Answer) -> None:
            nonlocal most
            take(index, item, answer)
            most = max(most, len(asker.waiting))

        asker._take = watch  # type: ignore[method-assign]
        answers.run_coroutine(asker.run)
    assert asker.head == 300 and not asker.waiting
    assert most <= 64


def test_a_running_loop_does_not_matter(tmp_path: Path) -> None:
    async def notebook(url: str) -> int:
        return len(ask(server_config(url), tmp_path, 3)[0])

    with FaultServer(answer=echo) as server:
        assert asyncio.run(notebook(server.url)) == 3


def test_completion_body_is_what_the_protocol_says() -> None:
    assert json.loads(completion("x"))["choices"][0]["message"]["content"] == "x"
