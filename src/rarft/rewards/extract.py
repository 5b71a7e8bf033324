"""Find the final answer in a completion: the last complete box, else the last closing phrase, else nothing.

One pass over the text, no parsing of mathematics. It runs in the caller's process, where no limit holds, so every
pattern is of linear time on any string (tests/rewards/test_linear.py). The rules are in docs/rewards.md. Left out:
guessing an answer from the last number or formula of a text that names none.
"""

import re

TAIL = 262_144
"""Only this many characters at the end of a completion are read (about twice 32,768 tokens)."""

PHRASE_TAIL = 32_768
"""Characters at the end in which a closing phrase is looked for; a megabyte of them would take a tenth of a second."""

_BRACES = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?=\{)")
_PHRASE = re.compile(
    r"""(?:\b(?:final|correct)\s++(?:answer|result)|\b(?:the|my|our)\s++(?:final\s++)?answer|(?<![a-z])answer(?=\s*+:))
        (?:\s++to\s++[^.:\n]{1,80}?(?<![\s*_]))?
        [\s*_]*+(?:\bis\b|\bare\b|\bequals\b|:|=)[\s*_]*+:?
      | ^[ \t]{0,8}\#{4}(?!\#)
    """,
    re.IGNORECASE | re.VERBOSE | re.MULTILINE,
)
_REASON_CLAUSE = re.compile(r"(?<!\s)\s++(?:because|since|as|which|so|where|when)\b.*", re.IGNORECASE | re.DOTALL)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")
_DELIMITERS = re.compile(r"\$\$?|\\[()\[\]]|\*\*|`")
_NUMBER_WITH_UNIT = re.compile(r"([-+]?\$?[0-9][0-9,]*(?:\.[0-9]+)?)\s+([A-Za-z]{3,}(?:\s+[A-Za-z]{3,}){0,2})")
_NOT_UNITS = re.compile(
    r"and|but|for|from|maybe|mod|nor|not|over|perhaps|plus|minus|sqrt|times|than|that|the|this|unless|until|wrong|right"
    r"|false|true|incorrect|correct|either|neither|exactly|divided|hundreds?|thousands?|millions?|billions?|trillions?"
    r"|dozens?|squared|cubed|factorial|percent|pct|hal(?:f|ves)|thirds?|quarters?|fifths?|tenths?|hundredths?|or"
)


def last_box(text: str) -> str | None:
    r"""The content of the last complete `\boxed{...}` or `\fbox{...}`; of nested boxes the outermost complete one.

    Braces are matched as TeX does: `\{` and `\}` are characters. None if no box is complete; "" for an empty one.
    """
    text = text[-TAIL:]
    if "boxed" not in text and "fbox" not in text:
        return None
    open_braces: list[int] = []  # start of the content for a box, -1 for any other group
    content: tuple[int, int] | None = None
    for match in _BRACES.finditer(text):
        token = match.group()
        if token == "}":
            if open_braces and (start := open_braces.pop()) >= 0:
                content = (start, match.start())
        elif token[-1] == "{" and token != "\\{":
            open_braces.append(match.end() if token[0] == "\\" else -1)
    if content is None:
        return None
    inside = text[content[0] : content[1]]
    nested = _BOX.match(inside.strip()) is not None
    inside = _BOX.sub("", inside).strip()
    return _without_braces(inside) if nested else inside


def _without_braces(text: str) -> str:
    """`{5}` as `5`: what a box right inside a box leaves."""
    if not (text.startswith("{") and text.endswith("}")):
        return text
    depth = 0
    for match in _BRACES.finditer(text, 0, len(text) - 1):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0:
            return text  # the first brace closes before the end
    return text[1:-1].strip()


def closing_phrase(text: str) -> str | None:
    """What follows the last "the answer is", "final answer:", "Answer:" or "####", up to the end of its sentence."""
    last = None
    text = text[-PHRASE_TAIL:]
    for match in _PHRASE.finditer(text):
        last = match
    if last is None:
        return None
    rest = text[last.end() : last.end() + 2000].lstrip(" \t\r\n*:")
    line = rest.split("\n", 1)[0]
    if line.strip() in {"$$", "\\["}:  # display mathematics on lines of its own
        line = " ".join(rest.split("\n", 3)[:3])
    sentence = _SENTENCE_END.split(line, maxsplit=1)[0]
    sentence = _REASON_CLAUSE.sub("", _DELIMITERS.sub("", sentence)).strip(" \t\r.,;:*_")
    with_unit = _NUMBER_WITH_UNIT.fullmatch(sentence)
    if with_unit and not any(_NOT_UNITS.fullmatch(word) for word in with_unit.group(2).lower().split()):
        return with_unit.group(1)
    return sentence or None


def extract_answer(text: str) -> str | None:
    r"""The final answer in `text`: the last complete box, else the last closing phrase, else None.

    An empty last box means no answer: earlier boxes and phrases are not consulted.

    >>> extract_answer(r"First \boxed{3}, no: \boxed{\frac{1}{2}}")
    '\\frac{1}{2}'
    >>> extract_answer("So the answer is 5 apples.")
    '5'
    >>> extract_answer("I don't know") is None
    True
    """
    box = last_box(text)
    if box is not None:
        return box or None
    return closing_phrase(text)
