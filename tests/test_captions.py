"""The sentence below each figure, and its number."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from workshop import captions

ROOT = Path(__file__).parents[1]
MAX_LENGTH = 160
# What holds a digit and is no number: none of these has to be printed by a cell.
NAMES = ("95 % ellipse", "float32", "p/2N", "divided by 2N", "p/2n", "N - 1")


def caption_problems(
    sentences: dict[str, str], alt_texts: dict[str, str], figures: set[str]
) -> list[str]:
    """What is wrong with the sentences below the figures."""
    found = [f"{name}: no caption" for name in sorted(figures - set(sentences))]
    found += [f"{name}: no figure" for name in sorted(set(sentences) - figures)]
    for name, sentence in sentences.items():
        if len(sentence) > MAX_LENGTH:
            found.append(f"{name}: {len(sentence)} characters")
        if not re.fullmatch(r"[A-Z][^.]*\w\.", sentence):
            found.append(f"{name}: is not one sentence")
        if sentence.rstrip(".") in alt_texts.get(name, ""):
            found.append(f"{name}: says what its alternative text says")
        plain = sentence
        for each in NAMES:
            plain = plain.replace(each, "")
        if re.search(r"\d", plain):
            found.append(f"{name}: a number that no cell prints")
    return found


def test_every_figure_has_a_caption():
    figures = {path.stem for path in (ROOT / "figures").iterdir()}
    assert caption_problems(captions.captions(), captions.alt_texts(), figures) == []
    assert len(set(captions.captions().values())) == len(figures)


@pytest.mark.parametrize(
    ("sentence", "problem"),
    [
        ("A line.", "02_b: no caption"),
        ("A long line" * 20 + ".", "01_a: 221 characters"),
        ("A line. And another.", "01_a: is not one sentence"),
        ("a line", "01_a: is not one sentence"),
        ("A line that falls.", "01_a: says what its alternative text says"),
        ("A line that ends at 0.25.", "01_a: a number that no cell prints"),
        ("A line after 3 steps.", "01_a: a number that no cell prints"),
    ],
)
def test_a_poor_caption_is_noticed(sentence, problem):
    alt_texts = {"01_a": "A line that falls. It is straight."}
    assert problem in caption_problems({"01_a": sentence}, alt_texts, {"01_a", "02_b"})


def test_a_caption_of_no_figure_is_noticed():
    assert caption_problems({"01_a": "A line."}, {}, set()) == ["01_a: no figure"]


def test_figures_are_numbered_in_the_order_of_their_notebook():
    stored = {path.stem for path in (ROOT / "figures").glob("[0-9]*.png")}
    numbers = captions.numbers()
    assert set(numbers) == stored
    assert len(set(numbers.values())) == len(stored)
    for notebook in ("1", "2", "3", "4", "5", "6", "7", "8", "13"):
        ours = [n.partition(".")[2] for n in numbers.values() if n.startswith(f"{notebook}.")]
        assert ours == [str(at) for at in range(1, len(ours) + 1)]
    # Read off notebook 3: the candidates are drawn first, the field of gradients next.
    assert numbers["03_candidates"] == "3.1"
    assert captions.numbered_caption("03_gradient_field") == (
        "Figure 3.2",
        captions.captions()["03_gradient_field"],
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gone", r"figure: expected a name of \[captions\] in docs/alt_text.toml, got 'gone'"),
        ("bench_memory", "figure: expected one that a notebook draws, got 'bench_memory'"),
    ],
)
def test_a_figure_without_caption_or_number_is_refused(name, words):
    with pytest.raises(ValueError, match=words):
        captions.numbered_caption(name)
