"""Images by reference: what an image is called and where its bytes lie, never the bytes themselves."""

from __future__ import annotations

from pydantic import Field

from schemas.base import Record, Word

SHA256 = r"^[0-9a-f]{64}$"


class ImageRef(Record):
    """Where an image's bytes lie and what they are.

    Attributes:
        uri: a local path, or a `gs://` or `s3://` address.
        sha256: 64 hex digits of the bytes at `uri`, as they lie there.
        width, height: pixels as shown, after EXIF orientation.
        media_type: `image/jpeg`, `image/png`, `image/webp`, ...
    """

    uri: str
    sha256: str = Field(pattern=SHA256)
    width: int = Field(ge=1)
    height: int = Field(ge=1)
    media_type: str


class Kind(Word):
    """The three reference pools of Re-Align (arXiv 2601.05124, data pipeline, stage a)."""

    CHARACTER = "character"
    OBJECT = "object"
    SCENE = "scene"


class Person(Word):
    """Whether an image shows a person, and on what grounds it may be used.

    An `identifiable` one is a real person who can be recognised and whose consent is not on record: left out unless
    a config's `persons` names the word.
    """

    NONE = "none"
    SYNTHETIC = "synthetic"
    CONSENTED = "consented"
    IDENTIFIABLE = "identifiable"
    UNKNOWN = "unknown"


class Reference(ImageRef):
    """One image of a reference pool.

    Attributes:
        id: equal to `sha256`; a user's own id is kept in `source_id`.
        subject: photos that show the same individual thing share it; never empty.
        category: the noun that names the subject (`dog`); empty where the source gives none.
        phash: 64-bit DCT perceptual hash, 16 hex digits.
        alpha: whether the file carries a cut-out (an alpha channel that is used).
    """

    id: str = Field(pattern=SHA256)
    source_id: str = ""
    kind: Kind
    caption: str
    subject: str = Field(min_length=1)
    category: str = ""
    license: str = ""
    attribution: str = ""
    person: Person = Person.UNKNOWN
    phash: str = ""
    alpha: bool = False
