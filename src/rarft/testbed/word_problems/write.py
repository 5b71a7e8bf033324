"""What the word problems' testbed consists of, dealt out and written: the splits, the warm-up and the initial policy.

    warmup/       problems.jsonl, traces.jsonl, analogies.parquet   what the policy starts from (warmup.py)
    train/        problems.jsonl, traces.jsonl                      what RL trains on, and labels are made for
    eval/         problems.jsonl, traces.jsonl                      surfaces (or structures) that neither has seen
    corpus/       traces.jsonl                                      worked examples to retrieve
    policy-init/  a Llama with random weights and its tokenizer

Word problems have `structure`, `surface` and `theme`. The corpus tells each theme with names and wordings of its own,
and only in structures that no problem of that theme has: a look-alike is there for every problem, and always misleads.
Left out: a second language, problems with more than one unknown.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rarft.core.errors import InputError
from rarft.records.rows import write_jsonl
from rarft.testbed.config import TestbedConfig
from rarft.testbed.word_problems.language import deal
from rarft.testbed.word_problems.leaks import find_leaks, word_leak
from rarft.testbed.word_problems.policy import save_initial_policy
from rarft.testbed.word_problems.problems import (
    DIFFICULTIES,
    Item,
    Surface,
    choose_themes,
    make_item,
    number_pool,
    numbers_only_accuracy,
    structures,
    surfaces,
    vocabulary,
)
from rarft.testbed.word_problems.warmup import write_warmup


def write_word_problems(config: TestbedConfig, output: Path) -> dict[str, Any]:
    """Write the folders above; return their sizes and what is measured of them.

    Raises:
        InputError: sizes that cannot be met: too many structures or surfaces, numbers that fit no structure, shares
            beyond 1.
    """
    made = generate(config)
    found = find_leaks(made, config.split)
    if found:
        raise RuntimeError(f"the generated splits leak: {found[0]}")
    limits = DIFFICULTIES[config.difficulty]
    names = tuple(sorted({item.structure for items in made.values() for item in items}))
    for part, items in made.items():
        folder = output / part
        folder.mkdir(exist_ok=True)
        if part == "warmup":
            write_warmup(config, items, names, limits, folder)
            continue
        write_jsonl(folder / "traces.jsonl", (item.trace(f"{part}-{i:05d}") for i, item in enumerate(items)))
        if part != "corpus":
            write_jsonl(folder / "problems.jsonl", (item.problem(f"{part}-{i:05d}") for i, item in enumerate(items)))
    parameters = save_initial_policy(
        output / "policy-init",
        vocabulary(made["warmup"]),
        limits.value,
        **config.policy.model_dump(),
        seed=config.seed,
    )
    return {f"n_{part}": len(items) for part, items in made.items()} | {
        "n_structures": len(names),
        "n_surfaces": len({item.surface for items in made.values() for item in items}),
        "policy_parameters": parameters,
        "numbers_only_accuracy": round(numbers_only_accuracy(names, limits), 4),
        "word_leak": word_leak(made),
    }


def generate(config: TestbedConfig) -> dict[str, list[Item]]:
    """The items of `warmup`, `train`, `eval` and `corpus`, in that order; no question occurs twice.

    Raises:
        InputError: as `testbed`.
    """
    if config.warmup_unrelated + config.warmup_same > 1:
        raise InputError("warmup-unrelated and warmup-same are shares of one whole; their sum must not exceed 1")
    if config.n_surfaces < 4:
        raise InputError(f"n-surfaces is {config.n_surfaces}; at least 4 are needed to fill every split")
    rng = random.Random(config.seed)
    limits = DIFFICULTIES[config.difficulty]
    try:
        names = tuple(structures(config.depth, config.n_structures, rng))
        themes = choose_themes(config.n_surfaces, rng)
        number_pool(names, limits)
    except ValueError as error:
        raise InputError(str(error)) from None

    n_warmup, n_eval = config.n_surfaces // 4, config.n_surfaces // 3
    if config.split == "structure":  # evaluation shares the surfaces of training
        n_eval = 0
    warmup_themes, eval_themes = themes[:n_warmup], themes[n_warmup : n_warmup + n_eval]
    train_themes = themes[n_warmup + n_eval :]
    lexicons = deal(rng)
    train = surfaces("train", train_themes, lexicons["train"], rng)
    evaluation = surfaces("eval", eval_themes, lexicons["eval"], rng) if n_eval else train
    corpus = surfaces("corpus", train_themes + eval_themes, lexicons["corpus"], rng)
    held_out = set(names[: len(names) // 4]) if config.split != "surface" else set()
    known = [name for name in names if name not in held_out]
    asked = list(held_out) if held_out else known
    in_corpus = share_out(names, corpus, rng)

    def pairs(of: Sequence[Surface], allowed: Sequence[str]) -> list[tuple[str, Surface]]:
        """Structure and surface of every kind of problem, the corpus's own left out."""
        return [(n, s) for s in of for n in allowed if n not in in_corpus.get(s.theme.name, set())]

    wanted = {
        "warmup": (
            config.n_warmup + config.n_garbled,
            [(n, s) for s in surfaces("warmup", warmup_themes, None, rng) for n in known],
        ),
        "train": (config.n_train, pairs(train, known)),
        "eval": (config.n_eval, pairs(evaluation, sorted(asked))),
        "corpus": (config.n_corpus, [(n, s) for s in corpus for n in names if n in in_corpus[s.theme.name]]),
    }
    made: dict[str, list[Item]] = {}
    seen: set[str] = set()
    for part, (count, kinds) in wanted.items():
        if not kinds:
            raise InputError(f"{part}: no structure is left for it; raise n-structures or n-surfaces")
        made[part] = []
        rng = random.Random(f"{config.seed} {part}")  # one part's size does not change another part
        rng.shuffle(kinds)
        for i in range(20 * count):
            if len(made[part]) == count:
                break
            name, surface = kinds[i % len(kinds)]
            item = make_item(name, surface, names, limits, config.distractors, rng)
            if item.question not in seen:
                seen.add(item.question)
                made[part].append(item)
        if len(made[part]) < count:
            raise InputError(f"{part}: only {len(made[part])} different problems were found, {count} are asked for")
    return made


def share_out(names: Sequence[str], corpus: Sequence[Surface], rng: random.Random) -> dict[str, set[str]]:
    """Theme -> the half of the structures that the corpus tells in it; each structure is told in half of the themes."""
    told: dict[str, set[str]] = {}
    half = list(names)
    for i, surface in enumerate(corpus):
        if i % 2 == 0:
            rng.shuffle(half)
        cut = len(half) // 2
        told[surface.theme.name] = set(half[:cut] if i % 2 == 0 else half[cut:])
    if len(corpus) % 2:  # the one without a partner takes what the others tell least
        count = {name: sum(name in t for t in told.values()) for name in names}
        told[corpus[-1].theme.name] = set(sorted(names, key=count.__getitem__)[: len(names) // 2])
    return told
