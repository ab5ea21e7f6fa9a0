"""The moving picture of the README is what its code draws."""

from __future__ import annotations

from test_readme_pictures import animation, share_that_differs, unpack


def test_the_moving_picture_is_what_its_code_draws():
    images, durations = animation.frames()
    frames, times, _ = unpack(animation.TARGET.read_bytes())
    assert times == durations
    drawn, _, _ = unpack(animation.encode(images, durations))
    # The same file with the pinned versions; other processors may round a pixel otherwise. One step
    # of Adam near the end, the smallest change of two frames, moves 6e-4 of the pixels.
    differences = [share_that_differs(*pair) for pair in zip(drawn, frames, strict=True)]
    assert max(differences) < 2e-4
