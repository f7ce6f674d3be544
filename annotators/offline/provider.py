"""The provider `offline`: rules instead of models, for free, without a network; dispatches by role and world.

FIRM's prompts, which `Facts.asks` names, are answered in `firm`, whatever the world; all others here.
It reads `Request.facts` (plan, instruction, draw, focus) and the references' pixels, never the rendered prompt. Its
text answers are made again on each run; its painted targets are kept in the ledger like any other image answer,
under a key that holds this provider's version.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from annotators.config import ModelConfig
from annotators.errors import FinalError
from annotators.interface import Capabilities, Facts, RawAnswer, Request
from annotators.offline import firm
from annotators.registry import World
from schemas.errors import ImageError
from schemas.plan import Plan
from schemas.references import ImageRef
from storage import paths

if TYPE_CHECKING:
    from PIL.Image import Image

    from annotators.offline.looks import Look

_JPEG_QUALITY = 95
_MOST_LOOKS = 20_000
# Twice the longest side that the painter works at. Photos up to this come as they are; a JPEG of 108 megapixels takes
# tens of megabytes instead of 432.
_PAINTED_SIDE = 2048
Rule = Callable[[Request, Facts, Plan], RawAnswer]


def make(config: ModelConfig, where: str, world: World) -> OfflineProvider:
    """The offline provider for a pool of `world`; it needs nothing, so nothing can be wrong."""
    return OfflineProvider(world)


class OfflineProvider:
    """See the module. One for all roles of a run; its work happens on the engine's CPU threads."""

    name = "offline"
    secrets: tuple[str, ...] = ()

    def __init__(self, world: World = "photos") -> None:
        self.world = world
        self.version = f"{world}-{_sources_digest()}"
        self.capabilities = Capabilities(
            images_out=True,
            reads_facts=True,
            remote=False,
            stores_text=False,
            roles=("writer", "reasoner", "painter", *firm.ROLES),
            # A little more than there are cores, so that none waits for the next request.
            in_flight=(os.cpu_count() or 1) + 2,
        )
        self._firm = firm.FirmRules()
        rules = _ToyRules() if world == "toyworld" else _PhotoRules()
        self._rules: dict[str, Rule] = {
            "writer": rules.write,
            "reasoner": rules.reason,
            "painter": rules.paint,
        }

    async def answer(self, request: Request) -> RawAnswer:
        return await asyncio.to_thread(self.answer_now, request)

    def answer_now(self, request: Request) -> RawAnswer:
        """The answer, made on the calling thread.

        Raises:
            FinalError: `bad_request`, `no_cutout`, `infeasible`, or the reason why a reference cannot be read.
        """
        try:
            if request.facts.asks.startswith("firm/"):
                return self._firm.answer(request, _as_jpeg)
            if request.facts.plan is None or request.role not in self._rules:
                raise FinalError("bad_request", f"the offline {request.role} needs the plan among the facts")
            return self._rules[request.role](request, request.facts, request.facts.plan)
        except ImageError as error:
            raise FinalError(error.reason, error.detail) from error
        except FileNotFoundError as error:
            raise FinalError("missing", str(error)) from error

    async def close(self) -> None: ...


class _PhotoRules:
    """Photos and cliparts: what their captions and pixels say."""

    def __init__(self) -> None:
        self._looks = _Looks()

    def write(self, request: Request, facts: Facts, plan: Plan) -> RawAnswer:
        from annotators.offline.writer import write_instruction

        return RawAnswer(text=write_instruction(plan, self._looks.of(plan)).model_dump_json())

    def reason(self, request: Request, facts: Facts, plan: Plan) -> RawAnswer:
        from annotators.offline.reasoner import reason

        return RawAnswer(text=reason(plan, facts.instruction, self._looks.of(plan), facts.draw, facts.focus))

    def paint(self, request: Request, facts: Facts, plan: Plan) -> RawAnswer:
        from annotators.offline.cutout import NoCutout
        from annotators.offline.painter import Unpaintable, paint

        try:
            images = [_opened(r.reference, _PAINTED_SIDE) for r in plan.references]
            target = paint(plan, images, request.size, facts.draw)
        except NoCutout as error:
            raise FinalError("no_cutout", str(error)) from error
        except Unpaintable as error:
            raise FinalError("infeasible", str(error)) from error
        return _as_jpeg(target)


class _ToyRules:
    """The toy world: its captions are its truth, and its painter errs in a stated share (see the answer's note)."""

    def write(self, request: Request, facts: Facts, plan: Plan) -> RawAnswer:
        from annotators.offline.toy import write_instruction

        return RawAnswer(text=write_instruction(plan).model_dump_json())

    def reason(self, request: Request, facts: Facts, plan: Plan) -> RawAnswer:
        from annotators.offline.toy import reason

        return RawAnswer(text=reason(plan, facts.instruction, facts.draw, facts.focus))

    def paint(self, request: Request, facts: Facts, plan: Plan) -> RawAnswer:
        from annotators.offline.toy import paint

        target, note = paint(plan, facts.instruction, request.size, facts.draw)
        return _as_jpeg(target, note)


class _Looks:
    """What references look like, remembered by digest: each serves in many plans and in several roles of each."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Look] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, plan: Plan) -> list[Look]:
        return [self._one(r.reference) for r in plan.references]

    def _one(self, image: ImageRef) -> Look:
        from annotators.offline.looks import look

        with self._lock:
            known = self._known.get(image.sha256)
            if known is not None:
                self._known.move_to_end(image.sha256)
                return known
        found = look(_opened(image, 512))
        with self._lock:
            self._known[image.sha256] = found
            if len(self._known) > _MOST_LOOKS:
                self._known.popitem(last=False)
        return found


def _opened(image: ImageRef, max_side: int) -> Image:
    from storage.images import decode_rgba

    return decode_rgba(paths.read_bytes(image.uri), max_side=max_side)


def _as_jpeg(image: Image, note: str = "") -> RawAnswer:
    from storage.images import encode_jpeg

    return RawAnswer(image=encode_jpeg(image.convert("RGB"), _JPEG_QUALITY), media_type="image/jpeg", note=note)


@lru_cache(maxsize=1)
def _sources_digest() -> str:
    """12 hex digits of the rules themselves: a changed rule paints anew, where a forgotten number would not."""
    digest = hashlib.sha256()
    rooms = [Path(__file__).parent, Path(__file__).parent.parent.parent / "toyworld"]
    for room in rooms:
        for file in sorted(room.glob("*.py")) + sorted(room.glob("*.yaml")):
            digest.update(file.name.encode() + b"\0" + file.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()[:12]
