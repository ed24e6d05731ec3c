"""The one trainer: Recipe -> Plan -> Run -> TrainState -> files."""
