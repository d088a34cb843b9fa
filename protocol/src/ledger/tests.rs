//! The rules, one refusal after another; replay; and the remote client against a keeper that lies.

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

// Registration.

#[test]
fn a_contract_gets_the_next_number_and_the_same_contract_the_same_one() {
    let mut world = World::new();
    let first = world.contract(|_| {});
    let second = world.contract(|document| document["purpose"] = "Others.".into());
    for (party, envelope, expected) in [
        ("tdc", &first, 1),
        ("bob", &second, 2),
        ("alice", &first, 1),
        ("tdc", &second, 2),
    ] {
        let request = Request::Register {
            envelope: envelope.clone(),
        };
        let Response::Registered { number, receipt } = world.does(party, request) else {
            panic!()
        };
        assert_eq!(number.get(), expected);
        let proven = receipt.verify(world.book.state().members()).unwrap();
        assert_eq!(proven.index, expected - 1);
    }
    assert_eq!(world.book.tree().len(), 2);
}

#[test]
fn a_contract_without_a_partys_signature_is_refused_and_the_party_named() {
    let world = World::new();
    let mut signed = SignedContract::write(&world.document(|_| {}), &world.tdc).unwrap();
    signed.sign(&world.alice);
    let envelope = signed.envelope().clone();
    let refusal = world.refusal("tdc", Request::Register { envelope });
    assert_eq!(
        refusal,
        Refusal::Unsigned {
            missing: vec![name("bob")]
        }
    );
    assert_eq!(refusal.exit(), ExitFamily::Contract);
}

#[test]
fn what_is_not_a_contract_is_refused() {
    let world = World::new();
    let nonsense = Envelope::sign(crate::CONTRACT_TYPE, b"{}".to_vec(), &world.tdc);
    let other = Envelope::sign("text/plain", b"{}".to_vec(), &world.tdc);
    for envelope in [nonsense, other] {
        let refusal = world.refusal("tdc", Request::Register { envelope });
        assert!(matches!(refusal, Refusal::ContractUnreadable { .. }));
    }
}

#[test]
fn a_contract_out_of_its_time_is_not_registered() {
    let mut world = World::new();
    let envelope = world.contract(|_| {});
    world.now += TimeDelta::days(2);
    let request = Request::Register { envelope };
    assert!(matches!(
        world.refusal("tdc", request.clone()),
        Refusal::Expired { .. }
    ));
    world.now -= TimeDelta::days(4);
    assert!(matches!(
        world.refusal("tdc", request),
        Refusal::NotYetInForce { .. }
    ));
}

#[test]
fn a_contract_of_another_ledger_or_with_another_key_of_its_keeper_is_refused() {
    let mut world = World::new();
    let elsewhere = world.contract(|document| document["ledger"]["members"] = json!(["bob"]));
    assert!(matches!(
        world.refusal(
            "tdc",
            Request::Register {
                envelope: elsewhere
            }
        ),
        Refusal::OtherLedger { .. }
    ));
    let envelope = world.contract(|_| {});
    world.book = Book::new(Members::single(
        name("alice"),
        Identity::generate().public(),
    ));
    assert_eq!(
        world.refusal("tdc", Request::Register { envelope }),
        Refusal::MemberKey(name("alice"))
    );
}

#[test]
fn a_stranger_registers_nothing() {
    let world = World::new();
    let envelope = world.contract(|_| {});
    assert!(matches!(
        world.refusal("mallory", Request::Register { envelope }),
        Refusal::WrongRequester { .. }
    ));
}

// Runs.

#[test]
fn a_run_opens_with_the_consumers_authorisation_and_is_taken_up_again() {
    let mut world = World::registered();
    let request = world.opening(1);
    let Response::RunOpened {
        resumed, run: view, ..
    } = world.does("tdc", request.clone())
    else {
        panic!()
    };
    assert!(!resumed);
    assert_eq!(view.status, RunStatus::Open);
    let size = world.book.tree().len();
    let Response::RunOpened { resumed, .. } = world.does("tdc", request.clone()) else {
        panic!()
    };
    assert!(resumed);
    assert_eq!(world.book.tree().len(), size, "nothing new was recorded");
    let another = world.opening(1);
    let Response::RunOpened {
        resumed, run: view, ..
    } = world.does("tdc", another)
    else {
        panic!()
    };
    assert!(resumed);
    assert_eq!(world.book.tree().len(), size + 1);
    assert_ne!(view.authorisation, Some(authorisation_of(&request)));
    assert!(matches!(
        world.refusal("tdc", request),
        Refusal::AuthorisationRefused { .. }
    ));
}

fn authorisation_of(request: &Request) -> Digest {
    let Request::OpenRun { authorisation, .. } = request else {
        panic!()
    };
    authorisation.payload_digest()
}

#[test]
fn authorisations_of_others_of_other_runs_or_past_their_time_are_refused() {
    let mut world = World::registered();
    let expires = world.now + TimeDelta::hours(1);
    let digest = world.contract_digest();
    let issue = |contract, number, runner, identity| Request::OpenRun {
        contract: SequenceNumber::FIRST,
        run: run(1),
        authorisation: Authorisation::issue(contract, run(number), runner, expires, identity)
            .unwrap(),
    };
    let tdc = world.tdc.public();
    for (request, what) in [
        (issue(digest, 1, tdc, &world.bob), "signed by bob"),
        (issue(digest, 2, tdc, &world.tdc), "of run 2"),
        (
            issue(Digest::of(b"x"), 1, tdc, &world.tdc),
            "of another contract",
        ),
    ] {
        let refusal = world.refusal("tdc", request);
        assert!(
            matches!(refusal, Refusal::AuthorisationRefused { .. }),
            "{what}: {refusal}"
        );
    }
    let late = world.opening(1);
    world.now += TimeDelta::hours(1);
    assert!(matches!(
        world.refusal("tdc", late),
        Refusal::AuthorisationRefused { .. }
    ));
}

#[test]
fn runs_open_in_their_turn_and_no_more_than_the_contract_allows() {
    let mut world = World::registered();
    assert!(matches!(
        world.refusal("tdc", world.opening(2)),
        Refusal::RunOutOfOrder { next, .. } if next == run(1)
    ));
    for number in [1, 2] {
        let request = world.opening(number);
        world.does("tdc", request);
        world.does("tdc", close(number, b"receipt"));
    }
    let refusal = world.refusal("tdc", world.opening(3));
    assert!(matches!(refusal, Refusal::RunsUsedUp { runs: 2, .. }));
    assert_eq!(refusal.code(), "contract.runs-used-up");
    assert!(matches!(
        world.refusal("tdc", world.opening(2)),
        Refusal::RunOver { .. }
    ));
}

#[test]
fn opening_the_next_run_abandons_the_one_before() {
    let mut world = World::running();
    let request = world.opening(2);
    world.does("tdc", request);
    assert_eq!(world.view(1).status, RunStatus::Abandoned);
    assert!(matches!(
        world.refusal("alice", lease("alice", 1, 0, 10)),
        Refusal::RunOver { .. }
    ));
    assert!(matches!(
        world.refusal("tdc", close(1, b"r")),
        Refusal::RunOver { .. }
    ));
}

#[test]
fn only_the_consumers_side_opens_and_closes_runs() {
    let world = World::running();
    let provider_named_tdc = Requester {
        party: name("tdc"),
        role: Role::Provider,
    };
    for request in [world.opening(1), close(1, b"r")] {
        assert!(matches!(
            world.refusal("bob", request.clone()),
            Refusal::WrongRequester { .. }
        ));
        let state = world.book.state();
        let refusal = state.check(&provider_named_tdc, &request, world.now, &world.limit);
        assert!(matches!(refusal, Err(Refusal::WrongRequester { .. })));
    }
}

#[test]
fn no_run_opens_before_or_after_the_contracts_time() {
    let mut world = World::registered();
    world.now += TimeDelta::hours(25);
    assert!(matches!(
        world.refusal("tdc", world.opening(1)),
        Refusal::Expired { .. }
    ));
}

#[test]
fn a_clock_set_back_does_not_revive_an_expired_contract() {
    let mut world = World::running();
    let other = world.contract(|document| {
        document["validity"]["not_after"] = json!(world.now + TimeDelta::days(90));
    });
    world.now += TimeDelta::hours(25);
    world.does("tdc", Request::Register { envelope: other });
    world.now -= TimeDelta::hours(25);
    assert!(matches!(
        world.refusal("alice", lease("alice", 1, 0, 10)),
        Refusal::Expired { .. }
    ));
}

#[test]
fn a_run_is_closed_once() {
    let mut world = World::running();
    world.does("tdc", close(1, b"receipt"));
    let size = world.book.tree().len();
    world.does("tdc", close(1, b"receipt"));
    assert_eq!(world.book.tree().len(), size);
    assert!(matches!(
        world.refusal("tdc", close(1, b"other")),
        Refusal::OtherReceipt { .. }
    ));
    assert!(matches!(
        world.refusal("tdc", close(2, b"other")),
        Refusal::UnknownRun { .. }
    ));
    assert!(matches!(world.view(1).status, RunStatus::Closed { .. }));
}

// Leases.

#[test]
fn leases_follow_each_other_and_count_over_all_runs() {
    let mut world = World::running();
    world.does("alice", lease("alice", 1, 0, 100));
    world.does("alice", lease("alice", 1, 100, 150));
    world.does("bob", lease("bob", 1, 0, 30));
    let request = world.opening(2);
    world.does("tdc", request);
    world.does("alice", lease("alice", 2, 0, 7));
    let state = world.book.state();
    assert_eq!(state.leased(SequenceNumber::FIRST, &of("alice")), 157);
    assert_eq!(state.leased(SequenceNumber::FIRST, &of("bob")), 30);
    let view = world.view(2);
    assert_eq!(view.datasets[0].leased, 7);
    assert_eq!(view.datasets[0].leased_in_all_runs, 157);
    assert_eq!(view.datasets[1].leased, 0);
}

#[test]
fn a_lease_with_a_gap_an_overlap_or_a_wrong_length_is_refused() {
    let mut world = World::running();
    world.does("alice", lease("alice", 1, 0, 100));
    for first in [0, 50, 99, 101, u64::MAX] {
        assert_eq!(
            world.refusal("alice", lease("alice", 1, first, first.saturating_add(10))),
            Refusal::LeaseNotContiguous {
                expected: 100,
                got: first
            }
        );
    }
    for end in [100, 99, 0, 101 + STEPS, u64::MAX] {
        assert!(matches!(
            world.refusal("alice", lease("alice", 1, 100, end)),
            Refusal::LeaseLength { limit: STEPS, .. }
        ));
    }
    world.does("alice", lease("alice", 1, 100, 100 + STEPS));
}

#[test]
fn only_the_owners_agent_leases_and_settles() {
    let mut world = World::running();
    world.does("alice", lease("alice", 1, 0, 10));
    for request in [lease("alice", 1, 10, 20), settle("alice", 1, 5, None)] {
        for party in ["bob", "tdc"] {
            assert!(matches!(
                world.refusal(party, request.clone()),
                Refusal::WrongRequester { .. }
            ));
        }
    }
    let aggregator = Requester {
        party: name("alice"),
        role: Role::Aggregator,
    };
    let state = world.book.state();
    assert!(matches!(
        state.check(
            &aggregator,
            &lease("alice", 1, 10, 20),
            world.now,
            &world.limit
        ),
        Err(Refusal::WrongRequester { .. })
    ));
}

#[test]
fn a_lease_of_a_dataset_outside_the_contract_is_refused() {
    let world = World::running();
    let dataset = DatasetRef {
        owner: name("alice"),
        name: "other".parse().unwrap(),
    };
    let request = Request::Lease {
        contract: SequenceNumber::FIRST,
        run: run(1),
        dataset,
        first_step: 0,
        end_step: 1,
    };
    assert!(matches!(
        world.refusal("alice", request),
        Refusal::UnknownDataset { .. }
    ));
}

#[test]
fn a_lease_without_a_contract_or_a_run_is_refused() {
    let mut world = World::registered();
    assert!(matches!(
        world.refusal("alice", lease("alice", 1, 0, 1)),
        Refusal::UnknownRun { .. }
    ));
    let request = world.opening(1);
    world.does("tdc", request);
    world.does("tdc", close(1, b"receipt"));
    assert!(matches!(
        world.refusal("alice", lease("alice", 1, 0, 1)),
        Refusal::RunOver { .. }
    ));
    let request = Request::Lease {
        contract: SequenceNumber::new(9).unwrap(),
        run: run(1),
        dataset: of("alice"),
        first_step: 0,
        end_step: 1,
    };
    assert!(matches!(
        world.refusal("alice", request),
        Refusal::UnknownContract { registered: 1, .. }
    ));
}

#[test]
fn no_lease_is_given_after_the_contracts_time() {
    let mut world = World::running();
    world.now += TimeDelta::hours(25);
    assert!(matches!(
        world.refusal("alice", lease("alice", 1, 0, 1)),
        Refusal::Expired { .. }
    ));
}

#[test]
fn the_lease_that_would_exceed_the_budget_is_refused_over_all_runs() {
    let mut world = World::running();
    world.limit = StepLimit(120);
    world.does("alice", lease("alice", 1, 0, 100));
    let request = world.opening(2);
    world.does("tdc", request);
    let refusal = world.refusal("alice", lease("alice", 2, 0, 21));
    assert_eq!(refusal.exit().code(), 12);
    world.does("alice", lease("alice", 2, 0, 20));
    assert!(matches!(
        world.refusal("alice", lease("alice", 2, 20, 21)),
        Refusal::Budget { .. }
    ));
    world.does("bob", lease("bob", 2, 0, 120));
}

// Settlements.

#[test]
fn settlements_move_forward_and_never_beyond_the_lease() {
    let mut world = World::running();
    assert!(matches!(
        world.refusal("alice", settle("alice", 1, 1, None)),
        Refusal::SettlementBeyondLease { leased: 0, got: 1 }
    ));
    world.does("alice", lease("alice", 1, 0, 100));
    world.does("alice", settle("alice", 1, 40, None));
    assert!(matches!(
        world.refusal("alice", settle("alice", 1, 39, None)),
        Refusal::SettlementBackwards {
            settled: 40,
            got: 39
        }
    ));
    assert!(matches!(
        world.refusal("alice", settle("alice", 1, 101, None)),
        Refusal::SettlementBeyondLease {
            leased: 100,
            got: 101
        }
    ));
    world.does("alice", settle("alice", 1, 40, None));
    world.does("alice", settle("alice", 1, 100, None));
    assert_eq!(world.view(1).datasets[0].settled, 100);
}

#[test]
fn steps_that_a_crash_left_unsettled_stay_spent() {
    let mut world = World::running();
    world.does("alice", lease("alice", 1, 0, 100));
    world.does("alice", settle("alice", 1, 40, None));
    assert!(matches!(
        world.refusal("alice", lease("alice", 1, 40, 60)),
        Refusal::LeaseNotContiguous {
            expected: 100,
            got: 40
        }
    ));
    assert_eq!(
        world
            .book
            .state()
            .leased(SequenceNumber::FIRST, &of("alice")),
        100
    );
}

#[test]
fn the_newest_checkpoint_is_the_last_new_one_and_a_late_old_one_does_not_move_it_back() {
    let mut world = World::running();
    let (old, new) = (Digest::of(b"50"), Digest::of(b"100"));
    for party in ["alice", "bob"] {
        world.does(party, lease(party, 1, 0, 100));
    }
    world.does("alice", settle("alice", 1, 50, Some(old)));
    assert_eq!(world.view(1).checkpoint, Some(old));
    world.does("alice", settle("alice", 1, 100, Some(new)));
    world.does("bob", settle("bob", 1, 50, Some(old)));
    assert_eq!(world.view(1).checkpoint, Some(new));
    world.does("bob", settle("bob", 1, 100, None));
    assert_eq!(world.view(1).checkpoint, Some(new));
}

#[test]
fn what_was_served_is_settled_after_the_end_and_for_unknown_runs_nothing() {
    let mut world = World::running();
    world.does("alice", lease("alice", 1, 0, 100));
    world.does("tdc", close(1, b"receipt"));
    world.now += TimeDelta::days(3);
    world.does("alice", settle("alice", 1, 100, None));
    assert!(matches!(
        world.refusal("alice", settle("alice", 2, 1, None)),
        Refusal::UnknownRun { .. }
    ));
}

// Revocation.

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

#[test]
fn after_a_revocation_nothing_begins_and_the_exit_code_says_so() {
    let mut world = World::running();
    world.does("alice", lease("alice", 1, 0, 100));
    let request = revocation(&world, "bob", &world.bob);
    world.does("bob", request.clone());
    for (party, request) in [
        ("alice", lease("alice", 1, 100, 101)),
        ("tdc", world.opening(1)),
        ("tdc", world.opening(2)),
        ("alice", revocation(&world, "alice", &world.alice)),
    ] {
        let refusal = world.refusal(party, request);
        assert!(matches!(&refusal, Refusal::Revoked { by, .. } if *by == name("bob")));
        assert_eq!(refusal.exit().code(), 14);
    }
    let size = world.book.tree().len();
    world.does("bob", request);
    assert_eq!(
        world.book.tree().len(),
        size,
        "revoking again records nothing"
    );
    world.does("alice", settle("alice", 1, 100, None));
    let Response::Contract(view) = world.does(
        "alice",
        Request::Show {
            number: SequenceNumber::FIRST,
        },
    ) else {
        panic!()
    };
    assert_eq!(view.revoked.unwrap().reason, "consent withdrawn");
}

#[test]
fn a_revocation_takes_the_partys_own_signature() {
    let world = World::registered();
    for (party, request) in [
        ("bob", revocation(&world, "bob", &world.alice)),
        ("bob", revocation(&world, "alice", &world.alice)),
    ] {
        assert!(matches!(
            world.refusal(party, request),
            Refusal::RevocationRefused { .. }
        ));
    }
    let mallory = Identity::generate();
    assert!(matches!(
        world.refusal("mallory", revocation(&world, "mallory", &mallory)),
        Refusal::NotAParty { .. }
    ));
}

// Reading.

#[test]
fn contracts_and_runs_are_shown_to_their_parties_only() {
    let mut world = World::running();
    let show = Request::Show {
        number: SequenceNumber::FIRST,
    };
    let state = Request::RunState {
        contract: SequenceNumber::FIRST,
        run: run(1),
    };
    for request in [show, state] {
        for party in ["alice", "bob", "tdc"] {
            world.does(party, request.clone());
        }
        assert!(matches!(
            world.answer(&peer("mallory"), &request),
            Err(LedgerError::Refused(Refusal::NotAParty { .. }))
        ));
    }
}

#[test]
fn a_proof_from_the_future_is_refused() {
    let mut world = World::registered();
    let request = Request::Consistency { older: 2, newer: 3 };
    assert!(matches!(
        world.answer(&peer("tdc"), &request),
        Err(LedgerError::Refused(Refusal::FutureSize { size: 1, .. }))
    ));
}

// Replay.

#[test]
fn entries_that_break_the_rules_are_not_replayed() {
    let mut world = World::running();
    let entry = |author: &str, event| Entry::new(name(author), world.now, event);
    let forged = Event::Lease {
        contract: SequenceNumber::FIRST,
        run: run(1),
        dataset: of("alice"),
        first_step: 5,
        end_step: 10,
    };
    let by_other = Event::Lease {
        contract: SequenceNumber::FIRST,
        run: run(1),
        dataset: of("alice"),
        first_step: 0,
        end_step: 10,
    };
    let renumbered = Event::ContractRegistered {
        number: SequenceNumber::new(3).unwrap(),
        envelope: world
            .contract(|document| document["purpose"] = "x".into())
            .to_json(),
    };
    let entries = [
        entry("alice", forged),
        entry("bob", by_other),
        entry("tdc", renumbered),
    ];
    let before = format!("{:?}", world.book);
    for entry in entries {
        assert!(matches!(
            world.book.append(&entry),
            Err(ApplyError::Refused { index: 2, .. })
        ));
    }
    let early = Entry::new(
        name("alice"),
        world.now - TimeDelta::seconds(1),
        Event::Lease {
            contract: SequenceNumber::FIRST,
            run: run(1),
            dataset: of("alice"),
            first_step: 0,
            end_step: 10,
        },
    );
    assert!(matches!(
        world.book.append(&early),
        Err(ApplyError::Time { index: 2, .. })
    ));
    assert_eq!(format!("{:?}", world.book), before);
}

/// What a party tries next; most attempts are refused, and that is part of the test.
#[derive(Debug, Clone)]
enum Attempt {
    Open(u32),
    Lease(bool, u32, u64, u64),
    Settle(bool, u32, u64, Option<u8>),
    Close(u32, u8),
    Wait(i64),
    Revoke,
}

fn attempts() -> impl Strategy<Value = Vec<Attempt>> {
    let attempt = prop_oneof![
        3 => (1u32..4).prop_map(Attempt::Open),
        8 => (any::<bool>(), 1u32..3, 0u64..4, 1u64..40)
            .prop_map(|(alice, run, gap, more)| Attempt::Lease(alice, run, gap.saturating_sub(2), more)),
        5 => (any::<bool>(), 1u32..3, 0u64..60, prop::option::of(0u8..4))
            .prop_map(|(alice, run, served, checkpoint)| Attempt::Settle(alice, run, served, checkpoint)),
        1 => (1u32..3, any::<u8>()).prop_map(|(run, receipt)| Attempt::Close(run, receipt % 2)),
        2 => (0i64..1000).prop_map(Attempt::Wait),
        1 => Just(Attempt::Revoke),
    ];
    prop::collection::vec(attempt, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn replaying_the_log_gives_the_same_book_and_no_step_is_leased_twice(attempts in attempts()) {
        let mut world = World::registered();
        world.limit = StepLimit(200);
        let registered = world.book.state().contract(SequenceNumber::FIRST).unwrap();
        let mut log = vec![Entry::decode(&registered.registered.entry.encode()).unwrap()];
        let mut leased: std::collections::BTreeMap<(DatasetRef, RunNumber), u64> = Default::default();
        for attempt in attempts {
            let (party, request) = match attempt {
                Attempt::Open(number) => ("tdc", world.opening(number)),
                Attempt::Lease(alice, number, gap, more) => {
                    let party = if alice { "alice" } else { "bob" };
                    let at = leased.get(&(of(party), run(number))).copied().unwrap_or(0) + gap;
                    (party, lease(party, number, at, at + more))
                }
                Attempt::Settle(alice, number, served, checkpoint) => {
                    let party = if alice { "alice" } else { "bob" };
                    (party, settle(party, number, served, checkpoint.map(|c| Digest::of(&[c]))))
                }
                Attempt::Close(number, receipt) => ("tdc", close(number, &[receipt])),
                Attempt::Wait(seconds) => {
                    world.now += TimeDelta::seconds(seconds);
                    continue;
                }
                Attempt::Revoke => ("bob", revocation(&world, "bob", &world.bob)),
            };
            if let Ok(Verdict::Append(entry)) = world.check(party, &request) {
                if let Event::Lease { run, dataset, first_step, end_step, .. } = &entry.event {
                    let end = leased.entry((dataset.clone(), *run)).or_default();
                    prop_assert_eq!(*end, *first_step);
                    *end = *end_step;
                }
                world.book.append(&entry).unwrap();
                log.push(Entry::decode(&entry.encode()).unwrap());
            }
        }
        for party in ["alice", "bob"] {
            let total: u64 = leased.iter().filter(|((d, _), _)| *d == of(party)).map(|(_, end)| end).sum();
            prop_assert_eq!(world.book.state().leased(SequenceNumber::FIRST, &of(party)), total);
            prop_assert!(total <= 200);
        }
        let mut replayed = Book::new(world.book.state().members().clone());
        for entry in &log {
            replayed.append(entry).unwrap();
        }
        prop_assert_eq!(format!("{replayed:?}"), format!("{:?}", world.book));
        prop_assert_eq!(replayed.head(), world.book.head());
    }
}

// The remote client.

/// A keeper at the other end, and what is done to its answers on the way.
struct Wire<F> {
    world: Mutex<World>,
    tamper: F,
    peer: Requester,
}

impl Ledger for Mutex<World> {
    fn submit<'a>(
        &'a self,
        peer: &'a Requester,
        request: Request,
    ) -> BoxFuture<'a, Result<Response, LedgerError>> {
        Box::pin(async move { self.lock().unwrap().answer(peer, &request) })
    }
}

impl<F: Fn(&Request, Vec<u8>) -> Vec<u8> + Send + Sync> Transport for &Wire<F> {
    async fn exchange(&self, request: Vec<u8>) -> Result<Vec<u8>, TransportError> {
        let answered = answer(&self.world, &self.peer, &request).await;
        let request = postcard::from_bytes(&request).unwrap();
        Ok((self.tamper)(&request, answered))
    }
}

fn wire<F: Fn(&Request, Vec<u8>) -> Vec<u8> + Send + Sync>(
    world: World,
    party: &str,
    tamper: F,
) -> Wire<F> {
    Wire {
        world: Mutex::new(world),
        tamper,
        peer: peer(party),
    }
}

fn client<F: Fn(&Request, Vec<u8>) -> Vec<u8> + Send + Sync>(
    wire: &Wire<F>,
) -> RemoteLedger<&Wire<F>> {
    let members = wire.world.lock().unwrap().book.state().members().clone();
    RemoteLedger::new(wire, wire.peer.clone(), members)
}

#[tokio::test]
async fn a_remote_ledger_answers_as_the_ledger_itself() {
    let wire = wire(World::running(), "alice", |_, bytes| bytes);
    let ledger = client(&wire);
    let alice = peer("alice");
    for step in 0..5 {
        let response = ledger
            .submit(&alice, lease("alice", 1, step, step + 1))
            .await
            .unwrap();
        assert!(matches!(response, Response::Leased { .. }));
    }
    assert_eq!(ledger.seen().await.unwrap().claimed().size, 7);
    let refused = ledger
        .submit(&alice, lease("alice", 1, 0, 1))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), "ledger.lease-not-contiguous");
    let view = ledger
        .submit(
            &alice,
            Request::RunState {
                contract: SequenceNumber::FIRST,
                run: run(1),
            },
        )
        .await
        .unwrap();
    assert!(matches!(view, Response::Run(view) if view.datasets[0].leased == 5));
    let other = ledger.submit(&peer("bob"), lease("bob", 1, 0, 1)).await;
    assert!(matches!(other, Err(LedgerError::Unavailable { .. })));
}

#[tokio::test]
async fn every_altered_byte_of_an_answer_with_a_receipt_is_noticed() {
    let length = {
        let wire = wire(World::running(), "alice", |_, bytes| bytes);
        let request = postcard::to_allocvec(&lease("alice", 1, 0, 10)).unwrap();
        (&wire).exchange(request).await.unwrap().len()
    };
    for position in 0..length {
        let wire = wire(World::running(), "alice", move |_, mut bytes| {
            bytes[position.min(length - 1)] ^= 1;
            bytes
        });
        let ledger = client(&wire);
        let answer = ledger
            .submit(&peer("alice"), lease("alice", 1, 0, 10))
            .await;
        assert!(answer.is_err(), "byte {position}");
    }
}

#[tokio::test]
async fn a_receipt_for_another_lease_is_not_believed() {
    let first: Mutex<Option<Vec<u8>>> = Mutex::new(None);
    let wire = wire(World::running(), "alice", move |_, bytes| {
        first.lock().unwrap().get_or_insert(bytes).clone()
    });
    let ledger = client(&wire);
    ledger
        .submit(&peer("alice"), lease("alice", 1, 0, 10))
        .await
        .unwrap();
    let replayed = ledger
        .submit(&peer("alice"), lease("alice", 1, 10, 20))
        .await;
    assert!(matches!(replayed, Err(LedgerError::Untrusted { .. })));
}

#[tokio::test]
async fn a_ledger_that_was_rolled_back_is_noticed() {
    let wire = wire(World::running(), "alice", |_, bytes| bytes);
    let ledger = client(&wire);
    let before = wire.world.lock().unwrap().book.clone();
    ledger
        .submit(&peer("alice"), lease("alice", 1, 0, 100))
        .await
        .unwrap();
    let seen = ledger.seen().await.unwrap();
    wire.world.lock().unwrap().book = before;
    let answer = ledger.submit(&peer("alice"), Request::Checkpoint).await;
    assert!(
        matches!(&answer, Err(LedgerError::Untrusted { reason }) if reason.contains("rolled back"))
    );
    // Longer again, with another entry in the place of the forgotten one.
    let answer = ledger.submit(&peer("alice"), lease("alice", 1, 0, 7)).await;
    assert!(matches!(answer, Err(LedgerError::Untrusted { .. })));
    let answer = ledger.submit(&peer("alice"), lease("alice", 1, 7, 8)).await;
    assert!(
        matches!(&answer, Err(LedgerError::Untrusted { reason }) if reason.contains("does not continue"))
    );
    assert_eq!(answer.unwrap_err().exit().code(), 13);
    // A client that starts anew and remembers notices as well.
    let again = client(&wire).remembering(seen).unwrap();
    let answer = again.submit(&peer("alice"), Request::Checkpoint).await;
    assert!(matches!(answer, Err(LedgerError::Untrusted { .. })));
}

#[tokio::test]
async fn an_answer_to_another_question_is_not_believed() {
    let wire = wire(World::running(), "alice", |_, _| {
        let reply: Result<Response, LedgerError> = Ok(Response::Consistency { proof: vec![] });
        postcard::to_allocvec(&reply).unwrap()
    });
    for request in [
        lease("alice", 1, 0, 1),
        Request::Checkpoint,
        Request::Show {
            number: SequenceNumber::FIRST,
        },
    ] {
        let answer = client(&wire).submit(&peer("alice"), request).await;
        assert!(matches!(answer, Err(LedgerError::Untrusted { .. })));
    }
}

#[tokio::test]
async fn bytes_that_are_no_request_are_refused() {
    let world = Mutex::new(World::registered());
    let mut longer = postcard::to_allocvec(&Request::Checkpoint).unwrap();
    longer.push(0);
    for bytes in [
        vec![],
        vec![0xff; 10],
        longer,
        vec![0; REQUEST_SIZE_LIMIT + 1],
    ] {
        let answered = answer(&world, &peer("tdc"), &bytes).await;
        let reply: Result<Response, LedgerError> = postcard::from_bytes(&answered).unwrap();
        assert!(matches!(
            reply,
            Err(LedgerError::Refused(Refusal::RequestUnreadable { .. }))
        ));
    }
}
