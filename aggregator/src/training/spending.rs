//! What a dataset has spent, kept up with every step.

use tributary_accounting::{AccountingError, Delta, Epsilon, Phase, RdpLedger, Steps};
use tributary_protocol::{AccountantName, Contract};

/// Epsilon under a contract's accountant, as steps are added. Never below the truth, and cheap: the closer accountant is
/// asked once for a stretch of steps, and what the whole stretch costs is shown throughout.
pub(super) struct Spending {
    accountant: AccountantName,
    delta: Delta,
    ledger: RdpLedger,
    /// One step of the contract.
    step: Phase,
    stretch: u64,
    /// How many steps the shown epsilon covers, and what they cost.
    ahead: (u64, Epsilon),
}

/// Stretches of a run.
const STRETCHES: u64 = 100;

impl Spending {
    pub(super) fn new(contract: &Contract, delta: Delta) -> Self {
        Self {
            accountant: contract.accountant(),
            delta,
            ledger: RdpLedger::new(),
            step: contract.phase(Steps::new(1)),
            stretch: (contract.steps().get() / STRETCHES).max(1),
            ahead: (0, Epsilon::ZERO),
        }
    }

    /// Adds steps.
    pub(super) fn add(&mut self, steps: u64) -> Result<(), AccountingError> {
        self.ledger.add(self.phase(steps))?;
        let all = self.ledger.steps().get();
        if self.accountant == AccountantName::Pld && all > self.ahead.0 {
            let covered = all.next_multiple_of(self.stretch);
            self.ahead = (covered, self.of(covered)?);
        }
        Ok(())
    }

    /// An upper bound, for a person who watches.
    pub(super) fn shown(&self) -> Epsilon {
        let moments = self.ledger.epsilon(self.delta);
        match self.accountant {
            AccountantName::Rdp => moments,
            AccountantName::Pld if self.ahead.1 < moments => self.ahead.1,
            AccountantName::Pld => moments,
        }
    }

    /// What the steps cost, no more.
    pub(super) fn epsilon(&self) -> Result<Epsilon, AccountingError> {
        self.of(self.ledger.steps().get())
    }

    fn of(&self, steps: u64) -> Result<Epsilon, AccountingError> {
        let accountant = self.accountant.accountant();
        accountant.epsilon(&[self.phase(steps)], self.delta)
    }

    fn phase(&self, steps: u64) -> Phase {
        Phase {
            steps: Steps::new(steps),
            ..self.step
        }
    }
}
