"""The drawn digits: framing, variety, repeatability. That the network reads them is tested with the reference."""

import numpy as np
import pytest

from twinserve.digits import digit_image, golden_digits


def test_golden_digits_have_the_signature_of_the_input() -> None:
    images, labels = golden_digits()
    assert images.shape == (64, 28, 28)
    assert images.dtype == np.float32
    assert images.min() == 0
    assert images.max() == 1
    assert labels.tolist() == [index % 10 for index in range(64)]


def test_the_same_seed_gives_the_same_digits_and_no_two_are_alike() -> None:
    images, _ = golden_digits()
    np.testing.assert_array_equal(images, golden_digits()[0])
    assert len(np.unique(images.reshape(64, -1), axis=0)) == 64
    assert not np.array_equal(images, golden_digits(seed=1)[0])


def test_ink_is_framed_as_in_mnist() -> None:
    images, _ = golden_digits(200, seed=7)
    along = np.arange(28) + 0.5
    mass = images.sum((1, 2))
    centres = np.stack([(images.sum(1) @ along) / mass, (images.sum(2) @ along) / mass], 1)
    assert np.abs(centres - 14).max() < 1
    rows = (images.max(2) > 0.5).sum(1)
    assert 15 <= rows.min() <= rows.max() <= 22
    assert images[:, [0, -1]].max() == images[:, :, [0, -1]].max() == 0


def test_a_single_picture_has_the_size_and_polarity_asked_for() -> None:
    light = digit_image(7, side=112, seed=4)
    dark = digit_image(7, side=112, seed=4, is_dark_on_light=True)
    assert (light.mode, light.size) == ("L", (112, 112))
    assert (light.getpixel((0, 0)), dark.getpixel((0, 0))) == (0, 255)
    np.testing.assert_array_equal(255 - np.asarray(light), np.asarray(dark))


def test_only_digits_can_be_drawn() -> None:
    with pytest.raises(ValueError, match="10 is not a digit"):
        digit_image(10)
