//! The ledger of a contract: the one kept here, or the one of another agent, over an attested channel with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Mutex;
use tributary_protocol::ledger::{
    Ledger, LedgerError, Members, RemoteLedger, Request, Requester, Response, Transport,
    TransportError,
};
use tributary_protocol::{AgentRequest, AgentResponse, Contract, Digest, PartyName, Role};
use tributary_protocol::{Attested, Channel, Endpoint, Established};

use crate::ledger::EmbeddedLedger;

/// Every ledger that this agent asks.
pub(super) struct Ledgers {
    me: Requester,
    embedded: Arc<EmbeddedLedger>,
    endpoint: Endpoint,
    addresses: BTreeMap<PartyName, String>,
    /// One for each contract, because a channel is bound to one.
    remote: Mutex<BTreeMap<Digest, Arc<RemoteLedger<OverChannel>>>>,
}

impl Ledgers {
    pub(super) fn new(
        party: PartyName,
        embedded: Arc<EmbeddedLedger>,
        endpoint: Endpoint,
        addresses: BTreeMap<PartyName, String>,
    ) -> Self {
        Self {
            me: Requester {
                party,
                role: Role::Provider,
            },
            embedded,
            endpoint,
            addresses,
            remote: Mutex::default(),
        }
    }

    /// The ledger that this agent keeps.
    pub(super) fn kept_here(&self) -> &EmbeddedLedger {
        &self.embedded
    }

    /// True where this agent keeps the contract's ledger.
    pub(super) fn keeps(&self, contract: &Contract) -> bool {
        contract.document().ledger.members.contains(&self.me.party)
    }

    /// Asks the contract's ledger for this party.
    pub(super) async fn submit(
        &self,
        contract: &Contract,
        request: Request,
    ) -> Result<Response, LedgerError> {
        if self.keeps(contract) {
            return self.embedded.submit(&self.me, request).await;
        }
        let ledger = self.remote(contract).await?;
        ledger.submit(&self.me, request).await
    }

    async fn remote(
        &self,
        contract: &Contract,
    ) -> Result<Arc<RemoteLedger<OverChannel>>, LedgerError> {
        let keeper = &contract.document().ledger.members[0];
        let mut remote = self.remote.lock().await;
        if let Some(ledger) = remote.get(&contract.digest()) {
            return Ok(Arc::clone(ledger));
        }
        let unavailable = |reason: String| LedgerError::Unavailable { reason };
        let address = self.addresses.get(keeper).ok_or_else(|| {
            unavailable(format!(
                "expected the address of agent {keeper}, which keeps this contract's ledger: start this agent with --ledger {keeper}=ADDR"
            ))
        })?;
        let key = contract
            .key_of(keeper)
            .ok_or_else(|| unavailable(format!("{keeper} is no party of the contract")))?;
        let transport = OverChannel {
            endpoint: self.endpoint.clone(),
            keeper: keeper.clone(),
            address: address.clone(),
            contract: contract.digest(),
            channel: Mutex::default(),
        };
        let members = Members::single(keeper.clone(), *key);
        let ledger = Arc::new(RemoteLedger::new(transport, self.me.clone(), members));
        remote.insert(contract.digest(), Arc::clone(&ledger));
        Ok(ledger)
    }
}

/// A channel with the ledger's keeper, opened when needed and again when it broke.
pub(super) struct OverChannel {
    endpoint: Endpoint,
    keeper: PartyName,
    address: String,
    contract: Digest,
    channel: Mutex<Option<Arc<Channel<Attested>>>>,
}

impl Transport for OverChannel {
    async fn exchange(&self, request: Vec<u8>) -> Result<Vec<u8>, TransportError> {
        let request = AgentRequest::Ledger(request);
        let mut slot = self.channel.lock().await;
        // A channel from before may have broken without anybody noticing; a fresh one is tried once.
        let fresh = slot.is_none();
        let channel = match slot.as_ref() {
            Some(channel) => Arc::clone(channel),
            None => self.connect(&mut slot).await?,
        };
        let answer = match channel.ask::<_, AgentResponse>(&request).await {
            Ok(answer) => answer,
            Err(error) => {
                *slot = None;
                if fresh {
                    return Err(failed(&error));
                }
                let channel = self.connect(&mut slot).await?;
                channel
                    .ask(&request)
                    .await
                    .map_err(|error| failed(&error))?
            }
        };
        match answer {
            AgentResponse::Ledger(answer) => Ok(answer),
            AgentResponse::Refused(refusal) => Err(failed(&refusal)),
            _ => Err(TransportError(format!(
                "agent {} answers another question",
                self.keeper
            ))),
        }
    }
}

impl OverChannel {
    async fn connect(
        &self,
        slot: &mut Option<Arc<Channel<Attested>>>,
    ) -> Result<Arc<Channel<Attested>>, TransportError> {
        let address = Endpoint::resolve(&self.address)
            .await
            .map_err(|error| failed(&error))?;
        let established = self
            .endpoint
            .dial(address, &self.contract)
            .await
            .map_err(|error| failed(&error))?;
        match established {
            Established::Attested(channel) if channel.peer().party == self.keeper => {
                let channel = Arc::new(channel);
                let attested = Arc::clone(&channel);
                tokio::spawn(async move { attested.keep_attested().await });
                *slot = Some(Arc::clone(&channel));
                Ok(channel)
            }
            other => Err(TransportError(format!(
                "expected agent {} at {address}, found {}",
                self.keeper,
                other.peer().party
            ))),
        }
    }
}

fn failed(error: &dyn std::fmt::Display) -> TransportError {
    TransportError(error.to_string())
}
