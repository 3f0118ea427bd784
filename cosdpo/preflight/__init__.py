"""What a run will need, found out before anything is loaded or scheduled."""
