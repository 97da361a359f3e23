"""Watch-time quantiles: the thresholds that turn a watch time into feedback flags."""
