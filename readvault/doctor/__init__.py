"""The doctor: looking over an instance before reads come, and refusing to start one that can't keep its promises."""
