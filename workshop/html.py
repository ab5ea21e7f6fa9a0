"""From markdown and code to HTML pages that need nothing from the network."""

from __future__ import annotations

import re
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markdown_it import MarkdownIt
from markupsafe import Markup, escape
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pygments import highlight as pygments_highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer, TextLexer
from pygments.style import Style
from pygments.token import Comment, Keyword, Name, Number, Operator, String

ROOT = Path(__file__).resolve().parents[1]
VENDOR = ROOT / "docs" / "vendor"
TEMPLATES = Path(__file__).with_name("templates")
CODE_CLASS = "highlight"

_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\([^)\s]+\)")


class CourseStyle(Style):
    """Code in the colours of the figures; each has a contrast of at least 4.5:1 on white."""

    background_color = "#f7f7f5"
    styles = {  # noqa: RUF012 (pygments reads it from the class)
        Comment: "italic #606060",
        Keyword: "bold #005a8f",
        Name.Builtin: "#005a8f",
        Name.Class: "bold",
        Name.Function: "bold",
        Number: "#771100",
        Operator.Word: "bold #005a8f",
        String: "#00664a",
    }


def markdown(text: str) -> Markup:
    """HTML of markdown with tables and formulas.

    Parameters
    ----------
    text : str
        Formulas stand between dollar signs, as in the notebooks.

    Returns
    -------
    Markup
        Formulas stand between the brackets that MathJax looks for, in elements of class ``math``.
    """
    return Markup(_parser().render(text))


def without_links(text: str) -> str:
    """Markdown with the words of each link in its place."""
    return _LINK.sub(r"\1", text)


def highlight(code: str, language: str = "python") -> Markup:
    """HTML of code in colours.

    Parameters
    ----------
    code : str
        Its lines are kept as they are.
    language : {"python", "text"}
        What is printed is ``"text"``: it gets no colours, and the same box.
    """
    lexer = PythonLexer() if language == "python" else TextLexer()
    spans = pygments_highlight(code.strip("\n"), lexer, HtmlFormatter(nowrap=True))
    return Markup(f'<pre class="{CODE_CLASS}"><code>{spans}</code></pre>')


def highlight_css() -> str:
    """Rules for the colours of highlighted code."""
    return HtmlFormatter(style=CourseStyle).get_style_defs(f".{CODE_CLASS}")


def render(template: str, **values: Any) -> str:
    """Fill a template of ``workshop/templates``; strings are escaped, `Markup` is not."""
    return _templates().get_template(template).render(values)


def copy_vendored(library: str, out: Path) -> list[Path]:
    """Copy a folder of ``docs/vendor`` to ``out``, its licence too; return what was written."""
    source = VENDOR / library
    if not source.is_dir():
        known = sorted(folder.name for folder in VENDOR.iterdir() if folder.is_dir())
        raise ValueError(f"library: expected one of {known}, got {library!r}")
    target = out / library
    target.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copy(file, target)) for file in sorted(source.iterdir())]


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"highlight": _fence}).enable("table")
    return parser.use(dollarmath_plugin, allow_space=False, renderer=_formula)


def _formula(content: str, options: dict[str, Any]) -> str:
    opening, closing = (r"\[", r"\]") if options["display_mode"] else (r"\(", r"\)")
    return f"{opening}{escape(content.strip())}{closing}"


def _fence(code: str, language: str, _attributes: str) -> str:
    return str(highlight(code, language or "text"))


@cache
def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"markdown": markdown, "highlight": highlight}
    return environment
