//! The rules, one refusal after another; replay; and the remote client against a keeper that lies.

mod leases;
mod reading;
mod registration;
mod remote;
mod replay;
mod revocation;
mod runs;

use std::sync::Mutex;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    Authorisation, Contract, DatasetRef, Digest, Document, Envelope, Identity, PartyName, Role,
    RunNumber, SequenceNumber, SignedContract,
};

const STEPS: u64 = 500;

/// A ledger kept by alice, with bob as second provider and tdc as consumer.
struct World {
    alice: Identity,
    bob: Identity,
    tdc: Identity,
    book: Book,
    now: DateTime<Utc>,
    limit: StepLimit,
}

/// Allows a number of steps over all runs.
struct StepLimit(u64);

impl LeaseLimit for StepLimit {
    fn allows(
        &self,
        number: SequenceNumber,
        _: &Contract,
        dataset: &DatasetRef,
        already: u64,
        more: u64,
    ) -> Result<(), Refusal> {
        if already + more <= self.0 {
            return Ok(());
        }
        Err(Refusal::Budget {
            contract: number,
            dataset: dataset.clone(),
            message: format!("limit {}, leased {already}, asked for {more}", self.0),
        })
    }
}

fn name(text: &str) -> PartyName {
    text.parse().unwrap()
}

fn of(owner: &str) -> DatasetRef {
    DatasetRef {
        owner: name(owner),
        name: "digits".parse().unwrap(),
    }
}

fn run(number: u32) -> RunNumber {
    RunNumber::new(number).unwrap()
}

fn peer(party: &str) -> Requester {
    let role = match party {
        "tdc" => Role::Aggregator,
        _ => Role::Provider,
    };
    Requester {
        party: name(party),
        role,
    }
}

impl World {
    fn new() -> Self {
        let alice = Identity::generate();
        let members = Members::single(name("alice"), alice.public());
        Self {
            book: Book::new(members),
            alice,
            bob: Identity::generate(),
            tdc: Identity::generate(),
            now: "2026-11-20T12:00:00Z".parse().unwrap(),
            limit: StepLimit(u64::MAX),
        }
    }

    /// A world with contract 1 registered.
    fn registered() -> Self {
        let mut world = Self::new();
        let envelope = world.contract(|_| {});
        world.does("tdc", Request::Register { envelope });
        world
    }

    /// A world with run 1 of contract 1 open.
    fn running() -> Self {
        let mut world = Self::registered();
        let request = world.opening(1);
        world.does("tdc", request);
        world
    }

    fn document(&self, change: impl FnOnce(&mut serde_json::Value)) -> Document {
        let columns = json!([
            {"name": "image", "type": {"image-u8": {"height": 28, "width": 28, "channels": 1}}},
            {"name": "label", "type": {"label": {"classes": 10}}}
        ]);
        let root = tributary_attest::SimulatedRoot::generate().unwrap();
        let measurement = tributary_attest::Measurement::of_bytes(b"program");
        let policy = tributary_attest::Policy::simulated(root.public_key(), [measurement]);
        let mut value = json!({
            "version": 1,
            "purpose": "Digits.",
            "parties": [
                {"name": "alice", "role": "provider", "key": self.alice.public()},
                {"name": "bob", "role": "provider", "key": self.bob.public()},
                {"name": "tdc", "role": "consumer", "key": self.tdc.public()},
            ],
            "sealing_key": crate::SealingKey { x25519: [1; 32], ml_kem_768: Box::new([2; 1184]) },
            "validity": {"not_before": self.now - TimeDelta::days(1), "not_after": self.now + TimeDelta::days(1)},
            "runs": 2,
            "datasets": [
                {"owner": "alice", "name": "digits", "manifest": Digest::of(b"a"), "records": 15000, "columns": columns, "epsilon": 3.0},
                {"owner": "bob", "name": "digits", "manifest": Digest::of(b"b"), "records": 15000, "columns": columns, "epsilon": 3.0},
            ],
            "pipeline": {
                "combine": "union",
                "input": {"column": "image", "divisor": 255.0, "mean": 0.5, "deviation": 0.5},
                "label": {"column": "label", "classes": 10},
                "model": {"onnx": Digest::of(b"onnx")},
                "loss": "cross-entropy",
                "optimiser": {"kind": "sgd", "learning_rate": 0.5, "momentum": 0.9},
                "steps": STEPS,
            },
            "privacy": {
                "unit": "record", "people": "disjoint", "sampling_rate": 0.02, "noise_multiplier": 1.1,
                "clipping_norm": 1.0, "delta": 1e-5, "accountant": "rdp",
            },
            "attestation": {"aggregator": policy, "agents": policy, "interval_seconds": 3600},
            "ledger": {"members": ["alice"]},
            "disclosure": {"progress": true, "metrics": "validation"},
        });
        change(&mut value);
        serde_json::from_value(value).unwrap()
    }

    fn contract(&self, change: impl FnOnce(&mut serde_json::Value)) -> Envelope {
        let mut signed = SignedContract::write(&self.document(change), &self.tdc).unwrap();
        signed.sign(&self.alice);
        signed.sign(&self.bob);
        signed.envelope().clone()
    }

    fn contract_digest(&self) -> Digest {
        let state = self.book.state().contract(SequenceNumber::FIRST).unwrap();
        state.contract().digest()
    }

    fn authorisation(&self, number: u32) -> Envelope {
        let expires = self.now + TimeDelta::hours(1);
        let runner = self.tdc.public();
        Authorisation::issue(
            self.contract_digest(),
            run(number),
            runner,
            expires,
            &self.tdc,
        )
        .unwrap()
    }

    fn opening(&self, number: u32) -> Request {
        Request::OpenRun {
            contract: SequenceNumber::FIRST,
            run: run(number),
            authorisation: self.authorisation(number),
        }
    }

    fn check(&self, party: &str, request: &Request) -> Result<Verdict, Refusal> {
        self.book
            .state()
            .check(&peer(party), request, self.now, &self.limit)
    }

    fn refusal(&self, party: &str, request: Request) -> Refusal {
        self.check(party, &request).unwrap_err()
    }

    /// What a keeper does, without its disk.
    fn answer(&mut self, peer: &Requester, request: &Request) -> Result<Response, LedgerError> {
        let verdict = self
            .book
            .state()
            .check(peer, request, self.now, &self.limit)?;
        let (recorded, fresh) = match verdict {
            Verdict::Read => return self.book.read(peer, request, &self.head()),
            Verdict::Already(recorded) => (recorded, false),
            Verdict::Append(entry) => (self.book.append(&entry).unwrap(), true),
        };
        self.book.confirm(&recorded, fresh, &self.head())
    }

    fn does(&mut self, party: &str, request: Request) -> Response {
        self.answer(&peer(party), &request).unwrap()
    }

    fn head(&self) -> SignedCheckpoint {
        let host = name("alice");
        self.book
            .head()
            .cosigned(&host, &self.alice, self.now)
            .unwrap()
    }

    fn view(&self, number: u32) -> RunView {
        let state = self.book.state().contract(SequenceNumber::FIRST).unwrap();
        state.run(run(number)).unwrap()
    }
}

fn lease(owner: &str, number: u32, first_step: u64, end_step: u64) -> Request {
    Request::Lease {
        contract: SequenceNumber::FIRST,
        run: run(number),
        dataset: of(owner),
        first_step,
        end_step,
    }
}

fn settle(owner: &str, number: u32, served: u64, checkpoint: Option<Digest>) -> Request {
    Request::Settle {
        contract: SequenceNumber::FIRST,
        run: run(number),
        dataset: of(owner),
        served,
        checkpoint,
    }
}

fn close(number: u32, receipt: &[u8]) -> Request {
    Request::CloseRun {
        contract: SequenceNumber::FIRST,
        run: run(number),
        receipt: Digest::of(receipt),
    }
}

fn revocation(world: &World, party: &str, identity: &Identity) -> Request {
    let statement = Revocation::sign(
        world.contract_digest(),
        &name(party),
        "consent withdrawn",
        identity,
    )
    .unwrap();
    Request::Revoke {
        contract: SequenceNumber::FIRST,
        statement,
    }
}
