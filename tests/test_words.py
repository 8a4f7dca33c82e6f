"""The linter of wordings, `.ci/words`: each rule finds its own bad examples only."""

import importlib.machinery
import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "words"
if not SCRIPT.is_file():
    pytest.skip("the tests are away from the checkout", allow_module_level=True)


def loaded():
    loader = importlib.machinery.SourceFileLoader("words", str(SCRIPT))
    spec = importlib.util.spec_from_loader("words", loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


words = loaded()


@pytest.mark.parametrize("rule", words.RULES, ids=lambda rule: rule.advice)
def test_rule_finds_what_it_refuses_and_nothing_else(rule):
    for text in rule.refused:
        assert rule.advice in [advice for _, _, advice in words.findings(text)], text
    for text in rule.allowed:
        assert [*words.findings(text)] == [], text


def test_wrapped_sentence_is_reported_at_its_first_line():
    text = "x = 1\n    # it takes 6.2 µs\n    # a step\n"
    assert [line for line, _, _ in words.findings(text)] == [2]


def test_there_at_the_end_of_a_line_is_no_finding():
    assert [*words.findings("where there\n    are no samples")] == []
