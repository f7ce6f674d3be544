"""The Qwen2.5-VL of a Qwen-Image-Edit pipeline as a reasoner: asked for an IC-CoT in chat, sampled, and scored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from schemas.iccot import ICCoT
from shards.export.prompts import Piece, plain


def format_instruction(references: int) -> str:
    """How an IC-CoT is asked for, in the grammar of `schemas.iccot`."""
    relations = tuple(f"what the new image takes from image_{i}, in one sentence" for i in range(1, references + 1))
    form = ICCoT(out_caption="one sentence that describes the new image", relations=relations)
    return (
        "You plan an image before it is drawn. Read the request and look at the images given with it, then answer in "
        f"exactly this form, with nothing before or after it: {form} The caption stands alone and speaks of none of "
        "the given images; each relation names its image."
    )


def sampled(
    pipeline: Any,
    found: Sequence[Piece],
    images: Sequence[Any],
    *,
    count: int,
    most: int,
    temperature: float,
    generator: torch.Generator,
) -> list[str]:
    """`count` answers to one prompt, sampled at `temperature`; at 0 the greedy one, `count` times.

    Args:
        found, images: the interleaved prompt and its images (Pillow).
        most: tokens of an answer; a longer one is cut, and then parses as no IC-CoT.
    """
    from transformers import GenerationConfig

    model, tokenizer, greedy = pipeline.text_encoder, pipeline.processor.tokenizer, temperature == 0
    asked = _asked(pipeline, found, images)
    # Everything is said: what is left out comes from the settings that lie with the weights, which may cut the
    # distribution and punish repetition, and then what is sampled would not be the policy.
    settings = GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=most,
        do_sample=not greedy,
        temperature=1.0 if greedy else temperature,
        top_k=0,
        top_p=1.0,
        repetition_penalty=1.0,
        num_return_sequences=1 if greedy else count,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    # `generate` takes no generator; the global one is lent, seeded from ours.
    seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
    with torch.no_grad(), torch.random.fork_rng([model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(seed)
        ids = model.generate(**asked, generation_config=settings)
    texts = tokenizer.batch_decode(ids[:, asked["input_ids"].shape[1] :], skip_special_tokens=True)
    return [text.strip() for text in texts] * (count if greedy else 1)


def logp(pipeline: Any, found: Sequence[Piece], images: Sequence[Any], reasoning: str, *, checkpoints: bool) -> Tensor:
    """[T] log-probability of each token of an answer, its end included; T = 0 for an empty one.

    Args:
        checkpoints: recompute activations in the backward pass, where there will be one.
    """
    model, tokenizer = pipeline.text_encoder, pipeline.processor.tokenizer
    if not reasoning:
        return torch.zeros(0, device=model.device)
    asked = _asked(pipeline, found, images)
    answer = [*tokenizer(plain(reasoning), add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    ids = torch.tensor([answer], device=model.device)
    asked["input_ids"] = torch.cat([asked["input_ids"], ids], 1)
    for name, value in (("attention_mask", 1), ("mm_token_type_ids", 0)):
        asked[name] = pad(asked[name], (0, len(answer)), value=value)
    model.train(checkpoints and torch.is_grad_enabled())  # transformers checkpoints in training mode only
    try:
        logits = model(**asked, use_cache=False, logits_to_keep=len(answer) + 1).logits[0, :-1]
    finally:
        model.eval()
    return logits.float().log_softmax(-1).gather(1, ids[0, :, None])[:, 0]  # type: ignore[no-any-return]


def tell_images_from_text(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A forward pre-hook: Qwen2.5-VL places image tokens in two dimensions only when told which they are.

    That is so since transformers 5. diffusers' pipelines do not tell it, and what they embed is then silently another
    thing than the transformer was trained on (diffusers issue 14194, open when this was written).
    """
    if kwargs.get("pixel_values") is not None and kwargs.get("mm_token_type_ids") is None:
        kwargs["mm_token_type_ids"] = (kwargs["input_ids"] == model.config.image_token_id).int()
    return args, kwargs


def _asked(pipeline: Any, found: Sequence[Piece], images: Sequence[Any]) -> dict[str, Tensor]:
    """The chat that asks for an IC-CoT, tokenised: each image stands where the prompt has it, under its number."""
    user: list[dict[str, str]] = []
    for piece in found:
        label = f"image_{piece}: " if isinstance(piece, int) else piece
        user += [{"type": "text", "text": label}, *([{"type": "image"}] if isinstance(piece, int) else [])]
    system = [{"type": "text", "text": format_instruction(len(images))}]
    chat = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    text = pipeline.processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    inputs = pipeline.processor(text=[text], images=list(images) or None, return_tensors="pt")
    return dict(inputs.to(pipeline.text_encoder.device))
