"""The command line: flags from configs, one clear line for a mistake, exit code 2."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rarft.cli import main
from rarft.core.config import Config, Input, nested_config
from rarft.core.stages import find_stages
from rarft.flags import Parser, add_fields


class SectionConfig(Config):
    base_url: str | None = None
    """Where."""


class DemoConfig(Config):
    problems: Input
    """Problems, one a row."""
    benchmarks: list[Input] = []
    """Benchmarks."""
    columns: dict[str, str] = {}
    """Our name to theirs."""
    options: dict[str, Any] = {}
    """Anything."""
    most: float | None = None
    """A number, or none."""
    rate: float = 0.5
    """Share, from 0 to 1."""
    retrieval: bool = True
    """Whether to retrieve."""
    judge: SectionConfig = SectionConfig()


def parse(*arguments: str) -> dict:
    parser = Parser(prog="rarft demo")
    add_fields(parser, DemoConfig, list(arguments))
    return parser.parse(list(arguments))


def test_flags_are_made_from_the_config() -> None:
    values = parse(
        "--problems", "p.jsonl", "--benchmarks", "a", "b", "--rate", "0.25", "--no-retrieval",
        "--judge.base-url", "http://localhost", "--columns.question", "7", "--options.rate=1e-6", "--most", "-1e-3",
    )  # fmt: skip
    assert values == {
        "problems": "p.jsonl", "benchmarks": ["a", "b"], "rate": "0.25", "retrieval": False,
        "judge.base_url": "http://localhost", "columns.question": "7", "options.rate": 1e-6, "most": "-1e-3",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["lable"], "no command `lable`; did you mean `label`?"),
        (["label", "--problems"], "argument --problems: expected one argument"),
        (["audit", "--output", "out"], "`labels` is missing"),
        (["label", "stray", "--problems", "p"], "unexpected argument 'stray'"),
        (["label", "--problms", "p"], "unknown flag `--problms`; did you mean `--problems`?"),
        (["label", "--output", "out"], "`problems` is missing"),
        (["run"], "the following arguments are required: RECIPE.yaml"),
        (["run", "nothing.yaml"], "nothing.yaml: no such file"),
        (["label", "--config", "nothing.yaml"], "nothing.yaml: no such file"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert line in told and told.count("\n") == 1


@pytest.mark.parametrize("name", find_stages())
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    stage = find_stages()[name]
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    told = capsys.readouterr().out
    assert stop.value.code == 0 and "--output" in told
    for field, info in stage.config_type.model_fields.items():
        assert info.description or nested_config(info), f"{name}: {field} has no help text"


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from rarft.core.stages import find_stages; find_stages(); "
        "heavy = {'torch', 'transformers', 'trl', 'sentence_transformers', 'lancedb'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 60  # a hang, not a benchmark


def test_config_file_with_flags_over_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "label.yaml"
    config.write_text("labeler: oracle\nprobelms: x\n")
    assert main(["label", "--config", str(config), "--output", str(tmp_path / "out")]) == 2
    assert "unknown key `probelms`; did you mean `problems`?" in capsys.readouterr().err


@pytest.mark.parametrize(("closed", "code"), [((1,), 0), ((2,), 0), ((0, 1, 2), 0)])
def test_closed_streams_are_no_failure(closed: tuple[int, ...], code: int) -> None:
    """As `rarft --help >&-` has them: Python then has no sys.stdout."""
    line = "import sys; sys.argv[1:] = ['--help']; from rarft.cli import main; sys.exit(main())"
    shell = " ".join([*(f"{number}>&-" if number else "<&-" for number in closed)])
    done = subprocess.run(["sh", "-c", f'"$0" -c "$1" {shell}', sys.executable, line], capture_output=True, text=True)
    assert done.returncode == code and "Traceback" not in done.stderr
