"""How weights are learned: optimisers, parameter groups, schedules, losses, clipping, penalties, averages."""
