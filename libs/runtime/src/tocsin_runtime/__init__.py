"""What any service needs to run: clock, consuming, publishing, restore, lifecycle, telemetry."""
