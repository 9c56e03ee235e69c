"""Arithmetic, dates and units: what small models should not do in their heads."""

from __future__ import annotations

import ast
import math
import operator
import re
from calendar import monthrange
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

Number = int | float
LONGEST, DEEPEST, LARGEST = 300, 40, 10**60
BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
NAMES = {"pi": math.pi, "e": math.e, "tau": math.tau}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "ceil": math.ceil,
    "cos": math.cos,
    "exp": math.exp,
    "floor": math.floor,
    "gcd": math.gcd,
    "hypot": math.hypot,
    "ln": math.log,
    "log": math.log,
    "log10": math.log10,
    "log2": math.log2,
    "max": max,
    "min": min,
    "round": round,
    "sin": math.sin,
    "sqrt": math.sqrt,
    "tan": math.tan,
}
# signs that people write, and those that they stand for
WRITTEN = {"×": "*", "÷": "/", "−": "-", "^": "**", "（": "(", "）": ")", "，": ","}


def evaluate(expression: str) -> Number:
    """The value of an arithmetic expression; nothing else can be written in it.

    ValueError says what is wrong: another language element, a huge number, a division by zero.
    """
    text = expression.strip().rstrip("=")
    for written, meant in WRITTEN.items():
        text = text.replace(written, meant)
    # 15% is 15/100 unless a number follows, when % is the remainder
    text = re.sub(r"(\d(?:\.\d+)?)\s*%(?!\s*[\w(.])", r"\1/100", text)
    if len(text) > LONGEST:
        raise ValueError(f"an expression of {len(text)} characters is too long; {LONGEST} at most")
    try:
        tree = ast.parse(text, mode="eval")
        value = _value(tree.body, 0)
    except (SyntaxError, RecursionError):
        raise ValueError(f"{expression!r} is not an arithmetic expression") from None
    except ZeroDivisionError:
        raise ValueError("division by zero") from None
    except (OverflowError, TypeError) as error:
        raise ValueError(f"{expression!r} cannot be computed: {error}") from None
    return _bounded(value)


def _value(node: ast.expr, depth: int) -> Number:
    if depth > DEEPEST:
        raise ValueError("the expression is nested too deeply")
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return _bounded(value)
        case ast.Name(id=name) if name in NAMES:
            return NAMES[name]
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=inner):
            value = _value(inner, depth + 1)
            return -value if isinstance(sign, ast.USub) else value
        case ast.BinOp(op=kind, left=left, right=right) if type(kind) in BINARY:
            a, b = _value(left, depth + 1), _value(right, depth + 1)
            if isinstance(kind, ast.Pow):
                _check_power(a, b)
            return _bounded(BINARY[type(kind)](a, b))
        case ast.Call(func=ast.Name(id=name), args=given, keywords=[]) if name in FUNCTIONS:
            return _bounded(FUNCTIONS[name](*(_value(g, depth + 1) for g in given)))
    raise ValueError(f"{ast.unparse(node)!r} is not arithmetic; use numbers, + - * / ** % and sqrt")


def _check_power(base: Number, exponent: Number) -> None:
    # a tower of powers would fill the memory before anyone could look at it
    if base and abs(exponent) * max(1.0, math.log10(abs(base) + 1)) > 400:
        raise ValueError(f"{base} to the power of {exponent} is too large")


def _bounded(value: Any) -> Number:
    if not isinstance(value, (int, float)):
        raise ValueError(f"the result {value!r} is not a real number")
    if value != value or abs(value) > LARGEST:
        raise ValueError("a number grows too large")
    return value


def shown(value: Number) -> str:
    """A number as people write it: no trailing zeros, twelve digits at most after rounding."""
    return str(value) if isinstance(value, int) else f"{value:.12g}"


DAYS = {"day": 1, "week": 7}
MONTHS = {"month": 1, "year": 12}
SECONDS = {"second": 1, "minute": 60, "hour": 3600}
CLOCK = "%Y-%m-%d %H:%M:%S"


def moment(text: str, now: datetime | None = None) -> datetime:
    """`now`, `today`, `tomorrow`, `yesterday`, or a date and time in ISO form."""
    now = now or datetime.now()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    near = {"today": 0, "tomorrow": 1, "yesterday": -1}
    word = text.strip().lower() or "now"
    if word == "now":
        return now.replace(microsecond=0)
    if word in near:
        return midnight + timedelta(days=near[word])
    try:
        return datetime.fromisoformat(word.replace("/", "-")).replace(tzinfo=None)
    except ValueError:
        raise ValueError(
            f"{text!r} is not a date; write 2026-03-14, 2026-03-14T15:30, now or today"
        ) from None


def shift(start: str, amount: int, unit: str, now: datetime | None = None) -> str:
    """The moment `amount` units after (before, when negative) `start`, with its weekday.

    unit: second, minute, hour, day, week, month or year. Months end on their last day at most.
    """
    unit = unit.strip().lower().removesuffix("s")
    when = moment(start, now)
    try:
        if unit in MONTHS:
            when = _months_later(when, amount * MONTHS[unit])
        elif unit in DAYS:
            when += timedelta(days=amount * DAYS[unit])
        elif unit in SECONDS:
            when += timedelta(seconds=amount * SECONDS[unit])
        else:
            known = ", ".join([*SECONDS, *DAYS, *MONTHS])
            raise ValueError(f"unit {unit!r} is not one of {known}")
    except OverflowError:
        raise ValueError(f"{amount} {unit}s from {start} is outside the calendar") from None
    has_clock = unit in SECONDS or when.time() != datetime.min.time()
    return f"{when.strftime(CLOCK if has_clock else '%Y-%m-%d')} ({when.strftime('%A')})"


def _months_later(when: datetime, months: int) -> datetime:
    index = when.year * 12 + when.month - 1 + months
    year, month = divmod(index, 12)
    if not 1 <= year <= 9999:
        raise OverflowError
    last = monthrange(year, month + 1)[1]
    return when.replace(year=year, month=month + 1, day=min(when.day, last))


def between(start: str, end: str, now: datetime | None = None) -> str:
    """How long it is from `start` to `end`, in days, and in hours and minutes when they differ."""
    a, b = moment(start, now), moment(end, now)
    seconds = int((b - a).total_seconds())
    days, rest = divmod(abs(seconds), 86400)
    sign = "-" if seconds < 0 else ""
    text = f"{sign}{days} days"
    return f"{text} {rest // 3600} hours {rest % 3600 // 60} minutes" if rest else text


# each unit as a multiple of the first of its row
UNITS = {
    "length": "m 1 meter 1 metre 1 km 1e3 kilometer 1e3 cm 1e-2 centimeter 1e-2 mm 1e-3 "
    "millimeter 1e-3 um 1e-6 nm 1e-9 mile 1609.344 mi 1609.344 yard 0.9144 yd 0.9144 foot 0.3048 "
    "feet 0.3048 ft 0.3048 inch 0.0254 in 0.0254 nmi 1852 米 1 公里 1000 千米 1000 厘米 0.01 "
    "毫米 0.001 里 500 英里 1609.344 英尺 0.3048 英寸 0.0254",
    "mass": "kg 1 kilogram 1 g 1e-3 gram 1e-3 mg 1e-6 t 1e3 tonne 1e3 ton 1e3 lb 0.45359237 "
    "pound 0.45359237 oz 0.028349523125 ounce 0.028349523125 stone 6.35029318 "
    "公斤 1 千克 1 克 0.001 斤 0.5 两 0.05 吨 1000 磅 0.45359237",
    "volume": "l 1 liter 1 litre 1 ml 1e-3 m3 1e3 gallon 3.785411784 gal 3.785411784 "
    "quart 0.946352946 pint 0.473176473 cup 0.2365882365 floz 0.0295735295625 升 1 毫升 0.001",
    "time": "s 1 second 1 ms 1e-3 us 1e-6 min 60 minute 60 h 3600 hour 3600 day 86400 d 86400 "
    "week 604800 year 31557600 秒 1 分钟 60 小时 3600 天 86400 周 604800",
    "data": "b 1 byte 1 bit 0.125 kb 1e3 mb 1e6 gb 1e9 tb 1e12 pb 1e15 kib 1024 mib 1048576 "
    "gib 1073741824 tib 1099511627776",
    "speed": "m/s 1 km/h 0.2777777777777778 kmh 0.2777777777777778 mph 0.44704 "
    "knot 0.5144444444444445 kn 0.5144444444444445",
    "area": "m2 1 km2 1e6 ha 1e4 hectare 1e4 acre 4046.8564224 sqft 0.09290304 sqm 1 "
    "亩 666.6666667 平方米 1 公顷 1e4",
    "energy": "j 1 kj 1e3 cal 4.184 kcal 4184 wh 3600 kwh 3.6e6 ev 1.602176634e-19",
    "pressure": "pa 1 kpa 1e3 bar 1e5 atm 101325 psi 6894.757293168 mmhg 133.322387415",
    "angle": "rad 1 deg 0.017453292519943295 degree 0.017453292519943295",
}
HEAT = {"c": "c", "celsius": "c", "°c": "c", "摄氏度": "c", "f": "f", "fahrenheit": "f", "°f": "f"}
HEAT |= {"华氏度": "f", "k": "k", "kelvin": "k"}


def _tables() -> dict[str, tuple[str, float]]:
    found = {}
    for kind, row in UNITS.items():
        words = row.split()
        pairs = zip(words[::2], words[1::2], strict=True)
        found |= {name: (kind, float(size)) for name, size in pairs}
    return found


def convert(value: float, source: str, target: str) -> str:
    """`value` in unit `source`, expressed in unit `target`; ValueError when they do not meet."""
    a, b = source.strip().lower(), target.strip().lower()
    if a in HEAT and b in HEAT:
        return f"{shown(round(_heat(value, HEAT[a], HEAT[b]), 9))} {target}"
    (kind, size), (other, into) = _unit(a), _unit(b)
    if kind != other:
        raise ValueError(f"{source} is a unit of {kind}, {target} one of {other}")
    return f"{shown(value * size / into)} {target}"


def _unit(name: str) -> tuple[str, float]:
    table = _tables()
    for form in (name, name.removesuffix("s"), name.removesuffix("es")):
        if form in table:
            return table[form]
    raise ValueError(f"unit {name!r} is unknown")


def _heat(value: float, source: str, target: str) -> float:
    celsius = {"c": value, "f": (value - 32) * 5 / 9, "k": value - 273.15}[source]
    return {"c": celsius, "f": celsius * 9 / 5 + 32, "k": celsius + 273.15}[target]
