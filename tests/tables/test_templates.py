"""Templates: column names in braces."""

import pytest

from adapterstore.knowledge.tables.template import Template, TemplateError

CELLS = {
    "name": "Lamp",
    "price": "1299.5",
    "色": "赤",
    "a:b": "odd",
    "note": "",
    "huge": "1e999999",
}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("The price of {name} is", "The price of Lamp is"),
        ("{price:,.2f} EUR", "1,299.50 EUR"),
        ("{price:.0f}", "1300"),
        ("{price:,}円", "1,299.5円"),
        ("{ 色 }の{name}", "赤のLamp"),
        ("{{{name}}}", "{Lamp}"),
        ("{a:b}", "odd"),
        ("no field", "no field"),
    ],
)
def test_fields_are_filled_with_a_rows_cells(text: str, filled: str) -> None:
    assert Template.parse(text).fill(CELLS) == filled


def test_a_template_tells_the_columns_that_it_names() -> None:
    assert Template.parse("{色} {name} {色} {price:,.2f}").columns == ("色", "name", "price")


@pytest.mark.parametrize("text", ["{", "}", "a { b", "{name}}", "{}", "{ }"])
def test_stray_braces_are_refused(text: str) -> None:
    with pytest.raises(TemplateError):
        Template.parse(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{note}", "its cell is empty"),
        ("{name:,.2f}", "'Lamp' is not a number"),
        # Formatted, it would fill the memory.
        ("{huge:,.2f}", "'1e999999' is not a number"),
    ],
)
def test_what_a_row_cant_fill_is_refused(text: str, problem: str) -> None:
    with pytest.raises(TemplateError, match=problem):
        Template.parse(text).fill(CELLS)


def test_a_width_is_no_format_but_part_of_a_name() -> None:
    assert Template.parse("{price:99999999}").columns == ("price:99999999",)
