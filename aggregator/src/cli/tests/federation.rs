//! Providers that answer on loopback, and a ledger in memory: as much of an agent as a consumer's commands meet.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use tokio::runtime::Runtime;
use tributary_attest::{LaunchConfig, PlatformConfig};
use tributary_protocol::ledger::{
    Book, BoxFuture, LeaseLimit, Ledger, LedgerError, LedgerReceipt, Refusal, Request, Requester,
    Response, Verdict, answer,
};
use tributary_protocol::{
    AgentRequest, AgentResponse, ConsumerAccess, Contract, DatasetRef, Digest, Endpoint,
    EndpointOptions, Established, Identity, LocalParty, PartyName, Role, SequenceNumber,
    SignedContract, Terms, TermsDirectory,
};

use super::scene::{AGENT_PROGRAM, Scene, measurement};
use crate::home::{ConsumerHome, RegisteredContract, ledger_members};

/// A ledger in memory, kept by alice.
pub(super) struct MemoryLedger {
    book: Mutex<Book>,
    host: Arc<Identity>,
}

impl MemoryLedger {
    pub(super) fn new(contract: &Contract, host: &Arc<Identity>) -> Self {
        Self {
            book: Mutex::new(Book::new(ledger_members(contract))),
            host: Arc::clone(host),
        }
    }

    /// Judges and records a request, as any keeper of a ledger does.
    pub(super) fn take(
        &self,
        peer: &Requester,
        request: &Request,
        now: DateTime<Utc>,
    ) -> Result<Response, LedgerError> {
        let mut book = self.book.lock().unwrap();
        let verdict = book.state().check(peer, request, now, &AnySteps)?;
        let recorded = match &verdict {
            Verdict::Append(entry) => Some(book.append(entry).unwrap()),
            Verdict::Already(recorded) => Some(recorded.clone()),
            Verdict::Read => None,
        };
        let head = book
            .head()
            .cosigned(&"alice".parse().unwrap(), &self.host, now)
            .unwrap();
        match recorded {
            Some(recorded) => book.confirm(&recorded, matches!(verdict, Verdict::Append(_)), &head),
            None => book.read(peer, request, &head),
        }
    }

    /// Registers a contract for the consumer, without a channel.
    pub(super) fn register(&self, signed: &SignedContract) -> (SequenceNumber, LedgerReceipt) {
        let request = Request::Register {
            envelope: signed.envelope().clone(),
        };
        match self.take(&consumer(), &request, Utc::now()).unwrap() {
            Response::Registered { number, receipt } => (number, receipt),
            other => panic!("{other:?}"),
        }
    }
}

impl Ledger for MemoryLedger {
    fn submit<'a>(
        &'a self,
        peer: &'a Requester,
        request: Request,
    ) -> BoxFuture<'a, Result<Response, LedgerError>> {
        Box::pin(async move { self.take(peer, &request, Utc::now()) })
    }
}

struct AnySteps;

impl LeaseLimit for AnySteps {
    fn allows(
        &self,
        _: SequenceNumber,
        _: &Contract,
        _: &DatasetRef,
        _: u64,
        _: u64,
    ) -> Result<(), Refusal> {
        Ok(())
    }
}

pub(super) fn consumer() -> Requester {
    Requester {
        party: "tdc".parse().unwrap(),
        role: Role::Consumer,
    }
}

/// An agent that lets consumers ask the ledger.
pub(super) struct Provider {
    pub(super) address: SocketAddr,
    _runtime: Runtime,
}

impl Provider {
    /// Serves as `name`, on a machine that runs `program`.
    pub(super) fn serve(
        scene: &Scene,
        name: &str,
        identity: &Arc<Identity>,
        program: &[u8],
        contract: Option<&Contract>,
        ledger: Arc<MemoryLedger>,
    ) -> Self {
        let platform = scene
            .root
            .certify(PlatformConfig::new(name, Utc::now()).unwrap())
            .unwrap();
        let machine = platform.launch(measurement(program), LaunchConfig::default());
        let party: PartyName = name.parse().unwrap();
        let local = LocalParty::provider(
            party,
            Arc::clone(identity),
            Arc::new(machine),
            ConsumerAccess::Identified,
        );
        let terms = Known(contract.map(|contract| Arc::new(contract.terms())));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let endpoint = runtime.block_on(async {
            Endpoint::bind(
                "127.0.0.1:0".parse().unwrap(),
                EndpointOptions::new(local, Arc::new(terms)),
            )
            .unwrap()
        });
        let address = endpoint.local_addr().unwrap();
        runtime.spawn(async move {
            while let Some(arrival) = endpoint.accept().await {
                let ledger = Arc::clone(&ledger);
                tokio::spawn(async move {
                    if let Ok(established) = arrival.establish().await {
                        answer_consumer(established, &ledger).await;
                    }
                });
            }
        });
        Self {
            address,
            _runtime: runtime,
        }
    }

    /// Alice, with the program and the contract that are expected of her.
    pub(super) fn alice(scene: &Scene, contract: &Contract, ledger: Arc<MemoryLedger>) -> Self {
        Self::serve(
            scene,
            "alice",
            &scene.alice,
            AGENT_PROGRAM,
            Some(contract),
            ledger,
        )
    }
}

async fn answer_consumer(established: Established, ledger: &MemoryLedger) {
    let peer = established.peer();
    let Some(channel) = established.identified() else {
        return;
    };
    let me = Requester {
        party: peer.party,
        role: peer.role,
    };
    while let Some(request) = channel.accept_request().await {
        let response = match request.parse() {
            Ok(AgentRequest::Ledger(body)) => {
                AgentResponse::Ledger(answer(ledger, &me, &body).await)
            }
            other => panic!("{other:?}"),
        };
        let _ = request.answer_with(&response).await;
    }
}

struct Known(Option<Arc<Terms>>);

impl TermsDirectory for Known {
    fn terms(&self, contract: &Digest) -> Option<Arc<Terms>> {
        self.0.clone().filter(|terms| terms.contract == *contract)
    }
}

/// A scene whose contract is registered as number 1, in the consumer's home, too.
pub(super) fn registered(flags: &str) -> (Scene, Arc<MemoryLedger>) {
    let scene = Scene::with_contract(flags);
    let signed = scene.contract("contract.dsse");
    let ledger = Arc::new(MemoryLedger::new(signed.contract(), &scene.alice));
    let (number, receipt) = ledger.register(&signed);
    let home = ConsumerHome::open(&scene.path("tdc")).unwrap();
    home.keep_contract(&RegisteredContract {
        number,
        signed,
        receipt,
    })
    .unwrap();
    (scene, ledger)
}
