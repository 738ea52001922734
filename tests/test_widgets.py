"""The explorers in a browser: their arithmetic against the library, their controls by mouse and keyboard."""

import pytest
import torch
from browser import violations
from explorer_page import mount

from llmguide_lib.attention import attention, causal_mask, padding_mask, sliding_window_mask
from llmguide_lib.notebook import start
from llmguide_lib.positions import Rotary, SinusoidalPositions
from llmguide_lib.widgets import AttentionExplorer, MaskBuilder, PositionsExplorer
from llmguide_lib.widgets.explorer import bundle

WORDS = ["fill_value", "a", "row", "of"]
QUERIES = torch.tensor([[0.5, 0.5], [1.0, -1.0], [0.5, 1.0], [1.5, -0.5]])
KEYS = torch.tensor([[2.0, -0.5], [-0.3, 0.8], [1.0, 1.5], [-1.0, 0.5]])


def numbers(page, expression, argument, module="numbers"):
    """Evaluates an expression over a module of arithmetic, named ``n``."""
    code = (
        "async ([source, x]) => { const n = await import(URL.createObjectURL(new Blob([source], "
        f"{{ type: 'text/javascript' }}))); return {expression}; }}"
    )
    return page.evaluate(code, [bundle(module), argument])


def cells(page, table):
    rows = page.locator(f"{table} tr").all()[1:]
    return [[cell.inner_text() for cell in row.locator("td").all()] for row in rows]


def attention_explorer():
    return AttentionExplorer(WORDS, QUERIES, KEYS, values=[1.0, 0.0, 10.0, -2.0])


# -- arithmetic -------------------------------------------------------------------------------------------------------


def test_weights_are_the_librarys(page):
    generator = torch.Generator().manual_seed(3)
    for trial in range(20):
        queries, keys = 4 * torch.rand(2, 6, 2, generator=generator) - 2
        allowed = torch.rand(6, 6, generator=generator) < 0.6
        allowed[0] = trial % 2 == 0  # a row that sees nothing, every second time
        divisor = 0.05 + trial / 5
        ours = attention(queries, keys, keys, allowed, scale=1 / divisor)[1]
        rows = "x.queries.map((query, t) => n.weigh(query, x.keys, x.divisor, x.allowed[t]).weights)"
        given = {"queries": queries.tolist(), "keys": keys.tolist(), "allowed": allowed.tolist(), "divisor": divisor}
        torch.testing.assert_close(torch.tensor(numbers(page, rows, given)), ours, atol=1e-12, rtol=0)


def test_scores_too_large_for_an_exponential_do_not_break_the_weights(page):
    weights = numbers(page, "n.weigh([1000, 0], [[1, 0], [2, 0]], 1, [true, true]).weights", None)
    assert weights == [0, 1]


def test_masks_are_the_librarys(page):
    for length, window in ((5, 0), (3, 2), (0, 1), (5, 4)):
        for causal in (True, False):
            ours = padding_mask(torch.tensor([length]), 5)[0].expand(5, 5)
            ours = ours & causal_mask(5) if causal else ours
            ours = ours & sliding_window_mask(5, window) if window else ours
            given = {"causal": causal, "length": length, "window": window}
            assert numbers(page, "n.mask(5, x)", given) == ours.tolist()


def test_reach_is_a_power_of_the_mask(page):
    mask = causal_mask(6) & sliding_window_mask(6, 2)
    for layers in range(1, 5):
        power = torch.linalg.matrix_power(mask.double() + torch.eye(6), layers) > 0
        given = {"mask": mask.tolist(), "layers": layers}
        assert numbers(page, "n.reach(x.mask, x.layers)", given) == power.tolist()


def test_turns_and_sines_are_the_librarys(page):
    table = SinusoidalPositions(300, 8).table.double()
    for place in (0, 1, 7, 299):
        sines = numbers(page, "n.sinusoidal(x, 8, 10000)", place, "turns")
        torch.testing.assert_close(torch.tensor(sines).double(), table[place], atol=1e-12, rtol=0)
        for theta in (100.0, 500_000.0):
            vector = torch.rand(8, generator=torch.Generator().manual_seed(place)) - 0.5
            ours = Rotary(8, theta)(torch.tensor([place]), torch.float64)(vector.view(1, 1, 1, 8)).flatten()
            given = {"vector": vector.tolist(), "place": place, "theta": theta}
            turned = numbers(page, "n.turn(x.vector, x.place, x.theta)", given, "turns")
            torch.testing.assert_close(
                torch.tensor(turned), ours, atol=1e-4, rtol=0
            )  # the library's angles are float32


def test_products_of_positions_depend_on_the_distance_alone(page):
    given = {"query": [0.3, -1.0, 0.5, 2.0], "key": [1.0, 0.2, -0.7, 0.4]}
    for kind in ("rotary", "sinusoidal"):
        expression = f"[[9, 4], [45, 40], [40, 45]].map(([t, s]) => n.product('{kind}', x.query, x.key, t, s, 100))"
        near, far, other = numbers(page, expression, given, "turns")
        assert near == pytest.approx(far, abs=1e-12)
        assert (kind == "sinusoidal") == (other == pytest.approx(far, abs=1e-9))  # sines do not know which came first


# -- attention explorer -----------------------------------------------------------------------------------------------


def test_the_attention_explorer_shows_the_librarys_weights(page):
    mount(page, attention_explorer())
    weights = attention(QUERIES, KEYS, KEYS)[1]
    assert cells(page, ".llm-matrix") == [[f"{weight:.2f}" for weight in row] for row in weights.tolist()]
    page.get_by_role("combobox", name="Mask").select_option("causal")
    weights = attention(QUERIES, KEYS, KEYS, causal_mask(4))[1]
    shown = [[f"{w:.2f}" if s <= t else "·" for s, w in enumerate(row)] for t, row in enumerate(weights.tolist())]
    assert cells(page, ".llm-matrix") == shown


def test_the_arithmetic_of_the_asking_word_is_shown_step_by_step(page):
    mount(page, attention_explorer())
    raw = QUERIES[3] @ KEYS.T
    weights = (raw / 2**0.5).softmax(dim=-1)
    last = cells(page, ".llm-hand")
    assert [row[0] for row in last[:4]] == [f"{one:.2f}" for one in raw.tolist()]
    assert [row[3] for row in last[:4]] == [f"{one:.3f}" for one in weights.tolist()]
    assert (
        last[4][4] == f"output {sum(w * v for w, v in zip(weights.tolist(), [1.0, 0.0, 10.0, -2.0], strict=True)):.1f}"
    )
    page.get_by_role("button", name="show the arithmetic of “a”").click()
    assert cells(page, ".llm-hand")[0][0] == f"{(QUERIES[1] @ KEYS[0]).item():.2f}"


def test_sliders_move_an_arrow_and_tell_python(page):
    mount(page, attention_explorer())
    before = page.locator(".llm-plane").inner_html()
    page.get_by_label("Arrow to move").select_option("0")
    page.get_by_role("slider", name="right").focus()
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("model.get('key_vectors')")[0] == pytest.approx([1.95, -0.5])
    assert page.locator(".llm-plane").inner_html() != before


def test_an_arrow_can_be_dragged(page):
    mount(page, attention_explorer())
    box = page.locator(".llm-query circle").bounding_box()
    page.mouse.move(box["x"] + 7, box["y"] + 7)
    page.mouse.down()
    plane = page.locator(".llm-plane").bounding_box()
    page.mouse.move(plane["x"] + plane["width"] / 2, plane["y"] + plane["height"] / 6)  # straight up, two units
    page.mouse.up()
    assert page.evaluate("model.get('query_vectors')")[3] == pytest.approx([0, 2], abs=0.05)
    page.mouse.move(plane["x"] + 5, plane["y"] + 5)  # let go: it stays
    assert page.evaluate("model.get('query_vectors')")[3] == pytest.approx([0, 2], abs=0.05)


def test_reset_brings_everything_back(page):
    mount(page, attention_explorer())
    before = page.locator("main").inner_html()
    page.get_by_label("Scores divided by").fill("-1")
    page.get_by_role("combobox", name="Mask").select_option("causal")
    assert page.locator("main").inner_html() != before
    page.get_by_label("Word that asks").select_option("0")
    page.get_by_role("button", name="Reset").click()
    assert page.locator("main").inner_html() == before


def test_an_explorer_that_was_removed_listens_no_more(page):
    mount(page, attention_explorer())
    page.evaluate("stop()")
    before = page.locator(".llm-matrix").inner_html()
    page.evaluate("model.set('divisor', 0.1)")
    assert page.locator(".llm-matrix").inner_html() == before


# -- mask builder -----------------------------------------------------------------------------------------------------


def shown_mask(page):
    tables = page.locator(".llm-grid").all()
    pressed = [[b.get_attribute("aria-pressed") == "true" for b in table.locator("button").all()] for table in tables]
    return torch.tensor(pressed).unflatten(1, (6, 6))


def test_the_code_that_it_shows_builds_the_mask_that_it_shows(page):
    mount(page, MaskBuilder(6, (6, 4)))
    page.get_by_label("Window").fill("3")
    page.locator(".llm-grid button").nth(5).click()
    page.locator(".llm-grid").nth(1).locator("button").first.click()
    names = {"torch": torch, "causal_mask": causal_mask, "padding_mask": padding_mask}
    names["sliding_window_mask"] = sliding_window_mask
    for causal in (True, False):
        page.get_by_label("causal").set_checked(causal)
        exec(page.locator("code").inner_text(), names)
        assert torch.equal(names["mask"], shown_mask(page))
        assert names["mask"][0, 0, 5] and names["mask"][1, 0, 0] != names["mask"][0, 0, 0]


def test_arrow_keys_walk_the_grid_and_enter_flips(page):
    mount(page, MaskBuilder(6, (6, 4)))
    page.locator(".llm-grid button").first.focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    assert page.evaluate("model.get('flipped')") == [[0, 1, 2]]
    page.keyboard.press("Enter")
    assert page.evaluate("model.get('flipped')") == []
    assert page.locator(".llm-grid").first.locator('[tabindex="0"]').count() == 1


def test_it_says_what_follows_from_a_mask(page):
    mount(page, MaskBuilder(6, (6, 4)))
    notes = page.locator(".llm-notes")
    assert notes.inner_text() == "Nothing leaks, and every query sees something."
    page.get_by_label("Words in text 2").fill("0")
    assert notes.inner_text() == "Text 2: query 1 may see no key. Its output is zero."
    page.get_by_label("causal").uncheck()
    assert "Text 1: query 1 sees key 2, which comes later" in notes.inner_text()
    page.locator(".llm-grid").nth(1).locator("button").nth(3).click()
    assert "Text 2: query 1 sees key 4, which is filling." in notes.inner_text()


def test_layers_pass_on_what_a_window_hides(page):
    mount(page, MaskBuilder(6, (6, 6)))
    page.get_by_label("Window").fill("2")
    for layers, reached in ((1, 0), (2, 4), (5, 10)):
        page.get_by_role("slider", name="Layers").fill(str(layers))
        assert page.locator(".llm-grid").first.locator(".llm-through").count() == reached


# -- positions explorer -----------------------------------------------------------------------------------------------


def test_the_positions_explorer_shows_the_librarys_product(page):
    query, key = [0.3, -1.0, 0.5, 2.0], [1.0, 0.2, -0.7, 0.4]
    mount(page, PositionsExplorer(query, key, theta=100))
    page.get_by_label("Query stands at").fill("40")
    page.get_by_label("Key stands at").fill("33")
    rotary = Rotary(4, 100.0)
    turned = [
        rotary(torch.tensor([place]), torch.float64)(torch.tensor(vector).view(1, 1, 1, 4)).flatten()
        for place, vector in ((40, query), (33, key))
    ]
    caption = page.locator("figcaption").nth(1)
    assert (
        caption.inner_text() == f"Dot product over the distance; now: distance 7, product {turned[0] @ turned[1]:.3f}"
    )
    before = caption.inner_text(), page.locator(".llm-clocks").inner_html()
    page.get_by_role("button", name="Move both by one").click()
    assert caption.inner_text() == before[0]  # the clocks go on, the product stays
    assert page.locator(".llm-clocks").inner_html() != before[1]
    assert page.evaluate("[model.get('query_at'), model.get('key_at')]") == [41, 34]


def test_angles_stand_in_a_table_and_follow_the_base(page):
    mount(page, PositionsExplorer([1.0, 1.0, 0.0, 0.0], theta=100))
    assert cells(page, ".llm-panes table") == [
        ["6.3", "327.5", "41.1", "286.5", "0.84, -0.54"],  # 12, 7 and 5 in radians
        ["62.8", "68.8", "40.1", "28.6", "0.36, 0.93"],
    ]
    page.get_by_label("Base θ").fill("4")
    assert cells(page, ".llm-panes table")[1] == ["628.3", "6.9", "4.0", "2.9", "0.99, 0.12"]
    page.get_by_role("button", name="Reset").click()
    assert cells(page, ".llm-panes table")[1][0] == "62.8"


def test_both_positions_stop_at_the_end(page):
    mount(page, PositionsExplorer())
    page.get_by_label("Query stands at").fill("63")
    page.get_by_role("button", name="Move both by one").click()
    assert page.evaluate("[model.get('query_at'), model.get('key_at')]") == [63, 7]


def test_sinusoidal_positions_have_their_own_curve(page):
    mount(page, PositionsExplorer([0.3, -1.0, 0.5, 2.0], [1.0, 0.2, -0.7, 0.4]))
    before = page.locator(".llm-curve").get_attribute("points")
    page.get_by_role("combobox", name="Positions").select_option("sinusoidal")
    assert page.locator(".llm-curve").get_attribute("points") != before
    table = SinusoidalPositions(64, 4).table.double()
    assert f"product {table[12] @ table[7]:.3f}" in page.locator("figcaption").nth(1).inner_text()


# -- all of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [attention_explorer, MaskBuilder, PositionsExplorer])
@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_in_either_language_and_theme(page, make, lang, theme):
    start("03_attention", lang=lang)
    try:
        mount(page, make(), theme=theme)
    finally:
        start("03_attention")
    assert ("复原" in page.locator("main").inner_text()) == (lang == "zh")
    assert violations(page) == []


def test_a_bundle_imports_nothing_and_holds_each_module_once():
    text = bundle("attention")
    assert "import" not in text and text.count("function weigh(") == 1 and text.count("export") == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AttentionExplorer([], torch.zeros(0, 2), torch.zeros(0, 2)), r"queries \(0, 2\) must have the shape"),
        (lambda: AttentionExplorer(WORDS, QUERIES, KEYS[:2]), r"keys \(2, 2\) must have the shape \(4, 2\)"),
        (lambda: AttentionExplorer(WORDS, QUERIES, KEYS, [1.0]), r"values has 1 entries, it must have 4, one per word"),
        (lambda: AttentionExplorer(WORDS, QUERIES, KEYS, divisor=0.0), r"divisor \(0.0\) must be positive"),
        (lambda: MaskBuilder(0), r"size \(0\) must be positive"),
        (lambda: MaskBuilder(4, (5,)), r"lengths \(\[5\]\) must be between 0 and size \(4\)"),
        (lambda: PositionsExplorer([1.0, 2.0, 3.0]), r"query has 3 entries, key has 3: both must have the same even"),
        (lambda: PositionsExplorer([1.0, 2.0], [1.0]), r"query has 2 entries, key has 1"),
        (lambda: PositionsExplorer([]), r"query has 0 entries"),
        (lambda: PositionsExplorer(theta=1), r"theta \(1\) must be between 10 and 1000000"),
        (lambda: MaskBuilder(4, ()), r"lengths \(\[\]\) must be between 0 and size \(4\), one for each text"),
    ],
)
def test_bad_input_is_named(make, message, unchecked):
    with pytest.raises(ValueError, match=message):
        make()
