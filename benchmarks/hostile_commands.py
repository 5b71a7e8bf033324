"""Hostile commands against every stage, `verify` and `run`: how many held, by class. The table of docs/reliability.md.

    OMP_NUM_THREADS=1 python -m benchmarks.hostile_commands [CLASS ...]

A command holds if it exits with a code that was expected, after one line of its own where that is 1 or 2 and without a
traceback; if it leaves no folder without a manifest; and if every file that was there before is as it was. The inputs
beside the hostile one are good, a policy of a few thousand random weights among them: a hostile option that is not
refused is carried out, and is seen. Each command runs in a scratch folder, in a fork of this process, which has
imported the libraries, under limits of processor time and time. `streams` starts whole processes, as closed descriptors
and killed readers need. Left out: kills, which tests/ try at every step.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple, get_args, get_origin

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported

from rarft.cli import main
from rarft.core.config import Config, nested_config
from rarft.core.stages import find_stages
from tests.policy.tiny import save_policy
from tests.retriever.conftest import save_tiny_encoder

MOST_CPU_SECONDS, MOST_SECONDS = 60, 300
DATA = "--problems problems.jsonl --traces traces.jsonl"
LABEL = f"label {DATA}"
ORACLE = f"{LABEL} --labeler oracle --output out"
ROLLOUTS = f"{LABEL} --labeler rollouts --rollouts rollouts --output out"
LIKELIHOOD = f"{LABEL} --labeler likelihood --model model --candidates.per-problem 4 --output out"
EVALUATE = "evaluate --problems problems.jsonl --model model --samples 2 --max-new-tokens 4 --output out"
SHOWN = f"{EVALUATE} --traces traces.jsonl --analogies analogies"
TRAIN = (
    "train --problems problems.jsonl --model model --steps 1 --num-generations 2 --prompts-per-step 2 "
    "--max-new-tokens 4 --output out"
)
SHOWING = f"{TRAIN} --traces traces.jsonl --analogies analogies"
PREFLIGHT = (
    f"preflight {DATA} --model model --encoder encoder --n-problems 2 --samples 4 --candidates 3 --shortlist 1 "
    "--max-new-tokens 4 --output out"
)
EXPORT = f"export --to trl {DATA} --analogies analogies --model model --max-new-tokens 4 --output out"
INDEX = "index --traces traces.jsonl --retriever bm25 --output out"
RETRIEVE = "retrieve --problems problems.jsonl --index index --output out"
JUDGE = f"{LABEL} --labeler judge --judge.base-url http://127.0.0.1:9 --judge.model m --output out"
RECIPE = "name: r\noutput: run\nstages:\n  prepare: {problems: problems.jsonl, traces: traces.jsonl}\n"


class Case(NamedTuple):
    """A command, what may come of it, and files that it finds."""

    words: list[str]
    codes: tuple[int, ...] = (2,)
    files: dict[str, bytes] = {}
    says: str = ""


def case(line: str, *codes: int, says: str = "", **files: str | bytes) -> Case:
    """`__` in a keyword stands for the dot in a file's name, `␣` in the line for a space within a word."""
    written = {
        name.replace("__", "."): text.encode() if isinstance(text, str) else text for name, text in files.items()
    }
    return Case([word.replace("␣", " ") for word in line.split(" ")], codes or (2,), written, says)


def row(**values: object) -> bytes:
    return json.dumps({"id": "a", "question": "1+1?", "answer": "2", **values}).encode() + b"\n"


def long_answers() -> Iterator[Case]:
    """Section 1: what once hung or may hang a verifier."""
    for text in (
        "the answer to" + " " * 32_768, "\\boxed{" * 10_000, "{" * 30_000, "$" * 30_000, "\\frac" * 6_000,
        "9^9^9^9^9^9", "\\boxed{9^{9^{9^{9}}}}", "\\boxed{" + "(" * 5_000 + "}", "\\boxed{" + "9" * 30_000 + "}",
        "\\boxed{10^{10^{10}}!}", "\\boxed{\\sum_{i=1}^{10^{9}} i}", "answer is " * 5_000, "\\text{" * 9_000,
        "\\boxed{\\begin{pmatrix}" + "1&" * 9_000 + "}", "=" * 30_000, "\\boxed{x^{2}=" * 3_000, "\x00" * 1000, "💥" * 9_000,
    ):  # fmt: skip
        yield case("verify x.jsonl --timeout 1", 0, x__jsonl=json.dumps({"gold": "2", "answer": text}) + "\n")


def foreign_files() -> Iterator[Case]:
    """Section 2: files that are not ours."""
    for name in ("../victim", "../../victim", ".", "..", "/etc", "", "prepare/..", "~", "*"):
        yield case(f"run r.yaml --from {name}", r__yaml=RECIPE)
        yield case(f"run r.yaml --until {name}", r__yaml=RECIPE)
    for name in ("../victim", "/tmp/victim", ".", "..", "a/b", "''", '"\\0"', "~", ".partial", "a b", "x" * 300):
        yield case("run r.yaml", r__yaml=RECIPE.replace("  prepare:", f"  {name}:"))
    yield Case(["run", "r.yaml"], (2,), {"r.yaml": RECIPE.encode(), "run/prepare/mine.txt": b"mine"})
    yield Case(["run", "r.yaml", "--from", "prepare"], (2,), {"r.yaml": RECIPE.encode(), "run/prepare/mine.txt": b"m"})
    yield Case(["run", "r.yaml"], (2,), {"r.yaml": RECIPE.encode(), "run/run.json": b"mine"})
    yield Case(["run", "r.yaml"], (2,), {"r.yaml": RECIPE.encode(), "run": b"a file"})
    for more in ("", " --overwrite"):
        yield Case(f"{ORACLE}{more}".split(), (2,), {"out/mine.txt": b"mine"})
        yield Case(f"{ORACLE}{more}".split(), (2,), {"out": b"a file"})
        yield Case(f"{ORACLE}{more}".split(), (2,), {"out/manifest.json": b"{}"})
        yield Case(f"{ORACLE}{more}".split(), (2,), {"out/manifest.json": b"not json"})
    for target in ("/dev/null", "link"):
        yield case(f"verify v.jsonl --output {target}", 0, v__jsonl='{"gold": 2, "answer": "2"}\n')
    for target in ("/dev/full", "/proc/x", "no/such/folder", "index", "/", "x" * 300, "a\0b"):
        yield case(f"verify v.jsonl --output {target}", 1, 2, v__jsonl='{"gold": 2, "answer": "2"}\n')


def wrong_in_silence() -> Iterator[Case]:
    """Section 3: what was accepted and gave nonsense."""
    for cell in ([], {}, ["a"], {"a": 1}, float("nan"), float("inf"), True, None, "", " ", "\ud800"):
        for column in ("question", "answer", "id"):
            if not (column == "id" and cell in (None, "", " ")):  # an id is made
                yield case(
                    EVALUATE.replace("problems.jsonl", "bad.jsonl"), bad__jsonl=row(**{column: cell}), says="bad.jsonl"
                )
    for text in ("a: 1\na: 2\n", RECIPE + "name: again\n", RECIPE + "  prepare: {}\n"):
        yield case("run r.yaml", r__yaml=text)
        yield case(f"{INDEX} --config r.yaml", r__yaml=text)
    yield case("run r.yaml", r__yaml=RECIPE + "inputs: {prepare: x}\n", says="another name")
    yield case("run r.yaml", r__yaml=RECIPE.replace("  prepare:", "  output:"))
    for option in ("max_steps", "num_train_epochs", "output_dir", "learning_rate", "seed", "report_to", "no_such"):
        yield case(f"{TRAIN} --steps 3 --trl.{option} 7", says=f"trl.{option}")
    for option in ("--min-score nan", "--min-score inf", "--diversity 5", "--diversity -1", "--top-k 9"):
        yield case(f"{RETRIEVE} {option}")
    for option in (
        "--temperature nan",
        "--temperature -1",
        "--temperature 1e300",
        "--top-p 0",
        "--top-p 2",
        "--k 0",
        "--k 33",
        "--top-k 0",
    ):
        yield case(f"{EVALUATE} {option}")
    for line in (
        EVALUATE,
        TRAIN,
        PREFLIGHT,
        EXPORT,
        LABEL + " --labeler pass-rate --pass-rate.samples 2 --output out --model model --pass-rate",
    ):
        yield case(f"{line}{'.' if line.endswith('rate') else ' --'}temperature 1e-300")
    yield case(f"{EVALUATE} --temperature 0.001", 0)
    for value in ("trace", "question", "nothing"):
        yield case(f"prepare --problems problems.jsonl --problem-columns.question {value} --output out", 0, 2)
        yield case(f"prepare --problems problems.jsonl --problem-columns.{value} question --output out", 0, 2)


def later_stages() -> Iterator[Case]:
    """What came after the issue: preflight, labels from rollouts, relative scores, schedules, contexts, exports."""
    for schedule in ("linear", "linear:", "linear:1", "linear:1:0:0", "linear:nan:0", "linear:inf:0", "linear:2:0", "linear:-1:0",
                     "linear:1e999:0", "linear:1:x", "cosine:1:0", "", "3", "[", "x" * 5000, "\0"):  # fmt: skip
        yield case(f"{SHOWING} --demonstration-schedule={schedule}")
        yield case(f"{EXPORT} --demonstration-schedule={schedule}")
    for contexts in ("0", "-1", "3", "nan", "1e999", "x", "", "9" * 400):
        yield case(f"{SHOWING} --contexts-per-group={contexts}")
    for more in ("--algorithm sft --contexts-per-group 2", "--draw-top 1 --top-k 2", "--drop-demonstration 2", "--top-k 0",
                 "--analogies no-such", "--analogies labels", "--analogies problems.jsonl", "--traces problems.jsonl",
                 "--traces rollouts", "--max-new-tokens 250", "--eval-problems no-such.jsonl", "--eval-analogies labels"):  # fmt: skip
        yield case(f"{SHOWING} {more}")
    yield case(f"{TRAIN} --contexts-per-group 2", 0, 2)  # nothing to show: no contexts
    good = Path("rollouts/rollouts.jsonl").read_bytes()
    first = json.loads(good.splitlines()[0])
    spoiled = [first | change for change in (
        {"trace_ids": "t0"}, {"trace_ids": [1]}, {"trace_ids": ["nothing"]}, {"trace_ids": None}, {"reward": "x"},
        {"reward": float("nan")}, {"reward": float("inf")}, {"reward": None}, {"step": "x"}, {"step": -1}, {"step": 1.5}, {"sample": -1},
        {"problem_id": None}, {"problem_id": ["p0"]}, {"completion": [3]}, {"answer": {}}, {"visit": float("nan")},
    )]  # fmt: skip
    rows = [json.dumps(values).encode() + b"\n" for values in spoiled]
    for text in (
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"[" * 99_999,
        good.splitlines()[0],
        good.replace(b'"t1"', b'"t0"'),
        *(good + r for r in rows),
    ):
        yield Case(ROLLOUTS.replace("--rollouts rollouts", "--rollouts bad.jsonl").split(), (2,), {"bad.jsonl": text})
    for there in ("no-such", "labels", "index", "problems.jsonl", "", "/dev/zero", "/etc", "model", "x" * 300, "a\0b"):
        yield Case([*ROLLOUTS.replace("--rollouts rollouts ", "").split(), "--rollouts", there], (2,))
    yield case(ROLLOUTS.replace("--rollouts rollouts ", ""), says="--rollouts")
    for value in ("nan", "0.4", "1", "2", "-1", "x", "inf"):
        yield case(f"{ROLLOUTS} --options.confidence={value}", says="confidence")
    yield case(f"{ROLLOUTS} --options.nothing 1", says="nothing")
    yield case(f"{ROLLOUTS} --screen rollouts", 0, 2)
    yield case(f"{ROLLOUTS} --screen likelihood", 0, 2)
    for more in ("--likelihood.threshold nan", "--likelihood.threshold inf", "--likelihood.target x", "--likelihood.target solution",
                 "--likelihood.batch-tokens 0", "--calibrate-on no-such", "--calibrate-on problems.jsonl", "--gold-solutions no-such.jsonl",
                 "--candidates.per-problem 0", "--candidates.uniform nan", "--candidates.analogies 1", "--prompt.chat-template-kwargs [",
                 "--prompt.template x", "--engine x", "--engine http://", "--engine file:///etc/passwd"):  # fmt: skip
        yield case(f"{LIKELIHOOD} {more}")
    yield case(f"{LIKELIHOOD} --engine http://127.0.0.1:9", 1, 2)
    yield case(f"{LIKELIHOOD} --candidates.per-problem 1", 0, 2)  # nothing to compare it with
    yield case(f"{LIKELIHOOD} --likelihood.threshold 1e300", 0)
    for more in ("--samples 3", "--samples 0", "--templates x", "--templates [", "--encoder no-such", "--encoder ./labels",
                 "--encoder problems.jsonl", "--n-problems 0", "--n-traces 0", "--shortlist 0", "--candidates nan", "--temperature 0",
                 "--temperature nan", "--model ./encoder", "--model ./labels", "--gold-solutions no-such.jsonl", "--reward typo", "--engine x",
                 "--problems traces.jsonl", "--traces problems.jsonl", "--max-new-tokens 0", "--batch-size 0", "--dtype x"):  # fmt: skip
        yield case(f"{PREFLIGHT} {more}")
    yield case(f"{PREFLIGHT} --max-new-tokens 9999", 0, 2)  # no prompt fits
    yield case(f"{PREFLIGHT} --templates chat", 0, 2)  # the tokenizer has no template
    yield case(f"{PREFLIGHT} --templates plain plain", 0, 2)
    yield case(f"{PREFLIGHT} --instruction {'x' * 999}", 0, 2)
    yield case(f"{PREFLIGHT} --n-traces 1", 0, 2)
    yield Case(PREFLIGHT.replace("problems.jsonl", "bad.jsonl").split(), (2,), {"bad.jsonl": row(answer=None)})
    yield Case(PREFLIGHT.replace("problems.jsonl", "bad.jsonl").split(), (2,), {"bad.jsonl": b""})
    yield Case(PREFLIGHT.replace("traces.jsonl", "bad.jsonl").split(), (2,), {"bad.jsonl": b""})
    for more in ("--to x", "--to", "--model ./labels", "--model no-such/model", "--reward typo", "--analogies no-such", "--analogies labels",
                 "--draw-top 1 --top-k 2", "--max-new-tokens 999", "--num-generations 1", "--eval-problems no-such.jsonl", "--top-k 0"):  # fmt: skip
        yield case(f"{EXPORT} {more}")
    for more in ("--domain x", "--domain house-rules --depth 2", "--n-eval -1", "--n-corpus 0", "--n-structures 0", "--depth 5",
                 "--policy.heads 7", "--policy.context 1"):  # fmt: skip
        yield case(f"testbed {more} --n-train 4 --n-warmup 8 --n-drills 8 --n-garbled 8 --output out" if "house" not in more
                   else f"testbed {more} --output out", *((0, 2) if "context" in more or "n-corpus" in more else ()))  # fmt: skip
    for size in ("9" * 15, "1e9", "9007199254740993"):
        yield case(f"testbed --domain house-rules --n-train {size} --output out")


def outputs() -> Iterator[Case]:
    """Section 4: outputs that cannot be moved into place, or that would change an input; limits on money."""
    for target in ("index/out", "index", ".", "..", "/", "/proc", "/dev/shm", "/dev/null", "/dev/null/x", "/proc/x/y",
                   "problems.jsonl", "problems.jsonl/x", "x" * 300, "x" * 250, "a\0b", "\udcff" * 200):  # fmt: skip
        yield case(RETRIEVE.replace("--output out", f"--output {target}"))
    yield case(RETRIEVE.replace("--output out", "--output "))
    yield case(RETRIEVE.replace("--output out", "--output loop/x"))
    for more in ("--judge.max-cost 1", "--judge.max-cost nan", "--judge.max-cost inf", "--judge.max-calls -1",
                 "--judge.max-calls nan", "--judge.retries -1", "--judge.base-url file:///etc/passwd",
                 "--judge.base-url nothing", "--judge.base-url http://", "--judge.timeout 0",
                 "--judge.concurrency 0", "--judge.model "):  # fmt: skip
        yield case(f"{JUDGE} {more}")


def folders_of_strangers() -> Iterator[Case]:
    """Section 5: code, pickles, keys; section 8: damaged weights."""
    code = b'raise SystemExit(open("owned", "w").close())'
    auto = json.dumps(
        {"model_type": "evil", "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}}
    ).encode()
    llama = json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 8, "hidden_size": 8,
                        "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}).encode()  # fmt: skip
    pickle = b"cos\nsystem\n(S'touch owned'\ntR."
    header = (2**40).to_bytes(8, "little") + b"{}"
    adapter = json.dumps({"peft_type": "LORA", "base_model_name_or_path": "/etc"}).encode()
    models: list[dict[str, bytes]] = [
        {"m/config.json": auto, "m/evil.py": code}, {"m/config.json": llama, "m/pytorch_model.bin": pickle},
        {"m/config.json": llama, "m/model.safetensors": header}, {"m/config.json": llama, "m/model.safetensors": b""},
        {"m/config.json": llama}, {"m/config.json": b"{"}, {"m/config.json": b"[]"}, {"m/config.json": b"\xff"},
        {"m/config.json": b"[" * 99_999}, {"m/config.json": b"{}"}, {"m/readme.txt": b"x"}, {"m": b"GGUF"},
        {"m.gguf": b""}, {"m.gguf": b"GGUF\3\0\0\0" + b"\xff" * 64}, {"m.gguf": b"x" * 4096},
        {"m/adapter_config.json": adapter, "m/adapter_model.bin": pickle}, {"m/adapter_config.json": b"{}"},
        {"m/config.json": llama, "m/model.safetensors.index.json": b'{"weight_map": {"a": "../../../etc/passwd"}}'},
        {"m/config.json": llama.replace(b'"vocab_size": 8', b'"vocab_size": -8'), "m/model.safetensors": header},
    ]  # fmt: skip
    for files in models:
        name = "m.gguf" if "m.gguf" in files else "m"
        for line in (EVALUATE, TRAIN, PREFLIGHT, EXPORT):
            yield Case(line.replace("--model model", f"--model {name}").split(), (2,), files)
    for encoder in models[:10]:
        yield Case(INDEX.replace("bm25", "./m").split(), (2,), encoder)
        yield Case(PREFLIGHT.replace("--encoder encoder", "--encoder ./m").split(), (2,), encoder)
    for key in ("sk-abcdef0123456789abcdef", "a b", "", "1KEY", "KEY=x", "$KEY"):
        yield Case([*JUDGE.split(), "--judge.api-key-env", key], (2,))
    shadow = {f"{name}.py": code for name in ("json", "rarft", "torch", "re", "sympy", "numpy")}
    yield Case(["verify", "v.jsonl"], (0,), {"v.jsonl": b'{"gold": "x+y", "answer": "$y+x$"}\n', **shadow})
    for target in (
        "json:loads",
        "os:system",
        "nothing:X",
        ":",
        "json:",
        ":X",
        "rarft.core.config:Config",
        "x" * 400,
        "a b:c",
    ):
        yield case(f"{EVALUATE} --reward {target.replace(' ', '␣')}")
        yield case(f"verify v.jsonl --reward {target.replace(' ', '␣')}", v__jsonl='{"gold": 2, "answer": "2"}\n')


def bad_files() -> Iterator[Case]:
    """Section 8: rows, tables, folders and YAML."""
    parquet = b"PAR1" + b"\0" * 64 + b"PAR1"
    files = {
        "bad.jsonl": [b"", b"\n", b"{", b"[]", b"null", b"\xff\xfe", b"{" * 99_999, b"[" * 99_999, b"\0", b'{"id": 1e999}',
                      b'{"id": "\\ud800"}', b'{"id": 1, "id": 2}', b'{"id": "x"}', b"{}" * 9, row() * 2,
                      row(id="<script>") + b"{", row(question="x" * 10**6, answer=[]), b"9" * 5000],
        "bad.parquet": [b"", b"PAR1", parquet, b"x" * 99, b"PAR1" + b"\xff" * 99 + b"PAR1"],
        "bad.csv": [b"", b"id\n\xe9", b'id,question\n"', b"id,id\n1,2\n", b"id,question,answer\n1,2\n", b"\0", b"a" * 10**6],
        "bad.txt": [b"x"], "bad": [b"x"], "bad.json": [b"{"],
    }  # fmt: skip
    lines = ("index --traces {} --retriever bm25 --output out", "label --problems {} --traces traces.jsonl --labeler oracle --output out",
             "prepare --problems {} --output out", "evaluate --problems {} --model model --output out")  # fmt: skip
    for name, contents in files.items():
        for i, content in enumerate(contents):
            yield Case(lines[i % len(lines)].format(name).split(), (2,), {name: content})
    for line in ("verify {}", *lines):
        for name in (
            "no-such.jsonl",
            "/dev/zero",
            "/proc/self/mem",
            "/etc",
            "secret.jsonl",
            "x" * 300,
            "dangling.jsonl",
            "a\0b",
        ):
            yield case(line.format(name))
    for content in (b"", b"{", b"[]", b"{}", b'{"gold": 1}\n', b'{"gold": [], "answer": "2"}', b'{"gold": "", "answer": "2"}',
                    b'{"gold": 1e999, "answer": "2"}', b'{"gold": "2", "answer": {}}', b"\xff", b"[" * 99_999,
                    b'{"gold": "\\ud800", "answer": "2"}'):  # fmt: skip
        yield Case(["verify", "bad.jsonl"], (0,) if content == b"" else (2,), {"bad.jsonl": content})
    for option in (
        "--timeout nan",
        "--timeout 0",
        "--timeout -1",
        "--timeout inf",
        "--timeout 1e999",
        "--reward typo",
        "--reward",
    ):
        yield case(f"verify v.jsonl {option}", v__jsonl='{"gold": 2, "answer": "2"}\n')
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
    )
    yamls = [bomb, "a: &a [*a]\n", "a: &a {b: *a}\n", "[", "- x", "x", "", "a: b: c", "\t", "!!python/object:os.system {}", "? [a]\n: b\n",
             "&a", "*a", "a: !!int x", "a: 2024-13-99", "a: 0o9", "{1: 2}", "null: 1", "stages: []", "stages: x", "name: [1]",
             RECIPE.replace("{problems", "[problems").replace("l}", "l]"), RECIPE.replace("  prepare:", "  prepair:"), RECIPE + "arms: x\n",
             RECIPE + "arms: [{name: a, evaluate: nothing}]\n", RECIPE.replace("problems.jsonl", "${prepare}"), RECIPE + "sede: 1\n",
             RECIPE.replace("problems.jsonl", "${}"), RECIPE.replace("problems.jsonl", "${x.y}"), RECIPE + "seed: nan\n", RECIPE + "seed: -1\n",
             RECIPE.replace("output: run", "output: ''"), RECIPE.replace("output: run", "output: [a]"), RECIPE.replace("output: run", "output: /proc/x"),
             RECIPE.replace("output: run", 'output: "a\\0b"'), RECIPE + "sizes: {a: -1}\n", RECIPE + "sizes: {a: x}\n", "a: " + "[" * 9999]  # fmt: skip
    for text in yamls:
        yield case("run r.yaml", r__yaml=text)
        yield case(f"{INDEX} --config r.yaml", *((0,) if text in ("", "&a") else ()), r__yaml=text)  # nothing given
    yield case("run /dev/zero")
    yield case(f"{INDEX} --config /dev/zero")
    yield Case(["run", "r.yaml"], (2,), {"r.yaml": "name: é".encode("latin-1")})
    for override in ("--seed nan", "--seed -1", "--seed [", "--prepare.nothing 1", "--prepare.problems {a:", "--inputs.x.y.z", "--inputs 3",
                     "--stages.prepare 3", "--stages 3", "--stages.a.b.c 3", "--.x 1", "--prepare. 1", "--arms [1]", "--x 1", "--output.a 1",
                     "--inputs.prepare 1", "--name {}", "--sizes.x -1", "--prepare.problem-columns 3", "stray", "--seed"):  # fmt: skip
        yield case(f"run r.yaml {override}", r__yaml=RECIPE)


def damaged_stages() -> Iterator[Case]:
    """Section 8: damaged indexes, manifests and runs."""
    good = Path("index/manifest.json").read_bytes()
    odd = (b"", b"{", b"[]", b"null", b"{}", good[: len(good) // 2], good.replace(b'"results"', b'"reslts"'), b"\xff", b"[" * 99_999,
           good.replace(b'"bm25"', b"[]"), good.replace(b'"files": {', b'"files": {"x": 1, '), re.sub(b'"results": {', b'"results": 3, "x": {', good))  # fmt: skip
    for text in odd:
        yield Case(RETRIEVE.replace("--index index", "--index broken").split(), (0, 2), {"broken/manifest.json": text})
    for name in sorted(
        p.relative_to("index").as_posix() for p in Path("index").rglob("*") if p.is_file() and p.name != "manifest.json"
    ):
        for change in (b"", b"x" * 100, (Path("index") / name).read_bytes()[:-20]):
            yield Case(RETRIEVE.replace("--index index", "--index broken").split(), (0, 2), {f"broken/{name}": change})
    labels = Path("labels/labels.parquet").read_bytes()
    for text in (b"", b"x" * 99, labels[:-9], labels[: len(labels) // 2]):
        yield Case(["audit", "bad.parquet", "--output", "out"], (2,), {"bad.parquet": text})
        yield Case(["audit", "labels/labels.parquet", "bad.parquet", "--output", "out"], (2,), {"bad.parquet": text})
        yield Case(["train-retriever", "--labels", "bad.parquet", "--problems", "problems.jsonl", "--traces", "traces.jsonl", "--base-model", "bm25", "--output", "out"], (2,), {"bad.parquet": text})  # fmt: skip
        yield Case(["evaluate-retriever", "--labels", "bad.parquet", "--problems", "problems.jsonl", "--traces", "traces.jsonl", "--retriever", "bm25", "--output", "out"], (2,), {"bad.parquet": text})  # fmt: skip
    yield case("audit labels --output out", 0, 2)
    yield case("audit problems.jsonl --output out")
    yield case("audit labels labels --output out", 0, 2)
    yield case("audit --output out")
    for run in ("problems.jsonl", "no-such", "index", "/etc", "/dev/null", ".", ""):
        yield case(f"report {run} --output out", 0 if run == "index" else 2, 2)
    for text in (b"", b"{", b"[]", b"{}", b'{"stages": {}}', b'{"order": 3, "stages": []}', b"\xff", b"[" * 99_999):
        empty = (0,) if text in (b"{}", b'{"stages": {}}') else (2,)  # nothing is finished yet
        yield Case(["report", "run", "--output", "out"], empty, {"run/run.json": text})
    run = json.dumps({"name": "r", "output": "run", "stages": {"e": {"stage": "evaluate"}}, "order": ["e"],
                      "arms": [{"name": "$x_{", "evaluate": "e"}]}).encode()  # fmt: skip
    for text in odd:
        yield Case(["report", "run", "--output", "out"], (0, 2), {"run/run.json": run, "run/e/manifest.json": text})
    for file in sorted(path for path in Path("done").rglob("*") if path.suffix in (".json", ".jsonl", ".parquet")):
        whole = file.read_bytes()
        for text in (b"", whole[: len(whole) // 2], b"[]", b"{}", b'{"step": "x", "loss": []}\n', b"\xff"):
            yield Case(["report", "done", "--output", "out"], (0, 2), {str(file): text})
    for text in (b"", b"[]", b"3", b"{", b"\xff", b'{"from": 3, "left": 4}', b"[" * 99_999):
        yield Case(["run", "r.yaml"], (2,), {"r.yaml": RECIPE.encode(), "run/redo.json": text})


def numbers() -> Iterator[Case]:
    """Section 8: every numeric option of every command, with what is no sensible number."""
    for name, stage in find_stages().items():
        config = stage.config_type
        needed = {
            field: get_args(info.annotation)[0] if get_origin(info.annotation) is Literal else "problems.jsonl"
            for field, info in config.model_fields.items()
            if info.is_required()
        }
        start = [name, "--output", "out"]
        for field, value in needed.items():
            start += [value] if config.positional == field else [f"--{field.replace('_', '-')}", value]
        for option in _numeric(config):
            for value in ("nan", "inf", "-1", "1e999", "x"):
                if not (value == "-1" and option in ("likelihood.threshold", "min_score")):
                    yield Case([*start, f"--{option.replace('_', '-')}={value}"], says=f"`{option}")


def _numeric(config: type[Config], prefix: str = "") -> Iterator[str]:
    for name, field in config.model_fields.items():
        section = nested_config(field)
        if section:
            yield from _numeric(section, f"{prefix}{name}.")
        elif re.search(r"\b(int|float)\b", str(field.annotation)) and "dict" not in str(field.annotation):
            yield f"{prefix}{name}"


def odd_flags() -> Iterator[Case]:
    """Section 8: command lines that are none."""
    for line in ("x", "labl", "-x", "--x", "--", "label --", "label -x", "label --problems", "run", "verify", "verify a b",
                 "label --output", "label --labeler typo", f"{ORACLE} --nothing 1", f"{ORACLE} stray", f"{ORACLE} --config",
                 f"{ORACLE} --config /etc/shadow", f"{ORACLE} --config /dev/null/x", f"{ORACLE} --judge.nothing 1", f"{ORACLE} --judge 3",
                 f"{ORACLE} --candidates [1]", f"{EVALUATE} --reward typo", f"{EVALUATE} --columns 3", f"{EVALUATE} --columns [", f"{EVALUATE} --columns.x",
                 f"{EVALUATE} --columns.nothing y", f"{EVALUATE} --columns.question nothing", f"{EVALUATE} --engine typo", f"{EVALUATE} --contexts each",
                 f"{EVALUATE} --analogies index", f"{EVALUATE} --traces index --analogies index", f"{TRAIN} --report-to typo", f"{TRAIN} --report-to trackio",
                 f"{TRAIN} --num-generations 1", f"{TRAIN} --launch --no_such_flag", f"{TRAIN} --launch '", f"{TRAIN} --trl 3", f"{TRAIN} --trl [",
                 f"{TRAIN} --trl.epsilon [", f"{TRAIN} --algorithm x", f"{RETRIEVE} --index no-such", f"{RETRIEVE} --index .", "a\0b", "\udcff", "💥"):  # fmt: skip
        yield case(line)


CLASSES: list[Callable[[], Iterator[Case]]] = [
    long_answers, foreign_files, wrong_in_silence, outputs, folders_of_strangers, bad_files, damaged_stages, numbers, odd_flags,
    later_stages,
]  # fmt: skip


LIBRARIES = (
    "datasets", "sentence_transformers", "rarft.policy.trl.training", "rarft.models.engines.transformers",
    "rarft.retriever.train", "rarft.report.page", "matplotlib.pyplot", "transformers.models.llama.modeling_llama",
    "transformers.models.bert.modeling_bert",
)  # fmt: skip
"""What commands import late; imported once, so that each fork has it."""


def streams(start: Path) -> Iterator[tuple[str, str]]:
    """Section 8: closed, full and broken outputs. A shell line, and how it went wrong, if it did."""
    rarft = f"{sys.executable} -m rarft.cli"
    lines = {
        f"{rarft} --help >&-": (0,), f"{rarft} --help 2>&-": (0,), f"{rarft} nothing 2>&-": (2,), f"{rarft} --help | head -1": (0,),
        f"{rarft} --help >/dev/full": (1,), f"{rarft} {ORACLE} >&- 2>&- <&-": (0,), f"{rarft} {ORACLE.replace(' out', ' out2')} >/dev/full": (0, 1),
        f"{rarft} {INDEX.replace('output out', 'output out3')} 2>/dev/full": (0,), f"{rarft} verify v.jsonl >&-": (0,),
        f"{rarft} verify v.jsonl | head -1": (0,), f"{rarft} verify v.jsonl >/dev/full": (1,), f"{rarft} run r.yaml >&- 2>&-": (0,),
        f"{rarft} run r.yaml --dry-run | head -1": (0,), f"{rarft} run r.yaml --dry-run >/dev/full": (1,),
    }  # fmt: skip
    (start / "v.jsonl").write_text('{"gold": 2, "answer": "2"}\n' * 20_000)
    (start / "r.yaml").write_text(RECIPE)
    for line, codes in lines.items():
        done = subprocess.run(["bash", "-o", "pipefail", "-c", line], cwd=start, capture_output=True, text=True)
        told = done.stderr + done.stdout
        broken = done.returncode not in codes or "Traceback" in told or "Exception ignored" in told
        yield line, f"exit {done.returncode}: {told[-300:]}" if broken else ""


def prepare_scratch(scratch: Path) -> None:
    """Good inputs of every kind."""
    os.chdir(scratch)
    problems = [
        {"id": f"p{i}", "question": f"What is {i} plus {i + 3}?", "answer": str(2 * i + 3), "structure": i % 2}
        for i in range(8)
    ]
    traces = [{"id": f"t{i}", "problem": f"Ann has {i} pears and buys {2 * i}.", "answer": str(3 * i), "structure": i % 2,
               "solution": f"\\boxed{{{3 * i}}}"} for i in range(8)]  # fmt: skip
    sampled = [{"problem_id": f"p{i}", "sample": n, "trace_ids": [f"t{n % 2}"], "completion": "x", "answer": "1", "reward": float(n % 2),
                "step": 1, "visit": 0} for i in range(4) for n in range(4)]  # fmt: skip
    Path("rollouts").mkdir()
    Path("done").mkdir()
    for name, rows in (("problems", problems), ("traces", traces), ("rollouts/rollouts", sampled)):
        Path(f"{name}.jsonl").write_text("".join(json.dumps(values) + "\n" for values in rows))
    save_policy(scratch / "model")
    save_tiny_encoder(scratch / "encoder")
    for line in (
        ORACLE.replace(" out", " labels"),
        INDEX.replace(" out", " index"),
        RETRIEVE.replace(" out", " analogies"),
    ):
        code, told = run(line.split(), scratch)
        assert code == 0, told
    for line in (ORACLE, INDEX, RETRIEVE, ROLLOUTS, LIKELIHOOD, EVALUATE, SHOWN, TRAIN, SHOWING, PREFLIGHT, EXPORT):
        code, told = run(line.split(), scratch)  # what is not hostile has to work
        assert code == 0, f"{line}: {told}"
        if line in (SHOWN, SHOWING):
            Path("out").rename(Path("done") / line.split()[0])
        else:
            shutil.rmtree("out")
    Path("done/run.json").write_text(json.dumps({"name": "done", "order": ["train", "evaluate"],
                                                 "arms": [{"name": "a", "evaluate": "evaluate", "train": "train"}]}))  # fmt: skip
    Path("loop").symlink_to("loop")
    Path("dangling.jsonl").symlink_to("nowhere.jsonl")
    Path("link").symlink_to("linked.txt")
    Path("victim").mkdir()
    Path("victim/mine.txt").write_text("mine")


def run(words: list[str], folder: Path) -> tuple[int, str]:
    """Exit code and output of a command, in a fork: lancedb, once at work in this process, would not fork."""
    said = folder.parent / "cache" / "said" if folder.name == "try" else folder / "cache" / "said"
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1), os.dup2(out, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", errors="replace"), os.fdopen(2, "w", errors="replace")
        resource.setrlimit(resource.RLIMIT_CPU, (MOST_CPU_SECONDS, MOST_CPU_SECONDS))
        try:
            code = main(words)
        except SystemExit as stop:
            code = int(stop.code or 0)
        except BaseException as error:
            print(f"ESCAPED {error!r}", file=sys.stderr, flush=True)
            code = 99
        sys.stderr.flush()
        os._exit(code)
    handle = os.pidfd_open(child)
    if not select.select([handle], [], [], MOST_SECONDS)[0]:  # it hangs
        os.kill(child, signal.SIGKILL)
    os.close(handle)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, said.read_bytes().decode("utf-8", "replace")


def attempt(tried: Case, scratch: Path) -> str:
    """Run one command in a fork; how it went wrong, or nothing."""
    folder = scratch / "try"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(scratch, folder, symlinks=True, ignore=shutil.ignore_patterns("try", "cache"))
    if any(name.startswith("broken/") for name in tried.files):
        shutil.copytree(folder / "index", folder / "broken")
    for name, content in tried.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    before = _contents(folder)
    code, told = run(tried.words, folder)
    after = _contents(folder)
    changed = [name for name in before if after.get(name) != before[name] and name not in ("link", "linked.txt")]
    output = folder / "out"
    whole = (
        "out" in tried.files
        or "out/mine.txt" in tried.files
        or "out/manifest.json" in tried.files
        or not output.exists()
    )
    lines = [line for line in told.splitlines() if line.startswith("rarft: ")]
    faults = {
        f"exit {code}, expected {tried.codes}": code not in tried.codes,
        "a traceback": "Traceback (most recent call last)" in told or "ESCAPED" in told,
        f"{len(lines)} lines of its own": code in (1, 2) and len(lines) != 1,
        f"does not say {tried.says!r}": tried.says not in told,
        f"changed {changed}": bool(changed),
        "a folder without manifest": not whole and not (output / "manifest.json").is_file(),
        "ran a stranger's code": (folder / "owned").exists(),
    }
    wrong = [fault for fault, there in faults.items() if there]
    return f"{'; '.join(wrong)}: {told[-300:]}" if wrong else ""


def _contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def shown(tried: Case) -> str:
    """A case as it is printed."""
    files = [f"{name}={content[:80]!r}" for name, content in tried.files.items()]
    return " ".join([*(word[:200] for word in tried.words), *(["with", *files] if files else [])])


def attack(chosen: list[str]) -> int:
    """Try all, print tried, held and broken by class, and each that broke. Returns how many broke."""
    for module in LIBRARIES:  # once, not in every fork; lancedb starts a thread, which no fork has
        importlib.import_module(module)
    find_stages()
    lines, broke = [f"{'class':<22}{'tried':>7}{'held':>7}{'broken':>7}"], 0
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name).resolve()
        os.environ |= {"RARFT_CACHE": str(scratch / "cache"), "RARFT_REWARD_WORKERS": "1"}
        (scratch / "cache").mkdir()
        prepare_scratch(scratch)
        for made in [*CLASSES, streams]:
            if chosen and made.__name__ not in chosen:
                continue
            found = streams(scratch) if made is streams else ((shown(c), attempt(c, scratch)) for c in made())
            tried = bad = 0
            for line, fault in found:
                tried, bad = tried + 1, bad + bool(fault)
                if fault:
                    print(f"BROKEN {made.__name__}: {line[:600]!a}\n    {fault}\n", flush=True)
            print(f"{made.__name__}: {tried} tried, {bad} broken", flush=True)
            lines.append(f"{made.__name__:<22}{tried:>7}{tried - bad:>7}{bad:>7}")
            broke += bad
        os.chdir("/")
    print("\n".join(lines))
    return broke


if __name__ == "__main__":
    sys.exit(1 if attack(sys.argv[1:]) else 0)
