"""The embedded provider: rule-based, free, and marked `offline` in every record."""
