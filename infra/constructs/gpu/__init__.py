"""GPU workers on ECS: machines, network, tasks, scaling, model files."""
