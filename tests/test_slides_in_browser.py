"""The slides in a real browser: complete, legible, driven by keys, and without the network."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from workshop import slides
from workshop.anatomy import course_notebooks
from workshop.browser import LocalPage, find_chromium, launched, new_page
from workshop.plans import PLANS

CHROMIUM = find_chromium()
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome on this machine")

WIDTH, HEIGHT = 1280, 720
SMALLEST_TEXT = 24 * HEIGHT / 700  # what is 24 pixels on a slide of 960 by 700
SMALLEST_CODE = 20
SMALLEST_FIGURE = 300  # of 720: lower ones would be strips
SMALLEST_FORMULA = 20  # pixels of its em, as code
WHOLE = {
    name: PLANS[name].chosen(course_notebooks()) for name in ("day", "second-day", "scaling-out")
}

# For each slide what is wrong with it, in words: measured in the page, where the layout is known.
# Slides lie on top of each other, each with its own box; all are laid out for the measurement.
FAULTS = """([smallestText, smallestCode, smallestFigure, smallestFormula]) => {
  const faults = [];
  const visible = el => el.getClientRects().length > 0;
  document.querySelectorAll(".slides > section").forEach((slide, i) => {
    const was = slide.style.cssText, wasHidden = slide.hidden;
    slide.hidden = false;
    slide.style.setProperty("display", "flex", "important");
    const say = what => faults.push(`slide ${i + 1} (${slide.className.split(" ")[0]}): ${what}`);
    const scale = slide.getBoundingClientRect().height / slide.offsetHeight;
    const box = slide.getBoundingClientRect(), style = getComputedStyle(slide);
    const bottom = box.bottom - parseFloat(style.paddingBottom) * scale + 1;
    const right = box.right - parseFloat(style.paddingRight) * scale + 1;
    slide.querySelectorAll("*").forEach(el => {
      // Of a formula the whole counts: it may be wider than the box that holds it.
      const inside = el.closest("svg") !== null && el.tagName !== "svg";
      if (!visible(el) || inside || el.closest("aside, mjx-assistive-mml")) return;
      const rect = el.getBoundingClientRect();
      if (rect.bottom > bottom || rect.right > right || rect.top < box.top) {
        say(`${el.tagName} leaves the slide: ${el.textContent.trim().slice(0, 40)}`);
      }
      const hides = getComputedStyle(el).overflowX !== "visible";
      if ((hides || el.tagName === "PRE") && el.scrollWidth > el.clientWidth + 1) {
        say(`${el.tagName} is cut: ${el.textContent.trim().slice(0, 40)}`);
      }
    });
    const walker = document.createTreeWalker(slide, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const node = walker.currentNode, parent = node.parentElement;
      if (!node.data.trim() || !visible(parent) || parent.closest("aside, mjx-container")) continue;
      const isCode = parent.closest("code") !== null;
      const size = parseFloat(getComputedStyle(parent).fontSize);
      if (size < (isCode ? smallestCode : smallestText)) say(`${size} px: ${node.data.trim()}`);
      if (!isCode && /\\$|\\\\[([\\])]/.test(node.data)) say(`raw formula: ${node.data.trim()}`);
    }
    slide.querySelectorAll(".math").forEach(formula => {
      if (!formula.querySelector("mjx-container")) say(`formula not set: ${formula.textContent}`);
      if (formula.querySelector("[data-mml-node=merror]")) say("formula with an error");
      const svg = formula.querySelector("svg");
      if (svg && visible(svg)) {
        const perEm = 1000 * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
        if (perEm < smallestFormula * scale) say(`formula in ${perEm} px`);
      }
    });
    slide.querySelectorAll("img").forEach(img => {
      if (!img.alt.trim()) say(`no alt text: ${img.src}`);
      if (!img.complete || !img.naturalWidth) say(`picture not loaded: ${img.src}`);
      if (img.offsetHeight < smallestFigure) say(`picture ${img.offsetHeight} px high`);
    });
    slide.style.cssText = was;
    slide.hidden = wasHidden;
  });
  return faults;
}"""


@pytest.fixture(scope="module")
def decks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """The slides of every plan; the folder has been moved since they were written."""
    made = tmp_path_factory.mktemp("made")
    moved = tmp_path_factory.mktemp("moved") / "a folder"
    for name, plan in PLANS.items():
        slides.build(plan, course_notebooks(), made / name)
    shutil.move(made, moved)
    return {name: sorted((moved / name).glob("*.html")) for name in PLANS}


def deck_of(found: list[Path], begins: str) -> Path:
    """The deck of the notebook with that number."""
    return next(path for path in found if path.stem.startswith(begins))


@pytest.fixture(scope="module")
def browser() -> Iterator:
    with launched(CHROMIUM) as started:
        yield started


@pytest.fixture
def opened(browser) -> Iterator[Callable[[Path], LocalPage]]:
    """Opens decks, and closes them after the test."""
    pages = []

    def open_deck(deck: Path) -> LocalPage:
        pages.append(new_page(browser, width=WIDTH, height=HEIGHT))
        pages[-1].open(deck)
        pages[-1].page.wait_for_function("() => window.Reveal && Reveal.isReady()")
        return pages[-1]

    yield open_deck
    for local in pages:
        local.page.context.close()


def faults(local: LocalPage) -> list[str]:
    limits = [SMALLEST_TEXT, SMALLEST_CODE, SMALLEST_FIGURE, SMALLEST_FORMULA]
    return local.left_the_machine + local.complaints + local.page.evaluate(FAULTS, limits)


@pytest.mark.parametrize(
    ("plan", "stem"), [(plan, path.stem) for plan, chosen in WHOLE.items() for path in chosen]
)
def test_a_deck_is_shown_without_a_fault(opened, decks, plan, stem):
    """These plans hold every slide there is; shorter ones are looked at below."""
    (deck,) = [path for path in decks[plan] if path.stem == stem]
    local = opened(deck)
    assert faults(local) == []
    assert local.page.locator("mjx-container").count() > 5
    assert local.page.locator(".picture img").count() >= 5


@pytest.mark.parametrize("plan", [*WHOLE, "term"])
def test_the_welcome_of_a_whole_plan_is_shown_without_a_fault(opened, decks, plan):
    assert decks[plan][0].stem == "00_welcome"
    local = opened(decks[plan][0])
    assert faults(local) == []
    assert PLANS[plan].promise in local.page.locator(".promise").first.text_content()


@pytest.mark.parametrize("plan", [n for n, p in PLANS.items() if n not in WHOLE and not p.weekly])
def test_the_decks_of_a_shorter_plan_are_shown_without_a_fault(opened, decks, plan):
    assert [path.stem for path in decks[plan]] == [
        "00_welcome",
        *(path.stem for path in PLANS[plan].chosen(course_notebooks())),
    ]
    for deck in decks[plan]:
        assert faults(opened(deck)) == []


def test_the_arrow_key_reaches_every_slide_and_back(opened, decks):
    page = opened(deck_of(decks["day"], "01")).page
    total = page.evaluate("Reveal.getTotalSlides()")
    reached = [0]
    presses = 0
    while reached[-1] < total - 1 and presses < 3 * total:
        page.keyboard.press("ArrowRight")
        presses += 1
        reached.append(page.evaluate("Reveal.getIndices().h"))
    assert sorted(set(reached)) == list(range(total))
    fragments = page.locator(".fragment").count()
    assert presses == total - 1 + fragments  # what is printed takes a key of its own
    page.keyboard.press("Home")
    assert page.evaluate("Reveal.getIndices().h") == 0


def test_what_a_cell_prints_waits_for_a_key(opened, decks):
    page = opened(deck_of(decks["day"], "02")).page
    at = page.evaluate(
        "[...document.querySelectorAll('.slides > section')]"
        ".findIndex(slide => slide.classList.contains('answer'))"
    )
    page.evaluate(f"Reveal.slide({at})")
    printed = page.locator("section.present .outcome")
    assert printed.evaluate("el => getComputedStyle(el).visibility") == "hidden"
    page.keyboard.press("ArrowRight")
    assert printed.evaluate("el => getComputedStyle(el).visibility") == "visible"


def test_the_speaker_sees_the_notes_in_a_window_of_their_own(opened, decks):
    local = opened(deck_of(decks["day"], "01"))
    local.page.evaluate("Reveal.slide(2)")
    with local.page.context.expect_page() as popup:
        local.page.keyboard.press("s")
    shown = popup.value.locator(".speaker-controls-notes .value")
    shown.locator("p").first.wait_for(timeout=10_000)
    note = local.page.locator("section.present aside.notes p").first.text_content()
    assert shown.locator("p").first.text_content() == note
    assert local.left_the_machine + local.complaints == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('<p class="label">', '<p style="height: 900px">', "leaves the slide"),
        ("<pre ", '<pre style="width: 90px" ', "PRE is cut"),
        ('<div class="lead">', '<div style="font-size: 20px">', "20 px: "),
        ('class="math inline">\\(', 'class="plain">\\(', "raw formula"),
        ('class="math inline">\\(', 'class="math inline">\\(\\nonsense ', "formula with an error"),
        ('class="math inline">\\(', 'class="math inline">\\(\\frac{', "formula not set"),
        ('class="math inline">', 'class="math inline" style="font-size: 9px">', "formula in "),
        (
            "</head>",
            "<style>svg { min-width: 1300px !important }</style></head>",
            "svg leaves the slide",
        ),
        (' alt="', ' data-alt="', "no alt text"),
        ("assets/figures/01_three", "assets/figures/02_three", "picture not loaded"),
        ("assets/slides.css", "https://example.org/slides.css", "https://example.org"),
        ("<body", "<script>undefined_name()</script><body", "undefined_name"),
        ('<div class="picture', '<div style="height: 200px; flex: none" class="picture', "px high"),
    ],
)
def test_a_fault_is_noticed(opened, decks, tmp_path, old, new, fault):
    """The same page with one thing broken."""
    good = deck_of(decks["90min"], "01")
    shutil.copytree(good.parent / "assets", tmp_path / "assets")
    text = good.read_text(encoding="utf-8")
    assert old in text
    broken = tmp_path / good.name
    broken.write_text(text.replace(old, new), encoding="utf-8")
    assert any(fault in found for found in faults(opened(broken)))
