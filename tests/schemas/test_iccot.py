"""The IC-CoT grammar: what is printed can be read back, and every defect is said at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.iccot import ICCoT, ICCoTError
from schemas.mentions import beyond, image_mentions

# Read off the paper's figures (research note A.2), with the number of references of each.
PUBLISHED = [
    (
        "<out_caption>A woman wearing a brown leather jacket and a blue checked shirt, holding a bouquet of flowers, "
        "standing in a garden.</out_caption>\n"
        "<relation_1>The woman's face, hair, pose, the bouquet of flowers, and the background are consistent with "
        "image_1.</relation_1>\n"
        "<relation_2>The brown leather jacket and blue checked shirt are from image_2.</relation_2>",
        2,
    ),
    (
        "<out_caption>A man and a woman sitting on a brown leather sofa in a living room, depicted in a black and "
        "white sketch style.</out_caption><relation_1>The man is from image_1.</relation_1>"
        "<relation_2>The woman is from image_2.</relation_2><relation_3>The brown leather sofa is from "
        "image_3.</relation_3><relation_4>The black and white sketch style of the image is consistent with "
        "image_4.</relation_4>",
        4,
    ),
]

words = st.text(st.characters(blacklist_characters="<>", blacklist_categories=("Cs",)), min_size=1, max_size=40).filter(
    lambda t: t.strip() and not image_mentions(t)
)


@st.composite
def iccots(draw: st.DrawFn) -> ICCoT:
    count = draw(st.integers(1, 6))
    relations = tuple(f"{draw(words).strip()} is from image_{i}." for i in range(1, count + 1))
    return ICCoT(out_caption=draw(words).strip(), relations=relations)


@pytest.mark.parametrize(("text", "references"), PUBLISHED)
def test_the_papers_examples_parse(text: str, references: int) -> None:
    assert len(ICCoT.parse(text, references).relations) == references


@given(iccots())
def test_what_is_printed_is_read_back(cot: ICCoT) -> None:
    assert ICCoT.parse(str(cot), len(cot.relations)) == cot


@given(iccots())
def test_the_json_view_round_trips(cot: ICCoT) -> None:
    assert ICCoT.from_json(cot.to_json()) == cot


@given(st.text(max_size=200), st.integers(1, 4))
def test_any_text_either_parses_to_itself_or_names_its_defects(text: str, references: int) -> None:
    try:
        cot = ICCoT.parse(text, references)
    except ICCoTError as error:
        assert error.defects
        assert all(d.endswith(".") for d in error.defects)
    else:
        assert ICCoT.parse(str(cot), references) == cot


@given(
    st.lists(
        st.sampled_from(["<out_caption>", "</out_caption>", "<relation_1>", "</relation_1>", "<relation_2>", "a", " "])
    )
)
def test_no_arrangement_of_tags_crashes_the_parser(pieces: list[str]) -> None:
    try:
        ICCoT.parse("".join(pieces), 1)
    except ICCoTError as error:
        assert error.defects


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a red star", "There is no <out_caption> tag."),
        ("<out_caption>A star.", "<out_caption> is never closed."),
        ("<relation_1>The star is from image_1.</relation_1><out_caption>A star.</out_caption>", "must come first"),
        (
            "<out_caption>A star.</out_caption><relation_2>The star is from image_2.</relation_2>",
            "numbered 1, 2, 3",
        ),
        (
            "<out_caption>A star.</out_caption><relation_01>The star is from image_1.</relation_01>",
            "numbered 1, 2, 3",
        ),
        ("<out_caption>A star.</out_caption>and<relation_1>S is from image_1.</relation_1>", "text outside the tags"),
        ("<out_caption>Like image_1.</out_caption><relation_1>S is from image_1.</relation_1>", "without naming"),
        ("<out_caption>A star.</out_caption><relation_1>The star.</relation_1>", "must say what comes from image_1"),
        (
            "<out_caption>A star.</out_caption><relation_1>S is from image_1 and image_3.</relation_1>",
            "relation_1 names image_3, but there is only image_1.",
        ),
        (
            "<out_caption>A <out_caption>star.</out_caption><relation_1>S is from image_1.</relation_1>",
            "stands inside <out_caption>",
        ),
        ("<out_caption> </out_caption><relation_1>S is from image_1.</relation_1>", "out_caption is empty."),
    ],
)
def test_a_defect_is_named_in_a_plain_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ICCoTError) as caught:
        ICCoT.parse(text, 1)
    assert any(sentence in d for d in caught.value.defects), caught.value.defects


def test_every_defect_is_given_at_once() -> None:
    text = "<out_caption>As in image 1.</out_caption><relation_1>A star.</relation_1><relation_2></relation_2>"
    with pytest.raises(ICCoTError) as caught:
        ICCoT.parse(text, 3)
    told = " ".join(caught.value.defects)
    for part in ("exactly 3 relations", "without naming", "relation_1 must say", "relation_2 is empty"):
        assert part in told


def test_a_tag_of_the_grammar_inside_a_text_is_refused_on_construction() -> None:
    with pytest.raises(ValidationError):
        ICCoT(out_caption="A star. </out_caption>", relations=("The star is from image_1.",))
    with pytest.raises(ValidationError):
        ICCoT(out_caption="A star.", relations=("The star is from image_1. </ Relation_1 >",))


def test_other_angle_brackets_are_plain_text() -> None:
    cot = ICCoT(out_caption="A sign that reads 3 < 4 & <b>", relations=("The sign is from image_1.",))
    assert ICCoT.parse(str(cot), 1) == cot


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("put image 2 beside image_3", {2, 3}),
        ("the second image and the third reference image", {2, 3}),
        ("images 1 and 2", {1, 2}),
        ("images 1, 2 and 4", {1, 2, 4}),
        ("<image_1> and <image_2>", {1, 2}),
        ("第二张图和图3", {2, 3}),
        ("put them together", set()),
        ("three images of a cat", set()),
        ("the 12th image", {12}),
        ("the second input image, the third given photo and the fourth source picture", {2, 3, 4}),
        ("image_1的背景", {1}),
        ("image 1, in the snow", {1}),
        ("images 1,2 and 4", {1, 2, 4}),
        ("图片 2 和第三张照片，第4个图", {2, 3, 4}),
        ("把image 2放在左边", {2}),
    ],
)
def test_images_are_found_however_they_are_named(text: str, numbers: set[int]) -> None:
    assert image_mentions(text) == numbers


@pytest.mark.parametrize(
    "text",
    [
        "photos 35mm film",
        "a photo 35 mm wide",
        "a picture 3 metres wide",
        "a picture 3.5 feet tall",
        "a picture 3 by 2 metres",
        "a photo 4 x 6",
        "photos 35 to 50mm",
        "a picture 3D artists made",
        "a second framed picture on the wall",
        "a second picture on the wall",
        "第一个杯子",
        "第2个人",
        "图3米宽",
        "the ſixth image",
        "image ١",
        "image_" + "9" * 5000,
        "第" + "9" * 5000 + "张",
    ],
)
def test_other_numbers_near_the_word_image_name_none(text: str) -> None:
    assert image_mentions(text) == set()


@pytest.mark.parametrize("number", ["١", "１", "9" * 5000, "99999"])
def test_a_relation_whose_number_is_no_plain_number_is_a_defect(number: str) -> None:
    text = f"<out_caption>A star.</out_caption><relation_{number}>The star is from image_1.</relation_{number}>"
    with pytest.raises(ICCoTError, match="text outside the tags"):
        ICCoT.parse(text, 1)
    with pytest.raises(ValidationError):
        ICCoT(out_caption="A star.", relations=(f"The star is from image_1.<relation_{number}>",))


def test_an_image_that_the_sample_lacks_is_named() -> None:
    assert beyond(["the third image"], 2) == ["Image 3 is named, but the sample has only images 1 to 2."]
    assert beyond(["image 1 and image 2"], 2) == []
