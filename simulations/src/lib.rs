//! Whole federations on one machine.
