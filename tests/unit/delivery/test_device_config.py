"""Rendering of device configurations."""

import time
from typing import Any

import pytest

from edgewright_templates.devices import TemplateProblem, check_template, render_config


def render(text: str, **changes: Any) -> bytes:
    context: dict[str, Any] = {
        "device_id": "lane-1",
        "labels": {"region": "eu", "class": "lane-camera"},
        "model": "price-tag-reader",
        "fleet": "stores",
        "values": {"threshold": 0.8, "zones": ["a", "b"]},
        "template_name": "templates/lane.toml.j2",
    }
    return render_config(text, **(context | changes))


def test_a_template_sees_device_model_fleet_and_values() -> None:
    text = (
        'device = "{{ device.id }}"\nclass = "{{ device.labels.class }}"\nmodel = "{{ model }}"\n'
        'fleet = "{{ fleet }}"\nthreshold = {{ values.threshold }}\nzones = {{ values.zones | tojson }}\n'
    )
    assert render(text).decode() == (
        'device = "lane-1"\nclass = "lane-camera"\nmodel = "price-tag-reader"\n'
        'fleet = "stores"\nthreshold = 0.8\nzones = ["a", "b"]\n'
    )


def test_bytes_are_the_templates_own() -> None:
    assert render("größe = {{ values.threshold }}\n\n") == "größe = 0.8\n\n".encode()
    assert render("a\r\n{{ model }}\r\n") == b"a\r\nprice-tag-reader\r\n"
    assert render("<{{ device.id }}>", device_id="a&b") == b"<a&b>"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("ok\n{{ nothing }}", 2, "'nothing' is undefined"),
        ("ok\n\n{{ device.labels.store }}", 3, "no attribute 'store'"),
        ("{% if values.missing %}x{% endif %}", 1, "no attribute 'missing'"),
        ("ok\n{% if %}", 2, "Expected an expression"),
        ("ok\n{{ 1 / 0 }}", 2, "ZeroDivisionError"),
        ("\n{{ model + 1 }}", 2, "TypeError"),
        ("{{ model.__class__.__mro__ }}", 1, "unsafe"),
        ("{% include 'other' %}", 1, "no loader"),
        ("{{ range(10 ** 9) | list }}", 1, "OverflowError"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_line(text: str, line: int, message: str) -> None:
    with pytest.raises(TemplateProblem) as caught:
        render(text)

    assert (caught.value.path, caught.value.line) == ("templates/lane.toml.j2", line)
    assert message in caught.value.message
    assert str(caught.value).startswith(f"templates/lane.toml.j2:{line}: ")


@pytest.mark.parametrize(
    "text",
    [
        "{% for a in range(99999) %}{{ '-' * 100 }}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% set ns = namespace(x='-' * 99) %}{% for a in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x='-' * 99) %}{% for a in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x=9) %}{% for a in range(60) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
        "{{ 'x' * 10 ** 10 }}",
        "{{ [1] * 10 ** 10 }}",
        "{{ 9 ** (9 ** 9) }}",
        "{{ '%9999999999d' % 1 }}",
        "{{ '%*d' % (9999999999, 1) }}",
        "{{ '%9999999999d' | format(1) }}",
        "{{ '{:9999999999}'.format(1) }}",
        "{{ '{:{w}}'.format(1, w=9999999999) }}",
        "{{ 'x'.ljust(9999999999) }}",
        "{{ 'x' | center(9999999999) }}",
        "{{ ('x' * 99999) | replace('x', 'y' * 99999) }}",
        "{{ ('x' * 99999).replace('x', 'y' * 99999) }}",
        "{{ (['x' * 99999] * 99999) | join }}",
        "{{ ''.join(['x' * 99999] * 99999) }}",
        "{{ lipsum(99999) }}",
    ],
)
def test_a_template_ends_and_stays_small(text: str) -> None:
    start = time.process_time()
    with pytest.raises(TemplateProblem) as caught:
        render(text)
    assert caught.value.line in {0, 1}
    assert time.process_time() - start < 5


def test_limits_leave_honest_templates_alone() -> None:
    text = (
        "{% for zone in values.zones %}{{ loop.index }}/{{ loop.length }} {{ zone ~ '-' ~ device.id }}"
        "{{ ', ' if not loop.last }}{% else %}none{% endfor %}\n"
        "{% for key, value in device.labels | dictsort if value != 'eu' %}{{ key }}={{ value }}{% endfor %}\n"
        "{{ '%05.2f' % values.threshold }} {{ '{:>6}'.format(model[:3]) }} {{ 3 * 4 }} {{ '-' * 3 }} {{ 2 ** 10 }}\n"
        "{{ values.zones | join('+') }} {{ model | replace('price', 'cost') | center(20) | trim }}\n"
        "{{ values | tojson(indent=1) | length }}\n"
    )
    assert render(text).decode() == (
        "1/2 a-lane-1, 2/2 b-lane-1\nclass=lane-camera\n00.80    pri 12 --- 1024\na+b cost-tag-reader\n50\n"
    )


def test_syntax_is_checked_without_a_device() -> None:
    check_template("{{ device.labels.anything }}", "a.j2")
    with pytest.raises(TemplateProblem, match=r"a\.j2:1"):
        check_template("{{ device.", "a.j2")


def test_a_template_is_compiled_once_for_a_fleet() -> None:
    text = "\n".join(f"key{n} = {{{{ values.threshold }}}} # {{{{ device.id }}}}" for n in range(20))
    render(text)
    start = time.process_time()
    for number in range(1_000):
        render(text, device_id=f"lane-{number}")
    assert time.process_time() - start < 0.5
