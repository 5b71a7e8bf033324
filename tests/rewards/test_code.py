import contextlib
import datetime
import decimal
import fractions
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections import Counter, OrderedDict, defaultdict, deque
from pathlib import Path

import pytest

from rarft import recipe as recipes
from rarft.cli import main
from rarft.core.errors import InputError
from rarft.evaluation.evaluate import EvaluateConfig
from rarft.export.export import ExportConfig
from rarft.policy.config import TrainConfig
from rarft.preflight.preflight import PreflightConfig
from rarft.preparation.prepare import PrepareConfig
from rarft.relevance.labelers.pass_rate import PassRateConfig
from rarft.rewards import check_gold, check_golds, get_reward, verify
from rarft.rewards.code import last_program
from rarft.rewards.pool import shared_pool
from rarft.rewards.sandbox import refusal
from rarft.rewards.sandboxed import Handle, Judge, Runner
from tests.policy.tiny import save_policy

needs_sandbox = pytest.mark.skipif(refusal() is not None, reason=str(refusal()))


def verdict(program, tests, timeout=10.0, name="code", **extra):
    completion, extra = f"```python\n{program}\n```", {"tests": tests} | extra
    return verify([""], [completion], name=name, extras=[extra], timeout=timeout)[0]


# What counts as the program


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("```python\na\n```", "a"),
        ("```\na\n```", "a"),
        ("```py\na\n```\n", "a"),
        ("```Python\na\n```\n", "a"),
        ("First\n```python\na\n```\nthen\n```python\nb\n```\ndone", "b"),
        ("```python\na\n```\nOutput:\n```text\n3\n```", "a"),
        ("```python\na\n```\n```bash\nrm x\n```", "a"),
        ("```python\na", "a"),
        ("```python\na\n```\n```python\nb", "b"),
        ("```python\na\n```\n```text\nb", "a"),
        ("````python\n```\na\n````", "```\na"),
        ("- so:\n  ```python\n  def f():\n      pass\n  ```", "def f():\n    pass"),
        ("```python\r\na\r\n```\r\n", "a"),
        ("def f(): pass\n", "def f(): pass"),
        ("use `x` and ```y``` here", "use `x` and ```y``` here"),
        ("```text\na\n```", "```text\na\n```"),
        ("```python\n\n```", None),
        ("  \n", None),
        ("", None),
    ],
)
def test_the_last_block_of_python_is_the_program(text, program):
    assert last_program(text) == program


# What the tests may do


@needs_sandbox
@pytest.mark.parametrize(
    ("program", "tests"),
    [
        ("def f(x): return x + 1", "assert f(1) == 2"),
        ("def f(x): return x + 1", ["assert f(1) == 2", "assert f(2) == 3"]),
        ("def f(x): return x / 3", "assert abs(f(1) - 0.333) < 0.01"),
        ("def f(x): return x / 3", "import math\nassert math.isclose(f(1), 1/3)"),
        ("def f(x): return x / 3", "assert math.isclose(f(1), 1/3)"),
        ("def f(x): return [x, x + 1]", "assert sorted(f(1), reverse=True) == [2, 1] and 2 in f(1) and len(f(1)) == 2"),
        ("def f(x): return {x: (x, {x})}", "assert f(1) == {1: (1, {1})} and isinstance(f(1)[1], tuple)"),
        ("def f(x): return None if x else False", "assert f(1) is None and f(0) is False and not f(0)"),
        ("def f(*a, **k): return [a, k]", "assert f(1, y=2) == [(1,), {'y': 2}]"),
        (
            "def f(x):\n    if x < 0: raise ValueError('negative')",
            "try:\n    f(-1)\nexcept ValueError as e:\n    assert str(e) == 'negative'\nelse:\n    assert False",
        ),
        ("def f(x):\n    x.append(3); x[0]['a'] = 1", "v = [{}]\nf(v)\nassert v == [{'a': 1}, 3]"),
        (
            "def f(xs, key): return sorted(xs, key=key)",
            "assert f([1, -2], lambda x: x) == [-2, 1] and f([1, -2], abs) == [1, -2]",
        ),
        ("def f(xs, kind): return [x for x in xs if isinstance(x, kind)]", "assert f([1, 'a'], str) == ['a']"),
        ("def f(n):\n    for i in range(n): yield i", "assert list(f(3)) == [0, 1, 2]\nassert next(iter(f(2))) == 0"),
        ("def f(n): return lambda x: x + n", "assert f(2)(3) == 5"),
        (
            "class Node:\n    def __init__(self, v): self.v = v; self.next = None\n    def __len__(self): return 1\n"
            "    def __repr__(self): return f'<{self.v}>'\n    def __getitem__(self, i): return i\n"
            "def total(n): return 0 if n is None else n.v + total(n.next)",
            "a = Node(1)\na.next = Node(2)\nassert total(a) == 3 and a.next.v == 2 and len(a) == 1\n"
            "assert repr(a) == '<1>' and a[7] == 7 and not hasattr(a, 'x')",
        ),
        (
            "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\nLIMIT = 3",
            "assert P(1).x == 1 and LIMIT == 3",
        ),
        (
            "def encode(s): return s[::-1]\ndef decode(s): return s[::-1]",
            "for s in ('ab', ''):\n    assert decode(encode(s)) == s",
        ),
        ("def sum(a, b): return a + b", "assert sum(1, 2) == 3"),
        ("def f(x): return 10 ** x", "assert f(400) == 10 ** 400 and f(5000) == 10 ** 5000"),
        ("import random\ndef f(): return random.random()", "assert 0 <= f() < 1"),
        (
            "import threading, asyncio\nfrom concurrent.futures import ThreadPoolExecutor\nasync def g(x):\n"
            "    await asyncio.sleep(0.001)\n    return x\n"
            "def f(x):\n    with ThreadPoolExecutor(2) as p: return list(p.map(abs, [x, asyncio.run(g(x))]))",
            "assert f(-1) == [1, 1]",
        ),
        (
            "import hashlib, uuid, sqlite3\ndef f():\n    db = sqlite3.connect(':memory:')\n"
            "    two = db.execute('select 1 + 1').fetchone()\n"
            "    return [hashlib.sha256(b'').hexdigest()[:4], len(str(uuid.uuid4())), two]",
            "assert f() == ['e3b0', 36, (2,)]",
        ),
        (
            "import sys\nprint('noise'); print('noise', file=sys.stderr)\ndef f(x): print(x); return x",
            "assert f(1) == 1",
        ),
        ("def f(x): return x\nif __name__ == '__main__':\n    raise SystemExit(input())", "assert f(1) == 1"),
    ],
)
def test_a_right_program_passes(program, tests):
    assert verdict(program, tests).reason == "correct"


@needs_sandbox
def test_human_eval_names_the_function_and_brings_a_check():
    tests = "METADATA = {}\n\ndef check(candidate):\n    assert candidate(2) == 3\n    assert candidate(3) == 4\n"
    assert verdict("def up(x): return x + 1", tests, entry_point="up").reason == "correct"
    assert verdict("def up(x): return x + 2", tests, entry_point="up").reason == "wrong"
    assert verdict("def down(x): return x + 1", tests, entry_point="up").reason == "wrong"


@needs_sandbox
def test_a_program_may_call_a_library_that_it_cannot_see():
    library = "_SECRET = 17\ndef lorn(x):\n    return x + _SECRET\ndef each(f, xs):\n    return [f(x) for x in xs]\n"
    tests, extra = "import vashti\nassert f(1) == 36 == vashti.lorn(2) + 17", {"modules": {"vashti": library}}
    program = "from vashti import lorn, each\ndef f(x):\n    return each(lambda v: lorn(v) + 18, [x])[0]"
    assert verdict(program, tests, **extra).reason == "correct"
    for look in (
        "vashti._SECRET",
        "vashti.lorn.__globals__['_SECRET']",
        "vashti.lorn.__code__.co_consts",
        "__import__('inspect').getsource(vashti)",
        "vashti.__file__",
    ):
        assert verdict(f"import vashti\ndef f(x): return '17' in str({look})", "assert f(1)", **extra).reason == "wrong"


@needs_sandbox
@pytest.mark.parametrize(
    ("program", "tests", "reason"),
    [
        ("def f(x): return x", "assert f(1) == 2", "wrong"),
        ("def g(x): return x", "assert f(1) == 1", "wrong"),
        ("def f(x): return 1 / 0", "assert f(1) == 1", "wrong"),
        ("I would write a function", "assert f(1) == 1", "wrong"),
        ("def f(x): pass", "assert f(1) == 1", "wrong"),
        ("def f(x): return x\nassert f(1) == 2", "assert f(1) == 1", "wrong"),
        ("def f(x): return x", "assert f(object()) == 1", "wrong"),
        ("def f(x):\n    import numpy", "assert f(1) == 1", "wrong"),
        ("def f(x):\n    while True: pass", "assert f(1) == 1", "timeout"),
        ("   ", "assert f(1) == 1", "no_answer"),
        ("def f(x): return x", "assert f(1) ==", "error"),
        ("def f(x): return x", None, "error"),
        ("def f(x): return x", "import os\nos._exit(0)\nassert f(1) == 1", "error"),
        ("def f(x): return object()", "assert f(1) is None, f(1)", "wrong"),
        (
            "class E:\n    def __str__(self):\n        while True: pass\ndef f(x): return E()",
            "raise ValueError(f(1))",
            "wrong",
        ),
    ],
)
def test_each_failure_has_its_reason(program, tests, reason):
    assert verdict(program, tests, timeout=1.0).reason == reason
    assert verdict("def f(x): return x", "assert f(1) == 1").reason == "correct"


@needs_sandbox
def test_what_random_gives_and_the_order_of_sets_do_not_change_a_verdict():
    program = "import random\ndef f(): return [random.random(), list({str(i) for i in range(99)})]"
    tests = "import hashlib\nassert int(hashlib.sha256(repr(f()).encode()).hexdigest(), 16) % 2"
    rows = [f"```\n{program}\n# {i}\n```" for i in range(12)]
    assert len({v.reason for v in verify([""] * 12, rows, name="code", extras=[{"tests": tests}] * 12)}) == 1


# What a problem needs


@needs_sandbox
@pytest.mark.parametrize(
    ("extra", "fault"),
    [
        ({"tests": "assert f(1) == 2"}, None),
        ({"tests": ["assert f(1) == 2"]}, None),
        ({"tests": "def check(c): assert c(1)", "entry_point": "f"}, None),
        ({}, "it has no `tests`"),
        ({"tests": None}, "it has no `tests`"),
        ({"tests": " "}, "it has no `tests`"),
        ({"tests": []}, "it has no `tests`"),
        ({"tests": "assert f(1) ="}, "are not Python: invalid syntax"),
        ({"tests": "assert 1 == 1"}, "ask nothing of the program"),
        ({"tests": "def check(c): assert c(1)"}, "ask nothing of the program"),
    ],
)
def test_a_problem_without_good_tests_is_refused_in_one_line(extra, fault):
    (found,) = check_golds([None], name="code", extras=[extra])
    assert (found is None) if fault is None else (fault in found and "\n" not in found)
    if fault:
        with pytest.raises(ValueError, match=fault.split("`")[0]):
            check_gold("", "code", extra=extra)


# Sandboxes, and their absence


def test_without_bubblewrap_the_reward_is_refused_and_says_how_to_get_it(monkeypatch, tmp_path):
    get_reward.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"apt install bubblewrap.*--allow-unsandboxed") as caught:
        verify([""], ["x"], name="code", extras=[{"tests": "assert f(1)"}])
    assert "\n" not in str(caught.value)
    bwrap = tmp_path / "bwrap"
    bwrap.write_text("#!/bin/sh\necho 'bwrap: No permissions to create a new namespace' >&2\nexit 1\n")
    bwrap.chmod(0o755)
    with pytest.raises(InputError, match=r"cannot make a sandbox here .bwrap: No permissions.*seccomp=unconfined"):
        get_reward("code")
    assert get_reward("code-unsandboxed").sandboxed is False
    get_reward.cache_clear()


@pytest.mark.parametrize(
    "config", [TrainConfig, EvaluateConfig, PreflightConfig, ExportConfig, PassRateConfig, PrepareConfig]
)
def test_unsandboxed_is_what_is_allowed_where_there_is_no_sandbox(config, monkeypatch, tmp_path):
    def reward(**options):
        given = {"problems": "p", "traces": "t", "model": "m", "to": "trl", "reward": "code", **options}
        given["verifier"] = given["reward"]
        made = config(**{name: given[name] for name in config.model_fields if name in given})
        return getattr(made, "reward", None) or made.verifier

    if refusal() is None:
        assert reward(allow_unsandboxed=True) == "code"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert reward() == "code"
    assert reward(allow_unsandboxed=True) == "code-unsandboxed"
    assert reward(allow_unsandboxed=True, reward="math") == "math"


def test_verify_allows_it_too(monkeypatch, tmp_path, capsys):
    verify(["1/2"], [r"\boxed{0.5}"])  # the workers that other tests use too are up, and find bubblewrap
    get_reward.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"answer": "def f(x): return x", "tests": "assert f(1) == 1"}) + "\n")
    assert main(["verify", str(rows), "--reward", "code"]) == 2
    assert "--allow-unsandboxed" in capsys.readouterr().err
    assert main(["verify", str(rows), "--reward", "code", "--allow-unsandboxed"]) == 0
    assert json.loads(capsys.readouterr().out)["reward"] == 1
    get_reward.cache_clear()


@pytest.fixture
def no_sandbox(monkeypatch, tmp_path):
    """A place with problems, traces and a policy, and a machine without bubblewrap."""
    get_reward.cache_clear()
    empty = tmp_path / "path"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))
    monkeypatch.chdir(tmp_path)
    task = {"tests": "assert f(1) == 2", "solution": "def f(x): return x + 1"}
    rows = [{"id": f"p{i}", "question": f"Add one to {i}.", **task} for i in range(4)]
    Path("p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("t.jsonl").write_text(
        "".join(
            json.dumps(row | {"id": "t" + row["id"], "problem": f"Which number comes after that, {row['id']}?"}) + "\n"
            for row in rows
        )
    )
    save_policy(tmp_path / "m")
    yield tmp_path
    get_reward.cache_clear()


@pytest.mark.parametrize(
    "command",
    [
        "evaluate --problems p.jsonl --model m --reward code",
        "train --problems p.jsonl --model m --no-retrieval --reward code",
        "label --problems p.jsonl --traces t.jsonl --model m --labeler pass-rate --pass-rate.reward code",
        "preflight --problems p.jsonl --traces t.jsonl --model m --reward code",
        "prepare --problems p.jsonl --traces t.jsonl --verifier code",
        "export --to trl --problems p.jsonl --model m --reward code",
    ],
)
def test_a_stage_without_a_sandbox_is_refused_in_one_line(command, no_sandbox, capsys):
    assert main([*command.split(), "--output", "out"]) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("rarft: ")]
    assert len(told) == 1 and "apt install bubblewrap" in told[0] and not Path("out").exists()


def test_a_recipe_is_refused_before_its_first_stage_and_a_dry_run_says_so(no_sandbox, capsys):
    evaluate = "{problems: p.jsonl, model: m, reward: code, samples: 1, max_new_tokens: 2}"
    label = "{problems: p.jsonl, traces: t.jsonl, labeler: pass-rate, model: m, pass_rate: {reward: code}}"
    stages = {
        "evaluate": (evaluate, "--evaluate.allow-unsandboxed"),
        "label": (label, "--label.pass-rate.allow-unsandboxed"),
    }
    for stage, (section, allow) in stages.items():
        Path("r.yaml").write_text(f"name: r\noutput: run\nstages:\n  testbed: {{}}\n  {stage}: {section}\n")
        assert main(["run", "r.yaml"]) == 2
        told = capsys.readouterr().err
        assert f"stage {stage}: there is no bubblewrap here" in told and f"or add {allow} true and" in told
        assert not Path("run").exists()
        assert main(["run", "r.yaml", "--dry-run"]) == 0
        assert f"not on this machine: stage {stage}: there is no bubblewrap" in capsys.readouterr().out
        assert main(["run", "r.yaml", allow, "true", "--dry-run"]) == 0
        assert "not on this machine" not in capsys.readouterr().out


def test_only_what_is_to_do_and_asks_for_code_is_refused(no_sandbox, capsys):
    """Not a stage that is done, that comes after --until, that imitates, or that labels without samples."""
    sft = "{stage: train, algorithm: sft, problems: p.jsonl, model: m, retrieval: false, reward: code, steps: 1}"
    label = "{problems: p.jsonl, traces: t.jsonl, labeler: oracle, structure_column: tests, pass_rate: {reward: code}}"
    evaluate = "{problems: p.jsonl, model: '${sft}', reward: code, samples: 1, max_new_tokens: 2}"
    Path("r.yaml").write_text(
        f"name: r\noutput: run\nstages:\n  sft: {sft}\n  label: {label}\n  evaluate: {evaluate}\n"
    )
    assert main(["run", "r.yaml", "--until", "label"]) == 0
    assert main(["run", "r.yaml"]) == 2
    assert main(["run", "r.yaml", "--evaluate.allow-unsandboxed", "true"]) == 0
    Path("r.yaml").write_text(
        Path("r.yaml").read_text().replace("reward: code, samples", "reward: code-unsandboxed, samples")
    )
    assert main(["run", "r.yaml"]) == 0
    assert "evaluate: done already" in capsys.readouterr().err


def test_a_done_stage_is_refused_where_it_would_be_done_again(no_sandbox, monkeypatch):
    done = {"sft", "evaluate"}
    monkeypatch.setattr(recipes, "_state", lambda step: "done" if step.name in done else "to do")
    configs = {
        "sft": TrainConfig(problems="p", model="m"),
        "evaluate": EvaluateConfig(problems=["p"], model="m", reward="code"),
    }
    steps = [
        recipes.Step(name, None, config, Path(name), ("sft",) if name == "evaluate" else ())
        for name, config in configs.items()
    ]
    assert recipes.sandbox_refusal(steps, []) is None
    assert "stage evaluate" in recipes.sandbox_refusal(steps, ["evaluate"])
    assert "stage evaluate" in recipes.sandbox_refusal(steps, ["sft"])
    done.remove("sft")
    assert "stage evaluate" in recipes.sandbox_refusal(steps, [])


@needs_sandbox
@pytest.mark.skipif(os.getuid() == 0, reason="the kernel holds everybody but root to it")
def test_threads_are_counted():
    program = """
        import threading, time
        threading.stack_size(32768)
        def f(x):
            try:
                for n in range(1000): threading.Thread(target=time.sleep, args=(9,), daemon=True).start()
            except RuntimeError: return 50 < n < 128
    """
    assert verdict(textwrap.dedent(program), "assert f(1) == True").reason == "correct"


def test_unsandboxed_judges_the_same_and_still_filters_system_calls():
    name = "code-unsandboxed"
    assert verdict("def f(x): return x + 1", "assert f(1) == 2", name=name).reason == "correct"
    assert verdict("def f(x): return x + 2", "assert f(1) == 2", name=name).reason == "wrong"
    assert verdict("import os\nos._exit(0)", "assert f(1) == 2", name=name).reason == "wrong"
    assert verdict("def f(x):\n    while True: pass", "assert f(1) == 2", name=name, timeout=1.0).reason == "timeout"
    program = "import os\ndef f(x):\n    try: os.kill(os.getppid(), 9)\n    except OSError as e: return e.errno"
    assert verdict(program, "assert f(1) == 38", name=name).reason == "correct"


@needs_sandbox
@pytest.mark.parametrize(
    ("expression", "outcome"),
    [
        ("os.fork()", "OSError"),
        ("os.execv('/bin/sh', ['sh'])", "FileNotFoundError OSError"),
        ("subprocess.run(['true'])", "OSError"),
        ("socket.socket()", "OSError"),
        ("socket.socket(socket.AF_UNIX)", "OSError"),
        ("os.kill(os.getpid(), 0)", "OSError"),
        ("os.kill(1, 9)", "OSError"),
        ("open('/home/x', 'w')", "OSError"),
        ("open('x', 'a')", "OSError"),
        ("os.mkdir('/tmp')", "OSError"),
        ("os.remove(os.__file__)", "OSError"),
        ("os.memfd_create('x')", "OSError"),
        ("os.listdir('/proc')", "FileNotFoundError"),
        ("os.listdir('/dev')", "FileNotFoundError"),
        ("os.listdir('/home')", "[]"),
        ("os.listdir('/tmp')", "FileNotFoundError"),
        ("os.listdir('/etc')", "FileNotFoundError"),
        ("importlib.import_module('rarft')", "ModuleNotFoundError"),
        ("importlib.import_module('numpy')", "ModuleNotFoundError"),
        (f"os.path.exists({str(Path(__file__).parents[2])!r})", "False"),
        (
            "[p for d in ('/lib*', '/usr/lib*', sys.base_prefix + '/lib*') "
            "for p in glob.glob(d + '/python3*/*-packages/*')]",
            "[]",
        ),
        ("os.getuid()", "65534"),
        ("sorted(os.environ)", "['HOME', 'LANG', 'LD_BIND_NOW', 'MALLOC_ARENA_MAX', 'PATH', 'PWD', 'PYTHONHASHSEED']"),
        ("socket.gethostname()", "'sandbox'"),
        (
            "[stat.S_IFMT(os.fstat(n).st_mode) == stat.S_IFSOCK for n in range(64) if os.path.exists(n)]",
            "[False, False, False, True]",
        ),
        ("bytearray(1 << 30)", "MemoryError"),
        ("resource.prlimit(1, resource.RLIMIT_AS, (1, 1))", "PermissionError"),
        ("resource.setrlimit(resource.RLIMIT_AS, (-1, -1))", "ValueError OSError"),
        ("fcntl.fcntl(3, fcntl.F_SETOWN, 1)", "PermissionError"),
        ("ctypes.CDLL(None).ptrace(16, 1, 0, 0)", "-1"),
        ("ctypes.CDLL(None).unshare(0x10000000)", "-1"),
        ("ctypes.CDLL(None).mount(b'x', b'/home', b'tmpfs', 0, None)", "-1"),
        ("ctypes.CDLL(None).syscall(425, 1, 0)", "-1"),
    ],
)
def test_a_program_reaches_nothing(expression, outcome):
    imports = "import ctypes, fcntl, glob, importlib, os, resource, socket, stat, subprocess, sys"
    attempt = f"    try: return repr({expression})\n    except BaseException as e: return type(e).__name__"
    program = f"{imports}\ndef f():\n{attempt}"
    assert verdict(program, f"assert f() in ({outcome!r}, *{outcome.split()!r}), f()").reason == "correct"


@needs_sandbox
def test_sandboxes_end_with_the_process_that_uses_them():
    script = textwrap.dedent(
        """
        from rarft.rewards import verify
        programs = [f"def f(x):\\n    while True: pass\\n# {i}" for i in range(99)]
        verify([""] * 99, programs, name="code", extras=[{"tests": "assert f(1) == 1"}] * 99, timeout=4.0)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script])
    family: set[int] = set()
    while len(family) < 7 and process.poll() is None:  # a worker, two sandboxes of two processes, a fork in each
        time.sleep(0.05)
        family = descendants(process.pid)
    process.kill()
    process.wait()
    assert len(family) >= 7 and gone(family, 60.0)


@needs_sandbox
def test_a_sandbox_that_is_killed_is_replaced():
    assert verdict("def f(x): return x", "assert f(1) == 1").reason == "correct"
    workers = [worker.process.pid for worker in shared_pool().workers]
    for pid in (pid for worker in workers for pid in descendants(worker)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    # What was under way is an error at most, once for each worker; then all is well.
    rows = [f"```\ndef f(x): return x\n# {i}\n```" for i in range(20)]
    found = verify([""] * 20, rows, name="code", extras=[{"tests": "assert f(1) == 1"}] * 20)
    assert [v.reason for v in found].count("error") <= 2 * len(workers)
    assert found[-1].reason == "correct"
    assert [worker.process.pid for worker in shared_pool().workers] == workers


def descendants(pid):
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    found, new = set(), {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new}
        found |= new
    return found


def gone(pids, seconds):
    deadline = time.monotonic() + seconds
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


# What passes between program and tests


@pytest.fixture
def peers():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Runner(theirs.fileno(), ""), Judge(ours.fileno())


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -1, 2**53, -(2**70), 10**4000, 1.5, float("inf"), 1 + 2j, "", "\ud800é", b"\0\xff", [], [[1]],
        (1, (2,)), {1, "a"}, frozenset({1}), {}, {(1, 2): {3: [4]}}, range(3, 9, 2), deque([1]), OrderedDict(b=1, a=2),
        Counter("aab"), decimal.Decimal("1.10"), fractions.Fraction(1, 3), datetime.date(2020, 1, 2),
        datetime.datetime(2020, 1, 2, 3, 4, 5, 6), datetime.timedelta(1, 2, 3), int, dict,
    ],
)  # fmt: skip
def test_plain_data_arrives_as_it_was(peers, value):
    runner, judge = peers
    for one, other in ((runner, judge), (judge, runner)):
        found = other.decode(json.loads(json.dumps(one.encode(value))))
        assert found == value and type(found) is type(value) and repr(found) == repr(value)


def test_a_default_dict_arrives_as_a_dict(peers):
    runner, judge = peers
    found = judge.decode(runner.encode(defaultdict(list, a=[1])))
    assert found == {"a": [1]} and type(found) is dict


@pytest.mark.parametrize("base", [int, float, str, bytes, list, tuple, set, dict, Counter, decimal.Decimal, object])
def test_an_object_of_any_other_type_is_a_handle_that_compares_to_nothing(peers, base):
    runner, judge = peers

    class Liar(base):
        def __eq__(self, other):
            return True

        __hash__ = base.__hash__

    found = judge.decode(runner.encode(Liar()))
    assert type(found) is Handle
    for wrong in (
        lambda: found == base(),
        lambda: base() == found,
        lambda: found != 3,
        lambda: found < 3,
        lambda: bool(found),
        lambda: not found,
        lambda: hash(found),
        lambda: {found: 1},
        lambda: found in [1],
        lambda: [found] == [1],
        lambda: found + 1,
        lambda: float(found),
    ):
        with pytest.raises(TypeError):
            wrong()


def test_a_handle_goes_back_as_the_object_it_stands_for(peers):
    runner, judge = peers
    thing = object()
    assert runner.decode(judge.encode([judge.decode(runner.encode(thing))]))[0] is thing


def test_the_judge_gives_away_functions_and_lets_them_be_called_only(peers):
    runner, judge = peers
    with pytest.raises(TypeError, match="cannot be sent"):
        judge.encode(object())
    assert judge.encode(lambda x: x + 1) == ["mine", 0]
    for operation, parts, kind in (
        ("call", [["yours", 0], 1], "value"),
        ("call", [["yours", 1], 1], "raised"),
        ("getattr", [["yours", 0], "__globals__"], "raised"),
        ("repr", [["yours", 0]], "raised"),
        ("load", [[], {}], "raised"),
    ):
        judge.answer(operation, [None] * len(parts), parts)
        assert runner.receive()[0] == kind


_TAKE_OVER = """
import sys
frame = sys._getframe()
while not hasattr(frame.f_locals.get("self"), "offers"): frame = frame.f_back
runner = frame.f_locals["self"]
send = runner.send
def forge(message):
    if message[0] == "value":
        names = ["dict", "f", ["mine", 0], "abs", ["mine", 1], "math", ["mine", 2], "__builtins__", ["dict"]]
        message[1:] = names, CHANGED
    runner.send = send
    send(message)
runner.send = forge
class math:
    isclose = staticmethod(lambda *a: True)
runner.mine = [lambda x: 7, lambda x: 0, math]
"""


@needs_sandbox
@pytest.mark.parametrize("changed", ["[]", "[[0, ['list', 'f', 'abs', 'math']], [1, ['dict', 1, 2]], [-1, 0]]"])
def test_a_program_that_has_taken_over_its_end_of_the_channel_decides_nothing(changed):
    program, honest = _TAKE_OVER.replace("CHANGED", changed), "def f(x): return x / 3\nabs = lambda x: "
    for tests in ("assert abs(f(1) - 0.333) < 0.01", "assert math.isclose(f(1), 1 / 3)"):
        assert verdict(program, tests).reason == "wrong"
        assert verdict(honest + "9", tests).reason == "correct"  # on the same judge
        assert verdict("def f(x): return 7\nabs = lambda x: 0", tests).reason == "wrong"


@needs_sandbox
def test_stop_iteration_does_not_end_the_loops_of_the_tests():
    tests = "for found, expected in zip(map(f, [1, 2]), [1, 2]):\n    assert found == expected"
    assert verdict("def f(x): return x", tests).reason == "correct"
    assert verdict("def f(x): raise StopIteration", tests).reason == "wrong"


@needs_sandbox
def test_a_program_that_ends_has_failed_even_where_the_tests_expect_to_fail():
    tests = "try:\n    f(1)\nexcept BaseException:\n    pass\nelse:\n    assert False"
    assert verdict("def f(x): raise ValueError", tests).reason == "correct"
    assert verdict("import os\ndef f(x): os._exit(1)", tests).reason == "wrong"
    assert verdict("import os\ndef f(x): os.closerange(3, 64)", tests).reason == "wrong"
