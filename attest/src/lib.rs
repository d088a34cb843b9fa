//! What the parties believe: evidence, endorsements and appraisal policy.
