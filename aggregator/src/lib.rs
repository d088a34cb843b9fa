//! The consumer's side: feed, training runs, sealing and receipts.
