"""The methods whose parameters can be counted, each after its paper."""
