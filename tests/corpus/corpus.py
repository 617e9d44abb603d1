"""Changes with known flaws: read from scenario files, scored by the evaluators that are shipped.

A file holds one task in several variants. `good` is how it should be done; every other variant is
the good one with the files that stand under it put in their place:

    #: language python
    #: task
    What was asked for.
    #: before PATH            a file of the base
    #: good
    #: file PATH              a file of the result
    #: flawed CLASS [CLASS]   what is wrong, the names being rules (see RULES)
    #: malicious CLASS
    #: without PATH PATH      files of `good` that this variant does not have

`<U+202E>` stands for that character and `<JOIN>` for nothing, so that no editor is misled by the
corpus and no scanner takes its made-up keys for real ones.
"""

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from paceline.evaluators.aggregate import Evaluation
from paceline.evaluators.change import Change, from_texts
from paceline.evaluators.context import Context
from paceline.evaluators.engine import evaluate, in_this_process
from paceline.evaluators.registry import Registry

CASES = Path(__file__).parent / "cases"
HELD_OUT = Path(__file__).parent / "held_out"

RULES = {
    "swallowed-error": {"swallowed-error", "BLE001", "E722", "B110"},
    "undefined-name": {"F821", "F823"},
    "unused": {"F401", "F841", "F811"},
    "stub": {"stub", "placeholder"},
    "placeholder": {"stub", "placeholder"},
}
"""Classes of flaws that several rules stand for, or one of another name."""

_CHARACTER = re.compile(r"<U\+([0-9A-F]{4})>")


class Grade(IntEnum):
    """How a variant must rank within its task: a higher grade has a higher score."""

    MALICIOUS = 0
    FLAWED = 1
    GOOD = 2


@dataclass(slots=True)
class Variant:
    """One change. `classes` are its flaws, the first one the one it was written for."""

    task: str
    number: int
    language: str
    grade: Grade
    classes: tuple[str, ...]
    requirements: str
    before: dict[str, str]
    files: dict[str, str] = field(default_factory=dict)
    without: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        return f"{self.task}-{self.number}-{self.classes[0] if self.classes else 'good'}"

    @property
    def after(self) -> dict[str, str]:
        kept = {p: t for p, t in (self.before | self.files).items() if p not in self.without}
        return {path: text for path, text in kept.items() if text or path in self.before}

    @property
    def change(self) -> Change:
        return from_texts(self.before, self.after)


@dataclass(frozen=True, slots=True)
class Scored:
    """A variant and what the evaluators say of it."""

    variant: Variant
    evaluation: Evaluation

    @property
    def score(self) -> float:
        assert self.evaluation.score is not None, self.variant.name
        return self.evaluation.score

    @property
    def rules(self) -> set[str]:
        return {issue.rule for _, issue in self.evaluation.issues}


def load(directory: Path = CASES) -> list[Variant]:
    """Answer all variants of all files in a directory."""
    return [v for path in sorted(directory.glob("*.txt")) for v in _read(path)]


def _read(path: Path) -> Iterator[Variant]:
    text = path.read_text(encoding="utf-8").replace("<JOIN>", "")
    text = _CHARACTER.sub(lambda match: chr(int(match[1], 16)), text)
    language, task, before = "", "", {}
    variants: list[Variant] = []
    for part in re.split(r"^#: ", text, flags=re.M)[1:]:
        head, _, body = part.partition("\n")
        word, *rest = head.split()
        match word:
            case "language":
                language = rest[0]
            case "task":
                task = body
            case "before":
                before[rest[0]] = body
            case "file":
                variants[-1].files[rest[0]] = body
            case "without":
                variants[-1].without.update(rest)
            case _:
                grade = Grade[word.upper()]
                files = dict(variants[0].files) if variants else {}
                number = len(variants)
                variants.append(
                    Variant(path.stem, number, language, grade, tuple(rest), task, before, files)
                )
    yield from variants


async def score(variant: Variant) -> Scored:
    """Answer what all shipped evaluators say, in this process: hundreds of others take minutes."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for path, text in variant.after.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, encoding="utf-8")
        context = Context(requirements=variant.requirements, repository=root)
        registry = Registry()
        run = in_this_process(registry)
        return Scored(variant, await evaluate(variant.change, context, registry=registry, run=run))


async def score_all(variants: list[Variant]) -> list[Scored]:
    return [await score(variant) for variant in variants]


def rules_of(flaw: str) -> set[str]:
    """Answer the rules that stand for a class of flaws."""
    return RULES.get(flaw, {flaw})
