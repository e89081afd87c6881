"""Pictures of what a network finds, as u8 arrays."""
