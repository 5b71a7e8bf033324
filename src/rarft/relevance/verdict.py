"""Yes or no, read from what a model answers: only what says so clearly counts, everything else is None.

JSON counts wherever it stands; `Relevant: no` at the beginning of a line; a first word that punctuation follows, if
nothing after it takes it back; a last line that is the word alone; `... the answer is no` and `\\boxed{no}` at the end.
Two of them that disagree are unclear; thoughts before the answer and answers of over 20,000 characters don't count.
English only.
"""

import json
import re
from typing import Any

from rarft.llm.answers import without_thoughts

LONGEST = 20_000
VERDICT_KEYS = ("relevant", "answer", "verdict", "decision", "is_relevant", "transferable")
PATTERN_KEYS = ("pattern", "shared_pattern", "reason", "rationale", "explanation")
MARKS = r"[ \t*_\"'`#>(\[$-]*"
CLOSED = r"[ \t*_\"'`)\]$]*"
WORD = r"(yes|no|true|false|relevant|irrelevant|not relevant)\b"
ENDS = (  # what may follow a verdict: punctuation ("No. 5" is a number), the end, or how a reason begins
    rf"{CLOSED}(?:\.(?![ \t]*\d)|[,;:!—–(]|[ \t]-[ \t]|\n|\Z)"
    r"|[ \t]+(?:because|since|it|they|the|this|that|these|both)\b"
)
FIRST = re.compile(rf"\A{MARKS}(?!relevant|(?:irrelevant|not relevant)[ \t]*:){WORD}(?={ENDS})", re.IGNORECASE)
LAST_LINE = re.compile(rf"^{MARKS}{WORD}{CLOSED}[.!]*{CLOSED}\Z", re.IGNORECASE | re.MULTILINE)
LABELLED = re.compile(
    rf"^{MARKS}(?:is it )?(?:final )?(?:relevant|answer|verdict|decision|conclusion){CLOSED}[:=?]{MARKS}{WORD}"
    rf"(?={ENDS})",
    re.IGNORECASE | re.MULTILINE,
)
CLOSING = re.compile(
    rf"\b(?:answer|verdict|decision|conclusion) is:?{MARKS}{WORD}{CLOSED}[.!]*{CLOSED}\Z", re.IGNORECASE
)
BOXED = re.compile(rf"\\boxed\{{(?:\\text\{{)?{WORD}\}}+[.$ ]*\Z", re.IGNORECASE)
FIELD = re.compile(r"[\"'](?:is_)?relevant[\"']\s*:\s*[\"']?(true|false|yes|no)[\"']?\s*[,}]", re.IGNORECASE)
UNSURE = re.compile(
    r"\A\W*(?:and|or|but|except|yet)\b|\b(?:however|maybe|perhaps|possibly|partly|partially|somewhat|unsure|unclear|"
    r"undecided|it depends|impossible to|hard to say|no idea|let me|happy to|wait)\b|"
    r"\b(?:not|cannot|can't|don't) (?:be )?(?:sure|certain|say|tell|know|decide|judge|determine)\b",
    re.IGNORECASE,
)
CLAIM = re.compile(
    r"\b(?:carr(?:y|ies|ied) over|transfers?|transferable|(ir)?relevant|helps?|helpful|useful|applicable|yes\b|"
    r"no(?=[ \t]*(?:[.,;:!]|\Z)))",
    re.IGNORECASE,
)
CLAUSE_END = re.compile(r"[.,;:!?\n]|\b(?:but|yet|while)\b", re.IGNORECASE)
NEGATION = re.compile(
    r"\b(?:no|not|never|nothing|none|neither|nor|hardly|without|unlikely|fails?|lacks?|cannot)\b|n't\b", re.IGNORECASE
)


def parse_verdict(text: str) -> dict[str, Any] | None:
    """`{"relevant": bool, "pattern": str}` from an answer, or None where it does not say clearly."""
    text = without_thoughts(text).replace("’", "'")
    if len(text) > LONGEST:
        return None
    objects, prose = _json_objects(text)
    said, pattern = _spoken(prose), " ".join(text.split())[:500]
    for value in objects:
        verdicts, its_pattern = _in_object(value)
        said |= verdicts
        if verdicts:
            pattern = its_pattern
    return {"relevant": said.pop(), "pattern": pattern} if len(said) == 1 and None not in said else None


def _json_objects(text: str) -> tuple[list[dict[str, Any]], str]:
    """The outermost JSON objects in a text, and the text without them."""
    decoder = json.JSONDecoder(strict=False, object_pairs_hook=_without_repeated_keys)
    found: list[dict[str, Any]] = []
    prose, position, end = [], text.find("{"), 0
    while position >= 0:
        try:
            value, after = decoder.raw_decode(text, position)
        except ValueError:
            position = text.find("{", position + 1)
            continue
        except RecursionError:
            break
        found.append(value)
        prose.append(text[end:position])
        end = after
        position = text.find("{", end)
    return found, "\n".join([*prose, text[end:]]).strip()


def _without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key stands there twice")
    return dict(pairs)


def _in_object(value: dict[str, Any]) -> tuple[set[bool | None], str]:
    """The verdicts in a JSON object, None for one that is unclear; and its pattern."""
    lowered = {key.strip().lower(): item for key, item in value.items()}
    verdicts: set[bool | None] = set()
    for key in VERDICT_KEYS:
        item = lowered.get(key)
        if isinstance(item, str):
            verdicts |= _spoken(item.strip()) or {None}
        elif key in lowered:
            verdicts.add(bool(item) if isinstance(item, int) and item in (0, 1) else None)
    return verdicts, next((lowered[key] for key in PATTERN_KEYS if isinstance(lowered.get(key), str)), "").strip()


def _spoken(text: str) -> set[bool | None]:
    """What a text without JSON says; nothing where it says nothing clearly."""
    said = [m[1] for pattern in (LAST_LINE, CLOSING, BOXED) if (m := pattern.search(text))] + FIELD.findall(text)
    if (m := FIRST.match(text)) and _stands(m[1], text[m.end() :]):
        said.append(m[1])
    said += [m[1] for m in LABELLED.finditer(text) if _stands(m[1], text[m.end() :].split("\n", 1)[0])]
    return {_means_yes(word) for word in said}


def _means_yes(word: str) -> bool:
    return word.lower() in ("yes", "true", "relevant")


def _stands(word: str, rest: str) -> bool:
    """Whether the explanation after a verdict neither doubts nor contradicts it."""
    if UNSURE.search(rest):
        return False
    for claim in CLAIM.finditer(rest):
        clause = CLAUSE_END.split(rest[max(0, claim.start() - 80) : claim.start()])[-1]
        negative = bool(NEGATION.search(clause)) != (claim[1] is not None or claim[0].lower() == "no")
        if negative == _means_yes(word):
            return False
    return True
