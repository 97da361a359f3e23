"""TFX's Trainer, given the watch-time quantiles as well."""
