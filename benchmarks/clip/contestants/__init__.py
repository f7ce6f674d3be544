"""One file per contestant, run by itself with its own interpreter; prints a line `RESULT {...}`."""
