"""Sliders for those who cannot see them or use no mouse: live, in JupyterLab, judged by axe."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab import ROOT
from nbformat.v4 import new_code_cell
from reader import Reader, reading

from helpers import interactive

AXE = ROOT / "tests" / "data" / "axe" / "axe.min.js"
PICTURES = [name for name in interactive.__all__ if name.startswith("explore_")]
SETTLE_MS = 20_000

# What is serious or worse in the outputs of cells; JupyterLab around them is not ours. The handle
# of an ipywidgets slider has no name, and Python cannot give it one. It passes where a field with
# a name stands beside it and does the same.
SERIOUS = """async () => {
  const beside = handle => handle.closest(".widget-hbox")?.querySelector("input, select");
  const passes = (rule, place) => {
    const el = document.querySelector(place);
    return rule === "aria-input-field-name" && el.matches(".noUi-handle")
      && Boolean(beside(el)?.labels?.[0]?.textContent.trim());
  };
  const { violations } = await axe.run({ include: [[".jp-OutputArea-output"]] });
  return violations.filter(found => ["serious", "critical"].includes(found.impact)).flatMap(
    found => found.nodes.filter(node => !passes(found.id, node.target[0]))
      .map(node => `${found.id}: ${node.html.slice(0, 120)}`));
}"""
IS_SHOWN = "n => document.querySelectorAll('.jp-OutputArea-output .widget-vbox').length >= n"
FIELDS = ".jp-OutputArea-output .widget-hbox :is(input[type=number], select)"
PLANTED = """
import ipywidgets as widgets

alone = widgets.IntSlider(description="alone")
nameless = widgets.HBox([widgets.IntSlider(), widgets.IntText()])
widgets.VBox([alone, nameless])
"""


def serious(reader: Reader, boxes: int) -> list[str]:
    """What axe finds in the outputs of a notebook, once all of its widgets are shown."""
    reader.page.wait_for_function(IS_SHOWN, arg=boxes, timeout=SETTLE_MS)
    reader.page.add_script_tag(path=AXE)
    return reader.page.evaluate(SERIOUS)


@pytest.fixture
def pictures(browser, lab, write_notebook) -> Iterator[Reader]:
    """A notebook in which every interactive picture has been shown."""
    cells = [f"from helpers.interactive import {name}\n\n{name}()" for name in PICTURES]
    path = write_notebook(lab.folder / "notebooks" / "pictures.ipynb", *map(new_code_cell, cells))
    with reading(browser, lab, path) as reader:
        reader.run_all()
        yield reader


def test_every_slider_has_a_field_with_a_name_that_does_the_same(pictures):
    assert serious(pictures, len(PICTURES)) == []
    sliders = pictures.page.locator(".jp-OutputArea-output [role=slider]").count()
    fields = pictures.page.locator(FIELDS)
    assert fields.count() == sliders > 8

    words = pictures.cell(0).get_by_role("status")
    field = pictures.cell(0).get_by_label("correlation", exact=True)
    assert "correlation 0.35" in words.text_content()
    field.press("ArrowDown")
    words.get_by_text("correlation 0.30").wait_for(timeout=SETTLE_MS)
    handle = pictures.cell(0).get_by_role("slider").nth(2)
    handle.press("ArrowLeft")
    words.get_by_text("correlation 0.25").wait_for(timeout=SETTLE_MS)
    assert field.input_value() == "0.25"


def test_a_slider_and_a_field_without_a_name_are_noticed(browser, lab, write_notebook):
    path = write_notebook(lab.folder / "notebooks" / "planted.ipynb", new_code_cell(PLANTED))
    with reading(browser, lab, path) as reader:
        reader.run_all()
        found = serious(reader, 1)
    rules = sorted(each.partition(":")[0] for each in found)
    assert rules == ["aria-input-field-name", "aria-input-field-name", "label"]
