"""Gold answers, ordinary completions and hostile ones, made from a seed; used by the tests and benchmarks of rewards.

The gold answers are written in the styles of GSM8K, MATH, AIME and AMC; none is copied from them. Hostile completions
try to hang, crash or fool a verifier; none of them holds the gold answer it is paired with.
"""

import random
from dataclasses import dataclass

# ruff: noqa: E501

GSM8K = ["18", "3", "70000", "540", "20", "64", "260", "1,200", "2.5", "15.75", "0", "1000000", "33,750", "7.50", "-4"]
AIME = ["000", "007", "025", "073", "104", "204", "371", "540", "699", "809", "902", "999"]
AMC = ["A", "B", "D", "E", r"\textbf{(C)}", "142", "36", "\\frac{3}{7}", "13.5", "2\\sqrt{3}", "144"]
MATH = [
    r"\frac{14}{3}", r"\dfrac{1}{2}", r"-\frac{5}{8}", r"\frac{\pi}{6}", r"3\sqrt{13}", r"2+\sqrt{3}", r"\sqrt[3]{4}",
    r"\left( 3, \frac{\pi}{2} \right)", r"(1, -2, 4)", r"[-2, 7]", r"(0, \infty)", r"(-\infty, 2] \cup [5, \infty)",
    r"\{1, 2, 4\}", "1, -3", r"x^2 - 5x + 6", r"6x^3 + 2", r"y = 2x + 3", "x = 5", r"p - q", r"6 - 5i", r"3 + 4i",
    r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\begin{pmatrix} -1 \\ 0 \\ 7 \end{pmatrix}", r"90^\circ", r"45",
    r"10\%", r"\$32.50", r"12 \text{ cm}^2", r"15 \text{ minutes}", r"\text{Tuesday}", r"\text{even}", "4,320", "0.0625",
    r"10{,}080", r"2^{10}", r"\log_2 3", r"\sin 20^\circ", r"e^{2}", r"\pm 3", r"-2 < x < 5", r"x \ge 4", r"3x - 2y = 7",
    r"\frac{1}{x+1}", r"\frac{\sqrt{6} + \sqrt{2}}{4}", r"5\frac{1}{2}", "11_2", r"\infty", r"a^2 + ab + b^2", "n!",
    r"\binom{10}{3}", r"\cos\theta", r"1 + \frac{1}{2}\sqrt{5}", r"\frac{3}{4}, \frac{5}{6}", "(A)", "-7", "12", "256",
    r"\sqrt{x^2+1}", r"\frac{n(n+1)}{2}", r"9\pi", r"36 - 9\pi", r"\frac{2\pi}{3}", r"1 \pm \sqrt{2}",
]  # fmt: skip
GOLDS = {"gsm8k": GSM8K, "math": MATH, "aime": AIME, "amc": AMC}

FILLER = [
    "Let $x$ be the number we are looking for.",
    "We first write the condition as an equation, $2x + 3 = 11$, and solve it.",
    "Substituting back gives $\\frac{a}{b} = \\sqrt{c}$, so the second case cannot occur.",
    "There are 3 cases, and the first two are alike.",
    "By symmetry it is enough to count the pairs $(i, j)$ with $i < j$.",
    "Hence $n \\equiv 1 \\pmod 4$, which leaves 12 candidates.",
    "Multiplying out, \\[ (a+b)^2 = a^2 + 2ab + b^2. \\]",
    "She has 48 apples and gives away a third of them, so 32 are left.",
    "Wait, let me check that again. The area is half of base times height.",
]
SHARES = {"gsm8k": 0.3, "aime": 0.2, "amc": 0.1, "math": 0.4}


@dataclass(frozen=True)
class Row:
    """A gold answer, a completion, and what it is made to be: right, wrong, or without an answer."""

    gold: str
    completion: str
    kind: str


def restyle(gold: str, rng: random.Random) -> str:
    """The same answer as another writer would put it."""
    styles = [gold, gold, gold.replace("\\frac", "\\dfrac"), gold.replace("\\left", "").replace("\\right", "")]
    styles.append(gold.replace(" ", ""))
    if gold.isdigit():
        styles += [f"{int(gold):,}", str(int(gold)), f"x = {int(gold)}", f"{int(gold)}.0"]
    return rng.choice(styles)


def ordinary(count: int, seed: int = 0, group: int = 8) -> list[Row]:
    """`count` rows as a training step sees them: `group` completions a problem, about half of them right.

    30 % GSM8K, 40 % MATH, 20 % AIME, 10 % AMC; 4 % of the completions name no answer.
    """
    rng = random.Random(seed)
    rows: list[Row] = []
    while len(rows) < count:
        style = rng.choices(list(SHARES), list(SHARES.values()))[0]
        gold = rng.choice(GOLDS[style])
        if style in ("gsm8k", "aime") and rng.random() < 0.8:
            gold = str(rng.randrange(1000)) if style == "aime" else str(rng.randrange(10_000))
        ability = rng.random()
        wrong = [rng.choice(GOLDS[style]) for _ in range(2)] + [str(rng.randrange(1000)) for _ in range(2)]
        for _ in range(group):
            text = " ".join(rng.choices(FILLER, k=rng.randint(5, 40)))
            draw = rng.random()
            if draw < 0.04:
                rows.append(Row(gold, text, "none"))
                continue
            right = rng.random() < ability
            answer = restyle(gold, rng) if right else rng.choice(wrong)
            kind = "right" if right or answer.lstrip("0") == gold.lstrip("0") else "wrong"
            close = rng.choice(["So the answer is $\\boxed{%s}$.", "Therefore \\boxed{%s}", "\\[ \\boxed{%s} \\]"])
            rows.append(Row(gold, f"{text} {close % answer}", kind))
    return rows[:count]


def hostile(seed: int = 0) -> list[Row]:
    """More than 300 rows, none of which deserves a reward."""
    rng = random.Random(seed)
    bodies = [body for make in (_deep, _large, _endless, _long, _odd, _broken) for body in make(rng)]
    golds = [
        "5",
        r"\frac{14}{3}",
        r"3\sqrt{13}",
        r"x^2 - 5x + 6",
        r"\{1, 2, 4\}",
        r"y = 2x + 3",
        r"[-2, 7]",
        "B",
        "x = 5",
    ]
    relations = [r"x^2 + y^2 = 25", r"3x - 2y = 7", r"x \ge 4", r"(0, \infty)", r"-2 < x < 5"]
    pairs = [(rng.choice(golds), body) for body in bodies] + [(rng.choice(relations), body) for body in _solve()]
    rows = [Row(gold, f"So we get $\\boxed{{{body}}}$.", "hostile") for gold, body in pairs]
    return rows + [Row(rng.choice(golds), text, "hostile") for text in _texts(rng)]


def _deep(rng: random.Random) -> list[str]:
    found = []
    for depth in (5, 12, 25, 38, 60, 150, 1000, 20_000):
        found += [
            "(" * depth + "7" + ")" * depth,
            "{" * depth + "7" + "}" * depth,
            "\\frac{1}{1+" * depth + "7" + "}" * depth,
            "\\sqrt{2+" * depth + "7" + "}" * depth,
            "\\left(1+x^{" * depth + "7" + "}\\right)" * depth,
            "\\sin(" * depth + "7" + ")" * depth,
            "|" * depth + "7-x" + "|" * depth,
            "\\text{" * depth + "7" + "}" * depth,
        ]
    return found


def _large(rng: random.Random) -> list[str]:
    found = [
        r"\dfrac{5^{\left(5^{\left(5^{\left(5^5\right)}\right)} - 4\right)} - 5}{16}",
        r"2^{2^{2^{2^{2^2}}}} - 1",
        r"9^{9^{9^9}} \bmod 7",
        r"\log_2 \left( 9^{9^{9}} \right)",
        r"\sqrt{10^{10^{10}}}",
        r"(x+y+z)^{3000}",
        r"(x+1)^{10^7} - x",
        r"\binom{10^9}{5 \cdot 10^8}",
        r"((((9!)!)!)!)!",
        r"\left(10^{8}\right)!",
        r"\frac{10^{10^9}}{10^{10^9}+1}",
        r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}^{10^9}",
        r"i^{10^{10^{10}}} + 2^{10^{11}}",
        r"0.1^{10^{12}}",
        r"1.0000001^{10^{15}}",
    ]
    for height in range(3, 13):
        base = rng.randint(2, 9)
        tower = str(base)
        for _ in range(height):
            tower = f"{base}^{{{tower}}}"
        found += [tower, f"\\frac{{{tower}}}{{{base + 1}}}", f"\\sqrt{{{tower}}} + x"]
    for n in (500, 5_000, 100_000, 10**9, 10**15):
        found += [f"{n}!", f"\\frac{{{n}!}}{{{n - 1}!}} + x", f"\\sum_{{k=1}}^{{{n}}} k!", f"\\prod_{{k=1}}^{{{n}}} k"]
    for digits in (900, 5_000, 100_000, 1_000_000):
        number = str(rng.randint(1, 9)) + "".join(rng.choices("0123456789", k=1000)) * (digits // 1000 or 1)
        found += [
            number,
            "-" + number,
            "0." + number,
            f"\\frac{{{number}}}{{{number[::-1]}}}",
            f"{number}^{{{number}}}",
        ]
    return found


def _endless(rng: random.Random) -> list[str]:
    found = [
        r"\sum_{n=1}^{10^9} \frac{1}{n^2 + n + 1}",
        r"\sum_{n=1}^{\infty} \frac{\sin(n^2)}{n^{3/2}}",
        r"\sum_{a=1}^{1000} \sum_{b=1}^{1000} \sum_{c=1}^{1000} \gcd(a, b, c)",
        r"\prod_{n=1}^{10^8} \left(1 + \frac{1}{n^2}\right)",
        r"\int_0^1 x^{x^{x}} \, dx",
        r"\int_{-\infty}^{\infty} e^{-x^4 - \sin(x)^2} \cos(x^3) \, dx",
        r"\int \frac{\sqrt{\tan x} \, \ln(1 + \sin x)}{1 + x^5 + e^x} dx",
        r"\lim_{n \to \infty} \left(1 + \frac{1}{n}\right)^{n^2} \left(\frac{n!}{n^n}\right)^{1/n}",
        r"\lim_{x \to 0} \frac{\sin(\tan x) - \tan(\sin x)}{x^7 \arcsin(\arctan x)}",
        r"x^x + 2^x + 3^{x^2} = 17",
        r"\sin(x) + x^7 \cos(x^2) = e^{x} + \ln(x+3)",
        r"x^9 - 3x^7 + 11x^5 - x^4 + 2x - 13 = 0",
        r"\frac{d}{dx} \frac{d}{dx} \frac{d}{dx} \sin(\cos(\tan(e^{x^x})))",
        r"\{ n \in \mathbb{Z} : n^2 < 10^{40} \}",
        r"\{x \mid x^5 - x + 1 = 0\}",
        r"[1, 10^{100}] \cap \mathbb{N}",
        r"|x^3 - |x^2 - |x - |1 - x|||| < \sin(x)",
        r"10^{100} \bmod (10^{99} + 7)",
        r"\gcd(10^{500}+1, 7^{600}+3)",
        r"\lfloor \pi^{100000} \rfloor",
    ]
    for size in (3, 6, 10, 16, 24):
        terms = [
            f"\\sqrt{{{rng.randint(2, 99)} + \\sqrt[{rng.randint(3, 7)}]{{{rng.randint(2, 99)}}}}}" for _ in range(size)
        ]
        waves = [f"\\sin^{{{rng.randint(2, 9)}}}({rng.randint(2, 9)}x + {rng.randint(2, 9)}y)" for _ in range(size)]
        found += [
            " + ".join(terms),
            " \\cdot ".join(terms),
            "\\frac{" + " + ".join(terms) + "}{" + " - ".join(reversed(terms)) + "}",
            " + ".join(waves),
            "\\frac{" + " ".join(f"({wave} + 1)" for wave in waves) + "}{" + " + ".join(waves) + "}",
            "\\sin(\\cos(\\tan(" * (size // 3) + "x" + ")))" * (size // 3),
            "x^{" * size + "y" + "}" * size + " = y",
            " + ".join(f"\\frac{{1}}{{x^{{{k}}} + {k}y + z}}" for k in range(size)),
        ]
    return found


def _solve() -> list[str]:
    """Equations and inequalities, which a verifier may try to solve."""
    sides = [
        r"x^x + y^y", r"\sin(x) + x^7 \cos(y^2)", r"e^{x^2} + \ln(y + 3)", r"x^9 - 3x^7y^2 + 11x^5 - xy^4 + 2x",
        r"\sqrt{x + \sqrt{y + \sqrt{x}}}", r"|x^3 - |y^2 - |x - 1|||", r"\tan(x + y) \cdot 2^{x}", r"\lfloor x^2 \rfloor y",
    ]  # fmt: skip
    return [f"{left} {sign} {right}" for left in sides for right in ("17", "xy", r"\sqrt{x}") for sign in ("=", "<")]


def _long(rng: random.Random) -> list[str]:
    found = []
    for size in (40, 200, 900, 20_000):
        found += [
            "+".join("1" for _ in range(size)),
            "\\cdot ".join(str(rng.randint(2, 99)) for _ in range(size)),
            "\\{" + ", ".join(str(k) for k in range(size)) + "\\}",
            ", ".join(str(k) for k in range(size)),
            " \\text{ or } ".join(str(k) for k in range(size)),
            "=".join(str(k) for k in range(size)),
            "\\begin{pmatrix}" + " \\\\ ".join(" & ".join("12345678") for _ in range(size)) + "\\end{pmatrix}",
            "abcdefghij" * (size // 10),
            "\\frac12" * size,
            "5\\%" * size,
            "--" * size + "7",
            "x_{1}" * size,
        ]
    return found


def _odd(rng: random.Random) -> list[str]:
    marks = ["\u202e", "\u200f", "\u200b", "\ufeff", "\u2066", "\u0301" * 50, "\x00", "\x07", "\x1b[2J", "\r", "\v\f"]
    faces = ["😀", "👨‍👩‍👧‍👦", "🇩🇪", "½", "五", "٥", "５", "Ⅴ", "𝟓", "\ud800", "\udfff\ud800", "￾", "∞", "√", "🤷 or 7"]
    found = [mark + "7" + mark for mark in marks] + [mark * 3000 for mark in marks]
    found += faces + [face * 2000 for face in faces] + [face + "+" + face for face in faces]
    found += ["".join(chr(rng.randrange(1, 0x2FF)) for _ in range(60)).replace("}", "") for _ in range(12)]
    return found


def _broken(rng: random.Random) -> list[str]:
    pieces = [
        "\\frac",
        "\\sqrt",
        "{",
        "\\left(",
        "\\right]",
        "^",
        "_",
        "7",
        "x",
        "\\begin{cases}",
        "&",
        "\\\\",
        "\\text",
        "$",
    ]
    found = ["".join(rng.choices(pieces, k=rng.randint(3, 30))).replace("{", "\\{") for _ in range(30)]
    found += [
        "__import__('os').system('true')", "lambda: 0", "\\input{/etc/passwd}", "\\def\\x{\\x\\x}\\x", "%s%s%s%n", "", " ",
        "\\boxed{}", "\\boxed{\\boxed{}}", "\\\\", "\\", "^^^^", "____", "7^", "\\frac{7}", "\\sqrt", "\\left(7",
        "7\\right)", "\\begin{matrix} 7", "\\end{pmatrix}", "NaN", "\\infty - \\infty", "\\frac{0}{0}", "\\frac{1}{0}",
        "0^0 \\cdot \\infty", "None", "True", "null", "\\emptyset", "\\mathbb{R}", "(-\\infty, \\infty)", "?", "\\ldots",
    ]  # fmt: skip
    return found


def _texts(rng: random.Random) -> list[str]:
    million = 1_000_000
    return [
        "\\boxed{" * 150_000,
        "\\boxed{7}" * 100_000,
        "{" * million,
        "}" * million,
        "\\" * million,
        "$" * million,
        " " * million,
        "\n" * million,
        "7" * million,
        "a" * million,
        "the answer is " * 60_000,
        "final answer to " * 60_000,
        "Answer: " * 100_000,
        "#### \n" * 100_000,
        "answer" * 150_000 + ":",
        "\\boxed{" + "x" * million,
        "\\boxed{" + "{}" * (million // 2) + "}",
        "\\boxed{" + "\\{" * (million // 2) + "}",
        "".join(f"\\boxed{{{k}}}" for k in range(10_000)),
        "The answer is " + "7" * million,
        "The answer is " + "(" * million,
        "The answer is $" + "9^{" * 5000,
        "\x00" * million,
        "\u202e" * 300_000,
        "😀" * 300_000,
        "".join(chr(rng.randrange(1, 0xD7FF)) for _ in range(300_000)),
        "",
        "\\boxed",
        "\\boxed{",
        "\\boxed{}",
        "boxed{7}",
        "The answer is",
        "####",
    ]
