"""Canonical JSON and signed notes, which must be the same everywhere, byte for byte."""

import json
import subprocess
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.audit.proofs import INTEGER_MAX, Checkpoint, Key, NotAnExport, canonical, notes_in, signed_text
from tests import support

# The example from Go's package sumdb/note.
SIGNATURE = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
NOTE_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    f"— PeterNeumann {SIGNATURE}\n"
)

# JSON in this repository has no lone surrogates.
texts = st.text(st.characters(exclude_categories=["Cs"]))
numbers = st.one_of(
    st.integers(min_value=-INTEGER_MAX, max_value=INTEGER_MAX),
    st.floats(allow_nan=False, allow_infinity=False),
)
documents = st.recursive(
    st.one_of(st.none(), st.booleans(), texts, numbers),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)


class TestCanonical:
    def test_example_of_rfc_8785_is_canonical(self) -> None:
        given_text = (
            '{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],'
            r'"string":"\u20ac$\u000F\u000aA\u0027\u0042\u0022\u005c\\\"\/", "literals": [null, true, false]}'
        )

        assert canonical(json.loads(given_text)) == (
            '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
            r'"string":"€$\u000f\nA' + "'" + r'B\"\\\\\"/"}'
        )

    @pytest.mark.parametrize(
        ("number", "written"),
        [
            (0.0, "0"),
            (-0.0, "0"),
            (5e-324, "5e-324"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (295147905179352830000.0, "295147905179352830000"),
            (9.999999999999997e22, "9.999999999999997e+22"),
            (1e23, "1e+23"),
            (999999999999999700000.0, "999999999999999700000"),
            (1e21, "1e+21"),
            (9.999999999999997e-7, "9.999999999999997e-7"),
            (0.000001, "0.000001"),
            (333333333.3333332, "333333333.3333332"),
            (-0.0000033333333333333333, "-0.0000033333333333333333"),
            (1424953923781206.2, "1424953923781206.2"),
        ],
    )
    def test_numbers_of_rfc_8785_are_canonical(self, number: float, written: str) -> None:
        assert canonical(number) == written

    def test_names_are_sorted_by_utf_16_code_units(self) -> None:
        assert canonical({"\ufb33": 1, "\U0001f600": 2, "€": 3, "a": 4}) == '{"a":4,"€":3,"😀":2,"\ufb33":1}'

    @pytest.mark.parametrize("value", [2**53, -(2**53), float("nan"), float("inf")])
    def test_numbers_that_parsers_disagree_on_are_rejected(self, value: float) -> None:
        with pytest.raises(ValueError, match="number"):
            canonical(value)

    @given(documents)
    def test_canonical_text_round_trips(self, document: Any) -> None:
        text = canonical(document)
        # Floats above 2^53 are parsed as integers, which canonical() rejects.
        again = json.loads(text, parse_int=lambda digits: float(digits) if len(digits) > 16 else int(digits))

        assert canonical(again) == text

    @settings(max_examples=20)
    @given(st.lists(documents, min_size=40, max_size=40))
    def test_canonical_text_is_that_of_javascript(self, several: list[Any]) -> None:
        (node,) = support.need("node")
        script = """
            const member = (v, k) => JSON.stringify(k) + ":" + text(v[k])
            const text = (v) => Array.isArray(v) ? "[" + v.map(text).join(",") + "]"
                : v && typeof v === "object"
                ? "{" + Object.keys(v).sort().map(k => member(v, k)).join(",") + "}" : JSON.stringify(v)
            const all = JSON.parse(require("fs").readFileSync(0, "utf8"))
            process.stdout.write(JSON.stringify(all.map(text)))
        """
        done = subprocess.run(
            [node, "-e", script], input=json.dumps(several), capture_output=True, text=True, check=True
        )

        assert json.loads(done.stdout) == [canonical(one) for one in several]


class TestNotes:
    def test_example_note_of_go_is_verified(self) -> None:
        text = signed_text(NOTE, [Key.parse(NOTE_KEY)])

        assert text is not None
        assert text == NOTE.partition("\n\n")[0] + "\n"
        assert Key.parse(NOTE_KEY).text == NOTE_KEY

    @pytest.mark.parametrize(
        "note",
        [
            NOTE.replace("problem is", "problem was"),
            NOTE.replace("— ", "- "),
            NOTE.replace("PeterNeumann", "SomebodyElse"),
            NOTE.replace("x08g", "x18g"),
            NOTE.replace("nAM=", "nA"),
            NOTE.replace("\n\n", "\n"),
            NOTE.partition("\n\n")[0] + "\n\n",
            "",
        ],
    )
    def test_altered_note_is_not_signed(self, note: str) -> None:
        assert signed_text(note, [Key.parse(NOTE_KEY)]) is None

    def test_signed_text_that_is_not_a_checkpoint_is_rejected(self) -> None:
        assert Checkpoint.of(NOTE, [Key.parse(NOTE_KEY)]) is None

    @pytest.mark.parametrize(
        "text", ["", "a+b", NOTE_KEY[:-4], NOTE_KEY.replace("c74f", "c74e"), NOTE_KEY.replace("+AR", "+AB")]
    )
    def test_text_that_is_not_a_key_is_rejected(self, text: str) -> None:
        with pytest.raises(NotAnExport, match="public key"):
            Key.parse(text)

    def test_several_notes_in_one_file_are_found(self) -> None:
        assert notes_in(f"{NOTE}\n{NOTE}\n") == [NOTE, NOTE]
        assert notes_in(NOTE + NOTE) == [NOTE, NOTE]
        assert notes_in("") == []
