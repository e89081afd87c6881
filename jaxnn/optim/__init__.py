"""The optimizer: rules, schedules, and one transformation of them all."""
