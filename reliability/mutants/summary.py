"""What a run found: the table, the survivors that nobody has explained yet, the record."""

from __future__ import annotations

import json
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from reliability.mutants import contexts, judge
from reliability.mutants.generate import Mutant
from reliability.mutants.suite import MATHEMATICS, Suite

SURVIVORS = Path(__file__).parents[1] / "survivors.toml"
FIELDS = ("module", "function", "operator", "before", "after")
KINDS = ("equivalent", "open")
ALIVE = (judge.SURVIVED, judge.IMPOSSIBLE)
TESTS, NBVAL, EQUIVALENT, OPEN, UNTRIED = "tests", "nbval", "equivalent", "open", "untried"
COLUMNS = [
    "module",
    "mutants",
    "killed by tests",
    "killed only by nbval",
    "equivalent",
    "surviving",
    "rate in %",
]
Name = tuple[str, ...]


def explained(path: Path = SURVIVORS) -> list[dict[str, str]]:
    """The mutants that survive with a reason.

    Raises
    ------
    ValueError
        If an entry lacks a field, or is of another kind than these.
    """
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("survivor", [])
    for entry in entries:
        if set(entry) != {*FIELDS, "kind", "reason"} or entry["kind"] not in KINDS:
            raise ValueError(f"survivor: expected {FIELDS}, kind and reason, got {entry}")
    return entries


def name_of(one: Mutant | Mapping[str, str]) -> Name:
    """What a survivor is known by: where it is, and its line before and after."""
    if isinstance(one, Mutant):
        return tuple(getattr(one, field) for field in FIELDS)
    return tuple(one[field] for field in FIELDS)


def equivalents(entries: Iterable[Mapping[str, str]]) -> set[Name]:
    """The survivors that change nothing which anyone could observe."""
    return {name_of(entry) for entry in entries if entry["kind"] == EQUIVALENT}


def stale(entries: Iterable[Mapping[str, str]], mutants: Iterable[Mutant]) -> list[Name]:
    """The entries that no mutant answers to any more."""
    there = set(map(name_of, mutants))
    return [name for name in map(name_of, entries) if name not in there]


def fate(mutant: Mutant, result: Mapping | None, equivalent: set[Name]) -> str:
    """One word for what became of a mutant; what changes nothing need not be tried."""
    if result is None or "tests" not in result:
        return EQUIVALENT if name_of(mutant) in equivalent else UNTRIED
    if result["tests"] not in ALIVE:
        return TESTS
    if result.get("nbval", judge.SURVIVED) not in ALIVE:
        return NBVAL
    return EQUIVALENT if name_of(mutant) in equivalent else OPEN


def rate(counts: Mapping[str, int]) -> float:
    """The killed among those that change behaviour, in per cent."""
    killed = counts[TESTS] + counts[NBVAL]
    tried = killed + counts[OPEN]
    return round(100 * killed / tried, 1) if tried else 100.0


def row(name: str, counts: Counter) -> list[str | int | float]:
    numbers = [counts[kind] for kind in (TESTS, NBVAL, EQUIVALENT, OPEN)]
    return [name, sum(numbers), *numbers, rate(counts)]


class Summary:
    """The fate of each mutant, counted and listed."""

    def __init__(self, mutants: Sequence[Mutant], results: Mapping[str, dict]):
        self.results = results
        entries = explained()
        equivalent = equivalents(entries)
        self.fates = [
            (mutant, fate(mutant, results.get(mutant.key), equivalent)) for mutant in mutants
        ]
        self.stale = stale(entries, mutants)
        listed = set(map(name_of, entries))
        self.unlisted = [one for one in self.of(OPEN) if name_of(one) not in listed]

    def of(self, kind: str) -> list[Mutant]:
        """The mutants of one fate."""
        return [mutant for mutant, told in self.fates if told == kind]

    def rows(self) -> list[list[str | int | float]]:
        """The table, a module a row."""
        by_module: dict[str, Counter] = defaultdict(Counter)
        for mutant, told in self.fates:
            by_module[mutant.module][told] += 1
        groups = [(name, [name]) for name in by_module]
        groups += [("the mathematics", list(MATHEMATICS)), ("all", list(by_module))]
        return [
            row(name, sum((by_module[each] for each in members), Counter()))
            for name, members in groups
        ]

    def show(self) -> None:
        """Print the table."""
        for one in [COLUMNS, *self.rows()]:
            print(f"{one[0]:<34}" + "".join(f"{cell!s:>22}" for cell in one[1:]))
        if untried := self.of(UNTRIED):
            print(f"{len(untried)} mutants were not tried, so this run has no record")
        for name in self.stale:
            print(f"survivors.toml names a mutant that is no more: {name}")

    def write_survivors(self, suite: Suite, folder: Path) -> None:
        """Write the survivors without a reason, a file a module, ready for survivors.toml."""
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob("*.md"):
            path.unlink()
        by_module: dict[str, list[Mutant]] = defaultdict(list)
        for mutant in self.unlisted:
            by_module[mutant.module].append(mutant)
        for module, mutants in by_module.items():
            name = module.removesuffix(".py").replace("/", "-")
            pieces = [f"# {module}: {len(mutants)} mutants survive", ""]
            pieces += [self._described(mutant, suite) for mutant in mutants]
            (folder / f"{name}.md").write_text("\n".join(pieces), encoding="utf-8")

    def _described(self, mutant: Mutant, suite: Suite) -> str:
        found = suite.covering(mutant, "here", "elsewhere")
        files = Counter(map(contexts.file_of, found))
        by_file = ", ".join(f"{file} ({number})" for file, number in files.most_common())
        first, last = mutant.lines
        lines = f"line {first}" if first == last else f"lines {first} to {last}"
        entry = {field: getattr(mutant, field) for field in FIELDS} | {"kind": "", "reason": ""}
        return "\n".join(
            [
                f"## {mutant.key} {mutant.function or 'module level'}, {lines}: {mutant.operator}",
                "```diff",
                f"- {mutant.before}",
                f"+ {mutant.after}",
                "```",
                f"Run by: {by_file or 'nothing'}",
                "```toml",
                entry_text(entry),
                "```",
                "",
            ]
        )

    def record(self, alone: Mapping[str, int], command: str) -> dict:
        """What `reliability/records/mutants.json` holds, with what the notebooks alone notice."""
        told = self.rows()
        killed_by = {one.key: self.results[one.key]["notebook"] for one in self.of(NBVAL)}
        by_notebook = [[*name_of(one), Path(killed_by[one.key]).stem] for one in self.of(NBVAL)]
        whole, mathematics = told[-1], told[-2]
        return {
            "command": command,
            "tables": {
                "modules": {"columns": COLUMNS, "rows": told},
                "only_nbval": {
                    "columns": ["module", "function", "operator", "line", "mutant", "noticed by"],
                    "rows": by_notebook,
                },
            },
            "summary": {
                "mutants": whole[1],
                "killed_by_tests": whole[2],
                "killed_only_by_nbval": whole[3],
                "equivalent": whole[4],
                "surviving": whole[5],
                "rate": whole[6],
                "rate_of_the_mathematics": mathematics[6],
                "lowest_rate_of_the_mathematics": min(
                    (one[6] for one in told if one[0] in MATHEMATICS), default=None
                ),
                **alone,
            },
        }


def entry_text(entry: Mapping[str, str]) -> str:
    """One entry of survivors.toml."""
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in entry.items()]
    return "\n".join(["[[survivor]]", *lines])
