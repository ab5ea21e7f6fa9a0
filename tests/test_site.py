"""What the website is made of, without building it: that is tests/test_site_in_browser.py."""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath

import nbformat
import pytest
import yaml
from docstrings import translate
from public_names import FLOORS, modules, pages
from repository_links import follow_links, follow_links_of_notebook, place_on_site, sources

import helpers
from workshop.anatomy import prose, without_code

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
GLOSSARY = (DOCS / "glossary.md").read_text(encoding="utf-8")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
BRACKET = re.compile(r"(?<!\\)(?:\\\\)*\\[(\[].*")
ITALICS = re.compile(r"(?<![*\w])\*([^*\n]+)\*(?!\*)")
# Set in italics for the sake of the sentence, not because the word is new.
EMPHASIS = {"worse", "in front of", "parameters", "distribution"}
# Italicised words and the entry that explains them, where that is not the word itself.
EXPLAINED_BY = {
    "gap in nats": "gap",
    "mean negative log-likelihood": "negative log-likelihood",
    "scatter": "scatter matrix",
}


# Links ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "place"),
    [
        ("docs/recipe.md", "recipe.md"),
        ("docs/teaching/README.md", "teaching/index.md"),
        ("docs/teaching/survey.md", "teaching/survey.md"),
        ("notebooks/01_cholesky_theory.ipynb", "notebooks/01_cholesky_theory.ipynb"),
        ("docs/jobs/slurm.sh", "jobs/slurm.sh"),
        ("README.md", None),
        ("benchmarks/README.md", None),
        ("docs/alt_text.toml", None),
        ("docs/vendor/reveal/README.md", None),
        ("notebooks/.ipynb_checkpoints/01.ipynb", None),
    ],
)
def test_a_file_has_its_place_on_the_site(file, place):
    assert place_on_site(PurePosixPath(file)) == (PurePosixPath(place) if place else None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a](survey.md)", "[a](survey.md)"),
        ("[a](README.md)", "[a](index.md)"),
        ("[a](../recipe.md#the-block)", "[a](../recipe.md#the-block)"),
        ("[a](../../notebooks/01_a.ipynb)", "[a](../notebooks/01_a.ipynb)"),
        ("see the [README](../../README.md).", "see the README."),
        ("[a](https://example.org/x.md), [b](#here)", "[a](https://example.org/x.md), [b](#here)"),
        ("```python\nx[0](survey.md)\n```\n", "```python\nx[0](survey.md)\n```\n"),
        ("```text\n```\n[a](README.md)", "```text\n```\n[a](index.md)"),
    ],
)
def test_a_link_is_led_to_the_place_of_its_target(text, expected):
    here = PurePosixPath("docs/teaching/schedules.md")
    assert follow_links(text, here, exists=lambda _: True) == expected


def test_links_are_followed_in_the_text_of_a_notebook_alone():
    words = ["see [a page](../docs/recipe.md)\n", "and [a script](../docs/jobs/slurm.sh)"]
    cells = [{"cell_type": kind, "source": words} for kind in ("markdown", "code")]
    here = PurePosixPath("notebooks/01_a.ipynb")
    text = follow_links_of_notebook(json.dumps({"cells": cells}), here, exists=lambda _: True)
    told, code = json.loads(text)["cells"]
    assert told["source"] == "see [a page](../recipe.md)\nand [a script](../jobs/slurm.sh)"
    assert code == cells[1]


def test_a_link_to_a_file_that_is_not_there_is_noticed():
    here = PurePosixPath("docs/index.md")
    words = "docs/index.md: expected a file of the repository in the link, got gone.md"
    with pytest.raises(ValueError, match=words):
        follow_links("[a](gone.md)", here, exists=lambda _: False)


@pytest.mark.parametrize("file", sorted(DOCS.glob("*.md")), ids=lambda file: file.name)
def test_every_link_of_a_page_leads_to_a_file(file):
    here = PurePosixPath(file.relative_to(ROOT).as_posix())
    follow_links(file.read_text(encoding="utf-8"), here, lambda wanted: (ROOT / wanted).exists())


@pytest.mark.parametrize("file", sorted(DOCS.rglob("*.md")), ids=lambda file: file.stem)
def test_formulas_of_a_page_stand_between_dollars(file):
    r"""As in the notebooks: \( and \[ would be shown as plain brackets."""
    assert not BRACKET.search(without_code(file.read_text(encoding="utf-8")))


def test_every_page_and_notebook_is_in_one_table_of_contents():
    """Sphinx would warn of a page that is in none, and stay silent on an entry that is twice."""
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    entries = [
        line
        for block in re.findall(r"^```{toctree}\n(.*?)^```", index, re.DOTALL | re.MULTILINE)
        for line in block.splitlines()
        if line and not line.startswith(":")
    ]
    names = [re.sub(r".*<(.+)>", r"\1", entry) for entry in entries]
    there = {str(place.with_suffix("")) for place in sources()} - {"index"}
    there |= {f"api/{Path(page).stem}" for page in pages()}
    listed = [page for name in names for page in there if PurePosixPath(page).match(name)]
    assert sorted(listed) == sorted(there)


# Pages that are written by the build ---------------------------------------------------------


def test_every_public_name_is_described_once_and_listed_once():
    written = pages()
    index = written.pop("index.rst")
    described = re.findall(r"^\.\. auto\w+:: helpers\.(\S+)", "\n".join(written.values()), re.M)
    listed = re.findall(r"^(?::py:obj:`~helpers\.|``)(\w+)``?$", index, re.M)
    assert sorted(name.split(".")[-1] for name in described) == sorted(helpers.__all__)
    assert sorted(listed) == sorted(helpers.__all__)


def test_every_floor_with_public_names_has_a_page():
    homes = {getattr(helpers, name).__module__ for name in helpers.__all__ if name[0].islower()}
    parts = {home.split(".")[1] for home in homes}
    assert set(FLOORS) == {floor for floor, names in modules().items() if parts & set(names)}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("x : Tensor, shape (*batch, d)", "x : Tensor, shape ``(*batch, d)``"),
        ("`scale_tril` (*batch, d, d)", "``scale_tril`` ``(*batch, d, d)``"),
        ("value : Tensor, shape (n, len(dims))", "value : Tensor, shape ``(n, len(dims))``"),
        ("(k,) or (k, *batch).", "(k,) or ``(k, *batch)``."),
        ("as `fit(model, data)` does", "as `fit(model, data)` does"),
        ("as `fit` does", "as :py:obj:`~helpers.fit` does"),
        ("``fit`` and :math:`L`", "``fit`` and :math:`L`"),
    ],
)
def test_a_docstring_is_translated(line, expected):
    assert translate(line) == expected


def test_pages_that_share_a_title_are_told_apart():
    titles = pytest.importorskip("page_titles", reason="make test-site installs Sphinx")
    first_words = titles.first_words
    assert first_words("teaching/01_cholesky_theory") == "Teaching "
    assert first_words("cheat_sheet").startswith("Cheat sheet")
    assert first_words("notebooks/01_cholesky_theory") == first_words("teaching/survey") == ""


def test_the_map_says_of_each_notebook_what_it_says_itself():
    course_map = pytest.importorskip("course_map", reason="make test-site installs Sphinx")
    for path in NOTEBOOKS:
        stop = course_map.read_stop(path)
        source = nbformat.read(path, as_version=4).cells[0].source
        assert stop.title in source
        assert stop.promise in " ".join(source.split())
        assert re.fullmatch(
            r"about \d+ minutes to read and run, \d+ more for the exercises", stop.minutes
        )


def test_a_notebook_without_a_promise_is_named(write_notebook, tmp_path):
    course_map = pytest.importorskip("course_map", reason="make test-site installs Sphinx")
    cell = nbformat.v4.new_markdown_cell("# A title\n\nand no promise, about 5 minutes")
    path = write_notebook(tmp_path / "01_a.ipynb", cell)
    with pytest.raises(ValueError, match="01_a.ipynb: expected a title, a promise in italics"):
        course_map.read_stop(path)


def test_every_picture_of_a_notebook_is_saved_under_a_name_with_a_text():
    pages_of = pytest.importorskip("notebook_pages", reason="make test-site installs Sphinx")
    named = []
    for path in NOTEBOOKS:
        for cell in nbformat.read(path, as_version=4).cells:
            outputs = cell.get("outputs", [])
            count = sum("image/png" in output.get("data", {}) for output in outputs)
            if count:
                assert len(pages_of.figure_names(cell.source)) == count, cell.source
                named += pages_of.figure_names(cell.source)
    assert len(named) > 20
    assert set(named) <= set(pages_of.alt_texts())


# Glossary ------------------------------------------------------------------------------------


def read_glossary(page: str) -> dict[str, str]:
    """Terms and their explanations."""
    (block,) = re.findall(r"^```{glossary}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    pairs = re.findall(r"^(\S.*)\n((?:  .+\n?)+)", block, re.MULTILINE)
    return {term: " ".join(text.split()) for term, text in pairs}


TERMS = read_glossary(GLOSSARY)


def notebook_prose() -> str:
    cells = [c for path in NOTEBOOKS for c in nbformat.read(path, as_version=4).cells]
    return "\n\n".join(prose(cell.source) for cell in cells if cell.cell_type == "markdown")


def new_terms() -> set[str]:
    """What the notebooks set in italics, apart from the promises on top and titles of journals."""
    found = set()
    for path in NOTEBOOKS:
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "markdown" and not cell.source.startswith(("# ", "## References")):
                found |= set(ITALICS.findall(prose(cell.source).replace("**", "")))
    return found


def entry_of(word: str) -> str:
    """The term under which the glossary explains a word, one or many of it."""
    word = EXPLAINED_BY.get(word, word)
    plain = [word, word.removesuffix("s"), f"{word}s"]
    return next((term for term in TERMS if term in plain), "")


def test_every_new_word_of_the_notebooks_is_explained():
    words = new_terms()
    assert len(words) > 30
    assert {word for word in words if not entry_of(word)} == EMPHASIS & words


def test_every_entry_occurs_in_a_notebook():
    text = notebook_prose().lower()
    assert [term for term in TERMS if term.lower() not in text] == []


def test_entries_are_short_and_in_order():
    assert list(TERMS) == sorted(TERMS, key=str.lower)
    for term, text in TERMS.items():
        assert 1 <= len(re.findall(r"\.(?:\s|$)", text)) <= 2, term
        assert len(text.split()) <= 50, term


def test_a_word_that_is_not_explained_is_noticed():
    assert entry_of("standard errors") == "standard error"
    assert entry_of("gap in nats") == "gap"
    assert entry_of("flux") == ""


# Publishing ----------------------------------------------------------------------------------


def test_publishing_waits_for_somebody_to_turn_it_on():
    text = (ROOT / ".github" / "workflows" / "pages.yml").read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    assert workflow[True] == {"workflow_dispatch": None}  # YAML takes `on` for true
    assert "push: {branches: [main]}" in text
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert {"run": "make site PYTHON=python"} in steps


def test_the_configuration_names_no_address():
    files = [DOCS / "conf.py", *(DOCS / "_static").glob("*.[cj]s*")]
    assert len(files) == 3
    for file in files:
        assert not re.search(r"https?://", file.read_text(encoding="utf-8")), file
