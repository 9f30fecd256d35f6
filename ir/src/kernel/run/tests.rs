//! Every statement and expression, with results computed by hand.
