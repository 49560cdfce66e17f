"""What a plan will take, before anything is spent."""
