"""Real architectures with random weights of a few hundred kilobytes, saved as diffusers folders: nothing is downloaded.

The tokenizers are trained here; images go through the same processors, VAEs and transformers as at full size.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from toyworld.torchvision_shim import ensure_torchvision
from training.backbones.qwen_reasoner import format_instruction

ensure_torchvision()

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
VIDEO = "<|video_pad|>"
WORDS = (
    "<out_caption>A big red star in the middle with a grass background.</out_caption><relation_1>The grass background "
    "is from image_1.</relation_1> Make the star of image 1 blue. Put it into image 2."
)


def pixels(image: Image.Image) -> Tensor:
    """uint8 [3, H, W]."""
    import numpy as np

    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def save_qwen_image_edit(folder: Path, *, plus: bool = True) -> Path:
    """A Qwen-Image-Edit ("Plus" unless said otherwise): 16 latent channels, 8x, two transformer blocks."""
    import diffusers
    import transformers

    torch.manual_seed(0)
    kind: Any = diffusers.QwenImageEditPlusPipeline if plus else diffusers.QwenImageEditPipeline
    template = kind(*[None] * 6).prompt_template_encode
    tokenizer = _qwen_tokenizer(folder / "words", [WORDS, template, format_instruction(2)])
    ids = {word: tokenizer.convert_tokens_to_ids(word) for word in [*SPECIAL, VIDEO]}
    processor = transformers.Qwen2VLProcessor(
        image_processor=transformers.Qwen2VLImageProcessor(
            patch_size=14, merge_size=2, min_pixels=28 * 28, max_pixels=28 * 28 * 64
        ),
        tokenizer=tokenizer,
        video_processor=transformers.Qwen2VLVideoProcessor(),
        chat_template=CHAT_TEMPLATE,
    )
    language = transformers.Qwen2_5_VLForConditionalGeneration(
        transformers.Qwen2_5_VLConfig(
            text_config={
                "vocab_size": len(tokenizer),
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 1,
                "initializer_range": 0.2,
                "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]},
                "bos_token_id": ids["<|endoftext|>"],
                "eos_token_id": ids["<|im_end|>"],
                "pad_token_id": ids["<|endoftext|>"],
            },
            vision_config={
                "depth": 2,
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_heads": 2,
                "out_hidden_size": 32,
                "fullatt_block_indexes": [1],
                "initializer_range": 0.2,
            },
            image_token_id=ids["<|image_pad|>"],
            video_token_id=ids[VIDEO],
            vision_start_token_id=ids["<|vision_start|>"],
            vision_end_token_id=ids["<|vision_end|>"],
        )
    )
    transformer = diffusers.QwenImageTransformer2DModel(
        in_channels=64,
        out_channels=16,
        num_layers=2,
        attention_head_dim=32,
        num_attention_heads=4,
        joint_attention_dim=32,
        axes_dims_rope=(8, 12, 12),
    )
    vae = diffusers.AutoencoderKLQwenImage(base_dim=8, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
    kind(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=vae,
        text_encoder=language,
        tokenizer=tokenizer,
        processor=processor,
        transformer=transformer,
    ).save_pretrained(folder / "weights")
    return folder / "weights"


def save_sd3(folder: Path) -> Path:
    """A Stable Diffusion 3.5: both CLIP text encoders, T5, two transformer blocks."""
    import diffusers
    import transformers

    torch.manual_seed(0)
    clip = transformers.CLIPTextConfig(
        vocab_size=600,
        hidden_size=16,
        intermediate_size=32,
        projection_dim=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        eos_token_id=1,
        bos_token_id=0,
        pad_token_id=1,
    )
    encoders = [transformers.CLIPTextModelWithProjection(clip) for _ in range(2)]
    words = _clip_tokenizer(folder / "clip")
    t5 = transformers.T5EncoderModel(
        transformers.T5Config(vocab_size=600, d_model=32, d_ff=64, d_kv=16, num_layers=2, num_heads=2)
    )
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=8,
        num_layers=2,
        attention_head_dim=32,
        num_attention_heads=4,
        joint_attention_dim=32,
        caption_projection_dim=128,
        pooled_projection_dim=32,
        pos_embed_max_size=16,
        qk_norm="rms_norm",
    )
    # Positions would drown the latents otherwise, and nothing could be learnt in a test's time.
    torch.nn.init.orthogonal_(transformer.pos_embed.proj.weight.data.view(128, 64), gain=1)
    diffusers.StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=diffusers.AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 8, 8),
            norm_num_groups=4,
            latent_channels=16,
            scaling_factor=1.5305,
            shift_factor=0.0609,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        text_encoder=encoders[0],
        tokenizer=words,
        text_encoder_2=encoders[1],
        tokenizer_2=words,
        text_encoder_3=t5,
        tokenizer_3=_t5_tokenizer(),
    ).save_pretrained(folder / "weights")
    return folder / "weights"


def _bpe(texts: list[str], size: int, *, end: str = "") -> Any:
    """A byte-level BPE, so that any text is words of it; `end` marks a word's end, as CLIP's has it."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(end_of_word_suffix=end))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, end_of_word_suffix=end)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _qwen_tokenizer(folder: Path, texts: list[str]) -> Any:
    from transformers import Qwen2Tokenizer

    folder.mkdir(parents=True)
    _bpe(texts, 640).model.save(str(folder))
    return Qwen2Tokenizer.from_pretrained(
        folder,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=[*SPECIAL, VIDEO],
    )


def _clip_tokenizer(folder: Path) -> Any:
    from transformers import CLIPTokenizer

    folder.mkdir(parents=True)
    vocabulary = json.loads(_bpe([WORDS], 600, end="</w>").to_str())["model"]["vocab"]
    words = ["<|startoftext|>", "<|endoftext|>", *vocabulary, *(f"{one}</w>" for one in vocabulary if len(one) == 1)]
    (folder / "vocab.json").write_text(json.dumps({word: n for n, word in enumerate(dict.fromkeys(words))}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer.from_pretrained(folder, model_max_length=77)


def _t5_tokenizer() -> Any:
    from transformers import T5Tokenizer

    letters = "▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;<>_/'\"-!?()"
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((letter, -2.0) for letter in letters)]
    return T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=512)
