"""The exported rewards, called as each trainer calls them, agree with `rarft verify`."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import multiprocessing
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from verify_corpus import hostile, ordinary

from rarft.export.export import TRAINERS
from rarft.rewards import REASONS, verify
from rarft.rewards.file import verify_file


def load(trainer: str) -> Any:
    """reward.py as verl and OpenRLHF load it: from its path, under a name of theirs."""
    spec = importlib.util.spec_from_file_location(f"{trainer}_reward", TRAINERS / f"{trainer}_reward.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def skyrl(monkeypatch: pytest.MonkeyPatch) -> Any:
    """SkyRL's base class is not installed here: one of its shape. benchmarks/export_check.py takes the real one."""
    names = ("skyrl_gym", "skyrl_gym.envs", "skyrl_gym.envs.base_text_env", "skyrl_gym.envs.registration")
    for name in names:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    base: Any = sys.modules["skyrl_gym.envs.base_text_env"]
    base.BaseTextEnv, base.BaseTextEnvStepOutput = type("BaseTextEnv", (), {}), dict
    registration: Any = sys.modules["skyrl_gym.envs.registration"]
    registration.register = None
    return load("skyrl")


def info(question: str = "") -> dict[str, Any]:
    return {"index": 0, "reward": "math", "columns": json.dumps({"question": question})}


def by_verl(golds: list[str], texts: list[str]) -> list[float]:
    score = load("verl").compute_score
    found = [
        score(data_source="rarft", solution_str=text, ground_truth=gold, extra_info={**info(), "num_turns": None})
        for gold, text in zip(golds, texts, strict=True)
    ]
    assert all(sum(row[f"reason_{reason}"] for reason in REASONS) == 1 for row in found)
    return [row["score"] for row in found]


def by_trl(golds: list[str], texts: list[str]) -> list[float]:
    logged: dict[str, float] = {}
    rewards = load("trl").reward(
        prompts=[[{"role": "user", "content": "?"}]] * len(golds),
        completions=[[{"role": "assistant", "content": text}] for text in texts],
        completion_ids=[[1]] * len(golds),
        reward_model=[{"style": "rule", "ground_truth": gold} for gold in golds],
        extra_info=[info()] * len(golds),
        data_source=["rarft"] * len(golds),
        trainer_state=None,
        log_extra=None,
        log_metric=logged.__setitem__,
    )
    assert logged.keys() == {f"reason/{reason}" for reason in REASONS} and sum(logged.values()) == pytest.approx(1)
    return list(rewards)


PROMPT = "Problem: 1+1?\nSolution: So \\boxed{2}.\n\nProblem: What now?\nSolution:"


def by_openrlhf(golds: list[str], texts: list[str]) -> list[float]:
    reward = load("openrlhf").reward_func
    rewards = []
    for gold, text in zip(golds, texts, strict=True):  # OpenRLHF hands over one at a time
        label = {"gold": gold, "reward": "math", "columns": {"question": ""}, "special_tokens": ["<|im_end|>"]}
        found = reward([PROMPT + text + "<|im_end|>"], [PROMPT], [json.dumps(label)])
        assert sum(float(found["extra_logs"][f"reason_{reason}"]) for reason in REASONS) == 1
        rewards.append(float(found["rewards"][0]))
    return rewards


def _text(row: Any) -> bool:
    """No half of a surrogate pair, which no tokenizer decodes to and no JSONL may hold."""
    return not any("\ud800" <= character <= "\udfff" for character in row.completion)


@pytest.fixture(scope="module")
def corpus() -> tuple[list[str], list[str]]:
    rows = [row for row in ordinary(120, seed=3) + hostile()[::16] if _text(row)]
    return [row.gold for row in rows], [row.completion for row in rows]


@pytest.mark.parametrize("call", [by_verl, by_trl, by_openrlhf])
def test_agrees_with_rarft_verify(
    call: Callable[[list[str], list[str]], list[float]], corpus: tuple[list[str], list[str]], tmp_path: Path
) -> None:
    golds, texts = corpus
    rows = ({"gold": gold, "answer": text + "\n", "question": ""} for gold, text in zip(golds, texts, strict=True))
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    verify_file(str(tmp_path / "rows.jsonl"), str(tmp_path / "scored.jsonl"))
    scored = [json.loads(line)["reward"] for line in (tmp_path / "scored.jsonl").read_text().splitlines()]
    assert call(golds, texts) == scored and 0 < sum(scored) < len(scored)


def test_skyrls_environment_agrees(skyrl: Any, corpus: tuple[list[str], list[str]]) -> None:
    golds, texts = corpus
    for verdict, gold, text in zip(verify(golds, texts), golds, texts, strict=True):
        extras = {"reward_spec": {"method": "rule", "ground_truth": gold}, "extra_info": info(), "max_turns": 1}
        env = skyrl.RarftEnv(env_config={}, extras=extras)
        step = env.step(text)
        assert (step["reward"], step["done"], step["metadata"]) == (verdict.reward, True, {"reason": verdict.reason})
        assert env.get_metrics() == {f"reason_{reason}": float(reason == verdict.reason) for reason in REASONS}


def test_a_timeout_and_an_error_are_told(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("rarft"), "propagate", True)
    for name, reason in (("Sleeps", "timeout"), ("Raises", "error")):
        row = {**info(), "reward": f"tests.export.rewards:{name}"}
        verl = load("verl")
        with caplog.at_level("WARNING", "rarft"):
            found = verl.compute_score("rarft", r"\boxed{1}", "1", row | {"problem_id": "p7"})
        assert found["score"] == 0.0 and found[f"reason_{reason}"] == 1.0
        assert f"{reason} for 1 answers" in caplog.text and "problem p7" in caplog.text
        caplog.clear()


def test_trl_without_a_log_is_warned(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asynchronous GRPO hands its rewards no log."""
    monkeypatch.setattr(logging.getLogger("rarft"), "propagate", True)
    row = {**info(), "reward": "tests.export.rewards:Raises"}
    with caplog.at_level("WARNING", "rarft"):
        found = load("trl").reward(
            completions=[r"\boxed{1}"], reward_model=[{"style": "rule", "ground_truth": "1"}], extra_info=[row]
        )
    assert found == [0.0] and "no verdict on 1 of 1 answers" in caplog.text


def test_the_demonstrations_box_does_not_count_for_openrlhf() -> None:
    assert by_openrlhf(["2", "2", "2"], [" I don't know", "", r" \boxed{2}"]) == [0.0, 0.0, 1.0]
    found = load("openrlhf")
    spaced = PROMPT.replace("\n\n", "\n")
    assert found.completion_of(spaced + " so 5", PROMPT) == " so 5"
    assert found.completion_of(PROMPT[20:] + r" so \boxed{2}", PROMPT) is None
    label = json.dumps({"gold": "2", "reward": "math", "columns": {}, "special_tokens": []})
    cut_off = found.reward_func([PROMPT[20:]], [PROMPT], [label])
    assert float(cut_off["rewards"][0]) == 0.0 and float(cut_off["extra_logs"]["reason_error"][0]) == 1.0


def test_in_a_thread_and_beside_an_event_loop() -> None:
    found: list[float] = []
    thread = threading.Thread(target=lambda: found.extend(by_verl(["1/2"], [r"\boxed{\frac{2}{4}}"])), daemon=True)
    thread.start()
    thread.join(120)
    assert found == [1.0]

    async def loop() -> list[float]:  # verl's reward loop
        return await asyncio.get_running_loop().run_in_executor(None, by_verl, ["1/2"], [r"\boxed{\frac{2}{4}}"])

    assert asyncio.run(loop()) == [1.0]


def _in_child(queue: Any) -> None:
    queue.put(by_trl(["1/2", "3"], [r"\boxed{\frac{2}{4}}", r"\boxed{4}"]))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_in_a_daemon_child(method: str) -> None:
    by_trl(["1/2"], [r"\boxed{\frac{2}{4}}"])  # the parent has workers of its own
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(queue,), daemon=True)
    child.start()
    assert queue.get(timeout=180) == [1.0, 0.0]
    child.join(30)
    assert child.exitcode == 0
