"""Conditions on index columns: a small part of Python's expressions, compiled to pyarrow and never executed.

`task in ("add", "replace") and clip_text >= 0.25 and not subtype == "style"`

There are comparisons (chained ones too), `in` a list of values, `"word" in column` for a part of a text, `is None`,
`and`, `or`, `not`, numbers, texts and columns; nothing else passes. A comparison with a value that was not computed is
neither true nor false, and neither is its `not` (SQL's three values): such a sample is chosen only by another part of
the condition.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from schemas.errors import InputError

Kind = Literal["number", "text"]
LONGEST = 10_000
_OPERATORS: dict[type[ast.cmpop], str] = {
    ast.Lt: "less",
    ast.LtE: "less_equal",
    ast.Gt: "greater",
    ast.GtE: "greater_equal",
    ast.Eq: "equal",
    ast.NotEq: "not_equal",
}
_KINDS: dict[type, Kind] = {int: "number", float: "number", str: "text"}
_ALLOWED = "only comparisons, `in`, `and`, `or`, `not`, numbers, texts and columns may stand here"
_NAMES = {
    ast.Call: "a call",
    ast.Attribute: "an attribute",
    ast.Subscript: "a subscript",
    ast.BinOp: "arithmetic",
    ast.Lambda: "a function",
    ast.IfExp: "a condition of its own",
    ast.NamedExpr: "an assignment",
    ast.JoinedStr: "a formatted text",
}


@dataclass(frozen=True)
class Condition:
    """A compiled expression.

    Attributes:
        text: as it was written.
        columns: what it looks at.
        matches: a pyarrow compute expression; null where it is neither true nor false.
    """

    text: str
    columns: frozenset[str]
    matches: Any

    def mask(self, table: Any) -> Any:
        """For each row of a pyarrow table, whether it is chosen: a boolean array without nulls."""
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.dataset as ds

        if not table.num_rows:
            return pa.array([], pa.bool_())
        found = ds.dataset(table).to_table(columns={"chosen": self.matches}).column("chosen")
        return pc.fill_null(found, False).combine_chunks()


def compiled(text: str, columns: Mapping[str, Kind], where: str = "--where") -> Condition:
    """The condition that `text` states.

    Args:
        columns: what may be named, and what each holds.
        where: what messages call the place it was written in.

    Raises:
        InputError: it is no expression, or holds what is not allowed; names the part, and the columns there are.
    """
    if len(text) > LONGEST:
        raise InputError(f"{where}: {len(text):,} characters; at most {LONGEST:,} are read. Use --ids for a long list")
    source = text.strip()
    try:
        tree = ast.parse(source, mode="eval")
        return _Compiler(source, columns, where).condition(tree.body)
    except SyntaxError as error:
        raise InputError(f"{where}: {_short(source)} is no expression: {error.msg}{_place(error)}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise InputError(
            f"{where}: {_short(source)} cannot be read: {type(error).__name__}; make it simpler"
        ) from error


class _Compiler:
    def __init__(self, source: str, columns: Mapping[str, Kind], where: str) -> None:
        self._source, self._columns, self._where = source, columns, where
        self._used: set[str] = set()

    def condition(self, node: ast.expr) -> Condition:
        matches = self._truth(node)
        return Condition(self._source, frozenset(self._used), matches)

    def _truth(self, node: ast.expr) -> Any:
        """A pyarrow expression that is true, false or null."""
        import pyarrow.compute as pc

        if isinstance(node, ast.BoolOp):
            join = pc.and_kleene if isinstance(node.op, ast.And) else pc.or_kleene
            return _joined(join, [self._truth(value) for value in node.values])
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return pc.invert(self._truth(node.operand))
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            pairs = zip(sides, node.ops, sides[1:], strict=False)
            return _joined(pc.and_kleene, [self._compared(node, left, op, right) for left, op, right in pairs])
        if isinstance(node, ast.Name | ast.Constant):
            self._value(node)
            raise self._refused(node, "compares nothing; write what it is to be, as in `clip_text >= 0.25`")
        raise self._foreign(node)

    def _compared(self, whole: ast.expr, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Any:
        import pyarrow.compute as pc

        if isinstance(op, ast.In | ast.NotIn):
            found = self._contained(whole, left, right)
            return pc.invert(found) if isinstance(op, ast.NotIn) else found
        if isinstance(op, ast.Is | ast.IsNot):
            if not isinstance(left, ast.Name) or not (isinstance(right, ast.Constant) and right.value is None):
                raise self._refused(whole, "`is` asks only whether a column is None")
            missing = self._value(left)[1].is_null()
            return pc.invert(missing) if isinstance(op, ast.IsNot) else missing
        (kind, one), (other_kind, other) = self._value(left), self._value(right)
        self._alike(whole, kind, other_kind)
        if not isinstance(left, ast.Name) and not isinstance(right, ast.Name):
            raise self._refused(whole, "compares no column")
        compare: Callable[[Any, Any], Any] = getattr(pc, _OPERATORS[type(op)])
        return compare(one, other)

    def _contained(self, whole: ast.expr, left: ast.expr, right: ast.expr) -> Any:
        """`column in (values)`, or `"part" in column`."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if isinstance(right, ast.Tuple | ast.List | ast.Set):
            if not isinstance(left, ast.Name):
                raise self._refused(whole, "compares no column")
            kind, column = self._value(left)
            values = []
            for item in right.elts:
                item_kind, _ = self._value(item)
                if isinstance(item, ast.Name):
                    raise self._refused(item, "is a column; `in` takes a list of values")
                self._alike(whole, kind, item_kind)
                values.append(ast.literal_eval(item))
            if kind == "number" and values:
                # Equal as numbers: an index of integers is asked about 3.0 too.
                return _joined(pc.or_kleene, [pc.equal(column, _number(value)) for value in values])
            known = pc.is_in(column, value_set=pa.array(values, pa.string())) if values else pa.scalar(False)
            return pc.if_else(column.is_null(), pa.scalar(None, pa.bool_()), known)
        if isinstance(right, ast.Name) and isinstance(left, ast.Constant):
            kind, column = self._value(right)
            if kind != "text" or not isinstance(left.value, str):
                raise self._refused(whole, "looks for a part of a text; both sides must be texts")
            return pc.match_substring(column, left.value)
        raise self._refused(whole, 'is neither `column in (values)` nor `"part" in column`')

    def _value(self, node: ast.expr) -> tuple[Kind, Any]:
        """(what it is, pyarrow expression) of a column or a literal."""
        import pyarrow.compute as pc

        if isinstance(node, ast.Name):
            if node.id not in self._columns:
                raise InputError(f"{self._where}: {self._unknown(node.id)}")
            self._used.add(node.id)
            return self._columns[node.id], pc.field(node.id)
        literal = node
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            literal = node.operand
        if not isinstance(literal, ast.Constant):
            raise self._foreign(node)
        kind = _KINDS.get(type(literal.value))
        if kind is None or (literal is not node and kind != "number"):
            none = literal.value is None
            mend = "is asked about by `is None` and `is not None`" if none else "can be compared with no column"
            raise self._refused(node, mend)
        value = ast.literal_eval(node)
        return kind, pc.scalar(_number(value) if kind == "number" else value)

    def _alike(self, whole: ast.expr, kind: Kind, other: Kind) -> None:
        if kind != other:
            raise self._refused(whole, f"compares a {kind} with a {other}")

    def _foreign(self, node: ast.expr) -> InputError:
        name = next((words for kind, words in _NAMES.items() if isinstance(node, kind)), "something else")
        return self._refused(node, f"is {name}; {_ALLOWED}")

    def _refused(self, node: ast.expr, why: str) -> InputError:
        part = ast.get_source_segment(self._source, node) or self._source
        return InputError(f"{self._where}: {_short(part)} {why}")

    def _unknown(self, name: str) -> str:
        near = difflib.get_close_matches(name, self._columns, n=1, cutoff=0.6)
        guess = f"; did you mean {near[0]}?" if near else "."
        return f"there is no column {_short(name)}{guess} There are: {', '.join(sorted(self._columns))}"


def _joined(join: Callable[[Any, Any], Any], parts: list[Any]) -> Any:
    """In pairs of pairs: pyarrow goes into an expression by recursion, and a list of thousands must not be as deep."""
    while len(parts) > 1:
        parts = [join(*parts[i : i + 2]) if i + 1 < len(parts) else parts[i] for i in range(0, len(parts), 2)]
    return parts[0]


def _number(value: float) -> float:
    """As 64-bit integers have no larger ones, those are compared as floating-point numbers."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        try:
            return float(value)
        except OverflowError:
            return float("inf") if value > 0 else float("-inf")
    return value


def _place(error: SyntaxError) -> str:
    rest = (error.text or "")[max(0, (error.offset or 1) - 1) :].strip()
    return f" at {_short(rest)}" if rest else ""


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return f"`{flat if len(flat) <= 80 else flat[:77] + '...'}`"
