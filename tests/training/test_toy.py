"""The toy backbone: what sees what, sampling by the cache, and the words it knows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InputError
from training.backbone import Prompt
from training.backbones.toy import ToyBackbone, ToyConfig
from training.backbones.words import END, PAD, UNKNOWN, Words

TEXTS = (
    "<image_1> <image_2> Put the red star here.",
    "<out_caption>A red star.</out_caption><relation_1>The star is from image_1.</relation_1>",
)
SMALL = ToyConfig(side=16, patch=4, reference_patch=8, width=32, layers=2, heads=2, longest=64, reasoning=24)


def image(seed: int) -> torch.Tensor:
    return torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def prompt(references: int = 2, text: str = TEXTS[0], seed: int = 0) -> Prompt:
    return Prompt(f"{seed}", text, tuple(image(seed + n) for n in range(references)))


@pytest.fixture
def toy() -> ToyBackbone:
    torch.manual_seed(0)
    backbone = ToyBackbone(SMALL, Words.of(TEXTS))
    with torch.no_grad():  # a fresh one draws nothing at all
        for one in backbone.parameters():
            one.add_(0.05 * torch.randn(one.shape))
    return backbone


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_text_comes_back_as_it_was_but_for_case() -> None:
    words = Words.of(TEXTS)
    assert words.text([*words.ids(TEXTS[1]), END, 5, 6]) == TEXTS[1].lower()
    assert words.ids("a green star") == [words.ids("a")[0], UNKNOWN, words.ids("star")[0]]


@given(st.text(max_size=60))
def test_any_text_has_numbers_within_the_vocabulary(text: str) -> None:
    words = Words.of(TEXTS)
    assert all(0 <= number < len(words) for number in words.ids(text))
    assert Words(words.words).ids(text) == words.ids(text)


def test_what_a_row_says_depends_on_no_other_row_and_on_no_padding(toy: ToyBackbone) -> None:
    rows = [
        (prompt(2, seed=1), TEXTS[1]),
        (prompt(1, "Put it.", seed=5), "<out_caption>A star.</out_caption>"),
        (prompt(4, seed=9), ""),
    ]
    x, t = torch.randn(3, 3, 16, 16, generator=seeded()), torch.tensor([0.2, 0.6, 1.0])
    together = toy.encode([one for one, _ in rows], [text for _, text in rows])
    drawn = toy.velocity(x, t, together)
    assert together.logp is not None and together.tokens is not None
    assert not together.tokens[2].any(), "an empty reasoning has no token, not even an end"
    for row, (one, text) in enumerate(rows):
        alone = toy.encode([one], [text])
        assert alone.logp is not None and alone.tokens is not None
        count = int(alone.tokens.sum())
        assert count == int(together.tokens[row].sum())
        assert torch.allclose(alone.logp[0, :count], together.logp[row, :count], atol=1e-5)
        assert torch.allclose(toy.velocity(x[row : row + 1], t[row : row + 1], alone)[0], drawn[row], atol=1e-4)


def test_text_is_causal_and_never_sees_the_image(toy: ToyBackbone) -> None:
    one = toy.encode([prompt()], ["<out_caption>A red star.</out_caption>"])
    other = toy.encode([prompt()], ["<out_caption>A red image_1."])
    assert one.logp is not None and other.logp is not None
    difference = (one.logp[0, :5] - other.logp[0, :5]).detach().abs().tolist()
    assert max(difference[:3]) < 1e-6 and difference[3] > 1e-4, "the fourth word is the first that differs"


@pytest.mark.parametrize("change", ["reference", "order", "reasoning", "instruction", "time"])
def test_an_image_depends_on_everything_before_it(toy: ToyBackbone, change: str) -> None:
    given_, text, t = prompt(), TEXTS[1], torch.tensor([0.5])
    x = torch.randn(1, 3, 16, 16, generator=seeded())
    before = toy.velocity(x, t, toy.encode([given_], [text]))
    if change == "reference":
        given_ = replace(given_, images=(given_.images[0], image(99)))
    elif change == "order":
        given_ = replace(given_, images=given_.images[::-1])
    elif change == "reasoning":
        text = text.replace("red", "image_1")
    elif change == "instruction":
        given_ = replace(given_, text=given_.text.replace("star", "image_1"))
    else:
        t = torch.tensor([0.7])
    after = toy.velocity(x, t, toy.encode([given_], [text]))
    assert float((after - before).abs().max()) > 1e-4


@torch.no_grad()
def test_greedy_words_from_the_cache_are_those_of_the_whole_sequence(toy: ToyBackbone) -> None:
    for parameter in toy.parameters():  # sharp enough that a word is another one where a position is
        parameter.mul_(4)
    prompts = [prompt(2, seed=1), prompt(1, "Put it.", seed=5), prompt(0, "<image_1>")]
    for one, said in zip(prompts, toy.reason(prompts, temperature=0, generator=seeded()), strict=True):
        ids: list[int] = []
        for _ in range(SMALL.reasoning):
            asked = torch.tensor([toy.words.ids(one.text)])
            hidden, _ = toy._read([one], torch.cat([asked, torch.tensor([ids], dtype=torch.long)], 1), asked.shape[1])
            logits = toy._log_probabilities(hidden[:, -1:], toy._pointed(hidden[:, : asked.shape[1]], asked))[:, 0]
            logits[:, [PAD, UNKNOWN]] = -torch.inf
            word = int(logits.argmax())
            ids.append(word)
            if word == END:
                break
        assert said == toy.words.text(ids)


def test_what_is_sampled_follows_from_the_generator_alone(toy: ToyBackbone) -> None:
    prompts = [prompt(seed=n) for n in range(6)]
    first = toy.reason(prompts, temperature=1.0, generator=seeded(3))
    assert toy.reason(prompts, temperature=1.0, generator=seeded(3)) == first
    assert toy.reason(prompts, temperature=1.0, generator=seeded(4)) != first


def test_words_are_copied_from_the_prompt_and_from_nowhere_else(toy: ToyBackbone) -> None:
    asked = torch.tensor([[PAD, 5, 7, 5], [4, 6, 8, 9]])
    hidden, given_ = (torch.randn(2, n, SMALL.width, generator=seeded(n)) for n in (3, 4))
    probability = toy._log_probabilities(hidden, toy._pointed(given_, asked)).exp()
    assert torch.allclose(probability.sum(-1), torch.ones(2, 3), atol=1e-5)
    with torch.no_grad():
        toy.copies.bias.fill_(40)  # copies alone
    copied = toy._log_probabilities(hidden, toy._pointed(given_, asked)).exp()
    assert set((copied[0] > 1e-6).any(0).nonzero()[:, 0].tolist()) == {5, 7}
    assert set((copied[1] > 1e-6).any(0).nonzero()[:, 0].tolist()) == {4, 6, 8, 9}


def test_images_come_back_from_latents(toy: ToyBackbone) -> None:
    found = toy.decode(toy.latents([image(1), image(2)]))
    assert torch.allclose(found[0], image(1) / 255, atol=1e-6) and found.shape == (2, 3, 16, 16)
    large = torch.randint(0, 256, (3, 40, 30), dtype=torch.uint8)
    assert toy.latents([large]).shape == (1, 3, 16, 16)


def test_a_policy_moves_its_own_part_and_both_move_all(toy: ToyBackbone) -> None:
    image_part, text_part = dict(toy.trained("image")), dict(toy.trained("text"))
    assert not set(image_part) & set(text_part)
    assert set(dict(toy.trained("both"))) == set(image_part) | set(text_part) == set(dict(toy.named_parameters()))
    context = toy.encode([prompt()], [TEXTS[1]])
    assert context.logp is not None
    context.logp.sum().backward()
    assert all(one.grad is None for one in image_part.values()), "words come from the understanding expert alone"


def test_weights_are_saved_and_those_of_another_size_refused(toy: ToyBackbone) -> None:
    other = ToyBackbone(SMALL, toy.words)
    other.restore(toy.saved())
    x, t = torch.randn(1, 3, 16, 16, generator=seeded()), torch.tensor([0.5])
    wanted = toy.velocity(x, t, toy.encode([prompt()], [""]))
    assert torch.equal(other.velocity(x, t, other.encode([prompt()], [""])), wanted)
    wider = ToyBackbone(SMALL.model_copy(update={"width": 64}), toy.words)
    with pytest.raises(InputError, match="the weights are not of this backbone"):
        wider.restore(toy.saved())


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"patch": 5}, "backbone.patch: 5 does not divide the side, 16"),
        ({"heads": 3}, "backbone.heads: 3 heads"),
        ({"longest": 24}, "backbone.longest: 24 leaves no room"),
    ],
)
def test_impossible_sizes_are_refused(change: dict[str, int], line: str) -> None:
    with pytest.raises(InputError, match=line):
        ToyBackbone(SMALL.model_copy(update=change), Words.of(TEXTS))


def test_more_references_than_it_has_room_for_are_named(toy: ToyBackbone) -> None:
    with pytest.raises(InputError, match=r"backbone.references: 4, and a sample has 5"):
        toy.encode([prompt(5)], [""])
