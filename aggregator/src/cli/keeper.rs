//! Asking the ledger of a contract, through the agent that keeps it, as a consumer at a workstation without a TEE.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tributary_console::{Blame, Console, ErrorCode, Failure, FailureContext as _, wait_visibly};
use tributary_protocol::ledger::{
    ContractView, Ledger as _, LedgerReceipt, RemoteLedger, Request, Requester, Response,
    Transport, TransportError,
};
use tributary_protocol::{
    AgentRequest, AgentResponse, Channel, ChannelError, CloseCode, Contract, Digest, Endpoint,
    EndpointOptions, Envelope, Established, Identified, Identity, LocalParty, PartyName, Role,
    SequenceNumber, Terms, TermsDirectory,
};

use super::files::MaybePassphraseArgs;
use super::period::Period;
use super::reference::Found;
use crate::failures::{channel_failure, endpoint_failure, ledger_failure};
use crate::home::{ConsumerHome, ledger_members};
use tributary_console_collateral::CollateralArgs;

/// The pause between two attempts to reach the agent.
const PAUSE: Duration = Duration::from_millis(200);

/// The ledger of a contract.
pub(super) struct Keeper {
    ledger: RemoteLedger<OverChannel>,
    me: Requester,
    endpoint: Endpoint,
}

/// Whom to ask, where, and how long to wait for it.
pub(super) struct Dial<'a> {
    pub(super) contract: &'a Contract,
    pub(super) identity: Identity,
    pub(super) address: &'a str,
    pub(super) wait: Duration,
    pub(super) collateral: &'a CollateralArgs,
}

impl Keeper {
    /// Connects to the agent that keeps the ledger, and waits for it where it is not there yet.
    pub(super) async fn connect(dial: Dial<'_>, console: &Console) -> Result<Self, Failure> {
        let Dial {
            contract,
            identity,
            address,
            wait,
            collateral,
        } = dial;
        let consumer = contract.consumer();
        if identity.public() != *consumer.1 {
            return Err(Failure::new(
                ErrorCode::PARTY_REFUSED,
                format!(
                    "expected the key of the contract's consumer {}, {}, this home holds {}",
                    consumer.0,
                    consumer.1,
                    identity.public()
                ),
            )
            .hint("name the home of the consumer that wrote the contract")
            .blame(Blame::Configuration));
        }
        let keeper = &contract.document().ledger.members[0];
        let target = Endpoint::resolve(address)
            .await
            .map_err(|error| endpoint_failure(&error))?;
        let local = LocalParty::consumer(consumer.0.clone(), Arc::new(identity))
            .with_collateral(collateral.load()?);
        let terms = OneContract(Arc::new(contract.terms()));
        let endpoint = Endpoint::bind(
            any_port_towards(target),
            EndpointOptions::new(local, Arc::new(terms)),
        )
        .map_err(|error| endpoint_failure(&error))?;
        let what = format!("agent {keeper} at {address}, which keeps the ledger");
        let mut last = None;
        let attempt = reach(&endpoint, target, contract.digest(), &mut last);
        let established = wait_visibly(console, &what, wait, attempt).await;
        let Some(established) = established else {
            let last = last
                .map(|error| format!(" (last: {error})"))
                .unwrap_or_default();
            return Err(Failure::new(
                ErrorCode::PEER_ABSENT,
                format!("expected {what} within {wait:?}, it did not answer{last}"),
            )
            .hint("start it with `agent serve`, check the address, or wait longer with --wait")
            .blame(Blame::Peer));
        };
        let channel = expect_keeper(
            established.map_err(|error| channel_failure(&error))?,
            keeper,
            address,
        )?;
        let me = Requester {
            party: consumer.0.clone(),
            role: Role::Consumer,
        };
        let ledger = RemoteLedger::new(OverChannel(channel), me.clone(), ledger_members(contract));
        Ok(Self {
            ledger,
            me,
            endpoint,
        })
    }

    /// Has the contract numbered.
    pub(super) async fn register(
        &self,
        envelope: Envelope,
    ) -> Result<(SequenceNumber, LedgerReceipt), Failure> {
        match self.ask(Request::Register { envelope }).await? {
            Response::Registered { number, receipt } => Ok((number, receipt)),
            _ => Err(another_question()),
        }
    }

    /// What the ledger knows of a contract.
    pub(super) async fn show(&self, number: SequenceNumber) -> Result<ContractView, Failure> {
        match self.ask(Request::Show { number }).await? {
            Response::Contract(view) => Ok(view),
            _ => Err(another_question()),
        }
    }

    /// Says good-bye.
    pub(super) async fn close(self) {
        self.endpoint.close(CloseCode::DONE, "done").await;
    }

    async fn ask(&self, request: Request) -> Result<Response, Failure> {
        self.ledger
            .submit(&self.me, request)
            .await
            .map_err(ledger_failure)
    }
}

/// Asking a contract's ledger on the way of another command.
pub(super) struct Asking<'a> {
    pub(super) home: Option<&'a ConsumerHome>,
    pub(super) passphrase: &'a MaybePassphraseArgs,
    pub(super) address: &'a str,
    pub(super) wait: Period,
    pub(super) collateral: &'a CollateralArgs,
}

impl Asking<'_> {
    pub(super) fn ask(&self, found: &Found, console: &Console) -> Result<ContractView, Failure> {
        let (Some(home), Some(registered)) = (self.home, &found.registered) else {
            return Err(Failure::new(
                ErrorCode::USAGE,
                "expected --home and a contract's number: a ledger is asked by number",
            )
            .hint("register the contract first, then give its number")
            .blame(Blame::Configuration));
        };
        let identity = self.passphrase.identity(home, console)?;
        let dial = Dial {
            contract: found.contract(),
            identity,
            address: self.address,
            wait: self.wait.0,
            collateral: self.collateral,
        };
        block_on(async {
            let keeper = Keeper::connect(dial, console).await?;
            let view = keeper.show(registered.number).await?;
            keeper.close().await;
            if view.envelope.payload_digest() == found.contract().digest() {
                return Ok(view);
            }
            Err(Failure::new(
                ErrorCode::CONTRACT_MISMATCH,
                format!(
                    "expected contract {} to be {} on the ledger, got {}",
                    registered.number,
                    found.contract().digest(),
                    view.envelope.payload_digest()
                ),
            )
            .hint("the ledger is not the one that numbered this contract: check --ledger")
            .blame(Blame::Peer))
        })
    }
}

/// Runs what asks a ledger on a runtime of its own.
pub(super) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .or_fail(ErrorCode::INTERNAL, "starting the runtime")?
        .block_on(tributary_console::interruptible(future))
}

/// Tries until somebody answers; what one side refuses, another attempt would not mend.
async fn reach(
    endpoint: &Endpoint,
    target: SocketAddr,
    contract: Digest,
    last: &mut Option<ChannelError>,
) -> Result<Established, ChannelError> {
    loop {
        match endpoint.dial(target, &contract).await {
            Err(
                error @ (ChannelError::NoAnswer { .. }
                | ChannelError::Dial { .. }
                | ChannelError::Lost(_)
                | ChannelError::ClosedByPeer { .. }),
            ) => *last = Some(error),
            outcome => return outcome,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn expect_keeper(
    established: Established,
    keeper: &PartyName,
    address: &str,
) -> Result<Channel<Identified>, Failure> {
    let got = established.peer().party;
    match established.identified() {
        Some(channel) if got == *keeper => Ok(channel),
        _ => Err(Failure::new(
            ErrorCode::PARTY_REFUSED,
            format!(
                "expected {keeper}, which keeps the contract's ledger, at {address}, got {got}"
            ),
        )
        .hint(format!("pass the address of {keeper} with --ledger"))
        .blame(Blame::Configuration)),
    }
}

/// The system chooses the port; what only dials on this machine is not open to others.
fn any_port_towards(target: SocketAddr) -> SocketAddr {
    match target {
        SocketAddr::V4(v4) if v4.ip().is_loopback() => (Ipv4Addr::LOCALHOST, 0).into(),
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(v6) if v6.ip().is_loopback() => (Ipv6Addr::LOCALHOST, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

fn another_question() -> Failure {
    Failure::new(
        ErrorCode::PEER_MISBEHAVED,
        "the ledger answers another question",
    )
    .hint("use the same version of Tributary on both sides")
    .blame(Blame::Peer)
}

struct OneContract(Arc<Terms>);

impl TermsDirectory for OneContract {
    fn terms(&self, contract: &Digest) -> Option<Arc<Terms>> {
        (self.0.contract == *contract).then(|| Arc::clone(&self.0))
    }
}

struct OverChannel(Channel<Identified>);

impl Transport for OverChannel {
    async fn exchange(&self, request: Vec<u8>) -> Result<Vec<u8>, TransportError> {
        match self.0.ask(&AgentRequest::Ledger(request)).await {
            Ok(AgentResponse::Ledger(answer)) => Ok(answer),
            Ok(AgentResponse::Refused(refusal)) => Err(TransportError(refusal.to_string())),
            Ok(_) => Err(TransportError(
                "the agent answers another question".to_owned(),
            )),
            Err(error) => Err(TransportError(error.to_string())),
        }
    }
}
