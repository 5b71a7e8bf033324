"""The command line: one command per stage, its flags made from the stage's Config.

    rarft label --problems P --traces T --labeler likelihood --model M --output runs/labels

Exit codes: 0 done; 1 a failure that is not the input's fault, told in one line, and with the traceback in a file
where nobody foresaw it; 2 bad input (one line says what and where); 130 interrupted: run the same command again.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import rarft
from rarft.core.config import Config, read_yaml, set_dotted
from rarft.core.errors import InputError, StageError, one_line
from rarft.core.estimate import Known, number
from rarft.core.progress import logger
from rarft.core.stages import find_stages
from rarft.flags import Parser, add_fields, add_free_flags
from rarft.recipe import Recipe, read_recipe, run_recipe
from rarft.records.rows import count_rows
from rarft.rewards.file import verify_file
from rarft.rewards.sandbox import reward_here
from rarft.serve.command import serve
from rarft.serve.config import ServeConfig
from rarft.serve.push import push


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    set_up_libraries()
    try:
        code = dispatch(list(sys.argv[1:] if argv is None else argv))
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except InputError as error:
        logger.error("rarft: %s", " ".join(str(error).split()))
        return 2
    except StageError as error:
        logger.error("rarft: %s", " ".join(str(error).split()))
        return 1
    except KeyboardInterrupt:
        logger.error("rarft: interrupted; run the same command again to go on")
        return 130
    except BrokenPipeError:  # whoever read our output has gone
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        logger.error("rarft: %s%s", one_line(error), _keep_traceback())
        return 1


def _keep_traceback() -> str:
    try:
        file, path = tempfile.mkstemp(prefix="rarft-", suffix=".log")
        with open(file, "w", encoding="utf-8", errors="backslashreplace") as out:
            out.write(traceback.format_exc())
    except OSError:
        return ""
    return f" (details in {path})"


def dispatch(arguments: list[str]) -> int:
    """Find the command and hand over the rest of the line."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview())
        return 0
    if arguments[0] == "--version":
        print(rarft.__version__)
        return 0
    command, *rest = arguments
    others = {"run": run_command, "verify": verify_command, "serve": serve_command}
    if command in others:
        return others[command](rest)
    if command not in find_stages():
        nearest = difflib.get_close_matches(command, [*find_stages(), *others], n=1)
        raise InputError(f"no command `{command}`; " + (f"did you mean `{nearest[0]}`?" if nearest else "see --help"))
    return stage_command(command, rest)


def overview() -> str:
    """The text of `rarft --help`."""
    lines = ["usage: rarft COMMAND [options]     (rarft COMMAND --help explains each)", ""]
    lines += [f"  {name:<20}{stage.summary}" for name, stage in find_stages().items()]
    lines += [f"  {'serve':<20}serve a bundle behind the OpenAI API, with a page to play with"]
    lines += [f"  {'verify':<20}score a file of gold and given answers"]
    lines += [f"  {'run':<20}walk a whole recipe, skipping what is already done"]
    return "\n".join(lines)


def stage_command(name: str, arguments: list[str]) -> int:
    """`rarft STAGE --field VALUE ... --output DIR`."""
    stage = find_stages()[name]
    parser = Parser(
        prog=f"rarft {name}", description=stage.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", metavar="DIR", help="the folder to make (required)")
    parser.add_argument("--config", metavar="FILE", help="YAML file of the options below; flags override it")
    parser.add_argument("--overwrite", action="store_true", help="replace a finished folder made from something else")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done and what it would cost")
    if name == "bundle":
        parser.add_argument("--push", metavar="ORG/NAME", help="also upload the folder to the Hugging Face hub")
    add_fields(parser, stage.config_type, arguments)
    options = parser.parse(arguments)
    repository = options.pop("push", None)
    output, overwrite, dry_run = options.pop("output"), options.pop("overwrite"), options.pop("dry_run")
    config_file = options.pop("config")
    values = read_yaml(config_file) if config_file else {}
    for dotted, value in options.items():
        set_dotted(values, dotted, value)
    config: Config = stage.config_type.parse(values, f"rarft {name}")
    if dry_run:
        found = stage.estimate(config, Known(count_rows))
        print("\n".join([*(f"{what:<12}{number(count)}" for what, count in found.counts.items()), *found.notes]))
        return 0
    if not output:
        parser.error("--output is missing; name the folder to make")
    already = stage.status(config, output).state == "done"
    path = stage(config, output, overwrite=overwrite)
    print(f"{path}{' (already done)' if already else ''}")
    if repository:
        push(path, repository)
    return 0


def serve_command(arguments: list[str]) -> int:
    """`rarft serve BUNDLE [--upstream URL] [--host 127.0.0.1] [--port 8000]`."""
    parser = Parser(prog="rarft serve", description=serve.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", metavar="BUNDLE", help="a folder that `rarft bundle` made")
    add_fields(parser, ServeConfig, arguments)
    values: dict[str, Any] = {}
    for dotted, value in parser.parse(arguments).items():
        set_dotted(values, dotted, value)
    serve(values.pop("bundle"), ServeConfig.parse(values, "rarft serve"))
    return 0


def verify_command(arguments: list[str]) -> int:
    """`rarft verify FILE.jsonl [--output FILE]`."""
    parser = Parser(
        prog="rarft verify",
        description="Score rows of `gold, answer` (code: `tests, answer`); adds `reward` and `reason`.",
    )
    parser.add_argument(
        "file", metavar="FILE.jsonl", help="rows with columns answer and gold, or what else the reward needs"
    )
    parser.add_argument("--output", metavar="FILE", help="where to write the rows (default: standard output)")
    parser.add_argument("--reward", default="math", help="which verifier (default: math)")
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds of work per answer (default: 5)")
    parser.add_argument("--allow-unsandboxed", action="store_true", help="run programs as this user if need be")
    options = argparse.Namespace(**parser.parse(arguments))
    reward = reward_here(options.reward, options.allow_unsandboxed)
    verify_file(options.file, options.output, reward=reward, timeout=options.timeout)
    return 0


def run_command(arguments: list[str]) -> int:
    """`rarft run recipe.yaml [--stage.field VALUE ...]`."""
    parser = Parser(
        prog="rarft run",
        description="Walk a recipe, skipping what is done for exactly these inputs and this config.",
        epilog="Any value of the recipe can be overridden: --inputs.model PATH, --train.max-steps 10, --seed 1.",
    )
    parser.add_argument("recipe", metavar="RECIPE.yaml")
    parser.add_argument("--output", metavar="DIR", help="the run's folder (default: the recipe's own)")
    parser.add_argument("--dry-run", action="store_true", help="check everything that can be, print the plan, stop")
    parser.add_argument("--from", dest="from_stage", metavar="STAGE", help="redo this stage and all after it")
    parser.add_argument("--until", metavar="STAGE", help="stop after this stage")
    parser.add_argument("--overwrite", action="store_true", help="also replace results that were edited by hand")
    fields = [f"--{name}" for name in Recipe.model_fields]
    dotted = [word for word in arguments if "." in word.partition("=")[0] or word.partition("=")[0] in fields]
    add_free_flags(parser, "--", "", dotted)
    overrides = parser.parse(arguments)
    path, output = overrides.pop("recipe"), overrides.pop("output")
    options = {name: overrides.pop(name) for name in ("dry_run", "from_stage", "until", "overwrite")}
    run_recipe(read_recipe(path, overrides, output=output), **options)
    return 0


def set_up_libraries() -> None:
    """Keep the libraries' own bars and chatter out of ours, and their memory small; set before they are imported."""
    for name, value in (
        ("TOKENIZERS_PARALLELISM", "false"),
        ("TRANSFORMERS_VERBOSITY", "error"),
        ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
        ("HF_DATASETS_DISABLE_PROGRESS_BARS", "1"),
        ("TRL_EXPERIMENTAL_SILENCE", "1"),
        # in bfloat16 oneDNN compiles kernels for each number of tokens and keeps 1024, a megabyte each (docs/train.md)
        ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64"),
        ("LRU_CACHE_CAPACITY", "64"),
    ):
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|trl|peft)\b")


if __name__ == "__main__":
    sys.exit(main())
