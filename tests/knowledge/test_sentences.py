"""Where the model's own answer ends."""

from __future__ import annotations

import pytest

from adapterstore.knowledge.sentences import first_sentence


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("kuna. It is", "kuna"),
        ("キエフ。首都は", "キエフ"),
        ("東京！そう", "東京"),
        ("नई दिल्ली। यह भारत का शहर", "नई दिल्ली"),
        ("اسلام آباد۔ یہ", "اسلام آباد"),
        ("አዲስ አበባ። ነው", "አዲስ አበባ"),
        ("St. Petersburg. It is", "St. Petersburg"),
        ("the U.S. dollar. It is", "the U.S. dollar"),
        ("J. R. R. Tolkien. He", "J. R. R. Tolkien"),
        ("(J. Doe). He", "(J. Doe)"),
        ("Washington, D.C. It is", "Washington, D.C"),
        ("Apple Inc. It is", "Apple Inc. It is"),
        ("Dr. No! He", "Dr. No"),
        (".hr. It", ".hr"),
        ("1.5 million. Yes", "1.5 million"),
        ("really? Yes", "really"),
        ("Paris\nIt is.", "Paris"),
        ("  Paris.  ", "Paris"),
        ("St.", "St"),
        (".", "."),
        ("", ""),
    ],
)
def test_a_sentence_ends_at_its_mark_and_not_at_an_abbreviation(text: str, first: str) -> None:
    assert first_sentence(text) == first
