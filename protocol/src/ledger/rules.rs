//! The rules by which a request becomes an entry, and an entry part of the state.
//!
//! [`LedgerState::check`] adds to the rules of entries what only the keeper at that moment can judge: who asks, in which role, and whether the lease still fits the budget.

use chrono::{DateTime, Utc};

use super::checkpoint::Members;
use super::entry::{ENTRY_SIZE_LIMIT, Entry, Event};
use super::refusal::Refusal;
use super::request::{Request, Requester};
use super::revocation::Revocation;
use super::state::{Admitted, ContractState, LedgerState, Recorded, RunEnd, RunState};
use crate::{
    Authorisation, Contract, ContractError, DatasetRef, Digest, ENVELOPE_SIZE_LIMIT, Envelope,
    PartyName, Role, RunNumber, SequenceNumber, SignedContract,
};

/// Whether a lease fits what the contract allows to be spent. The keeper computes epsilon; the ledger counts steps.
pub trait LeaseLimit: Send + Sync {
    /// Refuses `more` steps of `dataset` on top of the `already` leased ones, over all runs of the contract.
    fn allows(
        &self,
        number: SequenceNumber,
        contract: &Contract,
        dataset: &DatasetRef,
        already: u64,
        more: u64,
    ) -> Result<(), Refusal>;
}

/// What is to be done about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Record this entry, then answer.
    Append(Entry),
    /// The request was fulfilled before, by this entry: answer again.
    Already(Recorded),
    /// It changes nothing: answer from the state.
    Read,
}

impl LedgerState {
    /// Judges a request of `peer` at the time `now` of the keeper's clock.
    ///
    /// # Errors
    ///
    /// The refusal, where the request is against the rules.
    pub fn check(
        &self,
        peer: &Requester,
        request: &Request,
        now: DateTime<Utc>,
        limit: &dyn LeaseLimit,
    ) -> Result<Verdict, Refusal> {
        let entry = |event| Entry::new(peer.party.clone(), now.max(self.time), event);
        match request {
            Request::Register { envelope } => {
                let signed = read_contract(envelope)?;
                if signed.contract().key_of(&peer.party).is_none() {
                    return Err(wrong_requester(peer, "a party of the contract"));
                }
                if let Some(number) = self.number_of(&signed.contract().digest()) {
                    return Ok(Verdict::Already(self.known(number)?.registered.clone()));
                }
                let number = SequenceNumber::new(self.registered() + 1);
                let entry = entry(Event::ContractRegistered {
                    number: number.unwrap_or(SequenceNumber::FIRST),
                    envelope: envelope_bytes(envelope)?,
                });
                self.admitted(entry)
            }
            Request::OpenRun {
                contract,
                run,
                authorisation,
            } => {
                expect_consumer(peer, self.known(*contract)?)?;
                let entry = entry(Event::RunOpened {
                    contract: *contract,
                    run: *run,
                    authorisation: envelope_bytes(authorisation)?,
                });
                let verdict = self.admitted(entry)?;
                let open = self.known(*contract)?.run_state(*run);
                match open {
                    Some(open)
                        if open.authorisations.last() == Some(&authorisation.payload_digest()) =>
                    {
                        Ok(Verdict::Already(open.opened.clone()))
                    }
                    _ => Ok(verdict),
                }
            }
            Request::Lease {
                contract,
                run,
                dataset,
                first_step,
                end_step,
            } => {
                expect_owner(peer, dataset)?;
                let verdict = self.admitted(entry(Event::Lease {
                    contract: *contract,
                    run: *run,
                    dataset: dataset.clone(),
                    first_step: *first_step,
                    end_step: *end_step,
                }))?;
                let state = self.known(*contract)?;
                limit.allows(
                    *contract,
                    state.contract(),
                    dataset,
                    state.leased(dataset),
                    end_step - first_step,
                )?;
                Ok(verdict)
            }
            Request::Settle {
                contract,
                run,
                dataset,
                served,
                checkpoint,
            } => {
                expect_owner(peer, dataset)?;
                self.admitted(entry(Event::Settlement {
                    contract: *contract,
                    run: *run,
                    dataset: dataset.clone(),
                    served: *served,
                    checkpoint: *checkpoint,
                }))
            }
            Request::CloseRun {
                contract,
                run,
                receipt,
            } => {
                let state = self.known(*contract)?;
                expect_consumer(peer, state)?;
                if let Some(RunEnd::Closed(recorded, digest)) =
                    state.run_state(*run).and_then(|run| run.end.as_ref())
                    && digest == receipt
                {
                    return Ok(Verdict::Already(recorded.clone()));
                }
                self.admitted(entry(Event::RunClosed {
                    contract: *contract,
                    run: *run,
                    receipt: *receipt,
                }))
            }
            Request::Revoke {
                contract,
                statement,
            } => {
                if let Some((recorded, revoked)) = &self.known(*contract)?.revoked
                    && revoked.by == peer.party
                {
                    return Ok(Verdict::Already(recorded.clone()));
                }
                self.admitted(entry(Event::Revocation {
                    contract: *contract,
                    by: peer.party.clone(),
                    statement: envelope_bytes(statement)?,
                }))
            }
            Request::Show { .. }
            | Request::RunState { .. }
            | Request::Checkpoint
            | Request::Consistency { .. } => Ok(Verdict::Read),
        }
    }

    fn admitted(&self, entry: Entry) -> Result<Verdict, Refusal> {
        self.admit(&entry)?;
        let length = entry.encode().len();
        if length > ENTRY_SIZE_LIMIT {
            return Err(Refusal::EntryRefused {
                message: format!("at most {ENTRY_SIZE_LIMIT} bytes, got {length}"),
            });
        }
        Ok(Verdict::Append(entry))
    }

    /// The rules that every entry keeps, judged at its own time.
    pub(super) fn admit(&self, entry: &Entry) -> Result<Admitted, Refusal> {
        let (author, time) = (&entry.author, entry.time);
        match &entry.event {
            Event::ContractRegistered { number, envelope } => {
                let signed = self.admit_contract(author, *number, envelope, time)?;
                Ok(Admitted::Contract(Box::new(signed)))
            }
            Event::RunOpened {
                contract,
                run,
                authorisation,
            } => {
                let state = self.in_force(*contract, time)?;
                let (consumer, key) = state.contract().consumer();
                let authorisation =
                    read_authorisation(*contract, *run, authorisation, |envelope| {
                        let authorisation = Authorisation::verify(envelope, key, time)?;
                        // Whoever it names: the channel proved the asking runner, and each agent compares the two.
                        let runner = authorisation.runner();
                        authorisation.expect(&state.contract().digest(), *run, &runner)
                    })?;
                expect_author(author, consumer, "the consumer")?;
                admit_run(state, *run, authorisation)?;
                Ok(Admitted::Run { authorisation })
            }
            Event::Lease {
                contract,
                run,
                dataset,
                first_step,
                end_step,
            } => {
                let state = self.in_force(*contract, time)?;
                let run = open_run(state, *run)?;
                expect_dataset(author, state, dataset)?;
                let expected = run
                    .datasets
                    .get(dataset)
                    .map_or(0, |progress| progress.leased);
                if *first_step != expected {
                    return Err(Refusal::LeaseNotContiguous {
                        expected,
                        got: *first_step,
                    });
                }
                let limit = state.contract().steps().get();
                let got = end_step.saturating_sub(*first_step);
                if !(1..=limit).contains(&got) {
                    return Err(Refusal::LeaseLength { limit, got });
                }
                Ok(Admitted::Other)
            }
            Event::Settlement {
                contract,
                run,
                dataset,
                served,
                ..
            } => {
                // What was served stays true when the contract expires, ends or is revoked.
                let state = self.known(*contract)?;
                let run = known_run(state, *run)?;
                expect_dataset(author, state, dataset)?;
                let progress = run.datasets.get(dataset).copied().unwrap_or_default();
                if *served > progress.leased {
                    return Err(Refusal::SettlementBeyondLease {
                        leased: progress.leased,
                        got: *served,
                    });
                }
                if *served < progress.settled {
                    return Err(Refusal::SettlementBackwards {
                        settled: progress.settled,
                        got: *served,
                    });
                }
                Ok(Admitted::Other)
            }
            Event::RunClosed {
                contract,
                run,
                receipt,
            } => {
                let state = self.known(*contract)?;
                expect_author(author, state.contract().consumer().0, "the consumer")?;
                match &known_run(state, *run)?.end {
                    None => Ok(Admitted::Other),
                    Some(RunEnd::Closed(_, recorded)) => Err(Refusal::OtherReceipt {
                        run: *run,
                        recorded: *recorded,
                        got: *receipt,
                    }),
                    Some(RunEnd::Abandoned) => Err(Refusal::RunOver {
                        contract: *contract,
                        run: *run,
                    }),
                }
            }
            Event::Revocation {
                contract,
                by,
                statement,
            } => {
                let state = self.not_revoked(*contract)?;
                expect_author(author, by, "the party that revokes")?;
                let key = state
                    .contract()
                    .key_of(by)
                    .ok_or_else(|| Refusal::NotAParty {
                        contract: *contract,
                        party: by.clone(),
                    })?;
                let refuse = |message: String| Refusal::RevocationRefused {
                    party: by.clone(),
                    message,
                };
                let envelope =
                    Envelope::from_json(statement).map_err(|error| refuse(error.to_string()))?;
                let revocation = Revocation::verify(&envelope, state.contract().digest(), by, key)
                    .map_err(|error| refuse(error.to_string()))?;
                Ok(Admitted::Revocation {
                    reason: revocation.reason().to_owned(),
                })
            }
        }
    }

    fn admit_contract(
        &self,
        author: &PartyName,
        number: SequenceNumber,
        envelope: &[u8],
        time: DateTime<Utc>,
    ) -> Result<SignedContract, Refusal> {
        let envelope = Envelope::from_json(envelope).map_err(|error| unreadable(&error.into()))?;
        let signed = read_contract(&envelope)?;
        signed.check(time).map_err(|error| match error {
            ContractError::Unsigned { missing } => Refusal::Unsigned { missing },
            other => in_force_refusal(other),
        })?;
        let contract = signed.contract();
        expect_members(contract, &self.members)?;
        if contract.key_of(author).is_none() {
            return Err(Refusal::NotAParty {
                contract: number,
                party: author.clone(),
            });
        }
        let next = self.registered() + 1;
        if number.get() != next || self.number_of(&contract.digest()).is_some() {
            return Err(Refusal::EntryRefused {
                message: format!(
                    "the contract's first registration, as number {next}; got number {number}"
                ),
            });
        }
        Ok(signed)
    }

    pub(super) fn known(&self, number: SequenceNumber) -> Result<&ContractState, Refusal> {
        self.contract(number)
            .ok_or_else(|| Refusal::UnknownContract {
                number,
                registered: self.registered(),
            })
    }

    fn not_revoked(&self, number: SequenceNumber) -> Result<&ContractState, Refusal> {
        let state = self.known(number)?;
        match state.revoked() {
            None => Ok(state),
            Some(revoked) => Err(Refusal::Revoked {
                contract: number,
                by: revoked.by.clone(),
                at: revoked.at,
            }),
        }
    }

    fn in_force(
        &self,
        number: SequenceNumber,
        time: DateTime<Utc>,
    ) -> Result<&ContractState, Refusal> {
        let state = self.not_revoked(number)?;
        state.contract().in_force(time).map_err(in_force_refusal)?;
        Ok(state)
    }
}

fn read_contract(envelope: &Envelope) -> Result<SignedContract, Refusal> {
    SignedContract::from_envelope(envelope.clone()).map_err(|error| unreadable(&error))
}

fn unreadable(error: &ContractError) -> Refusal {
    Refusal::ContractUnreadable {
        message: error.to_string(),
        hint: error.hint().to_owned(),
    }
}

fn in_force_refusal(error: ContractError) -> Refusal {
    match error {
        ContractError::NotYetInForce { not_before, now } => {
            Refusal::NotYetInForce { not_before, now }
        }
        ContractError::Expired { not_after, now } => Refusal::Expired { not_after, now },
        other => unreadable(&other),
    }
}

fn envelope_bytes(envelope: &Envelope) -> Result<Vec<u8>, Refusal> {
    let bytes = envelope.to_json();
    if bytes.len() > ENVELOPE_SIZE_LIMIT {
        return Err(Refusal::EntryRefused {
            message: format!(
                "an envelope of at most {ENVELOPE_SIZE_LIMIT} bytes, got {}",
                bytes.len()
            ),
        });
    }
    Ok(bytes)
}

/// The contract must name exactly the members of this ledger, under the keys with which they cosign.
fn expect_members(contract: &Contract, members: &Members) -> Result<(), Refusal> {
    let mut named = contract.document().ledger.members.clone();
    named.sort();
    let here: Vec<PartyName> = members.keys().keys().cloned().collect();
    if named != here {
        return Err(Refusal::OtherLedger {
            here,
            contract: named,
        });
    }
    for (member, key) in members.keys() {
        if contract.key_of(member) != Some(key) {
            return Err(Refusal::MemberKey(member.clone()));
        }
    }
    Ok(())
}

fn wrong_requester(peer: &Requester, expected: &str) -> Refusal {
    Refusal::WrongRequester {
        expected: expected.to_owned(),
        party: peer.party.clone(),
        role: peer.role,
    }
}

fn expect_consumer(peer: &Requester, state: &ContractState) -> Result<(), Refusal> {
    let (consumer, _) = state.contract().consumer();
    if peer.party == *consumer && matches!(peer.role, Role::Consumer | Role::Aggregator) {
        Ok(())
    } else {
        Err(wrong_requester(
            peer,
            &format!("the consumer `{consumer}` or its aggregator"),
        ))
    }
}

fn expect_owner(peer: &Requester, dataset: &DatasetRef) -> Result<(), Refusal> {
    if peer.party == dataset.owner && peer.role == Role::Provider {
        Ok(())
    } else {
        Err(wrong_requester(
            peer,
            &format!("the agent of `{}`", dataset.owner),
        ))
    }
}

fn expect_author(author: &PartyName, expected: &PartyName, who: &str) -> Result<(), Refusal> {
    if author == expected {
        Ok(())
    } else {
        Err(Refusal::EntryRefused {
            message: format!("an entry by {who}, `{expected}`, got one by `{author}`"),
        })
    }
}

fn expect_dataset(
    author: &PartyName,
    state: &ContractState,
    dataset: &DatasetRef,
) -> Result<(), Refusal> {
    if state.contract().dataset(dataset).is_none() {
        return Err(Refusal::UnknownDataset {
            contract: state.number,
            dataset: dataset.clone(),
        });
    }
    expect_author(author, &dataset.owner, "the dataset's owner")
}

fn known_run(state: &ContractState, run: RunNumber) -> Result<&RunState, Refusal> {
    state.run_state(run).ok_or(Refusal::UnknownRun {
        contract: state.number,
        run,
    })
}

fn open_run(state: &ContractState, run: RunNumber) -> Result<&RunState, Refusal> {
    let known = known_run(state, run)?;
    if known.end.is_some() {
        return Err(Refusal::RunOver {
            contract: state.number,
            run,
        });
    }
    Ok(known)
}

/// A run opens in its turn, or again while it is open; each authorisation starts it once.
fn admit_run(state: &ContractState, run: RunNumber, authorisation: Digest) -> Result<(), Refusal> {
    let (contract, runs) = (state.number, state.contract().runs());
    if run.get() > runs {
        return Err(Refusal::RunsUsedUp {
            contract,
            run,
            runs,
        });
    }
    let opened = state.runs_opened();
    if run.get() > opened + 1 {
        let next = RunNumber::new(opened + 1).unwrap_or(run);
        return Err(Refusal::RunOutOfOrder {
            contract,
            run,
            next,
        });
    }
    if run.get() == opened + 1 {
        return Ok(());
    }
    let known = open_run(state, run)?;
    let used = known.authorisations.iter().rev().skip(1);
    if used.into_iter().any(|digest| *digest == authorisation) {
        return Err(Refusal::AuthorisationRefused {
            contract,
            run,
            message: "this one was used before a newer one".to_owned(),
        });
    }
    Ok(())
}

fn read_authorisation(
    contract: SequenceNumber,
    run: RunNumber,
    envelope: &[u8],
    verify: impl FnOnce(&Envelope) -> Result<(), crate::AuthorisationError>,
) -> Result<Digest, Refusal> {
    let refuse = |message: String| Refusal::AuthorisationRefused {
        contract,
        run,
        message,
    };
    let envelope = Envelope::from_json(envelope).map_err(|error| refuse(error.to_string()))?;
    verify(&envelope).map_err(|error| refuse(error.to_string()))?;
    Ok(envelope.payload_digest())
}
