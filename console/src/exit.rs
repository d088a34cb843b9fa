//! Exit codes: what a script learns without reading a word.

use std::process::ExitCode;

/// How a process ends. The numbers are part of the interface and never change meaning; `docs/exit-codes.md` explains
/// each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exit {
    /// The command did what it was asked.
    Done,
    /// It failed for a reason that has no code of its own.
    Failure,
    /// The command line or the configuration was wrong; nothing was tried.
    Usage,
    /// Somebody did not answer in time.
    Timeout,
    /// A peer's evidence, or the lack of it, was refused.
    AttestationRefused,
    /// A contract or the authorisation of a run was refused.
    ContractRefused,
    /// The step, the lease or the run would exceed a limit of privacy.
    BudgetExhausted,
    /// The ledger could not be reached, has no majority, or its proof does not hold.
    LedgerUnavailable,
    /// The contract was revoked.
    Revoked,
    /// The person, or the system, interrupted it.
    Interrupted,
}

impl Exit {
    /// All of them, in the order of their numbers.
    pub const ALL: [Exit; 10] = [
        Exit::Done,
        Exit::Failure,
        Exit::Usage,
        Exit::Timeout,
        Exit::AttestationRefused,
        Exit::ContractRefused,
        Exit::BudgetExhausted,
        Exit::LedgerUnavailable,
        Exit::Revoked,
        Exit::Interrupted,
    ];

    /// The number the operating system sees.
    pub const fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failure => 1,
            Exit::Usage => 2,
            Exit::Timeout => 3,
            Exit::AttestationRefused => 10,
            Exit::ContractRefused => 11,
            Exit::BudgetExhausted => 12,
            Exit::LedgerUnavailable => 13,
            Exit::Revoked => 14,
            Exit::Interrupted => 130,
        }
    }

    /// The exit that a number stands for, for a process that started another of ours.
    pub fn from_code(code: i32) -> Option<Exit> {
        Exit::ALL
            .into_iter()
            .find(|exit| i32::from(exit.code()) == code)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_back_to_their_exits() {
        for exit in Exit::ALL {
            assert_eq!(Exit::from_code(i32::from(exit.code())), Some(exit));
        }
        assert_eq!(Exit::from_code(101), None);
        assert_eq!(Exit::from_code(-1), None);
    }
}
