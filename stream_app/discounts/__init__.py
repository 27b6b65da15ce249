"""Live discounting: at most one right offer a session, and an honest measure of what it earned."""
