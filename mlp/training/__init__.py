"""Training of networks: epochs of mini-batches, full-batch solvers, schedules, stopping."""
