"""From what was asked for to a checklist.

A list in the text is the checklist, an item each (numbers, bullets, check boxes); else each
sentence that asks for something is one. Of an item, some words are hard: names in backticks, quoted
words, paths, options, names that only a program has. They must be met as they stand. The others are
soft: stems that should be met by names in the code.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

ITEMS_LIMIT = 100
ITEM_CHARACTERS = 1000
TEXT_LIMIT = 200_000

_BULLET = re.compile(r"^\s*(?:[-*+•]|\d{1,3}[.)]|\(?[a-z]\))\s+(?:\[[ xX]\]\s+)?(.*\S)")
_FENCE = re.compile(r"^\s*(```|~~~)")
_SENTENCE = re.compile(r"(?<=[.!?;])\s+(?=[A-Z`\"'(])|\n{2,}")
_TICKED = re.compile(r"`([^`\n]{1,120})`")
_QUOTED = re.compile(r"[\"“]([^\"”\n]{2,80})[\"”]")
_PATH = re.compile(r"(?<![\w/.])(?:[\w.-]+/)*[\w-]+\.[A-Za-z]{1,4}[A-Za-z0-9]?(?![\w/(])")
_OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]+")
_NAME = re.compile(r"\b(?:[a-z]+(?:[A-Z][a-z0-9]+)+|[A-Z][a-z0-9]+(?:[A-Z][a-z0-9]+)+|\w+_\w+)\b")
_CALL = re.compile(r"^[\w.]+\(.*\)$")
_WORD = re.compile(r"[A-Za-z][a-z]+|[A-Z]{2,}")
_ERRORS = re.compile(
    r"\b(raise|raises|throw|throws|reject|rejects|refuse|refuses|invalid|error|errors|fails?|failure"
    r"|exception|retry|retries|handle|handles)\b",
    re.I,
)
_TESTS = re.compile(r"\b(unit |regression |integration )?tests?\b", re.I)
_ABOUT_TESTS = re.compile(
    r"^\W*(please\s+)?(add|write|include|provide|with|cover)\b.{0,40}\btests?\b", re.I
)
_PROSE = re.compile(r"\b(document|docs|readme|changelog|docstring|comment)\b", re.I)
_REMOVES = re.compile(r"^\W*(please\s+)?(remove|delete|drop|get rid of)\b", re.I)
_KNOWN_SUFFIX = frozenset(
    {
        *(".py", ".pyi", ".js", ".mjs", ".cjs", ".jsx", ".ts", ".tsx", ".go", ".rs", ".java", ".c"),
        *(".h", ".cpp", ".rb", ".php", ".md", ".rst", ".txt", ".toml", ".yaml", ".yml", ".json"),
        *(".html", ".css", ".sql", ".sh", ".cfg", ".ini", ".lock", ".mod", ".xml", ".vue", ".kt"),
    }
)
_CONSTANTS = frozenset({"", "none", "null", "nil", "true", "false", "undefined", "self"})
"""Words of a language that are in most programs anyway."""

_STOP = frozenset(
    """
    a able about above add added adds after again all allow allows also an and answer answers any
    are argument arguments as at be because been before being below best both but by call called
    can cannot change changes check class code correctly could create creates current define
    defined do does doing done each either else ensure error errors etc every exception exceptions
    existing fail failed fails failure false feature few fewer file files first fix following for
    from function functions get gets give given gives handle handles has have having how if
    implement implementation implemented implements in include including instead into invalid is
    it its just keep kind last least let like line lines make makes many may method methods module
    more most must need needed needs new no none not now null number numbers object objects of off
    on once one only or other our out over own parameter parameters part please possible program
    project properly provide provided put raise raised raises reads refuse refused refuses reject
    rejects repository requirement requirements return returned returning returns said same say
    says second set should show so some still string strings such support supports take takes tell
    tells test tests than that the their them then there these they this those three through throw
    thrown throws to too true two type under up update updated upon use used user users uses using
    value values very via want was we well were what when where whether which while who will with
    within without work works would write you your
    """.split()  # noqa: SIM905 - two hundred quoted words cannot be read
)


@dataclass(frozen=True, slots=True)
class Requirement:
    """One item of the checklist. All words are as they stand in the text, but for the stems."""

    text: str
    names: tuple[str, ...] = ()
    """Identifiers that must appear in the code."""
    paths: tuple[str, ...] = ()
    """Files that must be changed."""
    literals: tuple[str, ...] = ()
    """Options and quoted words that must appear, in a string at least."""
    stems: tuple[str, ...] = ()
    about_errors: bool = False
    about_tests: bool = False
    about_prose: bool = False
    removes: bool = False

    @property
    def is_checkable(self) -> bool:
        """Answer whether anything in it can be looked for."""
        return bool(self.names or self.paths or self.literals or self.stems or self.about_tests)


def checklist(text: str) -> tuple[Requirement, ...]:
    """Answer the items that the text asks for, in order, at most ITEMS_LIMIT."""
    items = list(dict.fromkeys(_items(text[:TEXT_LIMIT])))
    found = (_requirement(item[:ITEM_CHARACTERS]) for item in items[:ITEMS_LIMIT])
    return tuple(item for item in found if item.is_checkable)


def stem(word: str) -> str:
    """Answer a word without its ending, so that `caching`, `cached` and `caches` are one."""
    word = word.lower()
    for ending in ("ization", "ation", "ments", "ment", "ingly", "ings", "ing", "edly", "ied",
                   "ies", "ers", "ed", "er", "es", "s", "ly", "e", "y"):  # fmt: skip
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word


def _items(text: str) -> Iterator[str]:
    lines = _without_fences(text)
    bullets = _bullets(lines)
    if bullets:
        yield from bullets
        return
    for sentence in _SENTENCE.split("\n".join(lines)):
        words = " ".join(sentence.split())
        if words and not words.startswith("#"):
            yield words


def _without_fences(text: str) -> list[str]:
    """Answer the lines outside of code blocks: an example asks for nothing by itself."""
    kept, fenced = [], False
    for line in text.split("\n"):
        if _FENCE.match(line):
            fenced = not fenced
        elif not fenced:
            kept.append(line)
    return kept


def _bullets(lines: list[str]) -> list[str]:
    """Answer the items of lists, each with the indented lines that go on with it."""
    items: list[str] = []
    going_on = False
    for line in lines:
        if match := _BULLET.match(line):
            items.append(match[1])
            going_on = True
        elif going_on and line.startswith((" ", "\t")) and line.strip():
            items[-1] += " " + line.strip()
        else:
            going_on = False
    return items


def _requirement(text: str) -> Requirement:
    ticked = _TICKED.findall(text)
    rest = _TICKED.sub(" ", text)
    quoted = [word for word in _QUOTED.findall(rest) if len(word.split()) <= 8]
    rest = _QUOTED.sub(" ", rest)
    paths = [p for p in (*ticked, *_PATH.findall(rest)) if _is_path(p)]
    for path in paths:
        rest = rest.replace(path, " ")
    options = _OPTION.findall(rest)
    names = [_bare(word) for word in ticked if word not in paths]
    names += _NAME.findall(_OPTION.sub(" ", rest))
    names = [name for name in names if name.lower() not in _CONSTANTS]
    identifiers = [name for name in names if re.fullmatch(r"[A-Za-z_]\w*", name)]
    literals = [name for name in names if name and name not in identifiers]
    return Requirement(
        text=" ".join(text.split()),
        names=_unique(identifiers),
        paths=_unique(paths),
        literals=_unique([*literals, *quoted, *options]),
        stems=_stems(_NAME.sub(" ", _OPTION.sub(" ", rest))),
        about_errors=_ERRORS.search(text) is not None,
        about_tests=_TESTS.search(text) is not None,
        about_prose=_PROSE.search(text) is not None,
        removes=_REMOVES.search(text) is not None,
    )


def _is_path(word: str) -> bool:
    suffix = PurePosixPath(word).suffix.lower()
    return suffix in _KNOWN_SUFFIX and " " not in word and not _CALL.match(word)


def _bare(word: str) -> str:
    """Answer the name in `name(arguments)` and the last part of `a.b.name`."""
    head = word.split("(", maxsplit=1)[0].strip() if "(" in word else word.strip()
    return head.rpartition(".")[2] if re.fullmatch(r"[\w.]+\.[A-Za-z_]\w*", head) else head


def _stems(text: str) -> tuple[str, ...]:
    words = (word.lower() for word in _WORD.findall(text))
    return _unique([stem(word) for word in words if word not in _STOP and len(word) > 2])


def _unique(words: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))
