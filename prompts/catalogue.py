"""The catalogue: renders prompts to messages and says by hash which text made an answer.

A template marks where its system and user messages begin with `{{ system }}` and `{{ user }}`, and where an image
stands with `{{ image(2) }}`. What these leave in the rendered text are marks around a number that nobody can know
before, so no caption or instruction can forge one. All of it is not yet run against a live model.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template, TemplateError, TemplateSyntaxError, meta
from jinja2.nodes import FromImport
from jinja2.sandbox import ImmutableSandboxedEnvironment

from prompts.front_matter import PromptFile, checked, parse
from schemas.errors import InputError
from schemas.messages import ImagePart, Message, TextPart
from schemas.plan import Plan
from schemas.references import ImageRef
from storage.paths import read_bytes

_SHIPPED = Path(__file__).parent
_WHAT_TEMPLATES_RAISE = (TemplateError, TypeError, ValueError, LookupError, ArithmeticError, AttributeError)


@dataclass(frozen=True)
class Rendered:
    """A prompt, ready to be sent.

    Attributes:
        hash: sha256, 64 hex digits, of the template's file and all that it includes.
        focus: the name of the focus this draw took, empty for a prompt without a list of foci.
    """

    id: str
    version: int | str
    role: str
    hash: str
    messages: tuple[Message, ...]
    focus: str = ""


class Catalogue:
    """The shipped prompts, with a user's own in their place.

    Args:
        overrides: path of a prompt file by role (`reasoner`) or by id (`realign/reasoner`). Such a file may begin
            with `{% extends "realign/reasoner.j2" %}`; front matter that it leaves out is the shipped prompt's.
        family: the folder whose prompts a bare role means (`realign`, `firm`); empty for all.

    Raises:
        InputError: a name that no prompt has, a role that several have, a file that is missing, or one that is no
            template.

    Example:
        >>> [name for name in Catalogue().hashes() if name.startswith("realign/")]
        ['realign/painter', 'realign/reasoner', 'realign/writer']
    """

    def __init__(self, overrides: Mapping[str, str] | None = None, family: str = "") -> None:
        shipped = {_id_of(path): str(path) for path in sorted(_SHIPPED.rglob("*.j2"))}
        self._shipped = {name: parse(_shown(path), Path(path).read_bytes()) for name, path in shipped.items()}
        self._prompts = {name: file for name, file in self._shipped.items() if "id" in file.matter}
        self._environment = _environment(self._source)
        for name, path in sorted((overrides or {}).items()):
            prompt = self._named(name, family)
            file = _read(name, path)
            matter = {**self._shipped[prompt].matter, **file.matter, "id": prompt}
            self._prompts[prompt] = replace(file, matter=matter)
        for file in self._prompts.values():
            checked(file.path, file.matter)
        self._templates = {name: self._compiled(name) for name in self._prompts}
        self.overridden = tuple(id for id, file in self._prompts.items() if file.path != self._shipped[id].path)
        for id in self.overridden:
            self._check_marks(id)
        self._hashes = {name: self._hash(name) for name in self._prompts}

    def hashes(self) -> dict[str, str]:
        """The content hash of every prompt, by id."""
        return dict(sorted(self._hashes.items()))

    def render(
        self, id: str, *, images: Sequence[tuple[str, ImageRef]] | None = None, draw: int = 0, **values: Any
    ) -> Rendered:
        """Fill a prompt.

        Args:
            images: (label, image) for `image(1)`, `image(2)`, ...; where `values` has a `plan`, its references
                under `Image 1 (base):` and so on unless given.
            draw: number of the draw, from 0; with a list of foci in the front matter it chooses `focus`.
            values: what the template uses.

        Raises:
            InputError: names file and line of an unknown variable, a call that fails or a text outside any message.
        """
        if id not in self._prompts:
            raise InputError(f"prompts: there is no prompt {id!r}; there are {', '.join(sorted(self._prompts))}")
        file = self._prompts[id]
        plan = values.get("plan")
        if images is None:
            images = Labelled(plan) if isinstance(plan, Plan) else ()
        focus = _focus(file.matter, draw)
        marks = _Marks(len(images))
        given = {**file.matter, **values, "draw": draw, **({"focus": focus} if focus else {})}
        try:
            text = self._templates[id].render(given, system=marks.system, user=marks.user, image=marks.image)
        except _WHAT_TEMPLATES_RAISE as error:
            raise InputError(f"{self._place(file, error)}: {error}") from error
        name = str(focus["name"]) if focus else ""
        messages = marks.messages(text, images, file.path)
        return Rendered(id, file.matter["version"], file.matter["role"], self._hashes[id], messages, name)

    def unused(self) -> dict[str, list[str]]:
        """By overridden prompt, what the shipped one says to the model and the override never does."""
        found = {
            id: sorted(self._variables(self._shipped[id]) - self._variables(self._prompts[id]))
            for id in self.overridden
        }
        return {id: names for id, names in found.items() if names}

    def _check_marks(self, id: str) -> None:
        """An override must mark where its messages begin, or extend a prompt that does."""
        file = self._prompts[id]
        if "user" not in self._variables(file):
            raise InputError(f"{file.path}: marks no message; write {{{{ user }}}} where the question begins")

    def _variables(self, file: PromptFile) -> set[str]:
        """What a template and those that it extends or includes take from outside, front matter apart."""
        names, waiting, seen = set[str](), [file], set[str]()
        while waiting:
            file = waiting.pop()
            parsed = self._environment.parse(file.template)
            macros = {
                name if isinstance(name, str) else name[1] for n in parsed.find_all(FromImport) for name in n.names
            }
            names |= meta.find_undeclared_variables(parsed) - set(file.matter) - macros
            for other in meta.find_referenced_templates(parsed):
                shipped = self._shipped.get((other or "").removesuffix(".j2"))
                if shipped is not None and other not in seen:
                    seen.add(str(other))
                    waiting.append(shipped)
        return names - {"system"}

    def _named(self, name: str, family: str) -> str:
        """The prompt that an override's name means: its id, or a role that only one prompt of the family has."""
        if name in self._prompts:
            return name
        known = {id: str(file.matter["role"]) for id, file in self._prompts.items() if id.startswith(family)}
        found = [id for id, role in known.items() if role == name]
        if len(found) == 1:
            return found[0]
        if found:
            raise InputError(f"prompts: {name!r} has several prompts; name one of {', '.join(sorted(found))}")
        choices = ", ".join(sorted({*known, *known.values()}))
        raise InputError(f"prompts: {name!r} is no role and no prompt; choose among {choices}")

    def _source(self, name: str) -> tuple[str, str, Callable[[], bool]] | None:
        """What is behind a name: `own:realign/writer` the prompt in use, `realign/writer.j2` the shipped file."""
        own = name.startswith("own:")
        file = self._prompts[name.removeprefix("own:")] if own else self._shipped.get(name.removesuffix(".j2"))
        return (file.template, file.path, lambda: True) if file else None

    def _place(self, file: PromptFile, error: BaseException) -> str:
        """`file:line` of the innermost template line that raised, found in the traceback that Jinja2 rewrites."""
        if isinstance(error, TemplateSyntaxError):
            return f"{error.filename or file.path}:{error.lineno}"
        paths = {file.path, *(shipped.path for shipped in self._shipped.values())}
        found, trace = file.path, error.__traceback__
        while trace:
            if trace.tb_frame.f_code.co_filename in paths:
                found = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
            trace = trace.tb_next
        return found

    def _compiled(self, id: str) -> Template:
        try:
            template = self._environment.get_template(f"own:{id}")
            template.globals = dict(template.globals)  # a ChainMap, which each rendering would walk through in Python
            return template
        except TemplateSyntaxError as error:
            raise InputError(f"{self._prompts[id].path}:{error.lineno}: {error.message}") from error

    def _hash(self, id: str) -> str:
        """The file's sha256, or where it reads other files a sha256 over theirs and its own."""
        file = self._prompts[id]
        digests, waiting, seen = [file.sha256], [file], {f"own:{id}"}
        if file.path != self._shipped[id].path:
            digests.append(self._shipped[id].sha256)  # whose front matter stands in for what is left out
        while waiting:
            file = waiting.pop(0)
            for other in meta.find_referenced_templates(self._environment.parse(file.template)):
                if other is None or other.removesuffix(".j2") not in self._shipped:
                    raise InputError(f"{file.path}: includes {other or 'a computed name'}, which is no shipped prompt")
                if other not in seen:
                    seen.add(other)
                    waiting.append(self._shipped[other.removesuffix(".j2")])
                    digests.append(waiting[-1].sha256)
        return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


class Labelled(Sequence[tuple[str, ImageRef]]):
    """A plan's images, each with its role label: `Image 1 (base):`. A prompt may show none, so none is made before."""

    def __init__(self, plan: Plan) -> None:
        self._references = plan.references

    def __getitem__(self, index: Any) -> Any:
        one = self._references[index]
        return f"Image {index + 1} ({one.role}):", one.reference

    def __len__(self) -> int:
        return len(self._references)


@dataclass(frozen=True)
class _Marks:
    """What the markers of one rendering leave in its text."""

    count: int

    @cached_property
    def _key(self) -> str:
        return secrets.token_hex(16)

    @property
    def system(self) -> str:
        return f"\0{self._key}:system\0"

    @property
    def user(self) -> str:
        return f"\0{self._key}:user\0"

    @property
    def image(self) -> Callable[[int], str]:
        def mark(number: int) -> str:
            if not 1 <= number <= self.count:
                raise ValueError(f"image({number}) is asked for, but there are {self.count}")
            return f"\0{self._key}:{number}\0"

        return mark

    def messages(self, text: str, images: Sequence[tuple[str, ImageRef]], path: str) -> tuple[Message, ...]:
        """The rendered text, split at the marks into messages of texts and images."""
        before, marked = self._split(text)
        if before.strip():
            raise InputError(f"{path}: text stands before the first {{{{ system }}}} or {{{{ user }}}}")
        found: list[tuple[str, list[TextPart | ImagePart]]] = []
        for mark, after in marked:
            if mark in ("system", "user"):
                found.append((mark, []))
            elif not found:
                raise InputError(f"{path}: an image stands before the first {{{{ system }}}} or {{{{ user }}}}")
            else:
                label, ref = images[int(mark) - 1]
                found[-1][1].append(ImagePart(label=label, image=_bare(ref)))
            if tidy := _tidy(after):
                found[-1][1].append(TextPart(text=tidy))
        if not any(speaker == "user" and parts for speaker, parts in found):
            raise InputError(f"{path}: nothing stands after {{{{ user }}}}; a prompt needs a user message")
        return tuple(Message(speaker=_SPEAKERS[speaker], parts=tuple(parts)) for speaker, parts in found if parts)

    def _split(self, text: str) -> tuple[str, list[tuple[str, str]]]:
        """(what stands before the first mark, each mark with the text after it); a mark of another key is text."""
        marks = [m for m in _MARK.finditer(text) if m[1] == self._key]
        ends = [m.start() for m in marks[1:]] + [len(text)]
        before = text[: marks[0].start()] if marks else text
        return before, [(m[2], text[m.end() : end]) for m, end in zip(marks, ends, strict=True)]


_MARK = re.compile("\0([0-9a-f]{32}):(\\w+)\0")
_SPEAKERS: Any = {"system": "system", "user": "user"}


def _bare(ref: ImageRef) -> ImageRef:
    """The image alone: what a pool knows of a reference besides is not sent."""
    return ImageRef(**{name: getattr(ref, name) for name in ImageRef.model_fields})


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_TRAILING = re.compile(r"[^\S\n]+\n")
_EMPTY_LINES = re.compile(r"\n{3,}")


def _tidy(text: str) -> str:
    """No white space around, at most one empty line within, and no control character but tab and newline."""
    text = _TRAILING.sub("\n", _CONTROL.sub("", text))
    return _EMPTY_LINES.sub("\n\n", text).strip()


def fenced(text: object) -> str:
    """Data between two fences of backticks, longer than any run of backticks inside, so that it cannot end early."""
    longest = max((len(run) for run in re.findall("`+", str(text))), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{str(text).strip()}\n{fence}"


_MARKS = re.compile(r"[<＜﹤〈‹]\s*/?\s*(START|END)\s+OF\b([^<>＜＞]{0,200}?)[>＞﹥〉›]", re.IGNORECASE)


def delimited(text: object, name: str) -> str:
    """Data between `<START OF NAME>` and `<END OF NAME>` (FIRM, appendix C); marks inside it lose their brackets.

    Control characters and those that take no room are dropped first, so that none can hide a mark.
    """
    shown = "".join(c for c in str(text) if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf"))
    inside = _MARKS.sub(lambda m: f"({m[1]} OF{m[2]})", shown).strip()
    return f"<START OF {name}>\n{inside}\n<END OF {name}>"


def _environment(source: Callable[[str], tuple[str, str, Callable[[], bool]] | None]) -> Environment:
    environment = ImmutableSandboxedEnvironment(
        loader=FunctionLoader(source),
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {"fenced": fenced, "delimited": delimited}
    return environment


def _focus(matter: Mapping[str, Any], draw: int) -> Mapping[str, Any] | None:
    """The focus of a draw, where the front matter lists foci; a plain word is its own question."""
    foci = matter.get("foci")
    if not isinstance(foci, list) or not foci:
        return None
    chosen = foci[draw % len(foci)]
    return chosen if isinstance(chosen, dict) else {"name": str(chosen), "ask": str(chosen)}


def _read(name: str, path: str) -> PromptFile:
    try:
        return parse(path, read_bytes(path))
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise InputError(f"prompts.{name}: {path} cannot be read ({type(error).__name__}); correct the path") from error


def _id_of(path: Path) -> str:
    return path.relative_to(_SHIPPED).with_suffix("").as_posix()


def _shown(path: str) -> str:
    return f"prompts/{Path(path).relative_to(_SHIPPED).as_posix()}"
