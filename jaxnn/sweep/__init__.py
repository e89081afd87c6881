"""Many runs in one process, those of one program computed together."""
