//! Asking the ledger through the agent that keeps it.

use std::sync::Arc;

use tributary_protocol::ledger::{RemoteLedger, Requester, Transport, TransportError};
use tributary_protocol::{AgentRequest, AgentResponse, Contract, PartyName, Role};

use super::peers::Peers;
use crate::home::ledger_members;

/// Carries requests over whatever channel there is with the ledger's keeper.
pub(super) struct ThroughAgent {
    peers: Arc<Peers>,
    keeper: PartyName,
}

/// The contract's ledger, as its aggregator sees it.
pub(super) fn ledger_of(
    peers: &Arc<Peers>,
    contract: &Contract,
) -> (RemoteLedger<ThroughAgent>, Requester) {
    let me = Requester {
        party: contract.consumer().0.clone(),
        role: Role::Aggregator,
    };
    let transport = ThroughAgent {
        peers: Arc::clone(peers),
        keeper: contract.document().ledger.members[0].clone(),
    };
    (
        RemoteLedger::new(transport, me.clone(), ledger_members(contract)),
        me,
    )
}

impl Transport for ThroughAgent {
    async fn exchange(&self, request: Vec<u8>) -> Result<Vec<u8>, TransportError> {
        let fail = |error: &dyn std::fmt::Display| TransportError(error.to_string());
        let channel = self
            .peers
            .channel(&self.keeper)
            .await
            .map_err(|error| fail(&error))?;
        let request =
            postcard::to_allocvec(&AgentRequest::Ledger(request)).map_err(|error| fail(&error))?;
        let answer = channel.request(request).await.map_err(|error| {
            self.peers.lost(&self.keeper, &channel);
            fail(&error)
        })?;
        match postcard::from_bytes(&answer).map_err(|error| fail(&error))? {
            AgentResponse::Ledger(answer) => Ok(answer),
            AgentResponse::Refused(refusal) => Err(fail(&refusal)),
            _ => Err(TransportError(format!(
                "{} answers another question",
                self.keeper
            ))),
        }
    }
}
