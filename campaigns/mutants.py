"""Small changes of a Python source, one at a time: the mutants of `mutation.py`.

A change replaces a range of the source, so that lines keep their numbers. Left alone is what decides no
result: docstrings, annotations, decorators, strings, the texts of errors and warnings, `repr`, code for type
checkers, and arguments that say only how (`strict`, `encoding`, `stacklevel`).
"""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], tuple[str, tuple[str, ...]]] = {
    ast.Lt: ("<", ("<=", ">")),
    ast.LtE: ("<=", ("<", ">=")),
    ast.Gt: (">", (">=", "<")),
    ast.GtE: (">=", (">", "<=")),
    ast.Eq: ("==", ("!=",)),
    ast.NotEq: ("!=", ("==",)),
    ast.Is: (r"is\b", ("is not",)),
    ast.IsNot: (r"is\s+not\b", ("is",)),
    ast.In: (r"in\b", ("not in",)),
    ast.NotIn: (r"not\s+in\b", ("in",)),
}
ARITHMETIC: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "//"),
    ast.Pow: ("**", "*"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
    ast.BitXor: ("^", "&"),
    ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
}
_PAIRS = """min max, any all, argmin argmax, minimum maximum, floor ceil, zeros ones, zeros_like ones_like,
logical_and logical_or, sum max, mean max, binary_erosion binary_dilation, nanmin nanmax"""
OTHER_NAME = {}  # function -> one that is taken in its place
for _pair in _PAIRS.split(","):
    _first, _second = _pair.split()
    OTHER_NAME.setdefault(_second, _first)
    OTHER_NAME.setdefault(_first, _second)
WRAPPERS = {  # calls whose first argument, or whose object, can take their place
    *(
        "abs",
        "absolute",
        "sorted",
        "sort",
        "round",
        "rint",
        "reversed",
        "clip",
        "floor",
        "ceil",
        "sqrt",
        "log",
    ),
    *("exp", "cumsum", "flip", "copy", "strip", "lower", "binary_opening", "binary_closing"),
    *("binary_fill_holes", "gaussian_filter"),
}
SKIPPED_FIELDS = {"annotation", "returns", "decorator_list"}
SKIPPED_KEYWORDS = {"strict", "encoding", "stacklevel"}
SKIPPED_CALLS = {"cast", "TypeVar", "warn", "attach"}
SKIPPED_FUNCTIONS = {"__repr__", "__str__", "_repr_html_"}
Edit = tuple[
    int, int, str, str
]  # first byte, byte after the last, what takes their place, name of the operator


@dataclass(frozen=True)
class Mutant:
    """A source with one change.

    Args:
        first: First line of what is changed, from 1.
        last: Its last line.
        function: Dotted name of the function or class around it, empty at the top of the module.
        operator: Kind of change.
        before: The lines, as one without indentation.
        after: The same lines after the change.
        source: The whole mutated source.
    """

    first: int
    last: int
    function: str
    operator: str
    before: str
    after: str
    source: str


class _Text:
    """A source as bytes, as the positions of `ast` count bytes."""

    def __init__(self, source: str) -> None:
        self.data = source.encode()
        self.imported: set[str] = set()
        self._starts = [0]
        for line in self.data.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def span(self, node: ast.AST) -> tuple[int, int]:
        start = self._starts[node.lineno - 1] + node.col_offset
        return start, self._starts[node.end_lineno - 1] + node.end_col_offset

    def of(self, node: ast.AST) -> str:
        start, end = self.span(node)
        return self.data[start:end].decode()

    def token(self, left: ast.AST, right: ast.AST, pattern: str) -> tuple[int, int]:
        """Return where an operator stands between two operands."""
        start, end = self.span(left)[1], self.span(right)[0]
        found = re.search(pattern.encode(), self.data[start:end])
        assert found is not None, pattern
        return start + found.start(), start + found.end()


def find_mutants(source: str) -> list[Mutant]:
    """Return all mutants of a module's source, in the order of its lines."""
    tree, text = ast.parse(source), _Text(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            text.imported |= {alias.asname or alias.name for alias in node.names}
    mutants = {}
    for function, node in _nodes(tree, ""):
        edits = OPERATORS[type(node)](node, text) if type(node) in OPERATORS else ()
        for start, end, new, operator in edits:
            mutants.setdefault((start, end, new), _apply(text, start, end, new, function, operator))
    return sorted(mutants.values(), key=lambda mutant: (mutant.first, mutant.operator, mutant.after))


def _nodes(node: ast.AST, function: str) -> Iterator[tuple[str, ast.AST]]:
    """Walk the parts of a program that decide its results, each with the name of the function around it."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        if node.name in SKIPPED_FUNCTIONS:
            return
        function = f"{function}.{node.name}".lstrip(".")
    if _is_left_alone(node):
        return
    yield function, node
    if isinstance(node, ast.Raise):
        return
    for name, value in ast.iter_fields(node):
        if name not in SKIPPED_FIELDS:
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _nodes(child, function)


def _is_left_alone(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        return name in SKIPPED_CALLS or name.endswith(("Error", "Warning"))
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Subscript):
        return ast.unparse(node.value.value) in {
            "Annotated",
            "Callable",
            "tuple",
            "dict",
        }  # an alias of types
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.keyword) and node.arg in SKIPPED_KEYWORDS)


def _apply(text: _Text, start: int, end: int, new: str, function: str, operator: str) -> Mutant:
    data = text.data
    first, last = data.count(b"\n", 0, start) + 1, data.count(b"\n", 0, end) + 1
    opening, closing = data.rfind(b"\n", 0, start) + 1, data.find(b"\n", end)
    closing = len(data) if closing < 0 else closing
    after = data[opening:start].decode() + new + data[end:closing].decode()
    missing = "\n" * (last - first - new.count("\n"))  # later lines keep their numbers
    new = f"{new[:-1]}{missing})" if new.endswith(")") else new + missing
    source = (data[:start] + new.encode() + data[end:]).decode()
    lines = (" ".join(part.split()) for part in (data[opening:closing].decode(), after))
    return Mutant(first, last, function, operator, *lines, source)


def _comparison(node: ast.Compare, text: _Text) -> Iterator[Edit]:
    for left, operator, right in zip(
        [node.left, *node.comparators], node.ops, node.comparators, strict=False
    ):
        pattern, others = COMPARISONS[type(operator)]
        for other in others:
            yield *text.token(left, right, pattern), other, "comparison"


def _arithmetic(node: ast.BinOp, text: _Text) -> Iterator[Edit]:
    on_text = any(isinstance(side, ast.JoinedStr) or _is_string(side) for side in (node.left, node.right))
    if type(node.op) in ARITHMETIC and not on_text:
        sign, other = ARITHMETIC[type(node.op)]
        yield *text.token(node.left, node.right, re.escape(sign)), other, "arithmetic"


def _in_place(node: ast.AugAssign, text: _Text) -> Iterator[Edit]:
    if type(node.op) in ARITHMETIC:
        sign, other = ARITHMETIC[type(node.op)]
        yield *text.token(node.target, node.value, re.escape(sign)), other, "arithmetic"
    yield from _deletion(node, text)


def _sign(node: ast.UnaryOp, text: _Text) -> Iterator[Edit]:
    yield *text.span(node), f"({text.of(node.operand)})", "dropped sign or not"


def _bool_operation(node: ast.BoolOp, text: _Text) -> Iterator[Edit]:
    parts, word = [f"({text.of(value)})" for value in node.values], type(node.op).__name__.lower()
    other = f" {'or' if word == 'and' else 'and'} ".join(parts)
    yield *text.span(node), f"({other})", "and or"
    for index in range(len(parts)):
        rest = f" {word} ".join(parts[:index] + parts[index + 1 :])
        yield *text.span(node), f"({rest})", "dropped condition"


def _condition(node: ast.If | ast.While | ast.IfExp, text: _Text) -> Iterator[Edit]:
    yield *text.span(node.test), f"not ({text.of(node.test)})", "negated condition"
    if isinstance(node, ast.IfExp):
        for branch in (node.body, node.orelse):
            yield *text.span(node), f"({text.of(branch)})", "one branch"


def _filter(node: ast.comprehension, text: _Text) -> Iterator[Edit]:
    for test in node.ifs:
        yield *text.span(test), "True", "dropped filter"


def _constant(node: ast.Constant, text: _Text) -> Iterator[Edit]:
    value = node.value
    if isinstance(value, bool):
        others: tuple[object, ...] = (not value,)
    elif isinstance(value, int):
        others = (value + 1, value - 1)
    elif isinstance(value, float):
        others = (2 * value, value / 2) if value else (1.0,)
    else:
        others = ()
    for other in others:
        yield *text.span(node), repr(other) if not str(other).startswith("-") else f"({other})", "constant"


def _call(node: ast.Call, text: _Text) -> Iterator[Edit]:
    start, end = text.span(node)
    for keyword in node.keywords:
        if keyword.arg not in SKIPPED_KEYWORDS:
            first, last = text.span(keyword)
            comma = re.match(rb"\s*,", text.data[last:end])
            yield first, last + (comma.end() if comma else 0), "", "dropped argument"
    is_method = isinstance(node.func, ast.Attribute) and not (
        isinstance(node.func.value, ast.Name) and node.func.value.id in text.imported
    )
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name in OTHER_NAME:
        after = text.span(node.func)[1]
        yield after - len(name.encode()), after, OTHER_NAME[name], "other function"
    if name in WRAPPERS and (is_method or node.args):
        inner = node.func.value if is_method else node.args[0]
        yield start, end, f"({text.of(inner)})", "dropped call"


def _return(node: ast.Return, text: _Text) -> Iterator[Edit]:
    if node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is None):
        is_test = isinstance(node.value, ast.Compare | ast.BoolOp)
        other = f"not ({text.of(node.value)})" if is_test else "None"
        yield *text.span(node.value), other, "other result"


def _deletion(node: ast.stmt, text: _Text) -> Iterator[Edit]:
    yield *text.span(node), "pass", "deleted statement"


def _expression(node: ast.Expr, text: _Text) -> Iterator[Edit]:
    if not isinstance(node.value, ast.Constant | ast.Yield | ast.YieldFrom):
        yield from _deletion(node, text)


def _assignment(node: ast.Assign, text: _Text) -> Iterator[Edit]:
    """Delete what sets an item or an attribute, or gives a variable a new value made from its old one."""
    target = node.targets[0]
    again = isinstance(target, ast.Name) and any(
        isinstance(part, ast.Name) and part.id == target.id for part in ast.walk(node.value)
    )
    if again or isinstance(target, ast.Subscript | ast.Attribute):
        yield from _deletion(node, text)


def _jump(node: ast.Continue | ast.Break, text: _Text) -> Iterator[Edit]:
    yield *text.span(node), "break" if isinstance(node, ast.Continue) else "continue", "other jump"


def _is_string(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


OPERATORS: dict[type[ast.AST], Callable[..., Iterator[Edit]]] = {
    ast.Compare: _comparison,
    ast.BinOp: _arithmetic,
    ast.AugAssign: _in_place,
    ast.UnaryOp: _sign,
    ast.BoolOp: _bool_operation,
    ast.If: _condition,
    ast.While: _condition,
    ast.IfExp: _condition,
    ast.comprehension: _filter,
    ast.Constant: _constant,
    ast.Call: _call,
    ast.Return: _return,
    ast.Raise: _deletion,
    ast.Expr: _expression,
    ast.Assign: _assignment,
    ast.Continue: _jump,
    ast.Break: _jump,
}
