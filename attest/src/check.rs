//! The checks of an appraisal, and the record of how they ended.

use std::fmt;

use serde::Serialize;

use crate::check_name::CheckName;

/// One check of an appraisal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// Which one.
    pub name: CheckName,
    /// How it ended.
    pub result: CheckResult,
    /// What was expected.
    pub expected: String,
    /// What came.
    pub got: String,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckResult {
    /// The evidence shows what was demanded.
    Pass,
    /// It does not.
    Fail,
    /// The policy does not ask for it.
    NotChecked,
}

impl fmt::Display for CheckResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::NotChecked => "not checked",
        })
    }
}

/// The record that an appraisal keeps while it checks.
#[derive(Debug, Default)]
pub(crate) struct CheckList {
    checks: Vec<Check>,
    first_failure: Option<Failure>,
}

/// A check that failed; only [`CheckList`] makes one, so that no refusal lacks its reason.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    check: CheckName,
    expected: String,
    got: String,
}

impl Failure {
    /// Which check it was, what it expected, and what came.
    pub(crate) fn into_parts(self) -> (CheckName, String, String) {
        (self.check, self.expected, self.got)
    }
}

impl CheckList {
    /// Records a check, passed or not, and goes on: a failure is kept and decides in the end.
    pub(crate) fn record(
        &mut self,
        name: CheckName,
        holds: bool,
        expected: impl ToString,
        got: impl ToString,
    ) {
        if holds {
            self.push(name, CheckResult::Pass, expected, got);
        } else {
            self.fail(name, expected, got);
        }
    }

    /// Records a check whose failure makes the following ones meaningless.
    pub(crate) fn require(
        &mut self,
        name: CheckName,
        holds: bool,
        expected: impl ToString,
        got: impl ToString,
    ) -> Result<(), Failure> {
        if holds {
            self.push(name, CheckResult::Pass, expected, got);
            return Ok(());
        }
        Err(self.fail(name, expected, got))
    }

    /// Records a check that failed.
    pub(crate) fn fail(
        &mut self,
        name: CheckName,
        expected: impl ToString,
        got: impl ToString,
    ) -> Failure {
        let failure = Failure {
            check: name,
            expected: expected.to_string(),
            got: got.to_string(),
        };
        self.push(name, CheckResult::Fail, &failure.expected, &failure.got);
        self.first_failure.get_or_insert_with(|| failure.clone());
        failure
    }

    /// Records what the policy does not ask for.
    pub(crate) fn skip(&mut self, name: CheckName, got: impl ToString) {
        self.skip_because(name, "any", got);
    }

    /// Records what need not hold, since another check has passed.
    pub(crate) fn skip_because(&mut self, name: CheckName, why: impl ToString, got: impl ToString) {
        self.push(name, CheckResult::NotChecked, why, got);
    }

    fn push(
        &mut self,
        name: CheckName,
        result: CheckResult,
        expected: impl ToString,
        got: impl ToString,
    ) {
        self.checks.push(Check {
            name,
            result,
            expected: expected.to_string(),
            got: got.to_string(),
        });
    }

    pub(crate) fn into_parts(self) -> (Vec<Check>, Option<Failure>) {
        (self.checks, self.first_failure)
    }
}
