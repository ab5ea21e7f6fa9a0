"""`make notebooks`: stores what changed, changes no byte otherwise, and nothing if a cell fails."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from nbval_rules import WIDGET
from store_notebooks import NOT_SAVED, is_unchanged, main, normalised, write_if_changed

# Stands in for helpers.save_figure: a figure goes to a file, and the same bytes are displayed.
DRAW = """
import io, os, pathlib
from IPython.display import display
from PIL import Image
def draw(name, level):
    buffer = io.BytesIO()
    Image.new("L", (40, 30), int(level)).save(buffer, format="PNG")
    pathlib.Path(os.environ["COVARIANCE_FIGURES"], name + ".png").write_bytes(buffer.getvalue())
    display({"image/png": buffer.getvalue()}, raw=True)
"""
CELLS = [
    new_markdown_cell("# Tiny"),
    new_code_cell(DRAW),
    new_code_cell("print('a')\nimport sys\nprint('b', file=sys.stderr)\n1 / 3"),
    new_code_cell("draw('01_plain', 3)"),
    new_code_cell(
        "import time\ndraw('01_timing', time.time() * 10 % 250)\ntime.time()",
        metadata={"tags": ["nbval-ignore-output"]},
    ),
    new_code_cell("from tqdm.auto import tqdm\nfor _ in tqdm(range(3)):\n    pass"),
    new_code_cell("2;", metadata={"tags": ["solution"], "execution": {"iopub.busy": "now"}}),
]


@pytest.fixture
def tree(tmp_path: Path, write_notebook) -> Path:
    """A checkout with one tiny notebook, not yet run."""
    (tmp_path / "notebooks").mkdir()
    write_notebook(tmp_path / "notebooks" / "01_tiny.ipynb", *CELLS)
    return tmp_path


def contents(tree: Path) -> dict[str, bytes]:
    files = [path for path in tree.rglob("*") if path.is_file()]
    return {path.relative_to(tree).as_posix(): path.read_bytes() for path in files}


def read(tree: Path) -> nbformat.NotebookNode:
    return nbformat.read(tree / "notebooks" / "01_tiny.ipynb", as_version=4)


def test_a_second_run_changes_no_byte(tree, capsys):
    assert main([], tree) == 0
    said = capsys.readouterr().out
    assert said == "01_tiny.ipynb: stored 01_tiny.ipynb, 01_plain.png, 01_timing.png\n"
    first = contents(tree)
    assert main([], tree) == 0
    assert capsys.readouterr().out == "01_tiny.ipynb: unchanged\n"
    assert contents(tree) == first

    code = [cell for cell in read(tree).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [1, 2, 3, 4, 5, 6]
    assert code[4].outputs == []  # a progress bar
    assert code[-1].metadata == {"tags": ["solution"], "jupyter": {"source_hidden": True}}
    assert code[-1].outputs == []
    assert read(tree).metadata.language_info == {"name": "python"}
    assert [output.output_type for output in code[1].outputs][-1] == "execute_result"

    # Fresh timings are stored when they are asked for, and their figure with them.
    assert main(["--fresh"], tree) == 0
    renewed = contents(tree)
    changed = {name for name in first if renewed[name] != first[name]}
    assert changed == {"notebooks/01_tiny.ipynb", "figures/01_timing.png"}


def test_a_change_is_stored_and_a_figure_no_longer_drawn_is_removed(tree, write_notebook):
    main([], tree)
    before = contents(tree)
    (tree / "figures" / "02_other.png").write_bytes(b"of another notebook")
    notebook = read(tree)
    notebook.cells[3].source = "draw('01_renamed', 3)"
    nbformat.write(notebook, tree / "notebooks" / "01_tiny.ipynb")
    assert main(["01"], tree) == 0
    after = contents(tree)
    assert "figures/01_plain.png" not in after
    assert after["figures/01_renamed.png"] == before["figures/01_plain.png"]
    assert after["figures/02_other.png"] == b"of another notebook"


def test_a_failed_cell_is_named_and_nothing_is_stored(tree, write_notebook, capsys):
    main([], tree)
    notebook = read(tree)
    notebook.cells[2].source = "print('new')"
    notebook.cells[4].source = "1 / 0"
    nbformat.write(notebook, tree / "notebooks" / "01_tiny.ipynb")
    before = contents(tree)
    capsys.readouterr()
    assert main([], tree) == 1
    said = capsys.readouterr().out
    assert said.startswith("01_tiny.ipynb: code cell 4: ZeroDivisionError: division by zero; no")
    assert contents(tree) == before


def test_a_figure_that_was_not_saved_is_named_and_nothing_is_stored(tree, capsys):
    main([], tree)
    notebook = read(tree)
    notebook.cells[2].source = "import warnings\nwarnings.warn('the figure 01_a ' + NOT_SAVED)"
    notebook.cells[2].source = notebook.cells[2].source.replace("NOT_SAVED", repr(NOT_SAVED))
    nbformat.write(notebook, tree / "notebooks" / "01_tiny.ipynb")
    before = contents(tree)
    capsys.readouterr()
    assert main([], tree) == 1
    said = capsys.readouterr().out
    assert "UserWarning: the figure 01_a is shown but not saved; nothing is stored" in said
    assert contents(tree) == before


def test_the_warning_of_a_figure_that_is_not_saved_is_the_one_of_the_helpers(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    from helpers import save_figure

    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("COVARIANCE_FIGURES", str(tmp_path / "a file"))
    with pytest.warns(UserWarning, match=NOT_SAVED):
        save_figure(Figure(), "01_ellipse")


def test_what_is_ended_while_it_writes_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "01_tiny.ipynb"
    file.write_bytes(b"old")

    def half(path: Path, content: bytes) -> None:
        with path.open("wb") as opened:
            opened.write(content[: len(content) // 2])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", half)
        with pytest.raises(KeyboardInterrupt):
            write_if_changed(file, b"new and longer")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.glob("*.ipynb")) == [file]  # what is left is taken for no notebook
    assert write_if_changed(file, b"new and longer")
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [
        (file.name, b"new and longer")
    ]


def test_an_unknown_name_is_told(tree, capsys):
    assert main(["07"], tree) == 2
    assert capsys.readouterr().out == "no notebook begins with 07\n"


def test_pieces_of_a_stream_are_joined_and_other_outputs_stay_apart():
    pieces = [("stdout", "a"), ("stdout", "b"), ("stderr", "c"), ("stdout", "d")]
    outputs = [new_output("stream", name=name, text=text) for name, text in pieces]
    notebook = new_notebook(cells=[new_code_cell("1", outputs=outputs)])
    (cell,) = normalised(notebook).cells
    assert [output.text for output in cell.outputs] == ["ab", "c", "d"]
    assert [output.text for output in outputs] == ["a", "b", "c", "d"]  # the argument is unchanged


def test_of_a_widget_only_the_sentence_is_stored():
    data = {"text/plain": "Run this cell.", WIDGET: {"model_id": "another at every run"}}
    shown = new_output("execute_result", data=data, execution_count=1)
    (cell,) = normalised(new_notebook(cells=[new_code_cell("1", outputs=[shown])])).cells
    assert cell.outputs[0].data == {"text/plain": "Run this cell."}
    assert WIDGET in shown.data  # the argument is unchanged


def test_a_notebook_that_was_never_run_has_changed():
    """Even if all its outputs differ at every run, so that there is nothing else to compare."""
    timing = new_code_cell("1", metadata={"tags": ["nbval-ignore-output"]})
    new, old = (new_notebook(cells=[timing.copy()]) for _ in range(2))
    new.cells[0].execution_count = 1
    assert not is_unchanged(new, old)
    assert is_unchanged(old, old)
