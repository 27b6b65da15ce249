"""The page in a browser, opened from a file: every plot is drawn, nothing is refused, and nothing is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from playwright.sync_api import Browser

from stream_app.cli import main
from stream_app.core.events import Event
from tests.report.shop_file import synthetic_events, written
from tests.web.browser import Visit, chromium

#: A name that a browser would run, and a plot would take for markup.
HOSTILE = "<script>alert('x')</script><b>&"

#: What a drawn plot has: marks, and a place on the page.
MARKS = """(figures) => figures.map((figure) => [
  figure.querySelector("h3").textContent,
  figure.dataset.drawn === "yes",
  figure.querySelectorAll(".scatterlayer .trace, .barlayer .point, .heatmaplayer image").length,
  figure.querySelector(".main-svg").getBoundingClientRect().height,
])"""


def renamed(event: Event) -> Event:
    """The synthetic shop with one category whose name is hostile."""
    if event.category and event.category < "b":
        event.category = HOSTILE
    return event


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("page")
    events = [renamed(event) for event in synthetic_events(8_000)]
    history = written(directory / "shop.jsonl", events)
    out = directory / "report.html"
    asked = ["--format", "canonical", "--evaluate-events", "2500", "--models", "newton,sgd"]
    result = CliRunner().invoke(main, ["report", str(history), "--out", str(out), *asked])
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def visit(browser: Browser, page: Path) -> Iterator[Visit]:
    visit = Visit(browser, page.as_uri())
    visit.page.wait_for_selector("body[data-ready=yes]")
    visit.page.wait_for_function(
        "document.querySelectorAll('figure.plot').length === document.querySelectorAll('[data-drawn=yes]').length"
    )
    yield visit
    visit.close()


def marks(visit: Visit) -> list[list[Any]]:
    found: list[list[Any]] = visit.page.eval_on_selector_all("figure.plot", MARKS)
    return found


def test_every_plot_is_drawn_without_a_request_or_an_error(visit: Visit, page: Path) -> None:
    told = marks(visit)
    assert len(told) >= 25
    assert [plot for plot in told if not plot[1] or not plot[2] or plot[3] < 100] == []
    assert visit.requests == [page.as_uri()]
    assert visit.errors == []


def test_every_entry_of_the_contents_leads_to_a_section_with_something_in_it(visit: Visit) -> None:
    links = visit.page.eval_on_selector_all("nav a", "(links) => links.map((link) => link.getAttribute('href'))")
    assert len(links) == 8
    for link in links:
        assert visit.page.locator(f"section{link} .parts > *").count() > 0


def test_a_hostile_name_is_read_and_not_run(visit: Visit) -> None:
    said: list[str] = []
    visit.page.on("dialog", lambda dialog: said.append(dialog.message))
    table = visit.page.locator("#funnels details", has_text="categories seen most")
    table.locator("summary").click()
    assert HOSTILE in table.locator("td").all_inner_texts()
    # In a plot it is cut, from its beginning, and still no markup.
    ticks = visit.page.locator("#funnels .ytick text").all_text_contents()
    assert any(tick.endswith("</script><b>&") for tick in ticks)
    assert (said, visit.errors) == ([], [])


def test_pointing_at_a_bar_tells_its_values(visit: Visit) -> None:
    plot = visit.page.locator("#funnels figure.plot").nth(1)
    plot.scroll_into_view_if_needed()
    plot.locator(".barlayer .point path").first.hover(force=True)
    visit.page.wait_for_selector("#funnels .hoverlayer .hovertext")
    assert "95 %" in visit.page.locator("#funnels .hoverlayer").all_text_contents()[1]


def test_a_series_is_switched_off_in_the_legend(visit: Visit) -> None:
    plot = visit.page.locator("#quality figure.plot").nth(1)
    plot.scroll_into_view_if_needed()
    before = plot.locator(".scatterlayer .trace").count()
    plot.locator(".legendtoggle").first.click()
    visit.page.wait_for_function(
        "([plot, before]) => plot.querySelectorAll('.scatterlayer .trace').length < before",
        arg=[plot.element_handle(), before],
    )


def test_a_table_sorts_by_the_column_that_is_asked_for(visit: Visit) -> None:
    table = visit.page.locator("#journeys table").first
    column = "(table) => [...table.tBodies[0].rows].map((row) => Number(row.cells[1].textContent.replaceAll(',', '')))"
    head = table.locator("th button", has_text="sessions")
    head.click()
    falling = table.evaluate(column)
    head.click()
    rising = table.evaluate(column)
    assert falling == sorted(falling, reverse=True)
    assert rising == sorted(rising) != falling
    assert table.locator("th[aria-sort=ascending]").count() == 1


def test_it_fits_a_phone(browser: Browser, page: Path) -> None:
    visit = Visit(browser, page.as_uri(), width=360, height=740)
    visit.page.wait_for_selector("body[data-ready=yes]")
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 360
    visit.close()
