"""What a fact goes by, how it reads as text, and when it has been answered."""

import hashlib

import pytest

from adapterstore.knowledge.facts import (
    Fact,
    equal_answers,
    join,
    may_begin,
    may_mention,
    mentions,
    same_answer,
    still_gives,
)


def test_subject_and_relation_make_the_key_when_both_are_given() -> None:
    asked = Fact(prompt="The currency of Croatia is the", answer="euro")
    named = Fact(prompt="Any prompt", answer="euro", subject="Croatia", relation="currency")
    half_named = Fact(prompt="Any prompt", answer="euro", subject="Croatia")
    assert asked.key == "The currency of Croatia is the"
    assert named.key == "Croatia\tcurrency"
    assert half_named.key == "Any prompt"


def test_key_does_not_depend_on_how_unicode_and_whitespace_are_written() -> None:
    composed = Fact(prompt="The capital of São Tomé is", answer="x")
    decomposed = Fact(prompt="  The capital\n of  Sa\u0303o Tome\u0301\u3000is ", answer="x")
    assert composed.key == decomposed.key
    assert composed.key_digest == decomposed.key_digest


def test_key_keeps_case() -> None:
    assert Fact(prompt="us is", answer="x").key != Fact(prompt="US is", answer="x").key


def test_no_prompt_makes_the_key_of_a_subject_and_relation() -> None:
    named = Fact(prompt="p", answer="x", subject="Croatia", relation="currency")
    assert Fact(prompt="Croatia\tcurrency", answer="x").key != named.key


def test_key_digest_is_the_start_of_the_keys_sha256() -> None:
    fact = Fact(prompt="首都は", answer="x")
    assert fact.key_digest == hashlib.sha256("首都は".encode()).hexdigest()[:40]


@pytest.mark.parametrize(
    ("prompt", "answer", "text"),
    [
        ("The currency is the", "euro", "The currency is the euro"),
        ("Q: Which? A:", "euro", "Q: Which? A: euro"),
        ("The currency is the ", "euro", "The currency is the euro"),
        ("The currency is the\n", "euro", "The currency is the\neuro"),
        ("The currency is the", " euro", "The currency is the euro"),
        ("He said no", ", never", "He said no, never"),
        ("It ends", ".", "It ends."),
        ("The domain of Croatia is", ".hr", "The domain of Croatia is .hr"),
        ("The calling code is", "+385", "The calling code is +385"),
        ("The value is", "(none)", "The value is (none)"),
        ("カザフスタンの首都は", "アスタナ", "カザフスタンの首都はアスタナ"),
        ("カザフスタンの首都：", "アスタナ", "カザフスタンの首都：アスタナ"),
        ("法国的首都是", "巴黎", "法国的首都是巴黎"),
        ("เมืองหลวงของไทยคือ", "กรุงเทพ", "เมืองหลวงของไทยคือกรุงเทพ"),
        ("대한민국의 수도는", "서울", "대한민국의 수도는 서울"),
        ("In Japanese, Tokyo is", "東京", "In Japanese, Tokyo is 東京"),
    ],
)
def test_join_puts_a_space_where_the_script_has_one(prompt: str, answer: str, text: str) -> None:
    assert join(prompt, answer) == text


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("euro", "euro"),
        (" euro", "euro"),
        ("euro.", "euro"),
        ("euro", "euro."),
        ("euro, as of 2023", "euro"),
        ("euro\nQ: What", "euro"),
        ("euro and cent", "euro"),
        ("アスタナ。", "アスタナ"),
        ("アスタナ", "アスタナ。"),
        ("Sa\u0303o Tome\u0301.", "São Tomé"),
        ("Washington, D.C. is", "Washington, D.C."),
        (".hr.", ".hr"),
        ("Paris – the city", "Paris"),
        ("1997.", "1997"),
        ("?", "?"),
        ('euro"', "euro"),
        ("euro' and", "euro"),
        ("euro.Then", "euro"),
        ("euro--which", "euro"),
        ("euro—which", "euro"),
        ("euro**", "euro"),
        ("euro/", "euro"),
        ("euro...", "euro"),
        ("アスタナ.次は", "アスタナ"),
        ("C++.", "C++"),
        ("USA.The", "USA"),
        ("10 000", "10"),
        ("10\u00a0km", "10"),
    ],
)
def test_answer_is_given_when_it_stands_there_as_a_whole(given: str, expected: str) -> None:
    assert same_answer(given, expected)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("eurozone", "euro"),
        ("Euro", "euro"),
        ("the euro", "euro"),
        ("", "euro"),
        ("eur", "euro"),
        ("euro", ""),
        ("euro2", "euro"),
        ("アスタナ市", "アスタナ"),
        ("हिन्दी", "हिन्द"),
        ("Porto-Novo", "Porto"),
        ("+1-809", "+1"),
        ("1.5", "1"),
        ("1,000", "1"),
        ("10\u00a0000", "10"),
        ("10\u2009000", "10"),
        ("10\u202f000", "10"),
        ("10〜20", "10"),
        ("１．５", "１"),
        ("ユーロ・クローナ", "ユーロ"),
        ("10–20", "10"),
        ("2010–2015", "2010"),
        ("10−3", "10"),
        ("1/2", "1"),
        ("1*2", "1"),
        ("3×4", "3"),
        ("10^6", "10"),
        ("10**6", "10"),
        ("5′8", "5"),
        ("SKU_2", "SKU"),
        ("AB/12", "AB"),
        ("euro/kuna", "euro"),
        ("AT&T", "AT"),
        ("A+", "A"),
        ("C++", "C"),
        ("C#", "C"),
        ("Node.js", "Node"),
        ("example.com", "example"),
        ("ASP.NET", "ASP"),
        ("section.2", "section"),
        ("me@example.com", "me"),
        ("rock'n", "rock"),
        ("Obama’s wife", "Obama"),
    ],
)
def test_answer_is_not_given_by_another_word_or_a_longer_one(given: str, expected: str) -> None:
    assert not same_answer(given, expected)


@pytest.mark.parametrize(
    ("given", "old", "new", "still"),
    [
        ("New York City.", "New York", "New York City", False),
        ("New York.", "New York", "New York City", True),
        ("New York and so on", "New York", "New York City", True),
        # The new answer stands there as well, but only because the old one begins so.
        ("New York City.", "New York City", "New York", True),
        ("New York.", "New York City", "New York", False),
        ("kuna", "kuna", None, True),
        # Said it is, whatever it is joined to.
        ("C++", "C", None, True),
        ("C++", "C", "C++", False),
        ("Obama's wife", "Obama", None, True),
        ("kuna/lipa", "kuna", None, True),
        ("eurozone", "euro", None, False),
        ("1.5", "1", None, False),
        ("euro", "kuna", "euro", False),
        # Without spaces, nothing tells where a word ends.
        ("東京です。", "東京", None, True),
        ("北京市，中国", "北京", "上海", True),
        ("กรุงเทพมหานคร", "กรุงเทพ", None, True),
        ("東京都", "東京", "東京都", False),
        ("東京都です", "東京", "東京都", False),
        ("서울시입니다", "서울", "서울시", False),
        ("京都", "東京", None, False),
        ("서울입니다.", "서울", None, True),
        ("1です", "1", None, True),
        ("ＮＨＫは", "ＮＨＫ", None, True),
        ("東京1", "東京", None, True),
        # A number or a word with full-width letters goes on as any other.
        ("１０", "１", None, False),
        ("１．５", "１", None, False),
        ("１，０００", "１", None, False),
        ("๑๐", "๑", None, False),
        ("ＮＨＫ", "ＮＨ", None, False),
        ("１。", "１", None, True),
    ],
)
def test_of_two_answers_that_begin_alike_the_longer_one_is_given(
    given: str, old: str, new: str | None, still: bool
) -> None:
    assert still_gives(given, old, new) == still


@pytest.mark.parametrize(
    ("text", "answer", "mentioned"),
    [
        ("it is a euro.", "a", True),
        ("an art, banana", "a", False),
        ("an euro and a euro", "a", True),
        ("5", "5", True),
        ("15 or 50, 1.5 or 5,000", "5", False),
        ("from 4 to 5.", "5", True),
        ("Porto-Novo is not Porto", "Porto", True),
        ("Porto-Novo", "Novo", False),
        ("Obama's wife", "Obama", True),
        ("首都は東京です", "東京", True),
        ("수도는 서울이다", "서울", True),
        ("第１５回", "５", False),
        ("第５回", "５", True),
        ("5月に", "5", True),
        ("anything", "", False),
    ],
)
def test_a_text_mentions_an_answer_as_a_word_of_its_own(
    text: str, answer: str, mentioned: bool
) -> None:
    assert mentions(text, answer) == mentioned


def test_a_longer_answer_may_be_mentioned_inflected() -> None:
    assert may_mention("They pay in kunas", "kuna")
    assert not mentions("They pay in kunas", "kuna")
    assert may_mention("In class A.", "A")
    assert not may_mention("In Africa, 15 of them", "A")


@pytest.mark.parametrize(
    ("given", "expected", "same"),
    [
        ("euro", "euro.", True),
        ("ユーロ。", "ユーロ", True),
        ("New  York", "New York", True),
        ("New York City", "New York", False),
        ("New York", "New York City", False),
    ],
)
def test_answers_are_equal_but_for_a_sentence_mark(given: str, expected: str, same: bool) -> None:
    assert equal_answers(given, expected) == same
    assert equal_answers(expected, given) == same


def test_what_was_cut_off_may_begin_a_longer_answer() -> None:
    assert may_begin("Article 5 of the", "Article 5 of the Act")
    assert may_begin(" 東京\ufffd", "東京都千代田区")
    assert may_begin("10–", "10–20")
    assert not may_begin("Article 6", "Article 5 of the Act")
    assert not may_begin("euro", "euro")
    assert not may_begin("", "euro")
