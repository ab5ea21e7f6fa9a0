"""Numbers in the prose of a notebook, and what holds each: the rules, and why.

A number in prose is a statement, and a statement has a cell that fails if it is wrong. Every number
that is written in digits is of one of these kinds:

``formula``
    A constant of a formula, as the 2 in ``$p/2N$`` or in N - 1: below ten, or glued to a command or
    an index as in ``\\frac12`` and ``L_{11}``. What a formula amounts to is none: ``$d = 20$``,
    ``$e^2 \\approx 7.389$``, ``$10^4$`` and ``$(1, -1)$`` are claims.
``name``
    Part of a name, as in ``float32``, that must stand in the notebook's code or be in ``NAMES``.
``year``
    Of a publication, in brackets. It must stand among the references.
``minutes``
    To read and to run. They are multiples of five, and ``the_minutes_are_estimated_alike``.
``reference``
    To a section, a notebook or an exercise. It must be there, a link must lead to it, and the hint
    that is shown is that of the first exercise.
``heading``
    In the heading with which a part begins. They count from one.
``claim``
    Everything else. It must be held.

Not held are

- the references at the end, with their years and pages;
- constants of formulas, and references in words, which may lead to a wrong place that is there:
  nothing that is computed says which place, or which formula, is meant;
- numbers in words, as in "five standard errors" or "a hundredth". Those that state a result are
  tied as below: neither the words nor the line can be altered alone. That the words say what the
  line says was checked by a reader. Other numbers in words may be anything.

A claim is held by the cells of its own part (a section, an exercise), and in the recap and the like
by those of the whole notebook: by their outputs, and by the numbers in their code. It is held

- if its value stands there, to the digits of the claim, while one unit more or less in the last
  digit does not, so that a slip would be seen; or
- if ``tests/data/prose_numbers.toml`` ties its words to a line of code or output, in any cell of
  the notebook or in a file. Both must stand there, letter by letter, and the number in the line.
  A claim needs this where cells of its part show integers that could be exchanged for it: with a
  tie they cannot. Each number among tied words must stand in one of their lines.

The words for figures in ``docs/alt_text.toml`` are held in the same way, by the section that draws
the figure.

Outputs that are not compared, those of cells tagged ``nbval-ignore-output``, hold nothing.

Signs are not compared.
"""

from __future__ import annotations

import io
import re
import tokenize
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from itertools import count
from pathlib import Path

from nbformat import NotebookNode

from workshop.anatomy import LINK, Part, course_notebooks, parts

ROOT = Path(__file__).parents[1]
TIES = Path(__file__).parent / "data" / "prose_numbers.toml"
LEFT_OUT = {"References"}
NAMES = {"TF32", "set_float32_matmul_precision"}
MINUTES_STEP = 5
CONSTANTS = 10  # integers below are constants of formulas
ROUNDED_DIGITS = 3  # a shorter number must stand as it is: many round to 0.1

NUMBER = re.compile(
    r"10\^(?:\{-?\d+\}|\d)|(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+(?:\.\d+)?)(?:e[-+]?\d+)?"
)
SPANS = {
    "display": re.compile(r"\$\$.+?\$\$", re.DOTALL),
    "code": re.compile(r"`+[^`]+`+"),
    "formula": re.compile(r"(?<![\\$])\$(?!\$)[^$\n]+\$"),
}
# Numbers alone, and what stands at the end behind a sign of equality.
AMOUNT = re.compile(r"\$[-+\d(), .^{}]+\$")
RESULT = re.compile(r"(?:=|\\approx) *-?$")
GLUE = re.compile(r"(?:[A-Za-z_^]|_\{|\\[a-z]+\{)$")
FORMULA_IN_TEXT = re.compile(r"\bN [-−] $")
REFERENCE = re.compile(r"\b(section|notebook|exercise)s? $|(hint\(\")$", re.IGNORECASE)
HEADING = re.compile(r"^(?:#+ |### Exercise )$")
MINUTES = re.compile(r"about (\d+) minutes to read and run, (\d+) more for the exercises")
YEAR = re.compile(r"\((?:1[6-9]|20)\d\d\)")
ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class ProseNumber:
    """A number in a markdown cell.

    Attributes
    ----------
    start, stop : int
        Where it stands in the source of the cell.
    text : str
        As it is written.
    kind : str
        One of the kinds above.
    """

    start: int
    stop: int
    text: str
    kind: str


@dataclass(frozen=True)
class Tie:
    """Words of a notebook's prose, and the line that holds their numbers.

    The line stands in a cell of the notebook, or in the file that is named.
    """

    notebook: str
    prose: str
    line: str
    file: str = ""


@cache
def ties(table: str = "prose", path: Path = TIES) -> tuple[Tie, ...]:
    """The ties of the notebooks' prose, or of the words for their figures (table ``"figures"``)."""
    return tuple(Tie(**each) for each in tomllib.loads(path.read_text(encoding="utf-8"))[table])


# What is written ---------------------------------------------------------------------------------


def value_of(text: str) -> Decimal:
    """The number that is written: ``1,000``, ``2.5``, ``1e-6``, ``10^4`` or ``10^{-3}``."""
    if text.startswith("10^"):
        return Decimal(10) ** int(text[3:].strip("{}"))
    return Decimal(text.replace(",", ""))


def unit_of(text: str) -> Decimal:
    """What one more in the last digit that is written adds."""
    return Decimal(1).scaleb(value_of(text).as_tuple().exponent)


def altered(text: str) -> list[str]:
    """The number with its last digit one higher and one lower, written as before."""
    if text.startswith("10^"):
        brace = "{%d}" if "{" in text else "%d"
        power = int(text[3:].strip("{}"))
        return ["10^" + brace % (power + step) for step in (1, -1)]
    mantissa, mark, exponent = text.partition("e")
    moved = [value_of(mantissa) + step * unit_of(mantissa) for step in (1, -1)]
    form = "," if "," in mantissa else ""
    width = len(mantissa)  # 02.1 keeps its nought
    return [f"{each:{form}f}".zfill(width) + mark + exponent for each in moved if each >= 0]


@cache
def without_targets(source: str) -> str:
    """Markdown with blanks in the place of addresses, each character where it was."""
    for match in LINK.finditer(source):
        start = match.end(2) if match[2] else match.start(3)
        blank = " " * (match.end() - start)
        source = source[:start] + blank + source[match.end() :]
    return source


def span_of(source: str, at: int) -> tuple[str, re.Match | None]:
    """What a place in markdown belongs to: a display, code, a formula, or the text."""
    for kind, pattern in SPANS.items():
        for match in pattern.finditer(source):
            if match.start() <= at < match.end():
                return kind, match
    return "text", None


def kind_of(source: str, number: re.Match) -> str:
    """The kind of one number of a markdown cell, see the top of this file."""
    line = source.rfind("\n", 0, number.start()) + 1
    before, after = source[line : number.start()], source[number.end() : number.end() + 1]
    where, span = span_of(source, number.start())
    if where in ("display", "formula"):
        return kind_in_formula(span[0], number, before, after)
    if re.search(r"[A-Za-z_]$", before) or (after.isalpha() and number[0].isdigit()):
        return "name"
    if REFERENCE.search(before) and not HEADING.match(before):
        return "reference"
    if line == 0 and HEADING.match(before) and re.match(r" · ", source[number.end() :]):
        return "heading"
    if any(m.start() <= number.start() < m.end() for m in MINUTES.finditer(source)):
        return "minutes"
    if any(m.start() < number.start() < m.end() for m in YEAR.finditer(source)):
        return "year"
    return "formula" if FORMULA_IN_TEXT.search(before) else "claim"


def kind_in_formula(span: str, number: re.Match, before: str, after: str) -> str:
    """Whether a number of a formula is a constant of it, or what it amounts to."""
    if AMOUNT.fullmatch(span) or (RESULT.search(before) and after == "$"):
        return "claim"
    if RESULT.search(before) and re.match(r" *(?:=|\\approx|,)", number.string[number.end() :]):
        return "claim"
    is_small = number[0].isdigit() and int(number[0]) < CONSTANTS
    return "formula" if GLUE.search(before) or is_small else "claim"


@cache
def prose_numbers(source: str) -> tuple[ProseNumber, ...]:
    """Every number in a markdown cell, in order."""
    text = without_targets(source)
    return tuple(
        ProseNumber(m.start(), m.end(), m[0], kind_of(text, m)) for m in NUMBER.finditer(text)
    )


def markdown(part: Part) -> list[str]:
    """The sources of its markdown cells; none for the references."""
    if part.heading in LEFT_OUT:
        return []
    return [cell.source for cell in part.cells if cell.cell_type == "markdown"]


# What holds it -----------------------------------------------------------------------------------


def output_text(cell: NotebookNode) -> str:
    """Everything printed below a cell, tracebacks too, without colours."""
    found = []
    for output in cell.outputs:
        if output.output_type == "stream":
            found.append(output.text)
        elif output.output_type == "error":
            found += [output.ename, output.evalue, *output.traceback]
        else:
            found += [text for kind, text in output.data.items() if kind.startswith("text/")]
    return ANSI.sub("", "\n".join(found))


def compared_text(cell: NotebookNode) -> str:
    """What is printed below a cell; nothing where it may vary from run to run."""
    return "" if "nbval-ignore-output" in cell.metadata.get("tags", []) else output_text(cell)


@cache
def values_in_code(source: str) -> frozenset[Decimal]:
    """The numbers that code is given; those in comments and strings say nothing."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    texts = [each.string.replace("_", "") for each in tokens if each.type == tokenize.NUMBER]
    return frozenset(map(Decimal, texts))


@cache
def values_in_text(text: str) -> frozenset[Decimal]:
    """The numbers in what a cell has printed."""
    return frozenset(value_of(each) for each in NUMBER.findall(text))


@dataclass(frozen=True, eq=False)  # what is found with its help is kept beside it
class Evidence:
    """What the code cells of a notebook are given and print.

    Attributes
    ----------
    code, shown : str
        Their sources, and all that is printed below them.
    values : dict
        The numbers of each cell, by the identity of the cell.
    """

    code: str
    shown: str
    values: dict[int, frozenset[Decimal]]

    @classmethod
    def of(cls, notebook: NotebookNode) -> Evidence:
        """Read every code cell."""
        cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
        printed = [compared_text(cell) for cell in cells]
        values = [
            values_in_code(cell.source) | values_in_text(text)
            for cell, text in zip(cells, printed, strict=True)
        ]
        code = "\n".join(cell.source for cell in cells)
        return cls(code, "\n".join(printed), dict(zip(map(id, cells), values, strict=True)))

    def for_part(self, part: Part) -> frozenset[Decimal]:
        """The numbers that hold what a part says: its own, or those of the whole notebook."""
        if part.kind in ("text", "opening"):
            return values_of(self, tuple(self.values))
        return values_of(self, tuple(map(id, part.cells)))

    def has_line(self, tie: Tie) -> bool:
        """Whether the line of a tie stands where the tie says."""
        if tie.file:
            return tie.line in text_of_file(tie.file)
        return tie.line in self.code or tie.line in self.shown


@cache
def values_of(evidence: Evidence, cells: tuple[int, ...]) -> frozenset[Decimal]:
    """The numbers of some cells, which are given by their identities."""
    return frozenset().union(*(evidence.values.get(cell, ()) for cell in cells))


@cache
def text_of_file(name: str) -> str:
    """A file of the checkout."""
    return (ROOT / name).read_text(encoding="utf-8")


@cache
def standing_ties(evidence: Evidence, number: str) -> tuple[Tie, ...]:
    """The ties of the prose of a notebook whose lines stand where they say."""
    own = (tie for tie in ties() if tie.notebook == number)
    return tuple(tie for tie in own if evidence.has_line(tie))


def stands_in(
    text: str, values: frozenset[Decimal], percent: bool = False, digits: int = ROUNDED_DIGITS
) -> bool:
    """Whether a number is among others: itself or, with enough digits, as one of them rounded."""
    value, unit = value_of(text), unit_of(text)
    known = {each * 100 for each in values} | values if percent else values
    if unit >= 1 or len(value.as_tuple().digits) < digits:
        return value in known
    return any(abs(each - value) * 2 <= unit for each in known)


def is_held(text: str, values: frozenset[Decimal], percent: bool) -> bool:
    """Whether a number stands among the values, and its neighbours do not."""
    if not stands_in(text, values, percent):
        return False
    return not any(stands_in(each, values, percent) for each in altered(text))


@cache
def places(words: str, source: str) -> tuple[tuple[int, int], ...]:
    """Where words stand that do not end, or begin, within a number."""
    pattern = rf"(?<!\d){re.escape(words)}(?![.,]?\d)"
    return tuple(match.span() for match in re.finditer(pattern, source))


def ties_of(found: ProseNumber, source: str, own: list[Tie]) -> list[Tie]:
    """The ties among whose words a number is."""
    return [
        tie
        for tie in own
        for start, stop in places(tie.prose, source)
        if start <= found.start < found.stop <= stop
    ]


def is_claim_held(
    found: ProseNumber, source: str, values: frozenset[Decimal], own: list[Tie]
) -> bool:
    """Whether its value stands in a line that its words are tied to; without ties, in its part."""
    percent = is_percent(found, source)
    tied = ties_of(found, source, own)
    if not tied:
        return is_held(found.text, values, percent)
    lines = [values_in_line(tie.line) for tie in tied]
    return any(stands_in(found.text, each, percent, digits=1) for each in lines)


def is_percent(found: ProseNumber, source: str) -> bool:
    """Whether a share is given in hundredths."""
    return source[found.stop :].startswith(" %")


@cache
def values_in_line(line: str) -> frozenset[Decimal]:
    """The numbers in a line of code or of output."""
    return values_in_text(line.replace("_", ""))


# What is wrong -----------------------------------------------------------------------------------


def number_of(notebook: NotebookNode) -> str:
    """The number in the title, with two digits; 00 if there is none."""
    found = re.match(r"# (\d+) · ", notebook.cells[0].source)
    return f"{int(found[1]):02d}" if found else "00"


def unheld_in(
    source: str, values: frozenset[Decimal], standing: Sequence[Tie]
) -> tuple[list[str], set[Tie]]:
    """The claims of a text that nothing holds, each with words around it, and the ties it uses."""
    here = [tie for tie in standing if places(tie.prose, source)]
    loose = [
        f"no cell holds {found.text} in '{words_around(found, source)}'"
        for found in prose_numbers(source)
        if found.kind == "claim" and not is_claim_held(found, source, values, here)
    ]
    return loose, set(here)


@cache
def unheld_in_cell(
    source: str, values: frozenset[Decimal], evidence: Evidence, number: str
) -> tuple[list[str], set[Tie]]:
    """As `unheld_in`, in the notebook of a number: most cells are asked again as they were."""
    return unheld_in(source, values, standing_ties(evidence, number))


def unheld_claims(notebook: NotebookNode, cut: list[Part], evidence: Evidence) -> list[str]:
    """The claims that no cell holds, and the ties that tie nothing."""
    number = number_of(notebook)
    own = [tie for tie in ties() if tie.notebook == number]
    problems, useful = [], set()
    for part in cut:
        values = evidence.for_part(part)
        for source in markdown(part):
            loose, used = unheld_in_cell(source, values, evidence, number)
            problems += [f"'{part.heading}': {each}" for each in loose]
            useful |= used
    idle = [tie for tie in own if tie not in useful]
    return problems + [f"'{tie.prose}' cannot be tied to '{tie.line}'" for tie in idle]


def words_around(found: ProseNumber, source: str) -> str:
    """A number with what stands around it, on one line."""
    return " ".join(source[max(0, found.start - 40) : found.stop + 20].split())


def miscounted(cut: list[Part], here: str) -> list[str]:
    """Headings that do not count from one, in the notebook of a number."""
    of_kind = {"section": count(1), "exercise": count(1)}
    problems = []
    for part in cut:
        if part.kind in of_kind:
            position = next(of_kind[part.kind])
            expected = str(position) if part.kind == "section" else f"{here}.{position}"
            if part.number != expected:
                problems.append(f"'{part.heading}' is to have the number {expected}")
    return problems


# What can be referred to: "section", "exercise" or "notebook", and its number.
Places = frozenset[tuple[str, str]]


def reference_problem(found: ProseNumber, text: str, there: Places) -> str | None:
    """What is wrong with a reference, else None."""
    what = REFERENCE.search(text[: found.start])[1]
    if what is None:
        return None if found.text.endswith(".1") else f"the hint {found.text} is not the first"
    is_there = (what.lower(), found.text) in there
    return None if is_there else f"there is no {what} {found.text}"


def name_problem(found: ProseNumber, text: str, code: str) -> str | None:
    """What is wrong with a name that has a number in it, else None."""
    begin = re.search(r"\w*$", text[: found.start]).start()
    (name,) = re.findall(r"^\w+", text[begin:])
    return None if name in NAMES or name in code else f"no code has the name {name}"


@cache
def numbers_of_notebooks() -> frozenset[str]:
    """The numbers of the course's notebooks, as prose has them."""
    return frozenset(str(int(path.name[:2])) for path in course_notebooks())


def misplaced(cut: list[Part], code: str) -> list[str]:
    """References to what is not there, names and years that stand nowhere else."""
    numbered = {(p.kind, p.number) for p in cut if p.kind in ("section", "exercise")}
    there = frozenset(numbered | {("notebook", number) for number in numbers_of_notebooks()})
    cited = cut[-1].cells[-1].source
    sources = (source for part in cut for source in markdown(part))
    return [each for source in sources for each in misplaced_in(source, there, cited, code)]


@cache
def misplaced_in(source: str, there: Places, cited: str, code: str) -> list[str]:
    """As `misplaced`, in one cell."""
    text, problems = without_targets(source), []
    for found in prose_numbers(text):
        if found.kind == "reference":
            problems.append(reference_problem(found, text, there))
        elif found.kind == "name":
            problems.append(name_problem(found, text, code))
        elif found.kind == "year" and f"({found.text})" not in cited:
            problems.append(f"no reference is of {found.text}")
        elif found.kind == "minutes" and int(found.text) % MINUTES_STEP:
            problems.append(f"{found.text} minutes are not rounded to {MINUTES_STEP}")
    return [each for each in problems if each]


def misleading_links(cut: list[Part]) -> list[str]:
    """Links to a notebook that lead to another one."""
    sources = (source for part in cut for source in markdown(part))
    return [each for source in sources for each in misleading_links_in(source)]


@cache
def misleading_links_in(source: str) -> list[str]:
    """As `misleading_links`, in one cell."""
    labels = [(re.fullmatch(r"notebook (\d+)", m[2], re.I), m) for m in LINK.finditer(source)]
    return [
        f"'{match[2]}' leads to {match[3]}"
        for label, match in labels
        if label and not match[3].startswith(f"{int(label[1]):02d}_")
    ]


def prose_problems(notebook: NotebookNode, evidence: Evidence | None = None) -> list[str]:
    """What is wrong with the numbers in the prose of a notebook, a sentence each.

    Parameters
    ----------
    notebook : NotebookNode
        With a title, and sections as `workshop.anatomy` finds them.
    evidence : Evidence, optional
        That of this notebook, where it has been read before.
    """
    evidence = evidence or Evidence.of(notebook)
    cut = parts(notebook)
    of_form = miscounted(cut, number_of(notebook)) + misplaced(cut, evidence.code)
    return of_form + misleading_links(cut) + unheld_claims(notebook, cut, evidence)
