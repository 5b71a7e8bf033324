"""The client against a server that misbehaves in every way we know of."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from fault_server import FaultServer, Reply, completion

from rarft.core.errors import InputError, StageError
from rarft.llm import answers
from rarft.llm import client as client_module
from rarft.llm.answers import Answer, Question, Totals, ask_all
from rarft.llm.client import ChatClient, LimitReached, ServerConfig, Unanswered, check_server, retry_after
from rarft.llm.store import store_path

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
) -> tuple[list[tuple[int, Answer]], Totals]:
    """Ask about 0..n-1; the answers in the order they were handed on, and the totals."""
    taken: list[tuple[int, Answer]] = []

    def question(item: int) -> Question:
        return Question([{"role": "user", "content": f"item {item}"}], parse or (lambda text: text or None))  # type: ignore[arg-type]

    totals = ask_all(
        iter(range(n)),
        question,
        lambda item, answer: taken.append((item, answer)),
        server=config,
        scratch=folder,
        what="asking",
        max_unusable=max_unusable,
    )
    return taken, totals


def n_kept() -> int:
    """How many answers the store has."""
    with closing(sqlite3.connect(store_path("m"))) as database:
        return int(database.execute("SELECT COUNT(*) FROM answers").fetchone()[0])


def echo(body: dict[str, object]) -> str:
    return "about " + body["messages"][0]["content"]  # type: ignore[index]


@pytest.mark.parametrize("fault", ["429", "429-date", "500", "503", "cut", "half-json", "no-choices"])
def test_a_fault_is_tried_again(fault: str) -> None:
    with FaultServer(fault=lambda n, body: fault if n in (1, 2) else "ok", answer=echo) as server:
        assert chat(server_config(server.url), n=2) == ["about q0", "about q1"]
        assert len(server.bodies) == 4


def test_a_hanging_request_is_given_up_and_tried_again() -> None:
    with FaultServer(fault=lambda n, body: "hang" if n == 1 else "ok", answer=echo) as server:
        assert chat(server_config(server.url, timeout=2), n=2) == ["about q0", "about q1"]


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


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "Wed, 21 Oct 9999 07:28:00 GMT"}, 600),
        ({"retry-after": "1000000000"}, 600),
        ({"retry-after": "inf"}, 600),
        ({"retry-after-ms": "1e999"}, 600),
        ({"retry-after": "-5"}, 0),
        ({"retry-after": "-inf"}, 0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 99999999999999999999 07:28:00 GMT"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after-ms": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_obeyed_within_ten_minutes(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


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
        ({"fault": lambda n, body: "403"}, r"refuses the key in \$OPENAI_API_KEY"),
        ({"fault": lambda n, body: "hang"}, "no answer within 0.3 s"),
        ({"fault": lambda n, body: "500"}, "no answer from http"),
        ({"fault": lambda n, body: "400"}, "refuses the request"),
    ],
)
def test_hopeless_cases_are_told_after_a_few_requests(
    changes: dict[str, object], expected: str, tmp_path: Path
) -> None:
    with FaultServer(**changes) as server, pytest.raises(InputError, match=expected) as error:  # type: ignore[arg-type]
        ask(server_config(server.url, timeout=0.3), tmp_path, 50)
    assert len(server.bodies) <= 6
    assert KEY not in str(error.value)  # the server quotes the key that it refuses


def test_no_server_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is the server up"):
        ask(server_config("http://127.0.0.1:9/v1"), tmp_path, 5)


def test_a_server_that_goes_away_stops_the_work_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "REFUSED_FOR", 0.3)
    with FaultServer(fault=lambda n, body: "hang" if n >= 20 else "ok", answer=echo) as server:
        config = server_config(server.url, timeout=1.5, retries=50)
        with pytest.raises(StageError, match="every answer so far is kept"):
            ask(config, tmp_path, 40)
    kept = n_kept()
    assert 1 <= kept <= 20
    with FaultServer(answer=echo) as server:
        taken, _ = ask(server_config(server.url), tmp_path, 40)
        assert len(server.bodies) == 40 - kept
    assert [answer.value for _, answer in taken] == [f"about item {i}" for i in range(40)]


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
    assert totals.unusable == 0 and totals.calls == len(server.bodies) > 60


def test_a_limit_reached_while_others_wait_for_an_earlier_answer_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    with FaultServer(answer=echo, delay=1.0) as server:
        ask(server_config(server.url, concurrency=16), tmp_path, 17)
        assert server.most_in_flight == 16


def test_answers_are_handed_on_in_order_whatever_order_they_come_in(tmp_path: Path) -> None:
    with FaultServer(fault=lambda n, body: "500" if n % 3 == 1 else "ok", answer=echo) as server:
        taken, totals = ask(server_config(server.url), tmp_path, 60)
    assert [item for item, _ in taken] == list(range(60))
    assert [answer.value for _, answer in taken] == [f"about item {i}" for i in range(60)]
    assert totals.calls == len(server.bodies) > 60


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
    assert totals.calls == 60 and totals.tokens_in == 6000


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
    assert totals.unusable == 1


def test_too_many_unusable_answers_fail_and_are_asked_for_again(tmp_path: Path) -> None:
    def answer(body: dict[str, object]) -> str:
        never, at_first = "item 3" in str(body), "item 5" in str(body) and "seed" not in body
        return "gibberish" if never or at_first else echo(body)

    def parse(text: str) -> str | None:
        return None if text == "gibberish" else text

    with (
        FaultServer(answer=answer) as server,
        pytest.raises(InputError, match=r"1 of 10 answers from m cannot be used .* one of them: 'gibberish'"),
    ):
        ask(server_config(server.url, asks=2), tmp_path, 10, parse, 0.05)
    assert len(server.bodies) == 12
    with FaultServer(answer=echo) as server:
        taken, _ = ask(server_config(server.url, asks=2), tmp_path, 10, parse, 0.05)
        assert len(server.bodies) == 1  # the unusable one alone
    assert [answer.value for _, answer in taken] == [f"about item {i}" for i in range(10)]


def test_half_of_the_first_answers_unusable_fails_early(tmp_path: Path) -> None:
    with FaultServer(answer=lambda body: "?") as server, pytest.raises(InputError, match="cannot be used"):
        ask(server_config(server.url, asks=1), tmp_path, 5000, lambda text: None, 0.05)
    assert len(server.bodies) < 100


def test_the_key_reaches_the_server_and_nothing_else(tmp_path: Path) -> None:
    with FaultServer(answer=lambda body: f"your key is {KEY}", key=KEY) as server:
        taken, _ = ask(server_config(server.url), tmp_path, 3, parse=lambda text: None)
        assert any(KEY in head for head in server.headers)
    assert taken[0][1].raw == "your key is ***"
    files = [path for path in (*tmp_path.rglob("*"), store_path("m")) if path.is_file()]
    assert store_path("m") in files and not any(KEY.encode() in path.read_bytes() for path in files)


def test_a_running_loop_does_not_matter(tmp_path: Path) -> None:
    async def notebook(url: str) -> int:
        return len(ask(server_config(url), tmp_path, 3)[0])

    with FaultServer(answer=echo) as server:
        assert asyncio.run(notebook(server.url)) == 3


def test_memory_does_not_hold_answers_that_were_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    most = 0
    take = answers._Asker._take

    def watch(self: answers._Asker[int], index: int, item: int, answer: Answer) -> None:
        nonlocal most
        take(self, index, item, answer)
        most = max(most, len(self.waiting))

    monkeypatch.setattr(answers._Asker, "_take", watch)
    monkeypatch.setattr(answers, "WINDOW", 40)
    with FaultServer(answer=echo) as server:
        taken, _ = ask(server_config(server.url, concurrency=8), tmp_path, 300)
    assert len(taken) == 300 and most <= 40 + 8


# Odd answers, of which none may end the run


DEEP = "[" * 2000 + "]" * 2000


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("half of a pair: \ud83d, \udc00", "half of a pair: ?, ?"),
        ("whole: \U0001f600", "whole: \U0001f600"),
        ("a\0b", "ab"),
        (DEEP, DEEP),
        ("x" * 3_000_000, "x" * 500_000),
        (None, None),
        ("", None),
    ],
)
def test_odd_text_is_cleaned(content: str | None, expected: str | None, tmp_path: Path) -> None:
    with FaultServer(fault=lambda n, body: (200, {}, completion(content)) if n == 1 else "ok", answer=echo) as server:
        taken, _ = ask(server_config(server.url, concurrency=1, asks=1), tmp_path, 3)
        assert [answer.value for _, answer in taken] == ["about item 0", expected, "about item 2"]
        again, _ = ask(server_config(server.url, asks=1), tmp_path, 3)
        assert again == taken and len(server.bodies) == 3


@pytest.mark.parametrize(
    "count", ["1e999", "-1e999", "NaN", "-5", "1e300", '"many"', "null", "[1]", "true", "9" * 4000]
)
def test_odd_usage_is_reckoned_from_the_text(count: str, tmp_path: Path) -> None:
    body = completion("fine", "COUNT", "COUNT").replace(b'"COUNT"', count.encode())
    prices = {"price_in": 1.0, "price_out": 1.0, "max_cost": 1.0}
    with FaultServer(fault=lambda n, _: (200, {}, body) if n == 1 else "ok", answer=echo) as server:
        taken, totals = ask(server_config(server.url, concurrency=1, **prices), tmp_path, 3)
    assert taken[1][1].value == "fine"
    assert 200 < totals.tokens_in < 210 and 40 < totals.tokens_out < 45


@pytest.mark.parametrize("where", [0, 3, 5])
@pytest.mark.parametrize(
    "reply",
    [
        (500, {}, b"the prompt has killed me"),
        (400, {}, b'{"error": {"message": "maximum context length exceeded"}}'),
        (413, {}, b"too large"),
        (403, {}, b'{"error": {"message": "flagged by moderation"}}'),
        (200, {}, b"[" * 100_000),
        (200, {}, DEEP.encode()),
        (200, {}, b'{"choices": [{"message": {"content": [1]}}]}'),
        (200, {}, b'{"choices": 7}'),
        (200, {}, b"\xff\xfe"),
        (200, {"content-encoding": "gzip"}, b"no gzip"),
        (204, {}, b""),
    ],
)
def test_a_question_that_the_server_always_fails_ends_nothing(
    reply: Reply, where: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "REFUSED_FOR", -9.8)  # with the timeouts: patience of 0.2 s
    with FaultServer(fault=lambda n, body: reply if f"item {where}" in str(body) else "ok", answer=echo) as server:
        taken, totals = ask(server_config(server.url, retries=1, concurrency=3), tmp_path, 6)
    assert [answer.value for _, answer in taken] == [None if i == where else f"about item {i}" for i in range(6)]
    assert totals.unusable == 1 and taken[where][1].raw


def test_what_the_server_does_not_take_is_left_out_by_requests_that_were_on_their_way_too(tmp_path: Path) -> None:
    def fault(n: int, body: dict[str, object]) -> str | Reply:
        return (400, {}, b'{"error": {"message": "seed is not supported"}}') if "seed" in body else "ok"

    with FaultServer(fault=fault, answer=lambda body: "?" if "item" in str(body) else "x", delay=0.05) as server:
        taken, _ = ask(server_config(server.url, asks=2), tmp_path, 20, parse=lambda text: None)
    assert [answer.raw for _, answer in taken] == ["?"] * 20  # the second time a seed is sent, by 8 at once
    assert sum("seed" in body for body in server.bodies) <= 8


def test_a_refused_question_does_not_cost_the_others_their_schema() -> None:
    def fault(n: int, body: dict[str, object]) -> str | Reply:
        return (400, {}, b'{"error": {"message": "too long"}}') if "long" in str(body["messages"]) else "ok"

    async def main(url: str) -> None:
        async with ChatClient(server_config(url)) as client:
            for text in ("first", "long", "last"):
                try:
                    await client.chat([{"role": "user", "content": text}], schema={"type": "object"})
                except Unanswered:
                    assert text == "long"

    with FaultServer(fault=fault, answer=echo) as server:
        asyncio.run(main(server.url))
    assert "response_format" in server.bodies[-1]


# Settings


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"base_url": "localhost:8000"}, "`base_url`: .*is no URL"),
        ({"base_url": "http://"}, "is no URL"),
        ({"base_url": "http://[::1"}, "is no URL"),
        ({"base_url": "http://host:99999/v1"}, "is no URL"),
        ({"base_url": "http://ho st/v1"}, "is no URL"),
        ({"base_url": "http://user:secret@host/v1"}, "must not hold a key"),
        ({"base_url": "user:secret@host"}, "must not hold a key"),
        ({"base_url": "http://host/v1?api-key=secret"}, "must not hold a key"),
        ({"api_key_env": "sk-secret"}, "name of an environment variable"),
        ({"api_key_env": "secret secret"}, "name of an environment variable"),
        ({"api_key_env": ""}, "name of an environment variable"),
        *(({name: value}, f"`{name}`") for value in ("nan", "inf", "-1", "1e400") for name in
          ("temperature", "timeout", "max_cost", "price_in", "price_out")),
        *(({name: value}, f"`{name}`") for value in ("nan", "-1", "1.5", "9" * 5000) for name in
          ("max_tokens", "asks", "concurrency", "retries", "max_calls")),
    ],
)  # fmt: skip
def test_a_value_that_means_nothing_is_refused(values: dict[str, object], expected: str) -> None:
    with pytest.raises(InputError, match=expected) as error:
        ServerConfig.parse(values, "test")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "key", "expected"),
    [
        ({"base_url": None}, KEY, "base-url is missing"),
        ({"model": ""}, KEY, "model is missing"),
        ({"max_cost": 1.0}, KEY, "max-cost needs --judge.price-in and --judge.price-out"),
        ({"max_cost": 1.0, "price_in": 1.0}, KEY, "max-cost needs"),
        ({"base_url": "https://api.openai.com/v1"}, "", r"\$OPENAI_API_KEY is empty"),
        ({"api_key_env": "gsk_secret"}, KEY, "names a variable that is empty"),
        ({"model": f"m-{KEY}"}, KEY, "holds the key"),
        ({"base_url": f"http://host/{KEY}/v1"}, KEY, "holds the key"),
        ({}, "sk-é-secret", "characters that no key has"),
        ({}, "sk-secret\nsecond", "characters that no key has"),
    ],
)
def test_settings_are_checked_before_any_request(
    values: dict[str, object], key: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(InputError, match=expected) as error:
        check_server(server_config("http://host/v1", **values), "judge")
    assert "secret" not in str(error.value) and KEY not in str(error.value)


def test_a_quoted_key_is_taken_out_before_the_text_is_shortened(tmp_path: Path) -> None:
    message = json.dumps({"error": {"message": "x" * 290 + KEY}}).encode()
    with FaultServer(fault=lambda n, body: (401, {}, message)) as server, pytest.raises(InputError) as error:
        ask(server_config(server.url), tmp_path, 1)
    assert KEY[:8] not in str(error.value)


# An interrupt


def test_an_interrupt_in_a_notebook_ends_the_asking(tmp_path: Path) -> None:
    """As in a notebook: a loop runs in this thread, and an interrupt is a KeyboardInterrupt."""

    def fault(n: int, body: object) -> str:
        if n == 20:
            os.kill(os.getpid(), signal.SIGINT)
        return "hang" if n >= 20 else "ok"

    async def cell(url: str) -> None:
        ask(server_config(url, timeout=600), tmp_path, 60)

    before = set(threading.enumerate())
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    loop = asyncio.new_event_loop()
    with FaultServer(fault=fault, answer=echo) as server:
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(cell(server.url))
        assert len(set(threading.enumerate()) - before) == 1  # the server's own
    loop.close()
    signal.signal(signal.SIGINT, handler)
    kept = n_kept()
    assert 12 <= kept <= 20
    with FaultServer(answer=echo) as server:
        ask(server_config(server.url), tmp_path, 60)
        assert len(server.bodies) == 60 - kept
