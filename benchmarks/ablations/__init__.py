"""What each part of the method is worth, on the drawn world: training runs that differ in one thing, over seeds."""
