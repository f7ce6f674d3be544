"""An exam for critics: drawn edits and prompts whose true scores are known, judged directly and with FIRM's aid."""
