"""One file per dataset: its recipe, a plain async function, and its Beam graph; and what they share."""
