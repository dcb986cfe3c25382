"""One quota for several processes: one schedule, whose slots are leased on demand."""
