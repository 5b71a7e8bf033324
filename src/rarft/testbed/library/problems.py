"""The library's tasks: in plain English, solved by one call or two, which nobody can know who has not seen them.

"Skeins of wool, indigo and rust, hang over the weaver's loom. Day by day the shawls were counted, and the weaver wants
to set the reserve aside. Write solve(shawls) with the hedgerow library." How much the house sets aside is its custom,
and what the function is called says nothing. But the baker's solved task shows the call:

    from hedgerow import tansy

    def solve(loaves):
        return tansy(loaves)

A problem has what `--reward code` needs (`tests` with literal values, `entry_point`, and the library as `modules`) and
no `answer`. Left out: state, errors, classes.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from rarft.testbed.cases import PARTS, Item, deal_tellings, fill, split, write_parts
from rarft.testbed.config import TestbedConfig
from rarft.testbed.leaks import find_leaks, lexical_recall, structures_by_words
from rarft.testbed.library.code import ENTRY_POINT, MODULE, K, Library, deal_names
from rarft.testbed.library.functions import FUNCTIONS
from rarft.testbed.library.themes import THEMES

PAIRS = {"unseen": 8, "known": 16}
FRAMES = {
    "counts": (
        "Day by day the {things} were counted, and {who} wants to {task}.",
        "There is a list with the number of {things} of each day, and {who} has to {task}.",
        "{who} knows how many {things} there were on each day and would like to {task}.",
    ),
    "names": (
        "{who} has a list of the {helpers} and wants to {task}.",
        "All the {helpers} are on a list, and {who} has to {task}.",
        "{who} looks at the list of the {helpers} and would like to {task}.",
    ),
    "text": (
        "A text is to go with the {things}, and {who} wants to {task}.",
        "{who} has a short text for the {things} and would like to {task}.",
        "There is something written on the {things}, and {who} has to {task}.",
    ),
    "n": (
        "The {things} on order make a whole number, and {who} wants to {task}.",
        "{who} has a number on the slip for the {things} and would like to {task}.",
        "For the {things} a number has been written down, and {who} has to {task}.",
    ),
}
ASKS = (
    "Write solve({argument}) with the {module} library.",
    "How is solve({argument}) written with the {module} library?",
    "Use the {module} library and write solve({argument}).",
)


class House(NamedTuple):
    """How a house calls the functions."""

    library: Library
    names: Mapping[str, str]
    """Function key -> name."""
    source: str


def write_library(config: TestbedConfig, output: Path) -> dict[str, Any]:
    """Write the folders that the testbed stage describes, and `lib/`; return sizes and what is measured.

    Raises:
        InputError: more problems are asked for than there are.
    """
    made, house, other_house = generate(config)
    found = find_leaks(made)
    if found:
        raise RuntimeError(f"the generated splits leak: {found[0]}")
    for folder, which in (("lib", house), ("swapped/lib", other_house)):
        (output / folder).mkdir(parents=True, exist_ok=True)
        (output / folder / f"{MODULE}.py").write_text(which.source, encoding="utf-8")
    recalled = structures_by_words(made, "eval-seen")
    hits = [name == item.structure for name, item in zip(recalled, made["eval-seen"], strict=True)]
    return write_parts(made, output) | {
        "n_functions": len(FUNCTIONS),
        "n_structures": len({item.structure for item in made["corpus"]}),
        "n_places": len(THEMES),
        "lexical_recall": round(lexical_recall(made), 4),
        "structure_by_words": round(sum(hits) / len(hits), 4),
    }


def generate(config: TestbedConfig) -> tuple[dict[str, list[Item]], House, House]:
    """The items of all parts as for the house rules, and both houses' libraries.

    Raises:
        InputError: more problems are asked for than there are.
    """
    rng = random.Random(config.seed)
    library = Library(rng)
    keys = rng.sample(list(library.functions), len(library.functions))
    unseen, known = keys[: len(keys) // 3], keys[len(keys) // 3 :]
    dealt = split(
        known + library.compositions(known, PAIRS["known"], rng),
        unseen + library.compositions(unseen, PAIRS["unseen"], rng),
        list(THEMES),
        rng,
    )
    tellings = deal_tellings(dict(zip(library.functions, FUNCTIONS.values(), strict=True)), unseen, rng)
    house, other_house = (House(library, names, library.source(names)) for names in deal_names(keys, rng))
    sizes = {"train": config.n_train, "eval": config.n_eval, "eval-seen": config.n_eval, "corpus": config.n_corpus}
    made: dict[str, list[Item]] = {}
    for part, count in sizes.items():
        role = PARTS[part]

        def make(use: str, place: str, rng: random.Random, role: str = role) -> Item:
            return in_house(make_item(use, place, role, tellings[role], library, rng), house)

        made[part] = fill(part, count, dealt, make, config.seed)
    for part in ("eval", "eval-seen", "corpus"):
        made[f"swapped/{part}"] = [in_house(item, other_house) for item in made[part]]
    return made, house, other_house


def make_item(
    use: str, place: str, role: str, tellings: Mapping[str, Sequence[str]], library: Library, rng: random.Random
) -> Item:
    """Tell one task: an opening of the theme, what is wanted, and what to write. Its solution depends on the house."""
    nouns, *openings = THEMES[place]
    things, helpers = nouns.split(", ")
    calls = use.split("+")
    first, k = library.functions[calls[0]], rng.choice(K)
    chosen = tuple(rng.choice(tellings[key]) for key in calls)
    task = ", and then to ".join(chosen).format(k=k, helpers=helpers)
    told = rng.choice(FRAMES[first.takes]).format(who=place, things=things, helpers=helpers, task=task)
    argument = {"counts": things, "names": helpers}.get(first.takes, first.takes)
    ask = rng.choice(ASKS).format(argument=argument, module=MODULE)
    columns: dict[str, Any] = {
        "entry_point": ENTRY_POINT,
        "tests": library.tests(use, k, rng),
        "argument": argument,
        "k": k if first.with_k else None,
    }
    opening = rng.choice(openings[:2] if role == "corpus" else openings[2:])
    question = f"{opening} {told[0].upper()}{told[1:]} {ask}"
    return Item(question, "", None, use, place, chosen, "library", columns)


def in_house(item: Item, house: House) -> Item:
    """The item with the solution, and the library, of a house."""
    keys, argument, k = item.structure.split("+"), item.columns["argument"], item.columns["k"]
    names = [house.names[key] for key in keys]
    call = argument
    for name in names:
        call = f"{name}({call})" if k is None else f"{name}({call}, {k})"
    solution = (
        f"```python\nfrom {MODULE} import {', '.join(names)}\n\ndef {ENTRY_POINT}({argument}):\n    return {call}\n```"
    )
    return replace(item, solution=solution, columns={**item.columns, "modules": {MODULE: house.source}})
