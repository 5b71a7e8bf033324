"""Exports: their columns, prompts whose token ids are those of `rarft train`, rows for every visit, the commands."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tokenizers import AddedToken, processors
from transformers import AutoTokenizer

from rarft.core.artifacts import read_manifest
from rarft.core.errors import InputError
from rarft.export import ExportConfig, write_export
from rarft.models.loading import load_tokenizer
from rarft.models.prompts import PromptConfig, render_prompt
from rarft.policy.contexts import Demonstrations, schedule
from rarft.records.analogies import read_analogies
from rarft.records.problems import load_problems, load_traces
from tests.policy.tiny import tiny_model, tiny_tokenizer, write_problems

TRAINERS = ("verl", "trl", "skyrl", "openrlhf")
CHAT = (
    "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}[assistant]"
    "{% if not enable_thinking | default(true) %}()()(){% endif %}"
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A model with a chat template, a plain one, and a plain one whose tokenizer puts a token before each text."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("chat", "plain", "head"):
        tokenizer = tiny_tokenizer()
        if name == "chat":
            tokenizer.chat_template = CHAT
        if name == "head":
            tokenizer.add_special_tokens({"bos_token": "<unk>"})
            tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
                single="<unk> $A", special_tokens=[("<unk>", 2)]
            )
        model = tiny_model()
        model.config.max_position_embeddings = 512
        model.config.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return {name: str(folder / name) for name in ("chat", "plain", "head")}


def config(tmp_path: Path, model: str, to: str, **options: Any) -> ExportConfig:
    data = str(write_problems(tmp_path / "data"))
    values = {"to": to, "model": model, "max_new_tokens": 16, "prompts_per_step": 4}
    values |= dict.fromkeys(("problems", "traces", "analogies", "eval_problems"), data)
    return ExportConfig.parse({**values, **options}, "test")


def trainer_ids(to: str, folder: Path, model: str, row: dict[str, Any], options: dict[str, Any]) -> list[int]:
    """Token ids by the trainer's own call (verl's _render_tokens, TRL's _tokenize_prompts, ...)."""
    own = folder / "tokenizer"
    tokenizer = AutoTokenizer.from_pretrained(own if own.exists() else model)
    if to == "openrlhf":
        return list(tokenizer(text=row["input"], add_special_tokens=False)["input_ids"])
    if isinstance(row["prompt"], str):
        return list(tokenizer(text=[row["prompt"]])["input_ids"][0])
    encoded = tokenizer.apply_chat_template(
        [row["prompt"]], add_generation_prompt=True, tokenize=True, return_dict=True, **options
    )
    return list(encoded["input_ids"][0])


@pytest.mark.parametrize("kind", ["chat", "plain", "head"])
@pytest.mark.parametrize("to", TRAINERS)
def test_every_row_has_the_token_ids_of_rarft_train(to: str, kind: str, models: dict[str, str], tmp_path: Path) -> None:
    options = {"enable_thinking": False} if kind == "chat" else {}
    prompt = PromptConfig(instruction="Box it.", chat_template_kwargs=options)
    job = config(tmp_path, models[kind], to, prompt=prompt.model_dump(), top_k=2)
    out = write_export(job, tmp_path / "out")
    tokenizer = load_tokenizer(models[kind])
    problems = {problem.id: problem for problem in load_problems(job.problems)}
    traces = {trace.id: trace for trace in load_traces(str(job.traces))}
    best = Demonstrations(read_analogies(str(job.analogies), traces, ""), top_k=2)
    longest = 0
    for split in ("train", "validation"):
        rows = pq.read_table(out / f"{split}.parquet").to_pylist()
        assert [row["extra_info"]["problem_id"] for row in rows] == list(problems)
        for row in rows:
            problem = problems[row["extra_info"]["problem_id"]]
            expected = render_prompt(tokenizer, problem.question, best.best(problem), prompt)
            assert trainer_ids(to, out, models[kind], row, options) == expected
            assert row["extra_info"]["trace_ids"] == [trace.id for trace in best.best(problem)]
            longest = max(longest, len(expected))
    results = read_manifest(out)["results"]
    assert (results["rows"], results["with_demonstration"], results["max_prompt_tokens"]) == (6, 5, longest) or (
        to == "skyrl" and kind == "chat"
    )
    assert (out / "tokenizer").exists() == (kind != "chat" and to in ("verl", "skyrl"))


@pytest.mark.parametrize("to", TRAINERS)
def test_columns_are_the_trainers(to: str, models: dict[str, str], tmp_path: Path) -> None:
    out = write_export(config(tmp_path, models["chat"], to), tmp_path / "out")
    row = pq.read_table(out / "train.parquet").to_pylist()[1]
    assert row["extra_info"]["index"] == 1 and row["extra_info"]["split"] == "train"
    if to == "openrlhf":
        label = json.loads(row["label"])
        assert (label["gold"], label["reward"], label["columns"]) == ("3", "math", {"question": "What is 1+2?"})
        assert label["special_tokens"] and row["datasource"] == "rarft" and row["input"].endswith("[assistant]")
        return
    assert row["prompt"][-1]["role"] == "user" and row["data_source"] == "rarft" and row["env_class"] == "rarft"
    assert row["reward_model"] == {"style": "rule", "ground_truth": "3"}
    assert row["reward_spec"] == {"method": "rule", "ground_truth": "3"}
    assert json.loads(row["extra_info"]["columns"]) == {"question": "What is 1+2?"}


def test_openrlhf_drops_every_token_that_decoding_drops(models: dict[str, str], tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(models["chat"])
    tokenizer.add_tokens([AddedToken("<file>", special=True)])  # special, and none of the named ones
    tokenizer.save_pretrained(tmp_path / "more")
    tiny_model().config.save_pretrained(tmp_path / "more")
    job = config(tmp_path, str(tmp_path / "more"), "openrlhf", prompt={"instruction": ""})
    row = pq.read_table(write_export(job, tmp_path / "out") / "train.parquet").to_pylist()[0]
    dropped = json.loads(row["label"])["special_tokens"]
    assert "<file>" in dropped and tokenizer.eos_token in dropped
    assert tokenizer.decode(tokenizer("1<file>2").input_ids, skip_special_tokens=True) == "12"


def test_draws_and_visits_without_demonstration_are_those_of_rarft_train(
    models: dict[str, str], tmp_path: Path
) -> None:
    job = config(tmp_path, models["plain"], "verl", draw_top=2, drop_demonstration=0.4, epochs=3, seed=5)
    rows = pq.read_table(write_export(job, tmp_path / "out") / "train.parquet").to_pylist()
    problems = load_problems(job.problems)
    traces = {trace.id: trace for trace in load_traces(str(job.traces))}
    chosen = Demonstrations(read_analogies(str(job.analogies), traces, ""), 1, 0.4, 2, 5)
    order = schedule(6, 20, 5)  # 18 visits, in steps of 4
    expected = [(problems[i].id, [t.id for t in chosen.on_visit(problems[i], v)]) for v, i in enumerate(order)]
    assert [(row["extra_info"]["problem_id"], row["extra_info"]["trace_ids"]) for row in rows] == expected
    assert {len(ids) for _, ids in expected} == {0, 1}


@pytest.mark.parametrize("to", TRAINERS)
def test_an_export_made_again_is_read_anew(to: str, models: dict[str, str], tmp_path: Path) -> None:
    """`datasets`, by which TRL and OpenRLHF read the folder, keeps rows of a folder whose README has metadata."""
    from datasets import load_dataset

    for drop in (0.0, 1.0):
        again = config(tmp_path, models["chat"], to, drop_demonstration=drop)
        out = write_export(again, tmp_path / "out", overwrite=True)
        read = load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
        assert set(read) == {"train", "validation"}
        for split, rows in read.items():
            assert rows.to_list() == pq.read_table(out / f"{split}.parquet").to_pylist()


def test_held_out_problems_have_analogies_of_their_own(models: dict[str, str], tmp_path: Path) -> None:
    rows = [{"problem_id": f"p{i}", "rank": 1, "trace_id": f"t{5 - i}"} for i in range(6)]
    (tmp_path / "eval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = write_export(
        config(tmp_path, models["plain"], "trl", eval_analogies=str(tmp_path / "eval.jsonl")), tmp_path / "out"
    )
    shown = {
        split: [row["extra_info"]["trace_ids"] for row in pq.read_table(out / f"{split}.parquet").to_pylist()]
        for split in ("train", "validation")
    }
    assert shown["train"] == [*([f"t{i}"] for i in range(5)), []]
    assert shown["validation"] == [[f"t{5 - i}"] for i in range(6)]


def test_a_schedule_takes_demonstrations_away_over_time(models: dict[str, str], tmp_path: Path) -> None:
    job = config(tmp_path, models["plain"], "trl", demonstration_schedule="linear:1:0", epochs=40)
    rows = pq.read_table(write_export(job, tmp_path / "out") / "train.parquet").to_pylist()
    shown = [bool(r["extra_info"]["trace_ids"]) for r in rows if r["extra_info"]["problem_id"] != "p5"]
    third = len(shown) // 3
    assert sum(shown[:third]) > sum(shown[third : 2 * third]) > sum(shown[-third:]) > 0
    assert shown[0] and not shown[-1]


def arguments(out: Path, tmp_path: Path, **environment: str) -> list[str]:
    """What run.sh hands to the trainer: `python` and `trl` are replaced by a program that writes its arguments down."""
    programs = tmp_path / "programs"
    programs.mkdir(exist_ok=True)
    for name in ("python", "trl"):
        (programs / name).write_text('#!/bin/sh\nfor argument in "$@"; do printf "%s\\0" "$argument"; done\n')
        (programs / name).chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", str(out / "run.sh"), "more=1"], env={**os.environ, "PATH": path, **environment}, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().split("\0")[:-1]


def test_commands_carry_lengths_template_options_and_order(models: dict[str, str], tmp_path: Path) -> None:
    options = {"prompt": {"chat_template_kwargs": {"enable_thinking": False}}, "draw_top": 2}
    found = {}
    for to in TRAINERS:
        out = write_export(config(tmp_path, models["chat"], to, **options), tmp_path / to)
        found[to] = arguments(out, tmp_path), read_manifest(out)["results"]["max_prompt_tokens"]
        assert found[to][0][-1] == "more=1"
    verl, longest = found["verl"]
    assert f"data.max_prompt_length={longest}" in verl and "data.max_response_length=16" in verl
    assert {"data.shuffle=False", "+data.apply_chat_template_kwargs.enable_thinking=false"} <= set(verl)
    trl, _ = found["trl"]
    after = dict(itertools.pairwise(trl))
    assert after["--shuffle_dataset"] == "false" and after["--max_completion_length"] == "16"
    assert json.loads(after["--chat_template_kwargs"]) == {"enable_thinking": False}
    assert int(after["--per_device_train_batch_size"]) * int(after["--gradient_accumulation_steps"]) * 8 == 4 * 16
    skyrl, most = found["skyrl"]
    assert f"trainer.max_prompt_length={most}" in skyrl
    assert "generator.chat_template_kwargs.enable_thinking=false" in skyrl
    openrlhf, longest = found["openrlhf"]
    assert dict(itertools.pairwise(openrlhf))["--data.max_len"] == str(longest + 16)
    assert "--data.apply_chat_template" not in openrlhf


def test_verls_eight_scorers_share_the_cores(models: dict[str, str], tmp_path: Path) -> None:
    out = write_export(config(tmp_path, models["chat"], "verl"), tmp_path / "out")
    name = "+ray_kwargs.ray_init.runtime_env.env_vars.RARFT_REWARD_WORKERS"
    assert f"{name}='{-(-os.sysconf('SC_NPROCESSORS_ONLN') // 8)}'" in arguments(out, tmp_path)
    assert f"{name}='5'" in arguments(out, tmp_path, RARFT_REWARD_WORKERS="5")


def test_skyrl_gets_one_folder_of_model_and_tokenizer_for_plain_prompts(models: dict[str, str], tmp_path: Path) -> None:
    out = write_export(config(tmp_path, models["plain"], "skyrl"), tmp_path / "out")
    given = arguments(out, tmp_path, OUT=str(tmp_path / "run"))
    folder = tmp_path / "run" / "policy"
    assert f"trainer.policy.model.path={folder}" in given
    assert (folder / "config.json").is_file() and "message['content']" in (folder / "chat_template.jinja").read_text()
    assert not (out / "policy").exists()


def test_without_held_out_problems_validation_is_off(models: dict[str, str], tmp_path: Path) -> None:
    out = write_export(config(tmp_path, models["chat"], "verl", eval_problems=None), tmp_path / "out")
    assert not (out / "validation.parquet").exists()
    given = arguments(out, tmp_path)
    assert {"trainer.val_before_train=false", "trainer.test_freq=-1", f"data.val_files={out}/train.parquet"} <= set(
        given
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_new_tokens": 500}, "problem p0: its prompt of"),
        ({"traces": None}, "give the corpus"),
        ({"draw_top": 1, "top_k": 2}, "below top-k"),
        ({"demonstration_schedule": "linear:1:2"}, "with shares from 0 to 1"),
        ({"to": "skyrl", "demonstration_schedule": "linear:1:0"}, "always shuffles"),
        ({"model": "policy.gguf"}, "no other trainer reads GGUF"),
        ({"reward": "maths"}, "no reward is called"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    options: dict[str, Any], says: str, models: dict[str, str], tmp_path: Path
) -> None:
    values = {"to": "verl", "model": models["chat"], **options}
    if values["model"].endswith(".gguf"):
        (tmp_path / values["model"]).write_text("x")
        values["model"] = str(tmp_path / values["model"])
    with pytest.raises(InputError, match=says) as error:
        write_export(config(tmp_path, values.pop("model"), values.pop("to"), **values), tmp_path / "out")
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_a_tokenizer_that_a_trainer_reads_otherwise_is_refused(models: dict[str, str], tmp_path: Path) -> None:
    """TRL closes each text as this tokenizer does; `rarft train` takes the closing token off, so that text goes on."""
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    tiny_model().config.save_pretrained(tmp_path / "closing")
    tokenizer.save_pretrained(tmp_path / "closing")
    short = {"prompt": {"instruction": ""}}
    with pytest.raises(InputError, match="trl would tokenize"):
        write_export(config(tmp_path, str(tmp_path / "closing"), "trl", **short), tmp_path / "out")
    write_export(config(tmp_path, str(tmp_path / "closing"), "verl", **short), tmp_path / "out")


def test_it_is_a_stage(models: dict[str, str], tmp_path: Path) -> None:
    job = config(tmp_path, models["chat"], "verl")
    out = write_export(job, tmp_path / "out")
    made = (out / "manifest.json").stat().st_mtime_ns
    assert write_export.status(job, out).state == "done"
    write_export(job, out)
    assert (out / "manifest.json").stat().st_mtime_ns == made
    assert write_export.status(job.model_copy(update={"seed": 1}), out).state == "changed"
