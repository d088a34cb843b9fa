//! A ledger that another party keeps, and both ends of asking it over a channel.
//!
//! The client believes nothing that it can check: receipts must prove the very entry that was asked for, and every head must continue the last one that was seen.

use std::future::Future;

use tokio::sync::Mutex;

use super::checkpoint::{Members, SignedCheckpoint};
use super::entry::{Entry, Event};
use super::receipt::LedgerReceipt;
use super::refusal::Refusal;
use super::request::{
    BoxFuture, Ledger, LedgerError, REQUEST_SIZE_LIMIT, RESPONSE_SIZE_LIMIT, Request, Requester,
    Response,
};
use super::tree::verify_consistency;
use crate::Envelope;

/// Carries one request to the keeper of a ledger and its answer back, over an attested channel.
pub trait Transport: Send + Sync {
    /// Sends a request and waits for the answer.
    fn exchange(
        &self,
        request: Vec<u8>,
    ) -> impl Future<Output = Result<Vec<u8>, TransportError>> + Send;
}

/// Why no answer came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TransportError(pub String);

/// A ledger at the other end of a channel.
pub struct RemoteLedger<T> {
    transport: T,
    me: Requester,
    members: Members,
    /// The newest checkpoint seen. Held over an exchange, so that answers come in the order of requests.
    seen: Mutex<Option<SignedCheckpoint>>,
}

impl<T: Transport> RemoteLedger<T> {
    /// The ledger of `members`, as `me`, the party that the channel's handshake proves.
    pub fn new(transport: T, me: Requester, members: Members) -> Self {
        Self {
            transport,
            me,
            members,
            seen: Mutex::new(None),
        }
    }

    /// Remembers a checkpoint of an earlier session, which the ledger must continue.
    ///
    /// # Errors
    ///
    /// Where the checkpoint is not cosigned by a majority of the members.
    pub fn remembering(mut self, seen: SignedCheckpoint) -> Result<Self, LedgerError> {
        self.members.verify(&seen).map_err(untrusted)?;
        *self.seen.get_mut() = Some(seen);
        Ok(self)
    }

    /// The newest checkpoint seen, to be remembered.
    pub async fn seen(&self) -> Option<SignedCheckpoint> {
        self.seen.lock().await.clone()
    }

    async fn ask(&self, request: &Request) -> Result<Response, LedgerError> {
        let mut seen = self.seen.lock().await;
        let response = self.exchange(request).await?;
        if let Some(receipt) = receipt_of(&response) {
            let proven = receipt.verify(&self.members).map_err(untrusted)?;
            if !fulfils(&self.me, request, &response, &proven.entry) {
                return Err(untrusted(
                    "its receipt proves another entry than was asked for",
                ));
            }
        }
        let checkpoint = match &response {
            Response::Checkpoint(checkpoint) => {
                self.members.verify(checkpoint).map_err(untrusted)?;
                checkpoint
            }
            other => match receipt_of(other) {
                Some(receipt) => receipt.checkpoint(),
                None if fits(request, other) => return Ok(response),
                None => return Err(untrusted("it answers another question")),
            },
        };
        if !fits(request, &response) {
            return Err(untrusted("it answers another question"));
        }
        if let Some(seen) = seen.as_ref() {
            self.expect_continuation(seen, checkpoint).await?;
        }
        *seen = Some(checkpoint.clone());
        Ok(response)
    }

    async fn expect_continuation(
        &self,
        seen: &SignedCheckpoint,
        now: &SignedCheckpoint,
    ) -> Result<(), LedgerError> {
        let (older, newer) = (seen.claimed(), now.claimed());
        if newer.size < older.size {
            return Err(untrusted(format!(
                "it was rolled back from {} entries to {}",
                older.size, newer.size
            )));
        }
        let proof = if older.size == newer.size {
            Vec::new()
        } else {
            let request = Request::Consistency {
                older: older.size,
                newer: newer.size,
            };
            match self.exchange(&request).await? {
                Response::Consistency { proof } => proof,
                _ => return Err(untrusted("it answers another question")),
            }
        };
        verify_consistency(older.size, newer.size, &proof, &older.root, &newer.root).map_err(|_| {
            untrusted(format!(
                "its head of {} entries does not continue the one of {} that its members signed before",
                newer.size, older.size
            ))
        })
    }

    async fn exchange(&self, request: &Request) -> Result<Response, LedgerError> {
        let unavailable = |reason: String| LedgerError::Unavailable { reason };
        let bytes =
            postcard::to_allocvec(request).map_err(|error| unavailable(error.to_string()))?;
        let answer = self
            .transport
            .exchange(bytes)
            .await
            .map_err(|error| unavailable(error.to_string()))?;
        if answer.len() > RESPONSE_SIZE_LIMIT {
            return Err(untrusted(format!(
                "it has {} bytes, expected at most {RESPONSE_SIZE_LIMIT}",
                answer.len()
            )));
        }
        postcard::from_bytes::<Result<Response, LedgerError>>(&answer).map_err(untrusted)?
    }
}

impl<T: Transport> Ledger for RemoteLedger<T> {
    fn submit<'a>(
        &'a self,
        peer: &'a Requester,
        request: Request,
    ) -> BoxFuture<'a, Result<Response, LedgerError>> {
        Box::pin(async move {
            // The keeper sees the party of this channel, whoever is named here: asking for another would be a lie.
            if *peer != self.me {
                return Err(LedgerError::Unavailable {
                    reason: format!(
                        "this channel speaks for `{}` as {}, not for `{}` as {}",
                        self.me.party, self.me.role, peer.party, peer.role
                    ),
                });
            }
            self.ask(&request).await
        })
    }
}

/// The keeper's end: answers the bytes of a request from the peer that the channel proved.
pub async fn answer(ledger: &dyn Ledger, peer: &Requester, request: &[u8]) -> Vec<u8> {
    let answer = match decode_request(request) {
        Ok(request) => ledger.submit(peer, request).await,
        Err(refusal) => Err(refusal.into()),
    };
    postcard::to_allocvec(&answer).unwrap_or_default()
}

fn decode_request(bytes: &[u8]) -> Result<Request, Refusal> {
    if bytes.len() > REQUEST_SIZE_LIMIT {
        return Err(Refusal::RequestUnreadable {
            message: format!("at most {REQUEST_SIZE_LIMIT} bytes, got {}", bytes.len()),
        });
    }
    match postcard::take_from_bytes(bytes) {
        Ok((request, [])) => Ok(request),
        Ok((_, rest)) => Err(Refusal::RequestUnreadable {
            message: format!("nothing after its end, got {} bytes", rest.len()),
        }),
        Err(error) => Err(Refusal::RequestUnreadable {
            message: error.to_string(),
        }),
    }
}

fn untrusted(reason: impl ToString) -> LedgerError {
    LedgerError::Untrusted {
        reason: reason.to_string(),
    }
}

fn receipt_of(response: &Response) -> Option<&LedgerReceipt> {
    match response {
        Response::Registered { receipt, .. }
        | Response::RunOpened { receipt, .. }
        | Response::Leased { receipt }
        | Response::Settled { receipt }
        | Response::RunClosed { receipt }
        | Response::Revoked { receipt } => Some(receipt),
        Response::Contract(view) => Some(&view.receipt),
        Response::Run(_) | Response::Checkpoint(_) | Response::Consistency { .. } => None,
    }
}

/// Whether the answer is of the kind that was asked for.
fn fits(request: &Request, response: &Response) -> bool {
    match (request, response) {
        (Request::Show { number }, Response::Contract(view)) => view.number == *number,
        (Request::RunState { contract, run }, Response::Run(view)) => {
            (view.contract, view.run) == (*contract, *run)
        }
        (Request::Register { .. }, Response::Registered { .. })
        | (Request::OpenRun { .. }, Response::RunOpened { .. })
        | (Request::Lease { .. }, Response::Leased { .. })
        | (Request::Settle { .. }, Response::Settled { .. })
        | (Request::CloseRun { .. }, Response::RunClosed { .. })
        | (Request::Revoke { .. }, Response::Revoked { .. })
        | (Request::Checkpoint, Response::Checkpoint(_))
        | (Request::Consistency { .. }, Response::Consistency { .. }) => true,
        _ => false,
    }
}

/// Whether a proved entry is what was asked for, and what the answer around it claims.
fn fulfils(me: &Requester, request: &Request, response: &Response, entry: &Entry) -> bool {
    let same_payload = |stored: &[u8], asked: &Envelope| {
        Envelope::from_json(stored).is_ok_and(|stored| stored.payload() == asked.payload())
    };
    match (request, &entry.event) {
        (Request::Register { envelope: asked }, Event::ContractRegistered { number, envelope }) => {
            // Another party may have registered the contract before, so the author is not compared.
            matches!(response, Response::Registered { number: claimed, .. } if claimed == number)
                && same_payload(envelope, asked)
        }
        (Request::Show { number: asked }, Event::ContractRegistered { number, envelope }) => {
            matches!(response, Response::Contract(view) if same_payload(envelope, &view.envelope))
                && asked == number
        }
        (
            Request::OpenRun {
                contract: asked_contract,
                run: asked_run,
                authorisation: asked,
            },
            Event::RunOpened {
                contract,
                run,
                authorisation,
            },
        ) => {
            (contract, run) == (asked_contract, asked_run)
                && same_payload(authorisation, asked)
                && matches!(response, Response::RunOpened { run: view, .. }
                    if (&view.contract, &view.run) == (contract, run))
        }
        (
            Request::Lease {
                contract,
                run,
                dataset,
                first_step,
                end_step,
            },
            event,
        ) => {
            entry.author == me.party
                && *event
                    == Event::Lease {
                        contract: *contract,
                        run: *run,
                        dataset: dataset.clone(),
                        first_step: *first_step,
                        end_step: *end_step,
                    }
        }
        (
            Request::Settle {
                contract,
                run,
                dataset,
                served,
                checkpoint,
            },
            event,
        ) => {
            entry.author == me.party
                && *event
                    == Event::Settlement {
                        contract: *contract,
                        run: *run,
                        dataset: dataset.clone(),
                        served: *served,
                        checkpoint: *checkpoint,
                    }
        }
        (
            Request::CloseRun {
                contract,
                run,
                receipt,
            },
            event,
        ) => {
            *event
                == Event::RunClosed {
                    contract: *contract,
                    run: *run,
                    receipt: *receipt,
                }
        }
        (
            Request::Revoke {
                contract: asked, ..
            },
            Event::Revocation { contract, by, .. },
        ) => asked == contract && *by == me.party,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn random_bytes_are_no_request_and_no_answer_that_panics(bytes: Vec<u8>) {
            let _ = decode_request(&bytes);
            let _ = postcard::from_bytes::<Result<Response, LedgerError>>(&bytes);
            let _ = serde_json::from_slice::<LedgerReceipt>(&bytes);
        }
    }
}
