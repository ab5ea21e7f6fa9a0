"""Pictures of the README: words for each, the map of the course, and the one that moves."""

from __future__ import annotations

import io
import itertools
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from markdown_it import MarkdownIt
from PIL import Image, ImageSequence

from docs import animation
from helpers import two_correlated
from workshop.captions import alt_texts

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))


class Page(HTMLParser):
    """Images of a page, and what the cells of its tables show and link to."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.images: list[tuple[str, str | None]] = []
        self.cells: list[list[str]] = []
        self.feed(MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "td":
            self.cells.append([])
        elif tag == "img":
            self.images.append((found["src"], found.get("alt")))
            self._keep(found["src"])
        elif tag == "a":
            self._keep(found["href"])

    def _keep(self, target: str) -> None:
        if self.cells:
            self.cells[-1].append(target)


def picture_problems(markdown: str, texts: dict[str, str]) -> list[str]:
    """Images that are not there, and those whose words are not the ones that all pages use."""
    found = []
    for source, alt in Page(markdown).images:
        if not (ROOT / source).is_file():
            found.append(f"{source}: no such file")
        if alt is None or alt != texts.get(Path(source).stem):
            found.append(f"{source}: other words than docs/alt_text.toml")
    return found


# Words and map ------------------------------------------------------------------------------------


def test_pictures_are_there_and_have_the_words_of_the_other_pages():
    assert len(Page(README).images) == 1 + len(NOTEBOOKS)
    assert picture_problems(README, alt_texts()) == []


@pytest.mark.parametrize(
    ("markdown", "problem"),
    [
        ("![words](figures/none.png)", "figures/none.png: no such file"),
        ('<img src="figures/fit.gif" alt="other">', "figures/fit.gif: other words"),
        ('<img src="figures/fit.gif">', "figures/fit.gif: other words"),
    ],
)
def test_a_missing_picture_and_other_words_are_noticed(markdown, problem):
    found = picture_problems(markdown, {"none": "words", "fit": "words of the fit"})
    assert [each[: len(problem)] for each in found] == [problem]


def test_the_map_shows_each_notebook_with_the_picture_it_has_on_the_website():
    site = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    (body,) = re.findall(r"```\{course-map\}\n(.*?)```", site, re.DOTALL)
    on_site = dict(line.split(": ") for line in body.splitlines())
    on_map = {}
    for targets in Page(README).cells:
        pictures = [Path(target).stem for target in targets if target.startswith("figures/")]
        notebooks = {Path(target).stem for target in targets if target.startswith("notebooks/")}
        if pictures:
            assert len(notebooks) == len(pictures) == 1  # title and picture lead to the same one
            on_map[notebooks.pop()] = pictures[0]
    assert list(on_map) == [path.stem for path in NOTEBOOKS]
    assert on_map == on_site


# The moving picture -------------------------------------------------------------------------------


def unpack(gif: bytes) -> tuple[list[np.ndarray], list[int], dict]:
    """Frames as grey pixels, their milliseconds, and what else the file says."""
    frames, durations = [], []
    with Image.open(io.BytesIO(gif)) as image:
        for frame in ImageSequence.Iterator(image):
            frames.append(np.asarray(frame.convert("L"), dtype=int))
            durations.append(frame.info["duration"])
        return frames, durations, dict(image.info)


def share_that_differs(one: np.ndarray, other: np.ndarray) -> float:
    return float((np.abs(one - other) > 48).mean())


@pytest.fixture(scope="module")
def stored() -> tuple[list[np.ndarray], list[int], dict]:
    return unpack(animation.TARGET.read_bytes())


@pytest.fixture(scope="module")
def courses() -> list[animation.Course]:
    data = two_correlated(100)
    return [animation.natural_course(data), animation.adam_course(data)]


def test_neighbouring_frames_differ_by_more_than_the_tolerance(stored):
    frames, _, _ = stored
    assert min(share_that_differs(*pair) for pair in itertools.pairwise(frames)) > 4e-4


def test_the_moving_picture_is_light_and_starts_and_ends_with_the_result(stored):
    frames, durations, info = stored
    assert animation.TARGET.stat().st_size < 300_000
    assert np.array_equal(frames[0], frames[-1])  # who sees one frame only, sees the result
    assert durations[0] == durations[-1] >= 3000
    assert info["loop"] == 0
    assert 10_000 < sum(durations) < 20_000


def test_both_fits_go_from_the_standard_normal_to_the_sample(courses):
    data = two_correlated(100).numpy()
    for course in courses:
        first, last = course.models[0], course.models[-1]
        np.testing.assert_array_equal(first.scale_tril, np.eye(2))
        np.testing.assert_array_equal(first.loc, [0.0, 0.0])
        assert len(course.models) == len(course.gap) == course.n_steps + 1
        assert course.gap[-1] <= animation.LOWEST_GAP < course.gap[-2]
        # A gap of 1e-10 leaves errors of the order of its root, here 1e-5.
        np.testing.assert_allclose(last.loc, data.mean(axis=0), atol=5e-5)
        covariance = last.scale_tril @ last.scale_tril.T
        np.testing.assert_allclose(covariance, np.cov(data.T, bias=True), atol=1e-4)


def test_the_words_have_the_numbers_of_the_fits(courses):
    natural, adam = courses
    words = alt_texts()["fit"]
    assert natural.n_steps == 2
    assert "arrives with its second" in words
    assert f"Adam takes {adam.n_steps}." in words
    p_over_2n = 2 * 5 / 2 / (2 * 100)
    assert natural.gap[0] > p_over_2n > natural.gap[1]
