"""JPEG files segment by segment: what they say about themselves, and dropping it without touching a pixel."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field

_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_APP0, _APP1, _APP2, _APP14, _APP15, _COM = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF, 0xFE
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PLAIN_FRAMES = {0xC0, 0xC1, 0xC2}
_BARE = {0x01, *range(0xD0, 0xD8)}
# Inside coded data FF is followed by 00 (a stuffed byte), D0-D7 (a restart) or FF (fill); all else is a marker.
_NEXT_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]", re.DOTALL)


class JpegError(ValueError):
    """Bytes that are no complete JPEG; the message says where they stop being one."""


@dataclass(frozen=True)
class Segment:
    """One marker segment. `start:end` cover marker, length, payload and, for SOS, the coded data behind it."""

    marker: int
    start: int
    payload: int
    end: int


@dataclass
class JpegFile:
    """A parsed JPEG.

    Attributes:
        width, height: as stored, before any EXIF orientation.
        components: 1 grey, 3 colour, 4 CMYK.
        plain: baseline, extended or progressive with 8 bits: what every decoder reads.
        orientation: the EXIF tag, 1 to 8; 1 where there is none.
        icc: the colour profile, joined from its chunks; empty where there is none.
    """

    data: bytes
    width: int
    height: int
    components: int
    plain: bool
    orientation: int = 1
    icc: bytes = b""
    segments: list[Segment] = field(default_factory=list)

    def without_metadata(self) -> bytes:
        """The same coded image with only what decoding needs: no EXIF, XMP, GPS, IPTC, ICC, comments or tail.

        JFIF (APP0) and Adobe (APP14) stay, since decoders read the colour space from them; a thumbnail inside
        JFIF goes, since it may show what the image no longer does.
        """
        data, parts = self.data, [b"\xff\xd8"]
        for s in self.segments:
            if s.marker == _APP0:
                if data[s.payload : s.payload + 5] == b"JFIF\0" and s.end - s.payload >= 14:
                    parts.append(b"\xff\xe0\x00\x10" + data[s.payload : s.payload + 12] + b"\0\0")
            elif s.marker == _APP14:
                if data[s.payload : s.payload + 5] == b"Adobe" and s.end - s.payload >= 12:
                    parts.append(b"\xff\xee\x00\x0e" + data[s.payload : s.payload + 12])
            elif not (_APP1 <= s.marker <= _APP15 or s.marker == _COM):
                parts.append(data[s.start : s.end])
        return b"".join([*parts, b"\xff\xd9"])


def parse(data: bytes) -> JpegFile:
    """Walk all segments up to the end-of-image marker.

    Raises:
        JpegError: not a JPEG, cut short, or without a frame; pixels are not decoded.
    """
    if data[:2] != b"\xff\xd8":
        raise JpegError("it does not begin as a JPEG")
    segments: list[Segment] = []
    at = 2
    while True:
        start = at
        marker, at = _marker(data, at)
        if marker == _EOI:
            break
        if marker in _BARE:
            continue
        if at + 2 > len(data):
            raise JpegError(f"it is cut short at byte {len(data)}")
        end = at + int.from_bytes(data[at : at + 2], "big")
        if end < at + 2 or end > len(data):
            raise JpegError(f"the segment at byte {start} is longer than the file")
        payload = at + 2
        if marker == _SOS:
            following = _NEXT_MARKER.search(data, end)
            if not following:
                raise JpegError("its coded data has no end: the file is cut short")
            end = following.start()
        segments.append(Segment(marker, start, payload, end))
        at = end
    return _described(data, segments)


def exif_orientation(exif: bytes) -> int:
    """The orientation tag (1 to 8) of a TIFF-structured EXIF block with or without its `Exif` prefix; else 1."""
    body = exif[6:] if exif[:6] == b"Exif\0\0" else exif
    order = {b"II": "<", b"MM": ">"}.get(body[:2])
    if order is None or len(body) < 8:
        return 1
    (at,) = struct.unpack(order + "I", body[4:8])
    if at + 2 > len(body):
        return 1
    (count,) = struct.unpack(order + "H", body[at : at + 2])
    for entry in range(at + 2, min(at + 2 + 12 * count, len(body) - 11), 12):
        tag, kind, number = struct.unpack(order + "HHI", body[entry : entry + 8])
        if tag == 0x0112 and kind == 3 and number == 1:
            (value,) = struct.unpack(order + "H", body[entry + 8 : entry + 10])
            return value if 1 <= value <= 8 else 1
    return 1


def _marker(data: bytes, at: int) -> tuple[int, int]:
    if at >= len(data):
        raise JpegError(f"it is cut short at byte {len(data)}")
    if data[at] != 0xFF:
        raise JpegError(f"there is no marker at byte {at}")
    while at < len(data) and data[at] == 0xFF:
        at += 1
    if at >= len(data):
        raise JpegError(f"it is cut short at byte {len(data)}")
    return data[at], at + 1


def _described(data: bytes, segments: list[Segment]) -> JpegFile:
    frames = [s for s in segments if s.marker in _FRAMES]
    if not frames or not any(s.marker == _SOS for s in segments):
        raise JpegError("it holds no image")
    frame = frames[0]
    if frame.end - frame.payload < 6:
        raise JpegError("its frame header is too short")
    bits, height, width, components = struct.unpack(">BHHB", data[frame.payload : frame.payload + 6])
    found = JpegFile(data, width, height, components, False, segments=segments)
    found.plain = len(frames) == 1 and frame.marker in _PLAIN_FRAMES and bits == 8 and width > 0 and height > 0
    chunks: dict[int, bytes] = {}
    exif = b""
    for s in segments:
        body = data[s.payload : s.end] if s.marker in (_APP1, _APP2) else b""
        if s.marker == _APP1 and body[:6] == b"Exif\0\0" and not exif:
            exif = body
        elif s.marker == _APP2 and body[:12] == b"ICC_PROFILE\0" and len(body) > 14:
            chunks.setdefault(body[12], body[14:])
    found.orientation = exif_orientation(exif)
    found.icc = b"".join(chunks[number] for number in sorted(chunks))
    return found
