"""What is wrong with a notebook is noticed, and the sentence says where: planted faults.

Each list of faults is compared as a whole, so that nothing sound is complained about either.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from faults import faults
from nbformat.v4 import new_code_cell, new_markdown_cell
from reader import reading

SOLUTION = {"tags": ["solution"], "jupyter": {"source_hidden": True}}
SHOW_A_SLIDER = """
import io
import ipywidgets as widgets
from matplotlib.figure import Figure

def draw(value):
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, value])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()

slider = widgets.IntSlider(3, 0, 3, description="slope")
picture = widgets.Image(value=draw(3))
choice = widgets.SelectionSlider(options=[1.5, 2.5], description="of two")
for each in (slider, choice):
    each.observe(lambda change: setattr(picture, "value", draw(change.new)), "value")
widgets.VBox([slider, choice, picture])
"""
SHOW_AN_OUTPUT = """
from IPython.display import Image, display

widgets.interactive(lambda value: display(Image(draw(value))), value=(0.0, 1.0, 0.5))
"""


SHOW_A_WIDGET_THAT_IS_NOT_THERE = """
from IPython.display import display

display({"application/vnd.jupyter.widget-view+json": {"model_id": "gone"}}, raw=True)
"""


@pytest.fixture
def faults_of(browser, lab, write_notebook) -> Callable[..., list[str]]:
    """All faults of a notebook of some cells, without the name that each begins with."""

    def read(*cells, seconds: float = 60) -> list[str]:
        path = write_notebook(lab.folder / "notebooks" / "planted.ipynb", *cells)
        with reading(browser, lab, path) as reader:
            reader.run_all(seconds=seconds)
            found = faults(reader)
        assert all(fault.startswith("planted.ipynb") for fault in found)
        return [fault.removeprefix("planted.ipynb").lstrip(",: ") for fault in found]

    return read


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where faults are certain, waiting for them to go away takes time only."""
    monkeypatch.setattr("faults.SETTLE_SECONDS", 2)


def test_a_sound_notebook_has_none(faults_of):
    found = faults_of(
        new_markdown_cell("# A title\n\n**Two** factors, $L L^\\top$, and `a $ in code`:\n\n$$x$$"),
        new_markdown_cell("| a | b |\n|---|---|\n| 2 * 3 | [link](planted.ipynb) |"),
        new_code_cell("print('$ and **')"),
        new_code_cell("1 + 1", metadata=SOLUTION),
        new_code_cell(""),
        new_code_cell(SHOW_A_SLIDER),
        new_code_cell(SHOW_AN_OUTPUT),
    )
    assert found == []


def test_an_error_is_noticed_and_so_is_what_did_not_run_after_it(faults_of):
    # It fails late: a request that reaches the kernel after the error would be run.
    late = "import time\ntime.sleep(2)\n1 / 0"
    found = faults_of(
        new_code_cell("1 + 1"), new_code_cell(late), new_markdown_cell("."), new_code_cell("2")
    )
    assert found == [
        "cell 2 (import time): ZeroDivisionError: division by zero",
        "cell 4 (2): did not run",
    ]


def test_an_error_that_is_meant_stops_nothing_and_is_missed_where_it_does_not_come(faults_of):
    meant = {"tags": ["raises-exception"]}
    found = faults_of(
        new_code_cell("1 / 0", metadata=meant),
        new_code_cell("print('it goes on')"),
        new_code_cell("1 / 1", metadata=meant),
    )
    assert len(found) == 1
    assert "cell 3 (1 / 1): is to raise an error and raised none" in found[0]


def test_an_interrupt_is_noticed(faults_of):
    interrupt = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)"
    found = faults_of(new_code_cell(interrupt), new_code_cell("2"))
    where = "cell 1 (import os, signal, time)"
    assert found == [f"{where}: KeyboardInterrupt: ", "cell 2 (2): did not run"]


def test_a_cell_that_does_not_end_is_noticed(faults_of):
    found = faults_of(new_code_cell("import time\ntime.sleep(600)"), new_code_cell("2"), seconds=2)
    assert found == [
        "cell 1 (import time): did not run",
        "cell 2 (2): did not run",
        "still running after 2 s",
    ]


def test_a_kernel_that_dies_is_noticed(faults_of):
    found = faults_of(new_code_cell("import os\nos._exit(1)"), new_code_cell("2"))
    assert found[:2] == ["cell 1 (import os): did not run", "cell 2 (2): did not run"]


@pytest.mark.usefixtures("impatient")
def test_what_looks_wrong_is_noticed(faults_of):
    looks = {
        "the price $5": "raw markup: the price $5",
        "\\sigma": "raw markup: \\sigma",
        "** not bold **": "raw markup: ** not bold **",
        ":::{note}": "raw markup: :::{note}",
        "> [!NOTE] text": "raw markup: [!NOTE] text",
        "##Title": "raw markup: ##Title",
        "[text](there is.md)": "raw markup: [text](there is.md)",
        "&lt;details&gt;": "raw markup: <details>",
        "{ref}`there`": "raw markup: {ref}",
        "as they say[^1]": "raw markup: as they say[^1]",
        "$\\frac{1}$": "a formula with an error: Missing argument for \\frac",
        "$\\nonsense$": "a formula with an unknown command: \\nonsense",
        "![it](gone.png)": "a picture that is not shown: /files/notebooks/gone.png",
    }
    found = faults_of(
        *map(new_markdown_cell, looks),
        new_code_cell("1", metadata={"tags": ["solution"]}),
        new_code_cell("from IPython.display import Markdown\n\nMarkdown('** 1 **')"),
        new_code_cell(SHOW_A_WIDGET_THAT_IS_NOT_THERE),
    )
    gone = "on the console: Failed to load resource: the server responded with a status of 404"
    no_model = "Error displaying widget: model not found"
    # On a busy machine the reader looks while JupyterLab still searches for the model.
    found = [fault.replace("Loading widget...", no_model) for fault in found]
    assert found == [
        *(f"cell {n} ({source}): {what}" for n, (source, what) in enumerate(looks.items(), 1)),
        "cell 14 (1): a solution that is not folded",
        "cell 15 (from IPython.display import Markdown): raw markup: ** 1 **",
        f"cell 16 (from IPython.display import display): a widget not shown: {no_model}",
        f"{gone} (Not Found) /files/notebooks/gone.png",
        "on the console: Error: widget model not found",
    ]


@pytest.mark.usefixtures("impatient")
def test_errors_of_scripts_and_requests_that_leave_the_machine_are_noticed(faults_of):
    found = faults_of(
        new_code_cell("from IPython.display import Javascript\n\nJavascript('console.error(42)')"),
        new_code_cell("Javascript('setTimeout(() => { undefinedName })')"),
        new_code_cell("Javascript('new WebSocket(\"ws://example.org/\")')"),
        new_code_cell("Javascript('fetch(\"https://example.org/data\").catch(() => null)')"),
        new_markdown_cell("![it](https://example.org/x.png)"),
    )
    assert sorted(found) == [
        "asks for https://example.org/data, which is not on this machine",
        "asks for https://example.org/x.png, which is not on this machine",
        "asks for ws://example.org/, which is not on this machine",
        "cell 5 (![it](https://example.org/x.png)): "
        "a picture that is not shown: https://example.org/x.png",
        "in a script: undefinedName is not defined",
        "on the console: 42",
    ]


@pytest.mark.usefixtures("impatient")
def test_a_slider_that_does_not_do_its_part_is_noticed(faults_of):
    lonely = "widgets.IntSlider(description='lonely', readout=False)"
    mouse = "widgets.HTML('<input type=range tabindex=-1>')"
    still = "widgets.VBox([widgets.IntSlider(description='still'), picture])"
    locked = "widgets.VBox([widgets.IntSlider(disabled=True), picture])"
    found = faults_of(*map(new_code_cell, [SHOW_A_SLIDER, lonely, mouse, still, locked]))
    assert found == [
        f"cell 2 ({lonely}): the slider “lonely” has no picture beside it",
        f"cell 2 ({lonely}): the slider “lonely” shows no number",
        f"cell 3 ({mouse}): the slider without a label is not reached by the keyboard",
        f"cell 3 ({mouse}): the slider without a label has no picture beside it",
        f"cell 3 ({mouse}): the slider without a label shows no number",
        f"cell 4 ({still[:60]}): the slider “still” moves no picture",
        f"cell 5 ({locked}): the slider without a label stays at 0 when an arrow key is pressed",
        f"cell 5 ({locked}): the slider without a label moves no picture",
    ]
