//! What stops a run, as people and programs see it.

use tributary_console::{Blame, ErrorCode, Failure, IntoFailure};
use tributary_protocol::ServiceRefusalCode;

use crate::failures::channel_failure;

use super::feed::FeedError;
use super::peers::AgentError;

impl IntoFailure for AgentError {
    fn into_failure(self) -> Failure {
        match &self {
            AgentError::Refused { source, .. } => {
                let failure = channel_failure(source);
                let mended = Failure::new(failure.code(), self.to_string());
                let mended = match failure.at_fault() {
                    Some(blame) => mended.blame(blame),
                    None => mended,
                };
                mended.hint("nothing was spent; mend what is named and start again")
            }
            AgentError::Unknown(_) => Failure::from_error(ErrorCode::CONTRACT_MISMATCH, &self),
            AgentError::Elsewhere { .. } => Failure::from_error(ErrorCode::PARTY_REFUSED, &self)
                .blame(Blame::Configuration)
                .hint("correct the addresses of --agent"),
        }
    }
}

impl IntoFailure for FeedError {
    fn into_failure(self) -> Failure {
        match self {
            FeedError::Agent(error) => error.into_failure(),
            FeedError::Away { .. } => Failure::from_error(ErrorCode::PEER_ABSENT, &self)
                .blame(Blame::Peer)
                .hint("start the agent again, then `aggregator train --resume`"),
            FeedError::Refused { ref refusal, .. } => {
                let code = match refusal.code {
                    ServiceRefusalCode::Budget => ErrorCode::BUDGET_EXHAUSTED,
                    ServiceRefusalCode::Revoked => ErrorCode::REVOKED,
                    ServiceRefusalCode::Ledger => ErrorCode::LEDGER_UNAVAILABLE,
                    ServiceRefusalCode::Attestation => ErrorCode::ATTESTATION_REFUSED,
                    ServiceRefusalCode::Contract | ServiceRefusalCode::Dataset => {
                        ErrorCode::CONTRACT_REFUSED
                    }
                    ServiceRefusalCode::Run => ErrorCode::AUTHORISATION_REFUSED,
                    ServiceRefusalCode::Internal => ErrorCode::PEER_LOST,
                    _ => ErrorCode::PEER_MISBEHAVED,
                };
                Failure::from_error(code, &self)
                    .hint(refusal.hint.clone())
                    .blame(Blame::Peer)
            }
            FeedError::Protocol { .. } | FeedError::Batch { .. } => {
                Failure::from_error(ErrorCode::PEER_MISBEHAVED, &self)
                    .blame(Blame::Peer)
                    .hint("use the same version of Tributary on both sides")
            }
        }
    }
}
