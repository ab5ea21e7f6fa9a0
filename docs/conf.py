"""How Sphinx builds the website; `docs/build.py` calls it, and says from which files.

Nothing is executed: the pages show the outputs that the notebooks are stored with. Nothing is
fetched, neither by the build nor by a page.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "extensions")]

project = "Learning a covariance matrix with PyTorch"
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    # Our own, in docs/extensions/.
    "course_map",
    "docstrings",
    "error_finder",
    "notebook_pages",
    "page_titles",
    "repository_links",
]
suppress_warnings = ["config.cache"]

# Notebooks and Markdown.
nb_execution_mode = "off"
nb_merge_streams = True


myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
myst_dmath_double_inline = True

# Docstrings.
default_role = "literal"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # as they are written: a path would name this machine
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
add_module_names = False
toc_object_entries_show_parents = "hide"

# Everything the pages need lies beside them.
mathjax_path = "tex-svg.js"
mathjax3_config = {
    "svg": {"fontCache": "local"},
    "options": {"enableMenu": False},
}
html_static_path = ["_static", "vendor/mathjax"]
templates_path = ["_templates"]

html_theme = "sphinx_book_theme"
html_title = project
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False
html_css_files = ["course.css"]
html_js_files = ["course.js"]
html_theme_options = {
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "use_repository_button": False,
    "navbar_persistent": [],
    "logo": {"text": project},
    "show_prev_next": True,
    "footer_content_items": [],
}
html_context = {"default_mode": "auto"}
html_favicon = "_static/ellipse.svg"
copybutton_selector = "div.cell_input pre, div.highlight-python pre, div.highlight-bash pre"
