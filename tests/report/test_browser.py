"""The page in a real browser: what a user sees, types and presses; offline, in both colour schemes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.report.conftest import HOSTILE, LONG, WORDY, write_one
from tests.shards.made import jpeg

sync_api = pytest.importorskip("playwright.sync_api", reason="the extra `test` is not installed")
CHROMIUM = os.environ.get("CHROMIUM") or next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium: apt-get install chromium, or name one in CHROMIUM"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM)
        yield found
        found.close()


class Visit:
    """A page of the report, and what it asked for or complained about."""

    def __init__(self, browser: Any, folder: Path, place: str = "", **options: Any) -> None:
        self.context = browser.new_context(offline=True, **{"viewport": {"width": 1300, "height": 900}, **options})
        self.page = self.context.new_page()
        self.trouble: list[str] = []
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("console", lambda message: self.trouble.append(message.text))
        self.page.on("request", lambda request: self._asked(request.url))
        self.page.goto(f"file://{folder / 'report.html'}{place}")
        self.page.wait_for_selector("html[data-ready]")

    def _asked(self, url: str) -> None:
        if not url.startswith(("file://", "data:")):
            self.trouble.append(url)

    def has_cards(self, count: int) -> None:
        sync_api.expect(self.page.locator("article")).to_have_count(count)

    @property
    def count(self) -> str:
        return str(self.page.locator("#count").inner_text())

    def pick(self, name: str, value: str) -> None:
        self.page.select_option(f"#filter-{name}", value)


@pytest.fixture
def visit(browser: Any, outputs: dict[str, Path]) -> Iterator[Any]:
    """`visit(dataset, **options of the context)`; at the end, that nothing was asked for and nothing went wrong."""
    made: list[Visit] = []

    def go(name: str, place: str = "", **options: Any) -> Visit:
        made.append(Visit(browser, outputs[name], place, **options))
        return made[-1]

    yield go
    for one in made:
        one.context.close()
        assert one.trouble == []


def test_every_kept_sample_can_be_reached(visit: Any) -> None:
    page = visit("realign")
    assert page.count == "1–20 of 44 found"
    seen = set()
    for _ in range(3):
        seen.update(page.page.eval_on_selector_all("article", "cards => cards.map(card => card.dataset.id)"))
        page.page.keyboard.press("n")
    assert len(seen) == 44


def test_a_sample_shows_its_references_its_target_and_each_relation_beside_its_image(visit: Any) -> None:
    page = visit("realign")
    page.page.fill("#filter-q", '"the thing number 24"')
    page.has_cards(1)
    card = page.page.locator("article")
    assert [text.split(" ")[0] for text in card.locator("figcaption b").all_inner_texts()][:5] == [
        "image_1", "image_2", "image_3", "image_4", "image_5",
    ]  # fmt: skip
    assert card.locator("figure.target img").count() == 1
    blocks = card.locator(".cot")
    assert blocks.count() == 2
    assert blocks.first.locator(".said").count() == 6
    shown = card.locator("figure.shot img").evaluate_all("all => all.map(one => one.src)")
    beside = blocks.first.locator(".said img").evaluate_all("all => all.map(one => one.src)")
    assert beside == [shown[5], *shown[:5]]
    assert all(width > 0 for width in card.locator("img").evaluate_all("all => all.map(one => one.naturalWidth)"))


def test_text_stays_text(visit: Any) -> None:
    for name in ("realign", "firm-edit", "firm-gen"):
        page = visit(name)
        page.page.fill("#filter-q", "window.pwned")
        page.has_cards(1)
        assert HOSTILE in page.page.locator(".instruction").first.text_content()
        assert page.page.evaluate("window.pwned") is None
        assert page.page.locator("article b >> text=bold").count() == 0


def test_a_long_instruction_or_caption_is_cut_until_asked_for(visit: Any) -> None:
    page = visit("realign", "#?q=put+the+cat+into+the+snow")
    said = page.page.locator("article .instruction")
    assert len(said.inner_text()) < 700
    page.page.locator("article .instruction .more").click()
    assert said.text_content() == LONG
    caption = page.page.locator("article figcaption").nth(3)
    assert len(caption.inner_text()) < 300
    caption.locator(".more").click()
    assert caption.text_content() == f"image_4 · subject object: thing {WORDY} <i>tilted</i>" + " and so on" * 1900


def test_filters_by_task_score_reason_and_words(visit: Any) -> None:
    page = visit("realign")
    page.page.check("#filter-tasks input[value=add]")
    assert page.count.endswith("of 15 found")
    page.page.uncheck("#filter-tasks input[value=add]")
    page.pick("score", "clip_text")
    page.page.fill("#filter-max", "0.5")
    page.page.press("#filter-max", "Enter")
    assert page.count.endswith("of 38 found")
    page.page.click("text=Reset")
    page.pick("reason", "no_op")
    assert page.count.endswith("of 4 found")
    assert page.page.locator("article .chip.lost").first.inner_text() == "rejected: no op"
    assert "…/cat.jpg was refused" in page.page.locator(".why").first.inner_text()
    page.page.click("text=Reset")
    page.page.fill("#filter-q", "no such words at all")
    page.has_cards(0)
    assert page.count == "Nothing fits these filters."


def test_a_rejected_draft_shows_the_references_that_kept_samples_share(visit: Any) -> None:
    page = visit("realign", "#?state=rejected&reason=clip_text")
    card = page.page.locator("article").first
    assert card.locator("figure.shot img").count() >= 1
    assert "not in the output" in card.locator(".target .blank").inner_text()


def test_the_order_follows_a_score(visit: Any) -> None:
    page = visit("firm-edit", "#?score=execution&sort=up")
    scores = page.page.eval_on_selector_all(
        "article",
        """cards => cards.map(card => Math.min(
            ...[...card.querySelectorAll('.verdict:first-child .score')].map(score => +score.textContent)))""",
    )
    assert scores == sorted(scores) and len(set(scores)) > 1


def test_rows_of_a_pair_stand_together_with_a_slider_that_keys_move(visit: Any) -> None:
    page = visit("firm-edit")
    assert page.count == "1–12 of 12 found"
    card = page.page.locator("article").first
    assert card.locator(".asked").count() == 2
    assert card.locator(".verdict").count() == 4
    assert "is gone." in card.locator(".report").inner_text()
    slider = card.locator("input[type=range]")
    slider.focus()
    for _ in range(10):
        page.page.keyboard.press("ArrowRight")
    assert card.locator(".slider").evaluate("box => box.style.getPropertyValue('--at')") == "60%"
    assert page.page.locator("text=The two differ in shape.").count() == 0


def test_a_rejected_row_shows_its_pair_and_the_score_that_cost_it(visit: Any) -> None:
    page = visit("firm-edit", "#?state=rejected")
    page.has_cards(1)
    card = page.page.locator("article")
    assert "the judge gave 5" in card.locator(".why").inner_text()
    assert card.locator(".slider img").count() == 2
    assert card.locator(".verdict .score").all_inner_texts() == ["5"]
    assert card.locator(".original").inner_text() == "rewritten: opposite"


def test_an_image_has_its_checklist_with_marks_and_its_quality(visit: Any) -> None:
    card = visit("firm-gen").page.locator("article").first
    assert card.locator(".checklist .m").all_inner_texts() == ["✓ met", "◐ partly met"]
    assert card.locator(".verdict").count() == 2
    assert card.locator(".aspects").inner_text().split() == ["aesthetics", "4", "structure", "3", "technical", "5"]


def test_the_overview_counts_everything_and_leads_to_samples(visit: Any) -> None:
    page = visit("realign")
    tiles = page.page.locator(".tile").all_inner_texts()
    assert "56\nplanned" in tiles and "44\nkept (78.6 %)" in tiles and "12\nrejected" in tiles
    titles = page.page.locator(".chart h3").all_inner_texts()
    for title in (
        "From planned to kept",
        "Rejections by reason",
        "Tasks",
        "clip text",
        "Cost by model",
        "Diversity of texts",
    ):
        assert title in titles
    assert "clip.min_text 0.12" in page.page.locator(".chart", has=page.page.locator("svg")).first.inner_text()
    page.page.click(".chart button.name >> text=blocked")
    assert page.count.endswith("of 4 found")
    assert "Balance of execution" in visit("firm-edit").page.locator(".chart h3").all_inner_texts()


def test_keys_do_what_the_help_says(visit: Any) -> None:
    page = visit("realign")
    keyboard = page.page.keyboard
    keyboard.press("/")
    assert page.page.evaluate("document.activeElement.id") == "filter-q"
    keyboard.type("jjj")
    assert page.page.input_value("#filter-q") == "jjj"
    keyboard.press("Escape")
    keyboard.press("r")
    assert page.count == "1–20 of 44 found"
    keyboard.press("j")
    keyboard.press("j")
    assert page.page.evaluate("[...document.querySelectorAll('article')].indexOf(document.activeElement)") == 1
    keyboard.press("k")
    assert page.page.evaluate("[...document.querySelectorAll('article')].indexOf(document.activeElement)") == 0
    keyboard.press("n")
    assert page.count == "21–40 of 44 found"
    keyboard.press("?")
    assert page.page.locator("dialog[open]").count() == 1


def test_a_view_lives_in_its_address(visit: Any) -> None:
    page = visit("realign")
    page.page.check("#filter-tasks input[value=scene]")
    address = page.page.evaluate("location.hash")
    again = visit("realign", address)
    assert again.count == page.count and again.page.is_checked("#filter-tasks input[value=scene]")
    key = again.page.get_attribute("article", "data-id")
    alone = visit("realign", f"#?id={key}")
    alone.has_cards(1)


@pytest.mark.parametrize("name", ["realign", "firm-edit", "firm-gen"])
@pytest.mark.parametrize("width", [360, 800, 1600])
def test_nothing_is_wider_than_the_window(visit: Any, name: str, width: int) -> None:
    page = visit(name, viewport={"width": width, "height": 800})
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_is_dark_where_the_reader_wants_it_dark(visit: Any) -> None:
    def light(scheme: str) -> tuple[int, int]:
        page = visit("realign", color_scheme=scheme).page
        colours = page.evaluate(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        )
        ground, ink = (sum(int(part) for part in colour[4:-1].split(",")) for colour in colours)
        return ground, ink

    ground, ink = light("light")
    assert ground > ink
    ground, ink = light("dark")
    assert ground < ink


def test_controls_have_names_and_pictures_have_texts(visit: Any) -> None:
    for name in ("realign", "firm-edit", "firm-gen"):
        nameless = visit(name).page.evaluate(
            """() => [...document.querySelectorAll('input, select, button, svg[role=img]')]
            .filter(one => !one.getAttribute('aria-label') && !one.textContent.trim() && !(one.labels || []).length)
            .map(one => one.outerHTML)"""
        )
        assert nameless == []


def test_damaged_pictures_and_a_score_of_the_rejected_alone_are_told(browser: Any, tmp_path: Path) -> None:
    from cli.report import run

    record, rejected = '{"id": "x", "task": "add"}', [{"late_score": 0.1}, {"late_score": 0.3}]
    folder = write_one(tmp_path / "out", record, {}, rejected, {"target.jpg": jpeg(1, 64)})
    tar = folder / "shards" / "train-00000-of-00001.tar"
    data = bytearray(tar.read_bytes())
    data[data.index(b"\xff\xd8\xff") + 400] ^= 1
    tar.write_bytes(data)
    run(str(folder), False, None, None)
    visit = Visit(browser, folder)
    sync_api.expect(visit.page.locator("#notices")).to_contain_text("1 picture is not what the index says")
    sync_api.expect(visit.page.locator("#charts")).to_contain_text("none of the kept")
    assert visit.trouble == []
    visit.context.close()


def test_limits_beyond_a_histogram_stand_at_its_edges_and_sharpness_has_one_decimal(
    browser: Any, tmp_path: Path
) -> None:
    from cli.report import run

    limits = {"config": {"quality": {"min_sharpness": 20.0, "max_luminance": 400.0, "min_contrast": 3.0}}}
    scores = {"sharpness": 1234.5678, "luminance": 101.25, "contrast": 2.34567}
    others = [{"sharpness": 300.0, "luminance": 99.0, "contrast": 4.0}]
    record = json.dumps({"id": "x", "task": "add", "scores": scores})
    folder = write_one(tmp_path / "out", record, scores, others, filters=limits)
    run(str(folder), False, None, None)
    visit = Visit(browser, folder)
    scored = visit.page.locator("article .scores").inner_text()
    assert "sharpness 1,234.6" in scored and "contrast 2.3457" in scored
    visit.page.click(".charts summary")
    for title, place, legend in (
        ("sharpness", 1.0, "quality.min_sharpness 20, further left"),
        ("luminance", 299.0, "quality.max_luminance 400, further right"),
        ("contrast", pytest.approx(118.67, abs=0.1), "quality.min_contrast 3"),
    ):
        chart = visit.page.locator(".chart", has=visit.page.get_by_role("heading", name=title, exact=True))
        line = chart.locator("svg line:not(.base)")
        assert float(line.get_attribute("x1")) == place
        assert ("beyond" in (line.get_attribute("class") or "")) == ("further" in legend)
        assert chart.locator(".legend").inner_text().endswith(legend)
    assert visit.trouble == []
    visit.context.close()


def test_a_rejection_says_what_may_be_done_and_no_class(visit: Any) -> None:
    page = visit("realign", "#?state=rejected&reason=blocked")
    said = page.page.locator("article .why").first.inner_text()
    assert "was refused" in said and "(final)" not in said
    assert "(filtered)" not in page.page.locator("body").inner_text()


def test_instructions_of_a_pair_are_set_apart(visit: Any) -> None:
    card = visit("firm-edit").page.locator("article").first
    first, second = card.locator(".asked").nth(0), card.locator(".asked").nth(1)
    above, below = first.locator(".judged").bounding_box(), second.bounding_box()
    assert below["y"] - (above["y"] + above["height"]) >= 10
