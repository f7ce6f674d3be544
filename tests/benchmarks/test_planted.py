"""The planted defects: each function plants what it says and nothing else, or says that it cannot."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from annotators.offline import toy
from benchmarks.planted import in_files, in_samples, of_pairs, of_sets
from benchmarks.planted.counting import Outcome, Share, wilson
from benchmarks.planted.in_samples import DEFECTS, Ground
from benchmarks.planted.outputs import GRAMMAR, MENTIONS, TOY, Sample, faultless, refused, stored
from filters.change import edit_change
from filters.paste import pasted
from filters.texts import scorable
from pipelines import config as configs
from pipelines.realign import interleaved
from pipelines.realign_work import RealignWork
from schemas.iccot import ICCoT
from schemas.mentions import image_mentions
from schemas.tasks import Role
from shards.commit import ShardSample
from shards.fetching import Sample as Stored
from shards.manifest import write_manifest
from shards.reader import read_samples
from shards.verify import verify
from storage.images import clean as cleaned
from storage.images import decode, encode_jpeg, hamming, phash
from storage.paths import read_bytes
from toyworld.captions import parse
from toyworld.oracle import read

Plant = Callable[[Sample, Ground], Sample | None]
ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Clean samples of the drawn world, without a pipeline between."""
    folder = tmp_path_factory.mktemp("targets")
    settings = ["samples=36", "splits={train: 0.75, test: 0.25}"]
    config = configs.load(str(ROOT / "configs" / "toy.yaml"), settings)
    assert isinstance(config, configs.RealignConfig)
    work = RealignWork(config)
    found = []
    with faultless():
        for split, count in work.planned.items():
            for plan in work.plans(split, range(count)):
                wrote = toy.write_instruction(plan)
                if not wrote.feasible:
                    continue
                base = plan.of_role(Role.BASE)
                size = (base[0][1].width, base[0][1].height) if base else None
                image, _ = toy.paint(plan, wrote.instruction, size)
                target = stored(encode_jpeg(image, 95), folder)
                thought = toy.reason(plan, wrote.instruction)
                found.append(Sample(plan, wrote.instruction, interleaved(plan, wrote.instruction), thought, target))
    return found


@pytest.fixture
def ground(samples: list[Sample], tmp_path: Path) -> Ground:
    return Ground(random.Random(3), tmp_path, samples)


def spoilt(plant: Plant, samples: list[Sample], ground: Ground) -> list[tuple[Sample, Sample]]:
    """(clean, with the defect) of every sample that can have it."""
    both = [(sample, plant(sample, ground)) for sample in samples]
    found = [(clean, bad) for clean, bad in both if bad is not None]
    assert len(found) >= 3
    return found


def thought(sample: Sample) -> ICCoT:
    return ICCoT.parse(sample.reasoning, len(sample.plan.references))


def test_clean_samples_are_sound_and_every_defect_of_the_drawn_world_changes_them(
    samples: list[Sample], ground: Ground
) -> None:
    assert len(samples) >= 25 and not any(refused(sample) for sample in samples)
    for defect in DEFECTS:
        if TOY in defect.worlds:
            for clean, bad in spoilt(defect.plant, samples[:12], ground):
                assert bad != clean and bad.plan == clean.plan, defect.name


def test_exchanged_relations_keep_the_grammar_and_say_of_each_image_what_the_other_gives(
    samples: list[Sample], ground: Ground
) -> None:
    for clean, bad in spoilt(in_samples.swapped_relations, samples, ground):
        before, after = ([scorable(t) for t in thought(s).relations] for s in (clean, bad))
        moved = [n for n, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
        assert len(moved) == 2 and sorted(before) == sorted(after)
        assert [before[n] for n in moved] == [after[n] for n in reversed(moved)]


@pytest.mark.parametrize(
    ("plant", "by"),
    [
        (in_samples.relation_of_another_image, {GRAMMAR}),
        (in_samples.all_mentions_one_off, {MENTIONS}),
        (in_samples.placeholders_one_off, {MENTIONS}),
        (in_samples.tags_in_texts, {GRAMMAR, MENTIONS}),
    ],
)
def test_what_the_parsers_are_meant_to_find_is_no_sound_sample(
    samples: list[Sample], ground: Ground, plant: Plant, by: set[str]
) -> None:
    refusals = {refused(bad) for _, bad in spoilt(plant, samples, ground)}
    assert refusals & by and refusals <= {*by, ""}


def test_one_wrong_number_leaves_a_sound_sample_that_names_other_images(samples: list[Sample], ground: Ground) -> None:
    for clean, bad in spoilt(in_samples.one_mention_one_off, samples, ground):
        assert not refused(bad) and bad.instruction != clean.instruction and bad.instruction in bad.prompt
        assert image_mentions(bad.instruction) <= set(range(1, len(bad.plan.references) + 1))


def test_an_unedited_target_is_its_base(samples: list[Sample], ground: Ground) -> None:
    for clean, bad in spoilt(in_samples.unedited_target, samples, ground):
        base = decode(read_bytes(clean.plan.references[0].reference.uri))
        target = decode(read_bytes(bad.target.uri))
        assert target.size == (clean.target.width, clean.target.height) and edit_change(base, target) < 0.0005


def test_a_pasted_photo_lies_in_the_target_and_a_cut_out_is_another_defect(
    samples: list[Sample], ground: Ground
) -> None:
    for clean, bad in spoilt(in_samples.pasted_photo, samples, ground)[:4]:
        target = decode(read_bytes(bad.target.uri))
        given = [p.reference for p in clean.plan.references if not p.reference.alpha]
        assert max(pasted(decode(read_bytes(r.uri)), target) for r in given) > 0.8
    cut_outs = [p for clean, _ in spoilt(in_samples.pasted_cut_out, samples, ground) for p in clean.plan.references]
    assert any(p.reference.alpha for p in cut_outs)


@pytest.mark.parametrize(("plant", "same"), [(in_samples.wrong_colour, "shape"), (in_samples.wrong_shape, "colour")])
def test_a_wrong_subject_differs_in_one_thing_and_one_attribute(
    samples: list[Sample], ground: Ground, plant: Plant, same: str
) -> None:
    seen = 0
    for clean, bad in spoilt(plant, samples[:9], ground):
        before, after = (read(decode(read_bytes(s.target.uri))) for s in (clean, bad))
        if len(before.things) != len(after.things):
            continue
        kinds = [sorted(getattr(thing, same) for thing in picture.things) for picture in (before, after)]
        other = "colour" if same == "shape" else "shape"
        changed = [sorted(getattr(thing, other) for thing in picture.things) for picture in (before, after)]
        seen += kinds[0] == kinds[1] and changed[0] != changed[1]
    assert seen >= 2


def test_hallucinations_are_in_the_caption_alone(samples: list[Sample], ground: Ground) -> None:
    for clean, bad in spoilt(in_samples.hallucinated_colour, samples, ground):
        before, after = (parse(thought(s).out_caption).things for s in (clean, bad))
        assert sum(a != b for a, b in zip(before, after, strict=True)) == 1
        assert thought(clean).relations == thought(bad).relations and bad.target == clean.target
    for clean, bad in spoilt(in_samples.hallucinated_thing, samples, ground):
        before, after = (parse(thought(s).out_caption).things for s in (clean, bad))
        assert len(after) == len(before) + 1 and not refused(bad)


def test_another_target_shares_no_subject(samples: list[Sample], ground: Ground) -> None:
    owners = {sample.target.sha256: sample for sample in samples}
    for clean, bad in spoilt(in_samples.target_of_another, samples, ground):
        subjects = [{p.reference.subject for p in s.plan.references} for s in (clean, owners[bad.target.sha256])]
        assert not subjects[0] & subjects[1]


@pytest.fixture(scope="module")
def out(samples: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("output") / "out"
    by_split: dict[str, list[ShardSample]] = {"train": [], "test": []}
    for sample in samples:
        view = json.loads(json.dumps(sample.draft().to_json()))
        refs = [(f"image_{n}", p.reference) for n, p in enumerate(sample.plan.references, 1)]
        images = {name: cleaned(read_bytes(ref.uri), max_side=512).data for name, ref in refs}
        images["target"] = read_bytes(sample.target.uri)
        by_split[sample.plan.split].append(in_files.written(view, images))
    in_files.write_output(folder, by_split)
    return folder


def test_damage_to_a_tar_is_one_bit_or_its_end_and_is_put_back(out: Path) -> None:
    tar = next((out / "shards").glob("train*.tar"))
    before = tar.read_bytes()
    with in_files.put_back(tar):
        bit = in_files.flip_bit(tar, random.Random(1))
        after = tar.read_bytes()
        assert len(after) == len(before) and int.from_bytes(before) ^ int.from_bytes(after)
        assert [n for n in range(len(after)) if after[n] != before[n]] == [bit // 8]
    with in_files.put_back(tar):
        length = in_files.cut_short(tar, random.Random(1))
        assert tar.read_bytes() == before[:length] and length < len(before)
    assert tar.read_bytes() == before and verify(str(out)) == []


def test_an_index_that_disagrees_is_a_readable_index_with_one_thing_wrong(out: Path) -> None:
    index = next((out / "shards").glob("train*.parquet"))
    kinds = set()
    for seed in range(12):
        with in_files.put_back(index, out / "manifest.json"):
            kinds.add(in_files.disagreeing_index(index, random.Random(seed)))
            write_manifest(str(out))
            assert verify(str(out)) != []
    assert len(kinds) >= 3 and verify(str(out)) == []


def test_small_outputs_are_sound_until_something_leaks(out: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"

    def split(name: str) -> list[Stored]:
        return list(read_samples(str(small), name))

    in_files.small_output(out, small, random.Random(1), train=6, test=3)
    assert verify(str(small)) == [] and (len(split("train")), len(split("test"))) == (6, 3)
    in_files.small_output(out, small, random.Random(1), "reference", train=6, test=3)
    ids = [{r["id"] for s in split(name) for r in s.json["references"]} for name in ("train", "test")]
    assert ids[0] & ids[1] and len(split("test")) == 4
    in_files.small_output(out, small, random.Random(1), "saved again", train=6, test=3)
    ids = [{r["id"] for s in split(name) for r in s.json["references"]} for name in ("train", "test")]
    hashes = [[phash(decode(s.images["target"])) for s in split(name)] for name in ("train", "test")]
    assert not ids[0] & ids[1] and min(hamming(a, b) for a in hashes[0] for b in hashes[1]) <= 6


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_that_tells_its_place_tells_it_until_it_is_cleaned(kind: str) -> None:
    plain = encode_jpeg(Image.linear_gradient("L").convert("RGB"))
    told = in_files.with_whereabouts(plain, kind)
    assert Image.open(io.BytesIO(told)).format == kind and Image.open(io.BytesIO(told)).getexif().get_ifd(0x8825)
    assert in_files.tells_whereabouts([plain, told]) and not in_files.tells_whereabouts([plain])
    assert not in_files.tells_whereabouts([cleaned(told, max_side=512).data])


@pytest.mark.parametrize("how", of_sets.COPIES)
def test_a_copy_is_another_file_of_the_same_picture(samples: list[Sample], how: str) -> None:
    data = read_bytes(samples[0].target.uri)
    copy = of_sets.copied(data, how)
    assert copy != data and hamming(phash(decode(copy)), phash(decode(data))) <= 16


def test_pairs_have_their_defect_and_no_other() -> None:
    every = list(of_pairs.pairs(4))
    by_defect: dict[str, list[of_pairs.Pair]] = {}
    for pair in every:
        by_defect.setdefault(pair.defect, []).append(pair)
    assert {len(found) for found in by_defect.values()} == {4} and len(by_defect) == 6
    assert all(pair.unedited == (pair.defect in (of_pairs.UNEDITED, of_pairs.INJECTED)) for pair in every)
    for clean, injected in zip(by_defect[of_pairs.CLEAN], by_defect[of_pairs.INJECTED], strict=True):
        assert injected.instruction.startswith(clean.instruction) and injected.instruction != clean.instruction


def test_shares_tell_how_sure_they_are_and_a_goal_needs_both_sides() -> None:
    assert wilson(0, 10)[0] == 0.0 and wilson(10, 10)[1] == 1.0
    assert list(wilson(0, 10)) == pytest.approx([0.0, 0.2775], abs=1e-3)
    assert list(wilson(18, 20)) == pytest.approx([0.699, 0.972], abs=1e-3)
    assert str(Share(18, 20)) == "18/20 = 0.90 (0.70-0.97)" and str(Share(0, 0)) == "-"
    good, few = Share(18, 20), Share(0, 20)
    assert Outcome("w", "d", "c", good, good, few).met == "met"
    assert Outcome("w", "d", "c", good, good, Share(2, 20)).met == "missed"
    assert Outcome("w", "d", "c", Share(17, 20), good, few).met == "missed"
    assert Outcome("w", "d", "", good, good, few).met == "nothing finds it"
    assert Outcome("w", "d", "c", good, good, few, missing="no weights").met == "not computed"
