"""Pictures hold the numbers that they were given."""

import pytest
import torch

from llmguide_lib.plots import TokenMap, curves, heatmaps


def test_heat_maps_share_one_scale_from_zero():
    figure = heatmaps({"a": torch.eye(2), "b": 3 * torch.eye(2)}, ["q1", "q2"], ["k1", "k2"], xlabel="key")
    maps = [axis for axis in figure.axes if axis.images]
    assert [axis.images[0].get_clim() for axis in maps] == [(0.0, 3.0), (0.0, 3.0)]
    assert maps[1].images[0].get_array().tolist() == [[3, 0], [0, 3]]
    assert [label.get_text() for label in maps[0].get_yticklabels()] == ["q1", "q2"]


def test_curves_are_drawn_at_their_places_beside_levels():
    figure = curves({"a": [1, 2], "b": [3]}, {"a": [0, 10], "b": [5]}, levels={"count": 2.5}, log="y")
    (axis,) = figure.axes
    assert [list(line.get_xdata()) for line in axis.lines[:2]] == [[0, 10], [5]]
    assert axis.lines[2].get_ydata()[0] == 2.5 and axis.get_yscale() == "log" and axis.get_xscale() == "linear"


def test_token_maps_carry_weights_as_text_too():
    picture = TokenMap(["<b>", "键"], [0.25, 0.75], marked=1)
    page = picture._repr_html_()
    assert "&lt;b&gt;" in page and 'title="0.750"' in page and page.count("outline") == 1
    assert repr(picture) == "键 0.75  <b> 0.25"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: heatmaps({}), "at least one matrix"),
        (lambda: heatmaps({"a": torch.zeros(2)}), r"matrices\['a'\] \(2,\) must have two axes"),
        (lambda: heatmaps({"a": torch.eye(2)}, ["x"]), r"rows has 1 labels, matrices\['a'\] has 2 rows"),
        (lambda: curves({"a": [1]}, [1, 2]), r"values\['a'\] has 1 points, x has 2"),
        (lambda: curves({}, [], log="z"), r"log \('z'\) must be"),
        (lambda: TokenMap(["a"], [1, 2]), "words has 1 entries, weights has 2"),
        (lambda: TokenMap(["a"], [1], marked=1), r"marked \(1\) must be a position below 1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
