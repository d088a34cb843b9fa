//! What the ledger's keeper has on its disk, read while it does not run.

use std::path::Path;
use std::sync::Arc;

use tributary_agent::{EmbeddedLedger, EpsilonLimit, system_clock};
use tributary_protocol::ledger::{
    ContractView, Ledger as _, LedgerError, Request, Requester, Response, RunView,
};
use tributary_protocol::{Identity, PartyName, Role, RunNumber, SequenceNumber};

/// A ledger that nobody serves at the moment.
pub struct LedgerOnDisk {
    ledger: EmbeddedLedger,
    me: Requester,
    runtime: tokio::runtime::Runtime,
}

/// One run as the ledger knows it.
#[derive(Debug, Clone)]
pub struct RunOnLedger {
    /// All of it.
    pub view: RunView,
    /// Steps leased, of the dataset with most.
    pub leased: u64,
    /// Steps settled, of the dataset with fewest.
    pub settled: u64,
}

impl LedgerOnDisk {
    pub(crate) fn open(folder: &Path, keeper: &PartyName, identity: Arc<Identity>) -> Self {
        let ledger = EmbeddedLedger::open(
            folder,
            keeper,
            identity,
            system_clock(),
            Arc::new(EpsilonLimit),
        )
        .unwrap_or_else(|error| {
            panic!("the ledger in {} does not open: {error}", folder.display())
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        Self {
            ledger,
            me: Requester {
                party: keeper.clone(),
                role: Role::Provider,
            },
            runtime,
        }
    }

    fn ask(&self, request: Request) -> Result<Response, LedgerError> {
        self.runtime.block_on(self.ledger.submit(&self.me, request))
    }

    /// A contract and what became of it.
    pub fn contract(&self, number: u64) -> ContractView {
        match self.ask(Request::Show {
            number: sequence(number),
        }) {
            Ok(Response::Contract(view)) => view,
            other => panic!("expected contract {number}, got {other:?}"),
        }
    }

    /// A run; `None` where it was never opened.
    pub fn run(&self, contract: u64, run: u32) -> Option<RunOnLedger> {
        let request = Request::RunState {
            contract: sequence(contract),
            run: RunNumber::new(run).expect("a run"),
        };
        match self.ask(request) {
            Ok(Response::Run(view)) => Some(RunOnLedger {
                leased: view
                    .datasets
                    .iter()
                    .map(|dataset| dataset.leased)
                    .max()
                    .unwrap_or_default(),
                settled: view
                    .datasets
                    .iter()
                    .map(|dataset| dataset.settled)
                    .min()
                    .unwrap_or_default(),
                view,
            }),
            Err(LedgerError::Refused(_)) => None,
            other => panic!("expected run {run}, got {other:?}"),
        }
    }
}

fn sequence(number: u64) -> SequenceNumber {
    SequenceNumber::new(number).expect("a contract's number")
}
