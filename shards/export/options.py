"""What a user may choose of an export; each option belongs to the formats that know it."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Options:
    """Attributes:
    data_dir: how the trainer will name the export's folder, absolute or relative to where it runs; by default the
        absolute path it is written to.
    units: bagel: row groups come in multiples of this; the trainer's ranks x workers.
    without_iccot: bagel: the share of visits to a sample that show it without its IC-CoT, in [0, 1].
    keys: llamafactory: `llamafactory`, or `swift` for ms-swift.
    """

    data_dir: str = ""
    units: int = 1
    without_iccot: float = 0.0
    keys: str = "llamafactory"

    def changed(self) -> list[str]:
        """Names of the options that are not at their default."""
        return [field.name for field in fields(self) if getattr(self, field.name) != field.default]
