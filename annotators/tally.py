"""Usage that is added to often: plain numbers, turned into the record when somebody looks."""

from __future__ import annotations

from schemas.usage import Usage


class Tally:
    """A running sum of answers. Adding costs a tenth of what summing `Usage` records does."""

    __slots__ = ("calls", "ledger_hits", "tokens_in", "tokens_out", "usd")

    def __init__(self) -> None:
        self.calls = self.ledger_hits = self.tokens_in = self.tokens_out = 0
        self.usd = 0.0

    def add(self, *, hit: bool, tokens_in: int, tokens_out: int, usd: float) -> None:
        """Count one answer."""
        self.ledger_hits += hit
        self.calls += not hit
        self.tokens_in += tokens_in
        self.tokens_out += tokens_out
        self.usd += usd

    @property
    def usage(self) -> Usage:
        """The sum so far; dollars rounded to a millionth of a cent, so that order of adding does not show."""
        return Usage(
            calls=self.calls,
            ledger_hits=self.ledger_hits,
            tokens_in=self.tokens_in,
            tokens_out=self.tokens_out,
            usd=round(self.usd, 8),
        )
