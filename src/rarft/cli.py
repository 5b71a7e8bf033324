"""The command line: one command per stage, its flags made from the stage's Config.

    rarft label --problems P --traces T --labeler likelihood --model M --output runs/labels

Exit codes: 0 done, 2 bad input (one line says what and where), 130 interrupted; run the same command again to go on.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import rarft
from rarft.core.artifacts import Stage
from rarft.core.config import Config, read_yaml
from rarft.core.errors import InputError

STAGES = {
    "prepare": ("rarft.preparation.prepare:prepare", "check, deduplicate and decontaminate problems and traces"),
    "label": ("rarft.relevance.label:label", "stage 1: which trace helps with which problem"),
    "audit": ("rarft.relevance.audit:audit", "compare labelers on the same pairs"),
    "train-retriever": ("rarft.retriever.train:train_retriever", "stage 2: train a retriever on the labels"),
    "index": ("rarft.retriever.index:index", "encode the traces into an index on disk"),
    "retrieve": ("rarft.retriever.search:retrieve", "the top-k traces for each problem"),
    "evaluate-retriever": ("rarft.retriever.evaluate:evaluate_retriever", "R@k, MRR and nDCG on held-out labels"),
    "train": ("rarft.policy.train:train", "stage 3: train the policy by RL or SFT, with or without traces"),
    "evaluate": ("rarft.evaluation.evaluate:evaluate", "sample answers and score them"),
    "report": ("rarft.report.report:report", "one HTML page from one or several runs"),
    "testbed": ("rarft.testbed.testbed:testbed", "generate word problems whose gold analogies are known"),
    "reasoning-gym": (
        "rarft.testbed.reasoning_gym:make_reasoning_gym",
        "generate planning, logic and algorithm problems",
    ),
}


def load_stage(name: str) -> Stage[Any]:
    """The stage of that name, its module imported on demand."""
    module, function = STAGES[name][0].split(":")
    stage = getattr(importlib.import_module(module), function)
    assert isinstance(stage, Stage)
    return stage


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line; flags are never guessed from their beginnings."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see `{self.prog} --help`)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    quieten_libraries()
    try:
        return dispatch(arguments)
    except InputError as error:
        print(f"rarft: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("rarft: interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def dispatch(arguments: list[str]) -> int:
    """Find the command and hand over the rest of the line."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview())
        return 0
    if arguments[0] == "--version":
        print(rarft.__version__)
        return 0
    command, *rest = arguments
    if command == "run":
        return run_command(rest)
    if command == "verify":
        return verify_command(rest)
    if command not in STAGES:
        nearest = difflib.get_close_matches(command, [*STAGES, "run", "verify"], n=1)
        raise InputError(f"no command `{command}`; " + (f"did you mean `{nearest[0]}`?" if nearest else "see --help"))
    return stage_command(command, rest)


def overview() -> str:
    """The text of `rarft --help`."""
    lines = ["usage: rarft COMMAND [options]     (rarft COMMAND --help explains each)", ""]
    lines += [f"  {name:<20}{text}" for name, (_, text) in STAGES.items()]
    lines += [f"  {'verify':<20}score a file of gold and given answers"]
    lines += [f"  {'run':<20}walk a whole recipe, skipping what is already done"]
    return "\n".join(lines)


def stage_command(name: str, arguments: list[str]) -> int:
    """`rarft STAGE --field VALUE ... --output DIR`."""
    stage = load_stage(name)
    parser = Parser(
        prog=f"rarft {name}", description=stage.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", metavar="DIR", help="the folder to make (required)")
    parser.add_argument("--config", metavar="FILE", help="YAML file of the options below; flags override it")
    parser.add_argument("--overwrite", action="store_true", help="replace a finished folder made from something else")
    if stage.dry_run is not None:
        parser.add_argument("--dry-run", action="store_true", help="say what would be done and what it would cost")
    add_fields(parser, stage.config_type)
    known, rest = parser.parse_known_args(arguments)
    options = vars(known)
    output, overwrite = options.pop("output"), options.pop("overwrite")
    dry_run = options.pop("dry_run", False)
    config_file = options.pop("config")
    values = read_yaml(config_file) if config_file else {}
    for dotted, value in [*options.items(), *free_overrides(rest, parser, stage.config_type)]:
        set_dotted(values, dotted, value)
    config = stage.config_type.parse(values, f"rarft {name}")
    if dry_run:
        assert stage.dry_run is not None
        print(stage.dry_run(config))
        return 0
    if output is None:
        parser.error("--output is missing; name the folder to make")
    already = stage.status(config, output).state == "done"
    path = stage(config, output, overwrite=overwrite)
    print(f"{path}{' (already done)' if already else ''}")
    return 0


def verify_command(arguments: list[str]) -> int:
    """`rarft verify FILE.jsonl [--output FILE]`."""
    parser = Parser(prog="rarft verify", description="Score rows of `gold, answer`; adds `reward` and `reason`.")
    parser.add_argument("file", metavar="FILE.jsonl", help="rows with columns gold and answer")
    parser.add_argument("--output", metavar="FILE", help="where to write the rows (default: standard output)")
    parser.add_argument("--reward", default="math", help="which verifier (default: math)")
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds of work per answer (default: 5)")
    options = parser.parse_args(arguments)
    from rarft.rewards.file import verify_file

    verify_file(options.file, options.output, reward=options.reward, timeout=options.timeout)
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
    known, rest = parser.parse_known_args(arguments)
    from rarft.recipe import Recipe, read_recipe, run_recipe

    overrides = free_overrides(rest, parser, Recipe, anything=True)
    recipe = read_recipe(known.recipe, dict(overrides), output=known.output)
    run_recipe(recipe, dry_run=known.dry_run, from_stage=known.from_stage, until=known.until)
    return 0


# From Config fields to flags


def add_fields(parser: argparse.ArgumentParser, config: type[Config], prefix: str = "") -> None:
    """Add a flag for every field; nested configs get dotted names."""
    for name, field in config.model_fields.items():
        nested = nested_config(field)
        if nested is not None:
            add_fields(parser, nested, f"{prefix}{name}.")
            continue
        add_field(parser, config, name, field, prefix)


def add_field(parser: argparse.ArgumentParser, config: type[Config], name: str, field: FieldInfo, prefix: str) -> None:
    """Add one field as a flag, or as the positional argument."""
    kind = kind_of(field)
    default = field.get_default(call_default_factory=True)
    shown = "required" if default is PydanticUndefined else f"default: {default if default != '' else 'empty'}"
    text = f"{' '.join((field.description or '').split())} ({shown})".replace("%", "%%")
    options: dict[str, Any] = {"help": text, "default": argparse.SUPPRESS}
    if kind is list:
        options["nargs"] = "+"
    if config.positional == name and not prefix:
        parser.add_argument(name, metavar=name.upper(), **options)
        return
    flag, dest = "--" + f"{prefix}{name}".replace("_", "-"), f"{prefix}{name}"
    if kind is bool:
        parser.add_argument(flag, dest=dest, action=argparse.BooleanOptionalAction, **options)
    elif kind is dict:
        options["help"] = text + f"; give keys as {flag}.KEY VALUE"
        parser.add_argument(flag, dest=dest, metavar="YAML", type=parse_mapping, **options)
    else:
        choices = literal_choices(field.annotation)
        metavar = "|".join(choices) if choices else name.upper()
        parser.add_argument(flag, dest=dest, metavar=metavar, type=none_or_text(field), **options)


def nested_config(field: FieldInfo) -> type[Config] | None:
    """The Config class of a nested section, or None."""
    for option in (field.annotation, *get_args(field.annotation)):
        if isinstance(option, type) and issubclass(option, Config):
            return option
    return None


def kind_of(field: FieldInfo) -> type:
    """bool, list, dict, or str for everything else; `X | None` counts as X."""
    options = (
        [field.annotation, *get_args(field.annotation)]
        if type(None) in get_args(field.annotation)
        else [field.annotation]
    )
    for option in options:
        origin = get_origin(option) or option
        if origin in (list, tuple):
            return list
        if origin in (bool, dict):
            return origin
    return str


def literal_choices(annotation: Any) -> list[str]:
    """The choices of a `Literal`, also inside `X | None`."""
    values = get_args(annotation)
    if values and all(isinstance(v, str) for v in values):
        return list(values)
    return [v for inner in values for v in literal_choices(inner)]


def none_or_text(field: FieldInfo) -> Any:
    """`none` on the command line is None where the field allows it; pydantic turns text into numbers."""
    optional = type(None) in get_args(field.annotation)
    return lambda text: None if optional and text.lower() in ("none", "null") else text


def parse_mapping(text: str) -> dict[str, Any]:
    """A mapping given as YAML or JSON."""
    import yaml

    value = yaml.safe_load(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text!r} is not a mapping; write it as {{key: value}}")
    return value


def free_overrides(
    arguments: list[str], parser: Parser, config: type[Config], anything: bool = False
) -> list[tuple[str, Any]]:
    """`--columns.question problem`: keys of mapping fields (or, for recipes, any dotted key).

    Raises:
        InputError: an unknown flag, with the nearest right one; or a flag without its value.
    """
    import yaml

    mappings = {name for name, field in config.model_fields.items() if kind_of(field) is dict}
    found = []
    rest = list(arguments)
    while rest:
        flag = rest.pop(0)
        if not flag.startswith("--"):
            raise InputError(f"unexpected argument `{flag}` (see `{parser.prog} --help`)")
        name, equals, text = flag[2:].partition("=")
        head, _, tail = name.replace("-", "_").partition(".")
        if not anything and not (head in mappings and tail):
            flags = [f for action in parser._actions for f in action.option_strings]
            nearest = difflib.get_close_matches(f"--{name}", flags, n=1)
            hint = f"did you mean `{nearest[0]}`?" if nearest else f"see `{parser.prog} --help`"
            raise InputError(f"unknown flag `--{name}`; {hint}")
        if not equals:
            if not rest:
                raise InputError(f"`{flag}` needs a value")
            text = rest.pop(0)
        found.append((name if anything else f"{head}.{tail}", yaml.safe_load(text)))
    return found


def set_dotted(values: dict[str, Any], dotted: str, value: Any) -> None:
    """`set_dotted(v, "judge.model", x)` sets `v["judge"]["model"]`."""
    *parents, last = dotted.split(".")
    for parent in parents:
        below = values.setdefault(parent, {})
        if not isinstance(below, dict):
            raise InputError(f"`{dotted}`: `{parent}` is not a section")
        values = below
    values[last] = value


def quieten_libraries() -> None:
    """Keep the libraries' own bars and chatter out of ours; set before they are imported."""
    for name, value in (
        ("TOKENIZERS_PARALLELISM", "false"),
        ("TRANSFORMERS_VERBOSITY", "error"),
        ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
        ("HF_DATASETS_DISABLE_PROGRESS_BARS", "1"),
        ("TRL_EXPERIMENTAL_SILENCE", "1"),
    ):
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|trl|peft)\b")


if __name__ == "__main__":
    sys.exit(main())
