"""The planted-defect matrix: what our checks and filters find of defects that are known because they were planted."""
