"""Conditions on columns: what Python would say of each row, and nothing that is more than a condition."""

from __future__ import annotations

import ast
import operator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InputError
from shards.expressions import LONGEST, Kind, compiled

COLUMNS: dict[str, Kind] = {
    "clip_text": "number",
    "references": "number",
    "never_computed": "number",
    "task": "text",
    "instruction": "text",
}
NUMBERS = st.integers(-3, 3) | st.floats(-3, 3, allow_nan=False).map(lambda value: round(value, 1))
TEXTS = st.text(st.sampled_from("ab 'é\"\\%_."), max_size=3)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "clip_text": st.none() | NUMBERS.map(float),
            "references": st.none() | st.integers(-3, 3),
            "never_computed": st.none(),
            "task": st.none() | TEXTS,
            "instruction": st.none() | TEXTS,
        }
    ),
    max_size=8,
)
TYPES = {"number": pa.float64(), "text": pa.string()}
SCHEMA = pa.schema([(name, pa.int64() if name == "references" else TYPES[kind]) for name, kind in COLUMNS.items()])
_COMPARE: dict[type, Any] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}


def _names(kind: Kind) -> st.SearchStrategy[str]:
    return st.sampled_from([name for name, found in COLUMNS.items() if found == kind])


def _comparisons() -> st.SearchStrategy[str]:
    signs = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
    written = NUMBERS.map(repr)
    number = st.builds("{} {} {}".format, _names("number"), signs, written | _names("number"))
    turned = st.builds("{} {} {}".format, written, signs, _names("number"))
    chain = st.builds("{} {} {} {} {}".format, written, signs, _names("number"), signs, written)
    text = st.builds("{} {} {}".format, _names("text"), signs, TEXTS.map(repr) | _names("text"))
    listed = [
        st.builds("{} {} {!r}".format, _names(kind), st.sampled_from(["in", "not in"]), st.lists(items, max_size=3))
        for kind, items in (("number", NUMBERS), ("text", TEXTS))
    ]
    part = st.builds("{!r} {} {}".format, TEXTS, st.sampled_from(["in", "not in"]), _names("text"))
    none = st.builds("{} {} None".format, st.sampled_from(sorted(COLUMNS)), st.sampled_from(["is", "is not"]))
    return st.one_of(number, turned, chain, text, *listed, part, none)


@st.composite
def expressions(draw: st.DrawFn, depth: int = 3) -> str:
    kind = draw(st.integers(0, 5)) if depth else 0
    if kind < 3:
        return draw(_COMPARISONS)
    if kind == 3:
        return f"not ({draw(expressions(depth - 1))})"
    parts = [draw(expressions(depth - 1)) for _ in range(kind - 2)]
    return "(" + (" and " if draw(st.booleans()) else " or ").join(parts) + ")"


_COMPARISONS = _comparisons()
EXPRESSIONS = expressions()


def truth(node: ast.expr, row: dict[str, Any]) -> bool | None:
    """Python's own operators, with None for what a missing value makes unknown."""
    if isinstance(node, ast.BoolOp):
        parts = [truth(value, row) for value in node.values]
        decides = isinstance(node.op, ast.Or)
        return decides if decides in parts else None if None in parts else not decides
    if isinstance(node, ast.UnaryOp):
        inner = truth(node.operand, row)
        return None if inner is None else not inner
    assert isinstance(node, ast.Compare)
    sides = [value(side, row) for side in (node.left, *node.comparators)]
    if isinstance(node.ops[0], ast.Is | ast.IsNot):
        return (sides[0] is None) == isinstance(node.ops[0], ast.Is)
    found = [
        None if a is None or b is None else bool(_COMPARE[type(op)](a, b))
        for a, op, b in zip(sides, node.ops, sides[1:], strict=False)
    ]
    return False if False in found else None if None in found else True


def value(node: ast.expr, row: dict[str, Any]) -> Any:
    return row[node.id] if isinstance(node, ast.Name) else ast.literal_eval(node)


@given(EXPRESSIONS, ROWS)
def test_every_row_is_judged_as_python_would(text: str, rows: list[dict[str, Any]]) -> None:
    condition = compiled(text, COLUMNS)
    found = condition.mask(pa.Table.from_pylist(rows, SCHEMA)).to_pylist()
    tree = ast.parse(text, mode="eval").body
    assert found == [truth(tree, row) is True for row in rows]
    named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert condition.columns == named


@given(EXPRESSIONS, ROWS)
def test_a_missing_value_is_not_chosen_by_not_either(text: str, rows: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(rows, SCHEMA)
    one, other = (compiled(t, COLUMNS).mask(table).to_pylist() for t in (text, f"not ({text})"))
    assert not any(a and b for a, b in zip(one, other, strict=True))


@given(st.text(max_size=60) | st.builds("{}{}{}".format, EXPRESSIONS, st.sampled_from("+-*/.()[]:=,@ "), EXPRESSIONS))
def test_whatever_is_written_is_a_condition_or_one_line_that_says_why_not(text: str) -> None:
    try:
        compiled(text, COLUMNS)
    except InputError as error:
        assert str(error).startswith("--where: ") and "\n" not in str(error)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("__import__('os').system('true')", r"`__import__('os').system('true')` is a call; only comparisons"),
        ("task.upper == 'A'", "`task.upper` is an attribute"),
        ("task[0] == 'a'", r"`task[0]` is a subscript"),
        ("clip_text > 0.1 + 0.2", "`0.1 + 0.2` is arithmetic"),
        ("(lambda: 1) == 1", "`lambda: 1` is a function"),
        ("(x := 3) > 2", "is an assignment"),
        ("[t for t in task] == 'a'", "is something else"),
        ("f'{task}' == 'a'", "is a formatted text"),
        ("clip_txt > 0.2", "no column `clip_txt`; did you mean clip_text? There are: clip_text, instruction, never"),
        ("zebra > 1", "no column `zebra`. There are: clip_text"),
        ("task > 3", "`task > 3` compares a text with a number"),
        ("task in (1, 2)", r"`task in (1, 2)` compares a text with a number"),
        ("clip_text", "`clip_text` compares nothing"),
        ("1 < 2", "`1 < 2` compares no column"),
        ("clip_text == None", "`None` is asked about by `is None`"),
        ("clip_text is 3", "`is` asks only whether a column is None"),
        ("task == True", "`True` can be compared with no column"),
        ("task in 'add'", "is neither `column in (values)` nor"),
        ("3 in task", "looks for a part of a text"),
        ("clip_text >", "is no expression: invalid syntax"),
        ("clip_text = 3", "is no expression: "),
        ("clip_text > 1; import os", "is no expression: invalid syntax"),
        ("(clip_text > 1", "is no expression: '(' was never closed"),
        ("", "is no expression"),
        ("not " * 3000 + "clip_text > 1", "characters; at most 10,000"),
        ("not " * 2000 + "clip_text > 1", "make it simpler"),
        ("clip_text > 1\x00", "cannot be read|is no expression"),
    ],
)
def test_what_is_no_condition_is_named(text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        compiled(text, COLUMNS)
    message = str(caught.value)
    assert any(part in message for part in words.split("|")), message
    assert "\n" not in message and len(message) < 400


def test_a_long_list_of_values_is_no_deep_expression() -> None:
    table = pa.Table.from_pylist([{"references": 3}, {"references": 99_999}], SCHEMA)
    values = ", ".join(map(str, range(1500)))
    assert len(values) < LONGEST
    assert compiled(f"references in ({values})", COLUMNS).mask(table).to_pylist() == [True, False]


def test_numbers_beyond_sixty_four_bits_are_numbers_all_the_same() -> None:
    table = pa.Table.from_pylist([{"references": 3, "clip_text": 0.5}], SCHEMA)
    for text in ("references < 1" + "0" * 30, "clip_text < 1" + "0" * 400, "references != -1" + "0" * 30):
        assert compiled(text, COLUMNS).mask(table).to_pylist() == [True]
