"""Keep or reject, with a reason and a score.

A filter that sees one sample is inline: `base` says what it is, `score.run` asks the cheap ones first and shows each
only what the ones before it kept. `config` reads them from a run's configuration.
"""
