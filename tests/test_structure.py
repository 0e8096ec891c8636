"""How the package is built: no class knows too much, no module is too long to be read.

Read off the source: a class has the names in its `__slots__`, the fields of a struct or a data
class, and whatever its methods assign to their `self`; its own, and those of its bases in the
package.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

PACKAGE = Path(__file__).parent.parent / "flowevents"

MOST_ATTRIBUTES: Final = 12
MOST_LINES: Final = 400

AN_EVENT = "an event type: its fields are the contract with whoever reads events"

EXEMPT: Final[dict[str, str]] = {
    "flowevents.engine.work._WorkerOptions": "the options of Run, and one",
    "flowevents.events.Interrupt": AN_EVENT,
    "flowevents.events.ItemEnd": AN_EVENT,
    "flowevents.events.NodeEnd": AN_EVENT,
    "flowevents.signals.handlers.Listeners": "a field for each of the twelve signals",
}
"""Classes that may have more attributes, and why."""

RECORDS: Final = {"NamedTuple", "Struct", "dataclass"}
"""Bases and decorators that make attributes of a class's annotations."""


class Class:
    """A class in the source.

    Attributes:
        module: The module that it stands in.
        node: The statement.
    """

    def __init__(self, module: str, node: ast.ClassDef) -> None:
        self.module = module
        self.node = node

    @property
    def name(self) -> str:
        """Its module and name."""
        return f"{self.module}.{self.node.name}"

    def slots(self) -> Iterator[str]:
        """The names in its `__slots__`."""
        for each in self.node.body:
            targets = each.targets if isinstance(each, ast.Assign) else []
            if isinstance(each, ast.AnnAssign):
                targets = [each.target]
            if any(isinstance(target, ast.Name) and target.id == "__slots__" for target in targets):
                for part in ast.walk(each):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        yield part.value

    def fields(self) -> Iterator[str]:
        """The names that it annotates, class variables aside."""
        for each in self.node.body:
            if isinstance(each, ast.AnnAssign) and "ClassVar" not in ast.unparse(each.annotation):
                yield ast.unparse(each.target)

    def assigned(self) -> Iterator[str]:
        """The attributes that its methods assign to their first argument, properties aside."""
        methods = [each for each in self.node.body if isinstance(each, FUNCTION)]
        setters = {each.name for each in methods if f"{each.name}.setter" in decorators(each)}
        for method in methods:
            arguments = [*method.args.posonlyargs, *method.args.args]
            if arguments and not {"staticmethod", "classmethod"} & decorators(method):
                yield from set(set_on(arguments[0].arg, method)) - setters


FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def set_on(owner: str, body: ast.AST) -> Iterator[str]:
    """The attributes that are assigned to what has that name."""
    for part in ast.walk(body):
        match part:
            case ast.Attribute(ast.Name(name), attribute, ast.Store()) if name == owner:
                yield attribute


def last_name(node: ast.expr) -> str:
    """`Struct` of `Struct`, `msgspec.Struct` and `Struct(…)`, and `Generic` of `Generic[T]`."""
    while isinstance(node, ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return ast.unparse(node).rpartition(".")[2]


def decorators(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """The decorators of a class or a function, without their arguments."""
    whole = [each.func if isinstance(each, ast.Call) else each for each in node.decorator_list]
    return {ast.unparse(each) for each in whole} | {last_name(each) for each in whole}


class Source:
    """The classes of some modules, by the text of these."""

    def __init__(self, modules: Mapping[str, str]) -> None:
        self.trees = {name: ast.parse(text) for name, text in modules.items()}
        self.classes = [
            Class(name, node)
            for name, tree in self.trees.items()
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef)
        ]

    def find(self, module: str, name: str) -> Class | None:
        """The class that a name means in a module, if it is one of these."""
        for each in self.classes:
            if (each.module, each.node.name) == (module, name):
                return each
        for node in ast.walk(self.trees.get(module, ast.Module([], []))):
            if isinstance(node, ast.ImportFrom) and node.module in self.trees:
                for alias in node.names:
                    if (alias.asname or alias.name) == name and node.module != module:
                        return self.find(node.module, alias.name)
        return None

    def line(self, of: Class) -> list[Class]:
        """It, and the classes of these modules that it derives from."""
        found = [of]
        for base in of.node.bases:
            parent = self.find(of.module, last_name(base))
            if parent is not None and parent is not of:
                found += [each for each in self.line(parent) if each not in found]
        return found

    def attributes(self, of: Class) -> set[str]:
        """What an instance of it has."""
        found: set[str] = set()
        line = self.line(of)
        outside = {last_name(base) for each in line for base in each.node.bases}
        is_record = bool(RECORDS & outside.union(*(decorators(each.node) for each in line)))
        for each in line:
            found |= {*each.slots(), *each.assigned(), *(each.fields() if is_record else ())}
        return found - {"__dict__", "__weakref__"}


def texts() -> dict[str, str]:
    """The modules of the package, by their names."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = path.read_text(encoding="utf-8")
    return found


# -- the package ----------------------------------------------------------------------------------


def test_no_class_has_many_attributes() -> None:
    """A class with more than a dozen is several; the message names what each has."""
    source = Source(texts())
    found = {each.name: sorted(source.attributes(each)) for each in source.classes}
    many = {name: own for name, own in found.items() if len(own) > MOST_ATTRIBUTES}
    said = [f"{name} has {len(own)}: {', '.join(own)}" for name, own in many.items()]
    assert [each for each in said if each.partition(" ")[0] not in EXEMPT] == []


def test_what_is_exempt_is_there_and_needs_it() -> None:
    """An exemption that nothing needs any more is one that the next class might use."""
    source = Source(texts())
    large = {each.name for each in source.classes if len(source.attributes(each)) > MOST_ATTRIBUTES}
    assert set(EXEMPT) - large == set()


def test_no_module_is_long() -> None:
    """What takes more than 400 lines is more than one concept."""
    long = {name: len(text.splitlines()) for name, text in texts().items()}
    assert {name: lines for name, lines in long.items() if lines > MOST_LINES} == {}


# -- what is counted ------------------------------------------------------------------------------

EXAMPLE = {
    "shop": """
from msgspec import Struct
from dataclasses import dataclass
from typing import ClassVar

class Slots:
    __slots__ = (*("a", "b"), "__weakref__")

class Derived(Slots):
    __slots__ = "c"

class Plain:
    shared = 1
    said: int

    def __init__(self, given):
        self.a = given
        self.b, self.c = 1, 2

    def later(self, other):
        for self.d in other:
            other.not_mine = 1
        def inside():
            self.e = 1

    @property
    def f(self): ...

    @f.setter
    def f(self, value):
        self._f = value

    def change(self):
        self.f = 2
        self.a.deep = 3

    @classmethod
    def make(cls):
        cls.made = 1

class Record(Struct, frozen=True):
    a: int
    b: int = 0
    kind: ClassVar[str] = ""

@dataclass(frozen=True)
class Data:
    a: int
""",
    "shop.till": """
from shop import Plain as Before, Record

class After(Before):
    def __init__(self):
        self.a = self.g = 1

class Longer(Record):
    c: int
""",
}


def test_what_counts_as_an_attribute() -> None:
    """Slots, fields, and what methods assign to `self`; inherited too, and each once."""
    source = Source(EXAMPLE)
    found = {each.node.name: source.attributes(each) for each in source.classes}
    assert found == {
        "Slots": {"a", "b"},
        "Derived": {"a", "b", "c"},
        "Plain": {"a", "b", "c", "d", "e", "_f"},
        "Record": {"a", "b"},
        "Data": {"a"},
        "After": {"a", "b", "c", "d", "e", "_f", "g"},
        "Longer": {"a", "b", "c"},
    }
