"""The pages of docs/: their examples run."""

import doctest
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(str(p.relative_to(DOCS)) for p in DOCS.rglob("*.rst"))
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("page", PAGES)
def test_examples_run(page):
    result = doctest.testfile(str(DOCS / page), False, optionflags=OPTIONS)
    assert result.failed == 0
