//! One broken kernel for every rule.
