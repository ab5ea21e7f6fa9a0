"""The website, built from nothing: its files, and every page of it in a real browser.

`make test-site` runs this; `make test` does not, for the sake of its time.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import os
import re
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest
import torch
from markdown_it import MarkdownIt
from public_names import FLOORS
from repository_links import sources
from torch.distributions import MultivariateNormal

import helpers
from workshop.browser import (
    MATHEMATICS_IS_READY,
    NO_WAY_OUT,
    LocalPage,
    find_chromium,
    launched,
    new_page,
)
from workshop.captions import captions

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytest.importorskip("sphinx", reason="make test-site installs it")
bs4 = pytest.importorskip("bs4", reason="make test-site installs it")

ROOT = Path(__file__).parents[1]
AXE = ROOT / "tests" / "data" / "axe"
AXE_ADDRESS = "/axe.min.js"
CHROMIUM = find_chromium()
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome on this machine")

API = [f"api/{page}" for page, _ in FLOORS.values()]
WRITTEN = [str(place.with_suffix("")) for place in sources()]
PAGES = [*WRITTEN, "api/index", *API, "genindex", "search"]
NOTEBOOKS = [page for page in WRITTEN if page.startswith("notebooks/")]
PHONE = 390  # pixels wide
BUILD_SECONDS = 180  # that another worker may take to build the site

FETCHES = re.compile(r"""(?:@import|url\()\s*["'(]*\s*(?:https?:)?//""")

RAW_MATHEMATICS = r"""() => {
  const faults = [];
  document.querySelectorAll(".math").forEach(formula => {
    if (!formula.querySelector("mjx-container")) faults.push(`not set: ${formula.textContent}`);
    if (formula.querySelector("[data-mml-node=merror]")) faults.push("a formula with an error");
  });
  const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement;
    if (parent.closest("pre, code, script, mjx-container")) continue;
    const text = walker.currentNode.data;
    if (/\$[^$]+\$|\\[([]/.test(text)) faults.push(`raw: ${text}`);
  }
  return faults;
}"""
# The strokes of formulas are hidden from those who cannot see them, and axe goes through each. The
# pictures without their strokes keep their size, and a formula keeps the words beside it. What is
# folded is not seen by axe either.
PREPARE_FOR_AXE = """() => {
  const pictures = document.querySelectorAll("mjx-container > svg[aria-hidden]");
  pictures.forEach(picture => picture.replaceChildren());
  document.querySelectorAll("details").forEach(folded => { folded.open = true; });
}"""
AXE_RUN = """async (rules) => {
  // What opens or changes its colours may do so little by little.
  await Promise.allSettled(document.getAnimations().map(change => change.finished));
  const options = { resultTypes: ["violations"] };
  if (rules.length) options.runOnly = rules;
  const { violations } = await axe.run(document, options);
  return violations.filter(found => ["serious", "critical"].includes(found.impact)).flatMap(
    found => found.nodes.slice(0, 3).map(node => `${found.id}: ${node.html.slice(0, 150)}`));
}"""
# What depends on colours and on the width of the window; all else is the same in dark and narrow.
AXE_DARK_AND_NARROW = [
    "color-contrast",
    "link-in-text-block",
    "scrollable-region-focusable",
    "aria-hidden-focus",
    "button-name",
    "link-name",
    "label",
    "summary-name",
    "target-size",
]
# What can be reached by the keyboard, and how it looks before it is.
REMEMBER_LOOKS = """() => {
  const parts = ["outlineStyle", "outlineWidth", "outlineColor", "boxShadow", "backgroundColor",
    "borderTopColor", "textDecorationLine", "textDecorationThickness"];
  const look = el => parts.map(part => getComputedStyle(el)[part]).join();
  const all = [...document.querySelectorAll("a[href], button, input, select, summary, [tabindex]")];
  const before = new Map(all.map(el => [el, look(el)]));
  const words = el => el.textContent.trim().slice(0, 60) || el.ariaLabel || el.outerHTML;
  window.stops = {
    reached: new Set(),
    last: null,
    // The way ends at the body, or where it comes round to a stop that it has left: from the last
    // stop, a busy browser may lead to the first at once.
    at(el) {
      if (el === document.body || (el !== this.last && this.reached.has(el))) return null;
      this.reached.add(this.last = el);
      const box = el.getBoundingClientRect();
      const across = box.width && box.right > 0 && box.left < innerWidth;
      const down = box.height && box.bottom > 0 && box.top < innerHeight;
      if (!across || !down) return `outside of the window: ${words(el)}`;
      return look(el) === before.get(el) ? `looks as without the focus: ${words(el)}` : "";
    },
    missed() {
      const shown = el => el.checkVisibility({ visibilityProperty: true });
      const plain = el => !el.closest("[tabindex='-1']") || ["A", "BUTTON"].includes(el.tagName);
      return all.filter(el => shown(el) && plain(el) && !this.reached.has(el)).map(words);
    },
  };
}"""
MAX_STOPS = 400
SLIDE_MS = 400  # in which a link that comes into the window has come
TOO_WIDE = """(width) => document.documentElement.scrollWidth <= width ? [] :
  [...document.querySelectorAll("body *")].filter(el => {
    const box = el.getBoundingClientRect();
    return box.width > 0 && box.right > width + 1;
  }).slice(0, 5).map(el => `wider than ${width} px: <${el.tagName} class="${el.className}">`)
"""
# In a window of 1280 pixels. Code of more than 100 columns may scroll, and tables of more than six.
CUT_ON_A_LAPTOP = """() => {
  const cut = [...document.querySelectorAll("pre, .pst-scrollable-table-container")].filter(
    box => box.clientWidth && box.scrollWidth > box.clientWidth);
  const isWide = code => code.textContent.split("\\n").some(line => line.length > 100);
  const mayScroll = box => box.tagName === "PRE" ?
    isWide(box) && !box.closest(".cell_output") : box.querySelector("tr").cells.length > 6;
  return cut.filter(box => !mayScroll(box)).map(
    box => `cut at the right: <${box.tagName}> ${box.textContent.trim().slice(0, 60)}`);
}"""
CUT_ON_A_PHONE = """() => {
  const left = el => el.getBoundingClientRect().left;
  const formulas = [...document.querySelectorAll("div.math")].filter(
    box => left(box.querySelector("mjx-container") || box) < left(box) - 1);
  const links = [...document.querySelectorAll(".prev-next-area a")].filter(
    link => link.scrollWidth > link.clientWidth);
  return [...formulas.map(() => "a formula that opens at its end"),
    ...links.map(link => `a link that is cut: ${link.textContent.trim()}`)];
}"""
IMAGES = """() => [...document.querySelectorAll("img")]
  .filter(img => !img.complete || !img.naturalWidth).map(img => `not loaded: ${img.src}`)
"""


# The build and its files ---------------------------------------------------------------------


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make site` does; a warning is an error. All workers share it."""
    ours = tmp_path_factory.getbasetemp()
    folder = (ours.parent if "PYTEST_XDIST_WORKER" in os.environ else ours) / "built"
    said = folder / "said.json"
    try:
        folder.mkdir()
    except FileExistsError:
        wait_for(said)
    else:
        command = [sys.executable, ROOT / "docs" / "build.py", folder / "site"]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        said.with_suffix(".part").write_text(
            json.dumps([run.returncode, run.stdout + run.stderr]), encoding="utf-8"
        )
        said.with_suffix(".part").replace(said)
    code, words = json.loads(said.read_text(encoding="utf-8"))
    assert code == 0, words
    return folder / "site"


def wait_for(file: Path) -> None:
    """Wait until another worker has written a file."""
    patience = time.monotonic() + BUILD_SECONDS
    while not file.exists():
        assert time.monotonic() < patience, f"no {file.name} after {BUILD_SECONDS} s"
        time.sleep(0.05)


@functools.cache
def soup(file: Path):
    """The parsed page."""
    return soup_of(file.read_text(encoding="utf-8"))


def soup_of(text: str):
    """A parsed text."""
    return bs4.BeautifulSoup(text, "html.parser")


def broken_links(site: Path, page: Path) -> list[str]:
    """Links, anchors, pictures, scripts and styles of a page that lead nowhere."""
    found = []
    for tag in soup(page).find_all(["a", "img", "link", "script", "source"]):
        address = tag.get("href") or tag.get("src")
        if not address or urlsplit(address).scheme:
            continue
        parts = urlsplit(address)
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page.resolve()
        if not target.is_relative_to(site.resolve()) or not target.is_file():
            found.append(f"{page.name}: {address} leads to no file")
        elif parts.fragment and not is_anchor(target, unquote(parts.fragment)):
            found.append(f"{page.name}: {address} has no such anchor")
    return found


def is_anchor(page: Path, name: str) -> bool:
    return page.suffix != ".html" or soup(page).find(id=name) is not None


def foreign_addresses(page: Path) -> list[str]:
    """What a page would load from elsewhere; links that a reader may follow are no such thing."""
    loads = soup(page).find_all(["img", "script", "link", "iframe", "source"])
    addresses = [tag.get("src") or tag.get("href") or "" for tag in loads]
    return [address for address in addresses if urlsplit(address).scheme or address[:2] == "//"]


def heading_faults(page: Path) -> list[str]:
    """One heading of the first level, and no level left out."""
    body = soup(page).article or soup(page).select_one(".bd-search-container")
    levels = [int(tag.name[1]) for tag in body.find_all(["h1", "h2", "h3", "h4"])]
    found = [] if levels.count(1) == 1 else [f"{levels.count(1)} headings of the first level"]
    steps = zip([0, *levels], levels, strict=False)
    return found + [f"h{low} after h{high}" for high, low in steps if low > high + 1]


def test_the_build_makes_every_page_and_no_other(site):
    made = {file.relative_to(site).with_suffix("").as_posix() for file in site.rglob("*.html")}
    assert {page for page in made if not page.startswith("_static/")} == set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere_and_nothing_comes_from_elsewhere(site, name):
    page = site / f"{name}.html"
    assert not broken_links(site, page)
    assert not foreign_addresses(page)
    assert not heading_faults(page)


@pytest.mark.parametrize("name", PAGES)
def test_no_page_names_the_machine_that_built_it(site, name):
    text = (site / f"{name}.html").read_text(encoding="utf-8")
    assert str(ROOT) not in text
    assert str(site.parent) not in text


@pytest.mark.parametrize("name", PAGES)
def test_every_picture_has_a_text(site, name):
    for picture in soup(site / f"{name}.html").find_all("img"):
        assert len(picture.get("alt", "").split()) > 5, picture


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_figure_of_a_notebook_has_a_number_and_a_caption(site, name):
    """An anchor too, so that one can point to it; a touch on it shows it in its full size."""
    article = soup(site / f"{name}.html").article
    figures = article.select("div.cell_output figure")
    assert len(figures) == len(article.select("div.cell_output img")) > 4
    sentences = set(captions().values())
    for at, figure in enumerate(figures, 1):
        number, _, sentence = figure.select_one(".caption-text").text.partition(". ")
        assert number == f"Figure {int(name.partition('/')[2][:2])}.{at}"
        assert sentence in sentences
        assert figure["id"] == number.lower().replace(" ", "-").replace(".", "-")
        assert figure.a["href"] == figure.img["src"]


@pytest.mark.parametrize(
    "text", ['@import "https://a.org/x.css"', "url(//a.org/x)", "@import url('http://a.org')"]
)
def test_a_style_sheet_that_fetches_is_noticed(text):
    assert FETCHES.search(text)
    assert not FETCHES.search('@import "../basic.css"; url(data:image/svg+xml,http://www.w3.org)')


def test_no_style_sheet_fetches_anything(site):
    sheets = [file for file in site.rglob("*.css") if "LICENSE" not in file.name]
    assert len(sheets) > 5
    for file in sheets:
        text = file.read_text(encoding="utf-8")
        assert not FETCHES.search(text), file


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_notebook_can_be_downloaded_unchanged(site, name):
    page = site / f"{name}.html"
    (link,) = soup(page).select("p.notebook-download a[download]")
    offered = (page.parent / unquote(link["href"])).read_bytes()
    assert offered == (ROOT / f"{name}.ipynb").read_bytes()


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_each_solution_is_folded_and_its_output_is_not(site, name):
    cells = json.loads((ROOT / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    solutions = [cell for cell in cells if "solution" in cell["metadata"].get("tags", [])]
    folded = soup(site / f"{name}.html").select("div.cell details")
    assert len(folded) == len(solutions) == 3
    for details, cell in zip(folded, solutions, strict=True):
        assert "Show the solution" in details.summary.text
        assert details.pre.text.strip() == "".join(cell["source"]).strip()
        assert "passed" in details.find_parent("div", class_="cell").text
        assert "passed" not in details.text
        assert not details.has_attr("open")


def test_the_pages_follow_each_other_in_the_order_of_the_course(site):
    for here, there in zip(["index", *NOTEBOOKS], NOTEBOOKS, strict=False):
        page = site / f"{here}.html"
        link = soup(page).select_one("a.right-next")["href"]
        assert (page.parent / link).resolve() == (site / f"{there}.html").resolve()


def test_a_class_shows_what_its_bases_give_it_and_nothing_of_torch_or_python(site):
    classes = {name: getattr(helpers, name) for name in helpers.__all__}
    own = {
        f"helpers.{name}.{member}"
        for name, value in classes.items()
        if inspect.isclass(value)
        for base in value.__mro__
        if base.__module__.startswith("helpers.")
        for member, what in vars(base).items()
        if not member.startswith("_") and hasattr(what, "__get__")
    }
    described = [tag["id"] for page in API for tag in soup(site / f"{page}.html").select("dt[id]")]
    shown = {name for name in described if name.count(".") == 2 and name.split(".")[1] in classes}
    assert shown == own
    assert {"helpers.DiagonalLikelihood.forward", "helpers.ProductRoot.right_inverse"} <= shown


def test_no_property_is_taken_apart_at_its_colon(site):
    pages = [soup(site / f"{page}.html") for page in API]
    properties = [text for page in pages for text in page.select("dl.property > dd")]
    assert len(properties) > 20
    assert not [text for text in properties if text.select_one("dl.field-list")]
    assert any(text.p.text.startswith("The shrinkage: 1, as") for text in properties)


def test_what_is_wrong_with_a_page_is_noticed(tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        '<article><h1>a</h1><h3>b</h3><a href="gone.html">x</a><a href="#gone">y</a>'
        '<script src="https://example.org/x.js"></script><img src="//example.org/x.png"></article>'
    )
    assert len(broken_links(tmp_path, page)) == 3  # //example.org has no scheme: it is looked for
    assert len(foreign_addresses(page)) == 2
    assert heading_faults(page) == ["h3 after h1"]


def test_axe_is_as_it_was_taken_and_names_its_version():
    (library,) = json.loads((AXE / "versions.json").read_text(encoding="utf-8"))
    assert f"axe v{library['version']}" in (AXE / "axe.min.js").read_text(encoding="utf-8")
    for name, entry in library["files"].items():
        assert hashlib.sha256((AXE / name).read_bytes()).hexdigest() == entry["sha256"]


# In a browser --------------------------------------------------------------------------------


class Server(SimpleHTTPRequestHandler):
    """The site, and axe beside it: what is served, a browser has to read only once."""

    def translate_path(self, path: str) -> str:
        """The file behind an address."""
        return str(AXE / "axe.min.js") if path == AXE_ADDRESS else super().translate_path(path)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@dataclass
class Reader:
    """Somebody with a browser who looks at the site."""

    local: LocalPage
    address: str

    @property
    def page(self):
        return self.local.page

    def open(self, name: str, query: str = "") -> None:
        self.page.goto(f"{self.address}/{name}.html{query}", wait_until="load")
        self.page.wait_for_function(MATHEMATICS_IS_READY)

    def axe(self, rules: Sequence[str] = ()) -> list[str]:
        """Violations that are serious or critical, of all rules unless some are named."""
        if not self.page.evaluate("() => !!window.axe"):
            self.page.evaluate(PREPARE_FOR_AXE)
            self.page.add_script_tag(url=f"{self.address}{AXE_ADDRESS}")
        return self.page.evaluate(AXE_RUN, rules)

    def stops_that_are_not_seen(self) -> list[str]:
        """Go through the page with the Tab key; where nobody sees where it has got to, in words."""
        self.page.evaluate(REMEMBER_LOOKS)
        found = []
        for _ in range(MAX_STOPS):
            self.page.keyboard.press("Tab")
            if (said := self.page.evaluate("stops.at(document.activeElement)")) is None:
                return found
            self.page.wait_for_timeout(SLIDE_MS if "outside" in said else 0)
            if said := self.page.evaluate("stops.at(document.activeElement)"):
                found.append(said)
        return [*found, f"no end after {MAX_STOPS} stops"]

    def faults(self) -> list[str]:
        """What is wrong with the page: light and wide, dark and on a phone."""
        found = self.page.evaluate(RAW_MATHEMATICS) + self.page.evaluate(IMAGES)
        found += self.page.evaluate(CUT_ON_A_LAPTOP)
        found += [f"light: {fault}" for fault in self.axe()]
        self.page.set_viewport_size({"width": PHONE, "height": 844})
        found += self.page.evaluate(TOO_WIDE, PHONE) + self.page.evaluate(CUT_ON_A_PHONE)
        self.page.emulate_media(color_scheme="dark")
        self.page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
        found += [f"dark: {fault}" for fault in self.axe(AXE_DARK_AND_NARROW)]
        return found + self.local.left_the_machine + self.local.complaints


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Where the site is served: search reads pages, which a browser allows to no local file."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Server, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="module")
def browser():
    with launched(CHROMIUM) as started:
        yield started


@pytest.fixture(scope="module")
def window(browser, address) -> LocalPage:
    """One window for all tests: a new one would have to read every script again."""
    return new_page(browser, site=address)


@pytest.fixture
def reader(window, address) -> Iterator[Reader]:
    window.page.set_viewport_size({"width": 1280, "height": 900})
    window.page.emulate_media(media="screen", color_scheme="light")
    yield Reader(window, address)
    window.page.evaluate("localStorage.clear()")  # a theme that was chosen
    window.page.goto("about:blank")
    window.left_the_machine.clear()
    window.complaints.clear()


@needs_browser
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_accessible_and_fits_a_phone(reader, name):
    reader.open(name)
    assert not reader.faults()


@needs_browser
def test_faults_are_noticed(reader):
    reader.open("notation")
    reader.page.evaluate("""() => {
      document.querySelector("article").insertAdjacentHTML("beforeend",
        '<p>$x$</p><span class="math">y</span><p style="color: #ccc; background: #fff">pale</p>' +
        '<img src="gone.png"><div style="width: 999px">wide</div>' +
        `<pre>${"code ".repeat(20)}</pre>`.replace("<pre", '<pre style="width: 9em"') +
        '<div class="math" style="display: flex; flex-direction: row-reverse">' +
        '<mjx-container style="flex: none; width: 600px">y</mjx-container></div>' +
        '<div class="prev-next-area"><a style="display: block; width: 5em; overflow: hidden">' +
        '<b style="display: block; width: 9em">Next</b></a></div>');
      fetch("https://example.org/").catch(() => {});
      console.error("oh");
    }""")
    reader.page.wait_for_function("[...document.images].every(image => image.complete)")
    words = [
        "raw: $x$",
        "not set: y",
        "color-contrast",
        "image-alt",
        "not loaded",
        "wider than 390",
        "cut at the right: <PRE> code",
        "a formula that opens at its end",
        "a link that is cut: Next",
    ]
    found = "\n".join(reader.faults())
    for word in [*words, "https://example.org/", "oh"]:
        assert word in found


@needs_browser
def test_the_search_finds_a_name_in_notebooks_and_helpers(reader):
    reader.open("index")
    reader.page.keyboard.press("Control+k")
    reader.page.keyboard.type("scale_tril")
    reader.page.keyboard.press("Enter")
    reader.page.wait_for_selector("#search-results li a")
    reader.page.wait_for_function(
        "document.querySelector('.search-summary')?.textContent.includes('found')"
    )
    found = {
        urlsplit(a).path
        for a in reader.page.eval_on_selector_all(
            "#search-results li a", "links => links.map(link => link.href)"
        )
    }
    assert {"/notebooks/01_cholesky_theory.html", "/notation.html"} <= found
    assert any(path.startswith("/api/") for path in found)
    assert not reader.local.left_the_machine + reader.local.complaints


@needs_browser
def test_pale_words_in_the_last_cell_are_noticed(reader):
    """It is a solution, and folded."""
    reader.open(NOTEBOOKS[0])
    reader.page.evaluate("""() => [...document.querySelectorAll("div.cell_input pre")].at(-1)
      .querySelectorAll("span").forEach(word => { word.style.color = "#ccc"; })""")
    assert {fault.partition(":")[0] for fault in reader.axe()} == {"color-contrast"}


@needs_browser
def test_a_solution_unfolds_and_folds_by_keyboard(reader):
    reader.open(NOTEBOOKS[0])
    code = reader.page.locator("div.cell details pre").first
    assert not code.is_visible()
    reader.page.locator("div.cell details summary").first.focus()
    for key, visible in (("Enter", True), ("Space", False)):
        reader.page.keyboard.press(key)
        assert code.is_visible() == visible


@needs_browser
def test_the_first_key_leads_past_the_navigation(reader):
    reader.open(NOTEBOOKS[0])
    reader.page.keyboard.press("Tab")
    focused = "document.activeElement"
    assert reader.page.evaluate(f"{focused}.textContent.trim()") == "Skip to main content"
    reader.page.wait_for_function(f"{focused}.getBoundingClientRect().top >= 0")  # it slides in
    reader.page.keyboard.press("Enter")
    reader.page.keyboard.press("Tab")
    assert reader.page.evaluate(f"!!{focused}.closest('main')")


@needs_browser
@pytest.mark.parametrize("width", [1280, PHONE])
@pytest.mark.parametrize("name", [NOTEBOOKS[0], "errors", "search"])
def test_every_stop_of_the_keyboard_is_seen_and_nothing_is_left_out(reader, name, width):
    reader.page.set_viewport_size({"width": width, "height": 900})
    reader.open(name)
    assert not reader.stops_that_are_not_seen()
    reached = reader.page.evaluate("[...stops.reached].map(el => el.tagName)")
    for kind in ("A", "BUTTON", "SUMMARY" if name == NOTEBOOKS[0] else "INPUT"):
        assert kind in reached
    assert reader.page.evaluate("stops.missed()") == []


@needs_browser
@pytest.mark.parametrize("round_", [False, True], ids=["to the body", "round to the first"])
def test_a_stop_that_is_not_seen_and_one_that_is_missed_are_noticed(reader, round_):
    reader.open("notation")
    reader.page.evaluate("""() => document.querySelector("article").insertAdjacentHTML("afterbegin",
      '<a href="#a" style="outline: none !important; box-shadow: none !important">plain</a>' +
      '<a href="#b" style="position: fixed; left: -99px; width: 9px">away</a>' +
      '<button tabindex="-1">missed</button>')""")
    if round_:
        reader.page.evaluate("""() => {
          document.body.insertAdjacentHTML("beforeend", '<a href="#c" id="last">last</a>');
          document.querySelector("#last").addEventListener("keydown", event => {
            event.preventDefault();
            document.querySelector("a.skip-link, a[href]").focus();
          });
        }""")
    found = reader.stops_that_are_not_seen()
    assert [words.split()[-1] for words in found] == ["plain", "away"]
    assert reader.page.evaluate("stops.missed()") == ["missed"]


@needs_browser
def test_the_search_opens_by_keyboard_and_closes_again(reader):
    reader.open("index")
    reader.page.get_by_role("button", name="Search").first.focus()
    reader.page.keyboard.press("Enter")
    box = reader.page.locator("dialog input[type=search]")
    box.wait_for(state="visible")
    assert box.evaluate("el => el === document.activeElement")
    reader.page.keyboard.press("Escape")
    box.wait_for(state="hidden")


@needs_browser
def test_the_theme_can_be_chosen(reader):
    reader.open("index")
    reader.page.emulate_media(color_scheme="light")
    seen = []
    for theme in ("Dark", "Light"):
        reader.page.get_by_role("button", name="Color mode").click()
        reader.page.get_by_role("button", name=theme, exact=True).click()
        seen.append(reader.page.evaluate("document.documentElement.dataset.theme"))
    assert seen == ["dark", "light"]


def real_message(provoke: Callable[[], object]) -> str:
    """What a reader copies: the last lines of the traceback."""
    try:
        provoke()
    except (ValueError, RuntimeError) as error:
        return "".join(traceback.format_exception_only(error))
    raise AssertionError("expected an error")


ZEROS, EYE = torch.zeros(3), torch.eye(3)
# How many entries fit a message, and one of them. Seven causes have the first message.
PRECISE = {
    "covariance": (lambda: MultivariateNormal(ZEROS, -EYE), 7, "A variance below zero"),
    "precision": (
        lambda: MultivariateNormal(ZEROS, precision_matrix=-EYE),
        1,
        "The matrix is not symmetric",
    ),
    "factor": (
        lambda: MultivariateNormal(ZEROS, scale_tril=-EYE),
        1,
        "The Cholesky factor is not one",
    ),
    "mean": (lambda: MultivariateNormal(ZEROS / 0, EYE), 2, "The mean is NaN"),
    "data": (lambda: MultivariateNormal(ZEROS, EYE).log_prob(ZEROS / 0), 1, "NaN in the data"),
    "cholesky": (
        lambda: torch.linalg.cholesky(-EYE),
        2,
        "The factorisation could not be completed",
    ),
    "dtypes": (lambda: ZEROS.double() @ EYE, 1, "float64 meets float32"),
}


class ErrorFinder:
    """The page "find your error message", and what it answers."""

    def __init__(self, reader: Reader) -> None:
        reader.open("errors")
        self.page = reader.page
        self.box = self.page.get_by_label("Paste your message")

    def titles(self, typed: str) -> list[str]:
        self.box.fill(typed)
        visible = self.page.locator(".error-entry:not([hidden]) > h3")
        return [text.rstrip("#") for text in visible.all_text_contents()]

    def messages(self) -> dict[str, str]:
        """The message of each entry that has one, by its title."""
        entries = soup_of(self.page.content()).select(".error-entry")
        said = {entry.h3.text.rstrip("#"): entry.select_one(".highlight-text") for entry in entries}
        return {title: message.text for title, message in said.items() if message}


@needs_browser
def test_the_error_finder_finds_a_few_words(reader):
    finder = ErrorFinder(reader)
    everything = finder.titles("")
    assert len(everything) > 40
    assert finder.titles("second time") == ["A second backward"]
    assert finder.titles("zzz yyy") == []
    assert "Nothing fits" in reader.page.get_by_role("status").text_content()
    assert finder.titles("") == everything


@needs_browser
def test_the_error_finder_finds_each_entry_by_its_message(reader):
    finder = ErrorFinder(reader)
    messages = finder.messages()
    assert len(messages) > 40
    assert [title for title, said in messages.items() if title not in finder.titles(said)] == []


@needs_browser
@pytest.mark.parametrize(("provoke", "count", "title"), PRECISE.values(), ids=PRECISE)
def test_the_error_finder_answers_a_real_message_with_its_causes_alone(
    reader, provoke, count, title
):
    finder = ErrorFinder(reader)
    message = real_message(provoke)
    for pasted in (message, message.partition(":")[2]):  # with its type, and without
        found = finder.titles(pasted)
        assert title in found
        assert len(found) == count


@needs_browser
def test_the_pages_can_be_read_without_scripts(browser, address):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(f"{address}/errors.html")
    assert page.locator(".error-entry").last.is_visible()
    page.goto(f"{address}/{NOTEBOOKS[0]}.html")
    assert page.locator("div.cell").last.is_visible()
    page.context.close()


@needs_browser
def test_the_printed_page_is_the_article_alone(reader):
    reader.open(NOTEBOOKS[1])
    reader.page.emulate_media(media="print")
    for gone in (
        ".bd-sidebar-primary",
        ".bd-header-article",
        ".notebook-download",
        ".prev-next-footer",
    ):
        assert not reader.page.locator(gone).first.is_visible(), gone
    assert reader.page.locator("article h1").is_visible()
    cut = "all => all.filter(box => box.scrollWidth > box.clientWidth + 1).length"
    assert reader.page.eval_on_selector_all("article pre", cut) == 0


# Like the look of a README on a code host, and stricter: long words do not break.
README_LOOK = """body { margin: 16px; font: 16px sans-serif; } img { max-width: 100%; }
  pre, table { display: block; overflow: auto; }"""


def readme_faults(browser: Browser, markdown: str) -> list[str]:
    """What of a README is wider than a phone."""
    words = MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown)
    page = browser.new_page(viewport={"width": PHONE, "height": 844}, proxy=NO_WAY_OUT)
    # Without its pictures, which would be made to fit.
    page.set_content(f"<style>{README_LOOK}</style>{re.sub(r'<img[^>]*>', '', words)}")
    found = page.evaluate(TOO_WIDE, PHONE)
    page.close()
    return found


@needs_browser
@pytest.mark.parametrize("file", ["README.md", "benchmarks/README.md"])
def test_a_readme_fits_a_phone(browser, file):
    assert readme_faults(browser, (ROOT / file).read_text(encoding="utf-8")) == []


@needs_browser
def test_a_readme_with_a_long_word_is_noticed(browser):
    line = f"PIP_EXTRA_INDEX_URL={'https://example.org/a/long/address' * 2}"
    assert readme_faults(browser, f"Put `{line}` first.")
    assert not readme_faults(browser, f"Put this first:\n\n```bash\n{line}\n```\n")
