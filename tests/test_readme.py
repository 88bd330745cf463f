"""The README: its code runs and prints what it says, and what it names exists."""

import contextlib
import io
import re
from pathlib import Path

import pytest

import thetalearn

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
#: Python blocks, each with the text block that follows it, if one does.
BLOCKS = re.findall(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", README, flags=re.DOTALL)


def test_python_blocks_run_in_order_and_print_what_follows_them():
    names: dict[str, object] = {"__name__": "readme"}
    assert len(BLOCKS) >= 6
    for code, expected in BLOCKS:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "README.md", "exec"), names)
        assert printed.getvalue() == expected


def test_every_estimator_is_in_a_table():
    rows = [line for line in README.splitlines() if line.startswith("| `")]
    listed = {name for line in rows for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert {name for name in thetalearn.__all__ if name[0].isupper()} <= listed


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+?)\)", README))
def test_links_lead_somewhere(target):
    assert (ROOT / target).exists()


def test_the_picture_is_small():
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (ROOT / picture).stat().st_size < 150_000
