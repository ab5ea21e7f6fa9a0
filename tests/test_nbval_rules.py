"""The two rules by which notebook outputs are compared: each allows what it must, and bites."""

from __future__ import annotations

import base64
import io
import logging
import os
import re
from pathlib import Path

import matplotlib
import nbval_rules
import numpy as np
import pytest
from matplotlib import ft2font
from nbformat.v4 import new_output
from nbval_rules import (
    COARSEST_UNIT,
    IMAGE_RMS,
    IMAGE_RMS_OF_ROUNDING,
    LOG,
    RELATIVE_TOLERANCE,
    ROUNDING,
    WIDGET,
    image_difference,
    output_differences,
    text_difference,
)
from PIL import Image, ImageDraw, ImageFilter

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize(
    ("computed", "stored"),
    [
        ("loss 1.2345678", "loss 1.2345679"),
        ("loss 1.23454321", "loss 1.23450000"),  # 3.5e-5: below the relative tolerance
        ("error 2.50001e-07", "error 2.5e-07"),
        ("0.1235", "0.1236"),  # two sides of one rounding edge
        ("9.99", "10.00"),
        ("tensor([[ 0.000, 1.200]])", "tensor([[-0.000, 1.200]])"),
        ("gap 0.000", "gap 0.001"),
        ("gap  1.000", "gap 1.000"),
        ("nan inf", "nan inf"),
    ],
)
def test_equal_within_the_tolerance(computed, stored):
    assert text_difference(computed, stored) is None
    assert text_difference(stored, computed) is None


@pytest.mark.parametrize(
    ("computed", "stored"),
    [
        ("loss 1.2350", "loss 1.2345"),
        ("error 2.6e-07", "error 2.5e-07"),
        ("gap 0.002", "gap 0.000"),
        ("0.2", "0.1"),  # one unit of a single digit is a different number
        ("-1.500", "1.500"),
        ("500 steps", "501 steps"),
        ("step 500.", "step 501."),  # a full stop does not turn an integer into a decimal
        ("torch 2.13.0", "torch 2.13.1"),
        ("nan", "1.000"),
        ("1.000 and 2.000", "1.000"),
        ("one\ntwo", "one"),
        ("float64", "float32"),
    ],
)
def test_different_beyond_the_tolerance(computed, stored):
    assert text_difference(computed, stored) is not None
    assert text_difference(stored, computed) is not None


def test_the_relative_tolerance_and_the_coarsest_unit_are_the_edges():
    inside, outside = 1 + 0.9 * RELATIVE_TOLERANCE, 1 + 1.1 * RELATIVE_TOLERANCE
    assert text_difference(f"{inside:.9f}", f"{1:.9f}") is None
    assert text_difference(f"{outside:.9f}", f"{1:.9f}") is not None
    assert text_difference(f"{1 + COARSEST_UNIT:.2f}", f"{1:.2f}") is None
    assert text_difference(f"{0.9 + COARSEST_UNIT:.2f}", f"{0.9:.2f}") is not None


def test_the_sentence_names_both_numbers():
    assert text_difference("gap 0.5000", "gap 0.2500").startswith("0.5000 is not 0.2500")


def ellipse(width: int = 300, blur: float = 0.0) -> Image.Image:
    image = Image.new("RGB", (640, 480), "white")
    box = (320 - width // 2, 120, 320 + width // 2, 360)
    ImageDraw.Draw(image).ellipse(box, outline="black", width=6)
    return image.filter(ImageFilter.GaussianBlur(blur)) if blur else image


def as_base64(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_anti_aliasing_is_allowed_and_a_wider_ellipse_is_not():
    stored = as_base64(ellipse())
    assert image_difference(as_base64(ellipse(blur=0.4)), stored) is None
    assert "grey levels" in image_difference(as_base64(ellipse(width=330)), stored)


def test_the_scale_of_the_image_tolerance():
    grey = np.full((480, 640), 100, dtype=np.uint8)
    stored = as_base64(Image.fromarray(grey))
    within = as_base64(Image.fromarray(grey + np.uint8(IMAGE_RMS - 1)))
    beyond = as_base64(Image.fromarray(grey + np.uint8(IMAGE_RMS)))
    assert image_difference(within, stored) is None
    assert image_difference(beyond, stored) is not None


def test_a_figure_of_rounding_errors_may_differ_by_more_and_not_by_any_amount():
    grey = np.full((480, 640), 100, dtype=np.uint8)
    stored = [display(image_png=as_base64(Image.fromarray(grey)))]

    def differences(levels: float, *tags: str) -> list[str]:
        darker = Image.fromarray(grey - np.uint8(levels))
        return output_differences([display(image_png=as_base64(darker))], stored, tags)

    assert differences(IMAGE_RMS)
    assert differences(IMAGE_RMS, "check")
    assert not differences(IMAGE_RMS_OF_ROUNDING - 1, ROUNDING)
    assert differences(IMAGE_RMS_OF_ROUNDING, ROUNDING)


def test_only_one_figure_of_the_course_shows_rounding_errors():
    tags = re.findall(
        rf'"{ROUNDING}"', "".join(path.read_text(encoding="utf-8") for path in NOTEBOOKS)
    )
    assert len(tags) == 1


def test_every_comparison_says_how_large_it_was(caplog):
    caplog.set_level(logging.DEBUG, logger=LOG.name)
    text_difference("a 1.0000 b 0.000", "a 1.0001 b 0.000")
    image_difference(as_base64(ellipse()), as_base64(ellipse()))
    text_difference("2.00", "1.00")
    words = [message.split() for message in caplog.messages]
    kinds = [(kind, float(difference), float(share)) for kind, difference, share in words]
    one_unit, nothing, picture, half = kinds
    assert one_unit == ("number", pytest.approx(1e-4, rel=1e-3), pytest.approx(1, rel=1e-3))
    assert nothing == ("number", 0.0, 0.0)
    assert picture == ("figure", 0.0, 0.0)
    assert half[:2] == ("number", 0.5)
    assert half[2] > 1


def with_spot(colour: str, size: int) -> Image.Image:
    """The ellipse with a square inside, as large as a letter."""
    image = ellipse()
    ImageDraw.Draw(image).rectangle((320, 240, 320 + size, 240 + size), fill=colour)
    return image


@pytest.mark.parametrize("colour", ["grey", "yellow"])
def test_a_small_thing_is_a_difference_however_little_it_weighs_in_the_figure(colour):
    told = image_difference(as_base64(with_spot(colour, 4)), as_base64(ellipse()))
    assert re.fullmatch(r"a place of the figure differs by \d+ levels \(allowed 20\)", told)


def test_a_figure_of_another_size_is_a_difference():
    wider = ellipse().resize((648, 480))
    assert "255 levels" in image_difference(as_base64(wider), as_base64(ellipse()))


def test_small_things_may_differ_where_letters_are_drawn_otherwise(monkeypatch):
    pictures = as_base64(with_spot("grey", 4)), as_base64(ellipse())
    monkeypatch.setattr(nbval_rules, "draws_letters_alike", lambda: False)
    assert image_difference(*pictures) is None


def test_small_things_may_differ_in_a_cell_that_shows_rounding():
    new, old = (display(image_png=as_base64(image)) for image in (with_spot("grey", 4), ellipse()))
    assert output_differences([new], [old])
    assert output_differences([new], [old], ["shows-rounding"]) == []


def test_the_pinned_matplotlib_draws_letters_as_the_rule_says():
    if ft2font.__freetype_build_type__ != "local":
        pytest.skip("this matplotlib is not built with a FreeType of its own")
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if f"matplotlib=={matplotlib.__version__}" not in pins:
        pytest.skip("this matplotlib is not the one of constraints.txt")
    assert nbval_rules.draws_letters_alike()


def test_transparent_pixels_are_white_whatever_colour_they_hide():
    white = as_base64(Image.new("RGBA", (64, 48), (255, 255, 255, 255)))
    clear = as_base64(Image.new("RGBA", (64, 48), (0, 0, 0, 0)))
    assert image_difference(clear, white) is None


def stream(text: str, name: str = "stdout") -> dict:
    return new_output("stream", name=name, text=text)


def display(**data) -> dict:
    return new_output("display_data", data={k.replace("_", "/", 1): v for k, v in data.items()})


def test_a_figure_missing_or_additional_is_a_difference():
    figure = display(image_png=as_base64(ellipse()))
    assert output_differences([figure], [figure]) == []
    assert output_differences([], [figure]) == ["image/png: 0 outputs, stored were 1"]
    assert output_differences([figure, figure], [figure]) == ["image/png: 2 outputs, stored were 1"]


def failure(name: str) -> dict:
    return new_output("error", ename=name, evalue="x", traceback=[])


def test_tables_and_errors_are_compared_too():
    one, two = (display(text_html=f"<td>{number}</td>") for number in ("1.000", "2.000"))
    told = output_differences([one], [two])
    assert told == ["text/html: 1.000 is not 2.000 (allowed difference 0.001)"]
    told = output_differences([failure("ValueError")], [failure("KeyError")])
    assert told == ["ename: 'ValueError' is not 'KeyError'"]
    assert output_differences([], [failure("ValueError")])


BAR = "fit:  42%|####2     | 42/100 [00:01<00:02, 25.00step/s]"


def widget(text: str) -> dict:
    return new_output("display_data", data={"text/plain": text, WIDGET: {"model_id": "a1"}})


@pytest.mark.parametrize(
    "output",
    [
        stream(BAR, "stderr"),
        stream(f"\r{BAR}\r{BAR}\n", "stderr"),
        stream(f"\r{BAR}\r{' ' * len(BAR)}\r", "stderr"),
        stream("fit: 7it [00:03,  2.1it/s]", "stderr"),
        widget(BAR),
        widget("HBox(children=(HTML(value=''), FloatProgress(value=0.0, max=9.0)))"),
    ],
)
def test_a_progress_bar_is_not_a_difference(output):
    assert output_differences([output, stream("done")], [stream("done")]) == []
    assert (
        output_differences([stream("nearly "), output, stream("done")], [stream("nearly done")])
        == []
    )
    assert output_differences([stream("nearly "), output, stream("gone")], [stream("nearly done")])


def test_a_warning_beside_a_progress_bar_is_a_difference():
    noisy = stream(f"{BAR}\nUserWarning: singular", "stderr")
    assert output_differences([noisy], []) == ["stderr: 1 outputs, stored were 0"]


CACHE = (
    "mkdir -p failed for path /nowhere: [Errno 20] Not a directory: '/nowhere'\n",
    "Matplotlib created a temporary cache directory at /tmp/x because there was an issue\n",
)


def test_what_matplotlib_says_of_its_cache_is_not_a_difference():
    said = [stream(line, "stderr") for line in CACHE]
    assert output_differences([*said, stream("done")], [stream("done")]) == []
    assert output_differences([stream("".join(CACHE), "stderr")], []) == []
    noisy = stream(f"{CACHE[1]}UserWarning: singular", "stderr")
    assert output_differences([noisy], []) == ["stderr: 1 outputs, stored were 0"]


def test_another_widget_is_a_difference():
    assert output_differences([widget("IntSlider(value=3)")], [])


def test_what_the_tests_draw_goes_elsewhere():
    folder = Path(os.environ["COVARIANCE_FIGURES"])
    assert folder.is_dir()
    assert not folder.is_relative_to(ROOT)


def result(text: str) -> dict:
    return new_output("execute_result", data={"text/plain": text}, execution_count=1)
