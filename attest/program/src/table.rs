//! The checks of an appraisal as people read them.

use std::fmt::Write as _;

use tributary_attest::{Check, CheckResult};

/// One check a line: how it ended, its name, what came, and what was expected where that is something else.
pub(crate) fn table(checks: &[Check]) -> String {
    let mut out = String::new();
    for check in checks {
        // Writing to a string does not fail.
        let _ = write!(
            out,
            "{:<11}  {:<34}  {}",
            check.result, check.name, check.got
        );
        if check.result != CheckResult::NotChecked && check.expected != check.got {
            let _ = write!(out, "  (expected {})", check.expected);
        }
        out.push('\n');
    }
    out
}
