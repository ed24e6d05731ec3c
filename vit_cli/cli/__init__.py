"""One thin file per verb: read arguments, call one function, show the result. The only place that knows a terminal exists."""
