"""What a delivery says, in one shape. Pure."""
