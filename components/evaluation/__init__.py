"""What TFX's Evaluator needs to judge sequence examples: one row per target play."""
