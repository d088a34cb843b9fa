//! What stops a run, as people and programs see it.

use tributary_console::{Blame, ErrorCode, Failure, IntoFailure};
use tributary_protocol::ServiceRefusalCode;
use tributary_protocol::ledger::{ExitFamily, LedgerError};
use tributary_protocol::{ChannelError, CloseCode};
use tributary_protocol::{Concern, HandshakeError};

use super::feed::FeedError;
use super::peers::AgentError;

/// A ledger's refusal or silence.
pub(crate) fn ledger_failure(error: LedgerError) -> Failure {
    let code = match error.exit() {
        ExitFamily::Contract => ErrorCode::CONTRACT_REFUSED,
        ExitFamily::Budget => ErrorCode::BUDGET_EXHAUSTED,
        ExitFamily::Unavailable => ErrorCode::LEDGER_UNAVAILABLE,
        ExitFamily::Revoked => ErrorCode::REVOKED,
    };
    let hint = error.hint();
    Failure::from_error(code, &error).hint(hint)
}

/// A channel that did not open.
pub(crate) fn channel_failure(error: &ChannelError) -> Failure {
    if matches!(error, ChannelError::ClosedByPeer { code, .. } if *code == CloseCode::REVOKED) {
        return Failure::from_error(ErrorCode::REVOKED, error).blame(Blame::Contract);
    }
    let Some(code) = error.refusal() else {
        return Failure::from_error(ErrorCode::PEER_LOST, error).blame(Blame::Peer);
    };
    let by_peer = matches!(
        error,
        ChannelError::Handshake(HandshakeError::RefusedByPeer(_))
    );
    let code = match code.concern() {
        Concern::Contract | Concern::Local => ErrorCode::CONTRACT_MISMATCH,
        Concern::Revocation => ErrorCode::REVOKED,
        Concern::Attestation if by_peer => ErrorCode::REFUSED_BY_PEER,
        Concern::Attestation => ErrorCode::ATTESTATION_REFUSED,
        Concern::Protocol => ErrorCode::PEER_MISBEHAVED,
        Concern::Timeout => ErrorCode::TIMEOUT,
    };
    let failure = Failure::from_error(code, error);
    if by_peer {
        failure.blame(Blame::Configuration)
    } else {
        failure.blame(Blame::Peer)
    }
}

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
