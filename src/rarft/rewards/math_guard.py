"""What math-verify does not ask: is this expression small enough to evaluate, and an answer rather than a task?

Runs in a worker, on parsed expressions. Left out: equality itself, which is math-verify's, but for equations in several
unknowns, which it compares by solving them.
"""

import cmath
import math

from latex2sympy2_extended.logic import And
from sympy import (
    Abs,
    Basic,
    Derivative,
    Eq,
    Expr,
    Float,
    Integral,
    Limit,
    MatrixBase,
    MatrixExpr,
    Max,
    Min,
    Mul,
    Number,
    NumberSymbol,
    Pow,
    Product,
    Rational,
    Set,
    Sum,
    Symbol,
    Tuple,
    UnevaluatedExpr,
    ceiling,
    expand,
    factorial,
    floor,
    fraction,
    groebner,
    im,
    log,
    nan,
    nsimplify,
    oo,
    radsimp,
    re,
    sign,
    simplify,
    together,
    zoo,
)
from sympy.core.function import Function
from sympy.functions.elementary.trigonometric import InverseTrigonometricFunction, TrigonometricFunction
from sympy.logic.boolalg import BooleanAtom

from rarft.rewards.base import TooLarge

MAX_DIGITS = 2000.0
"""Decimal digits; nothing whose value, or any part of it, is larger is evaluated."""
MAX_NODES = 1500
"""Nodes of an expression tree."""
TASKS = (Sum, Product, Integral, Limit, Derivative)
INFINITE = (oo, -oo, zoo, nan)
"""Never part of a finite value; math-verify's comparison with one depends on the order of SymPy's terms."""

TAME = (Abs, TrigonometricFunction, InverseTrigonometricFunction, floor, ceiling, re, im, sign, Max, Min)
"""Functions whose values are no larger than their arguments, or bounded."""


def refuse_large(expr: Basic) -> None:
    """Raise TooLarge if evaluating `expr` would build a number of more than MAX_DIGITS digits, or if it is huge."""
    budget = [MAX_NODES]
    _digits(expr, budget)


def small(expr: Basic) -> bool:
    """Whether `refuse_large` lets `expr` pass."""
    try:
        refuse_large(expr)
    except TooLarge:
        return False
    return True


def _digits(expr: object, budget: list[int]) -> float:
    """An upper estimate of log10 of the magnitude of `expr`, symbols counted as 2."""
    budget[0] -= 1
    if budget[0] < 0:
        raise TooLarge
    if isinstance(expr, Float):
        _, mantissa, exponent, bits = expr._mpf_
        size = abs(exponent + bits) * 0.302 if mantissa else 0.0
    elif isinstance(expr, Rational):
        size = max(int(expr.p).bit_length(), int(expr.q).bit_length()) * 0.302
    elif isinstance(expr, (Symbol, NumberSymbol)):
        size = 0.5
    elif isinstance(expr, MatrixBase):
        size = max((_digits(entry, budget) for entry in expr.flat()), default=0.0)
    elif isinstance(expr, Basic):
        parts = [_digits(arg, budget) for arg in expr.args]
        size = max(parts, default=0.0)
        if isinstance(expr, Pow):
            size = parts[0] * _value(expr.args[1], parts[1])
        elif isinstance(expr, Mul):
            size = sum(parts)
        elif isinstance(expr, factorial):
            n = _value(expr.args[0], parts[0])
            size = n * math.log10(n + 1)
        elif isinstance(expr, log):
            size = math.log10(1 + 3 * size)
        elif isinstance(expr, Function) and parts and not isinstance(expr, TAME):  # at most exponential, as gamma is
            size = _value(expr.args[0], parts[0]) if expr.args[0].is_number else parts[0]
    else:
        return 0.0
    if size > MAX_DIGITS:
        raise TooLarge
    return size


def _value(expr: Basic, digits: float) -> float:
    """An upper estimate of the magnitude of `expr`."""
    if isinstance(expr, Number) and digits < 12:
        return abs(float(expr))
    return min(10.0**digits, 1e300) if digits < 300 else 1e300


def is_answer(gold: Basic, given: Basic) -> bool:
    """Whether `given` is in a form that may stand for an answer like `gold`; says nothing on equality."""
    if any(_has(given, task) and not _has(gold, task) for task in TASKS):
        return False
    if _is_chain(given) and not _consistent(_sides(given)):
        return False
    value = _solved_value(gold)
    if value is not None and _is_chain(given):
        return _solves(value, _sides(given))
    return is_literal(given) or not is_literal(gold)


def _solves(value: Basic, sides: list[Basic]) -> bool:
    """Whether an equation states an unknown's value, as x = 5 or 5 = x does and x + 3 = 8 does not."""
    unknown, stated = (sides[-1], sides[0]) if isinstance(sides[-1], Symbol) else (sides[0], sides[-1])
    return isinstance(unknown, Symbol) and not stated.free_symbols and (is_literal(stated) or not is_literal(value))


def same_equation(gold: Basic, given: Basic) -> bool:
    """Whether two equations in the same unknowns, two or more, are one equation scaled or rearranged.

    Left side minus right side is brought to one fraction. The equations have the same solutions if the numerators are
    constant multiples of each other and no denominator is 0 at a solution: x y = 1 is y = 1/x, y/x = 2 is not y = 2x.
    False wherever that is not certain.
    """
    if not all(isinstance(eq, Eq) and all(map(_is_plain, eq.args)) for eq in (gold, given)):
        return False
    names = sorted({symbol.name for symbol in gold.free_symbols})
    if len(names) < 2 or names != sorted({symbol.name for symbol in given.free_symbols}):
        return False
    try:
        (a, below_a), (b, below_b) = (_as_fraction(eq.lhs - eq.rhs) for eq in (gold, given))
        points = [{Symbol(name): Rational(2 + 3 * i + k, 7 + 4 * i) for i, name in enumerate(names)} for k in (0, 1, 5)]
        values = [(complex(a.evalf(15, subs=point)), complex(b.evalf(15, subs=point))) for point in points]
        p, q = values[0]
        if p == 0 or q == 0 or any(abs(x * q - y * p) > 1e-9 * abs(y * p) for x, y in values):
            return False  # plainly no multiples, so nothing needs to be expanded
        factor = radsimp(b.subs(points[0]) / a.subs(points[0]))
        multiples = simplify(expand(b - factor * a)) == 0
        return bool(multiples and _never_both_zero(a, below_a) and _never_both_zero(b, below_b))
    except (MemoryError, RecursionError):
        raise
    except Exception:  # SymPy gives up in many ways
        return False


def _is_plain(side: Basic) -> bool:
    refused = (UnevaluatedExpr, *TASKS, *INFINITE)
    return isinstance(side, Expr) and not isinstance(side, MatrixExpr) and not side.has(*refused)


def _as_fraction(expr: Expr) -> tuple[Expr, Expr]:
    """Numerator and denominator, with decimals as fractions and symbols told apart by their names alone."""
    plain = nsimplify(expr.subs({symbol: Symbol(symbol.name) for symbol in expr.free_symbols}), rational=True)
    return fraction(together(plain))


def _never_both_zero(numerator: Expr, denominator: Expr) -> bool:
    if not denominator.free_symbols:
        return True
    symbols = sorted(denominator.free_symbols | numerator.free_symbols, key=str)
    return groebner([numerator, denominator], *symbols).exprs == [1]


def differ(gold: Basic, given: Basic) -> bool:
    """Whether two expressions plainly differ in value at a point, so that nothing needs to be simplified.

    False wherever that is not certain: for sets, relations, per cents, lone symbols, and values within 1e-5.
    """
    if _is_chain(given) and not _is_chain(gold):
        given = _sides(given)[-1]
    elif _is_chain(gold) and not _is_chain(given) and isinstance(_sides(gold)[0], Symbol):
        gold = _sides(gold)[-1]
    for expr in (gold, given):
        if not isinstance(expr, Expr) or isinstance(expr, (Symbol, MatrixExpr)) or expr.has(UnevaluatedExpr, *TASKS):
            return False
    if given.has(*INFINITE) and not gold.has(*INFINITE):
        return True
    names = sorted({symbol.name for symbol in gold.free_symbols | given.free_symbols})
    point = {name: Rational(2 + 3 * i, 7 + 4 * i) for i, name in enumerate(names)}
    values = []
    for expr in (gold, given):
        try:
            values.append(complex(expr.evalf(15, subs={symbol: point[symbol.name] for symbol in expr.free_symbols})))
        except Exception:
            return False
    a, b = values
    if not names and cmath.isfinite(a) and not cmath.isfinite(b):
        return True
    if not (cmath.isfinite(a) and cmath.isfinite(b)):
        return False
    return abs(a - b) > max(1e-5, 1e-9 * max(abs(a), abs(b)))


def _has(expr: Basic, kind: type) -> bool:
    return bool(expr.has(kind)) if hasattr(expr, "has") else False


def _is_chain(expr: Basic) -> bool:
    """An equation or a chain of equations a = b = c."""
    return isinstance(expr, Eq) or (isinstance(expr, And) and all(isinstance(arg, Eq) for arg in expr.args))


def _sides(expr: Basic) -> list[Basic]:
    if isinstance(expr, Eq):
        return [expr.lhs, expr.rhs]
    return [side for equation in expr._unsorted_args for side in (equation.lhs, equation.rhs)]


def _consistent(sides: list[Basic]) -> bool:
    """Whether the plain numbers in an equation chain are all the same number."""
    numbers = [side for side in sides if is_literal(side) and isinstance(side, Number)]
    return all(abs(float(a) - float(numbers[-1])) <= 1e-2 * max(1.0, abs(float(a))) for a in numbers)


def _solved_value(gold: Basic) -> Basic | None:
    """The value c of a gold answer `x = c` without symbols in c."""
    if isinstance(gold, Eq) and isinstance(gold.lhs, Symbol) and not gold.rhs.free_symbols:
        return gold.rhs
    return None


def is_literal(expr: Basic) -> bool:
    r"""Whether `expr` is a number as one writes an answer (5, -0.5, 3/4, 50\%, 3 \times 10^8), or made up of such."""
    if isinstance(expr, Number):
        return True
    if isinstance(expr, Symbol):
        return expr.name.strip().lstrip("-+").replace(".", "", 1).replace(",", "").isdigit()
    if isinstance(expr, UnevaluatedExpr):
        return is_literal(expr.args[0])
    if isinstance(expr, Pow):
        base, exponent = expr.args
        return (base == 10 and exponent.is_Integer is True) or (exponent == -1 and isinstance(base, Number))
    if isinstance(expr, Mul):
        return all(is_literal(arg) for arg in expr.args) and sum(_counts(arg) for arg in expr.args) <= 1
    if isinstance(expr, Eq):
        return is_literal(expr.rhs)
    if isinstance(expr, And):
        return bool(expr._unsorted_args) and _is_chain(expr) and is_literal(_sides(expr)[-1])
    if isinstance(expr, MatrixBase):
        return all(is_literal(entry) for entry in expr.flat())
    if isinstance(expr, (Set, Tuple)):
        return all(is_literal(arg) for arg in expr.args if not isinstance(arg, BooleanAtom))
    return False


def _counts(factor: Basic) -> int:
    """1 for a factor that is a number of its own, 0 for a sign, a power of ten, a per cent or a denominator."""
    return int(isinstance(factor, Number) and factor != -1)
