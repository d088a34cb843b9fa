//! Crashes, damage, full disks and many askers, against the ledger on a real disk.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use tributary_protocol::ledger::{
    LeaseLimit, Ledger, LedgerError, Members, Refusal, Request, Requester, Response, RunView,
};
use tributary_protocol::{
    Authorisation, Contract, DatasetRef, Digest, Document, Envelope, Identity, PartyName, Role,
    RunNumber, SequenceNumber, SignedContract,
};

use super::embedded::{Clock, EmbeddedLedger};
use super::files::{Faults, NoFaults, Step};
use super::limit::EpsilonLimit;
use super::open_error::LedgerOpenError;

/// A folder with a ledger of alice's, and all identities.
struct World {
    folder: tempfile::TempDir,
    alice: Arc<Identity>,
    tdc: Identity,
    now: DateTime<Utc>,
}

fn name(text: &str) -> PartyName {
    text.parse().unwrap()
}

fn alice() -> Requester {
    Requester {
        party: name("alice"),
        role: Role::Provider,
    }
}

fn tdc() -> Requester {
    Requester {
        party: name("tdc"),
        role: Role::Aggregator,
    }
}

fn digits() -> DatasetRef {
    DatasetRef {
        owner: name("alice"),
        name: "digits".parse().unwrap(),
    }
}

struct Unlimited;

impl LeaseLimit for Unlimited {
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

impl World {
    fn new() -> Self {
        let world = Self::empty();
        drop(world.create().unwrap());
        world
    }

    fn empty() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            alice: Arc::new(Identity::generate()),
            tdc: Identity::generate(),
            now: "2026-11-20T12:00:00Z".parse().unwrap(),
        }
    }

    /// A world whose ledger has run 1 of contract 1 open: two entries.
    async fn running() -> Self {
        let world = Self::new();
        let ledger = world.open().unwrap();
        world.begin(&ledger).await;
        world
    }

    async fn begin(&self, ledger: &EmbeddedLedger) {
        let envelope = self.contract();
        let digest = envelope.payload_digest();
        ledger
            .submit(&tdc(), Request::Register { envelope })
            .await
            .unwrap();
        let expires = self.now + TimeDelta::hours(1);
        let runner = self.tdc.public();
        let authorisation =
            Authorisation::issue(digest, RunNumber::FIRST, runner, expires, &self.tdc).unwrap();
        let request = Request::OpenRun {
            contract: SequenceNumber::FIRST,
            run: RunNumber::FIRST,
            authorisation,
        };
        ledger.submit(&tdc(), request).await.unwrap();
    }

    fn contract(&self) -> Envelope {
        let columns = json!([
            {"name": "image", "type": {"image-u8": {"height": 28, "width": 28, "channels": 1}}},
            {"name": "label", "type": {"label": {"classes": 10}}}
        ]);
        let root = tributary_attest::SimulatedRoot::generate().unwrap();
        let measurement = tributary_attest::Measurement::of_bytes(b"program");
        let policy = tributary_attest::Policy::simulated(root.public_key(), [measurement]);
        let document: Document = serde_json::from_value(json!({
            "version": 1,
            "purpose": "Digits.",
            "parties": [
                {"name": "alice", "role": "provider", "key": self.alice.public()},
                {"name": "tdc", "role": "consumer", "key": self.tdc.public()},
            ],
            "sealing_key": tributary_protocol::SealingKey { x25519: [1; 32], ml_kem_768: Box::new([2; 1184]) },
            "validity": {"not_before": self.now - TimeDelta::days(1), "not_after": self.now + TimeDelta::days(1)},
            "runs": 2,
            "datasets": [
                {"owner": "alice", "name": "digits", "manifest": Digest::of(b"a"), "records": 15000, "columns": columns, "epsilon": 3.0},
            ],
            "pipeline": {
                "combine": "union",
                "input": {"column": "image", "divisor": 255.0, "mean": 0.5, "deviation": 0.5},
                "label": {"column": "label", "classes": 10},
                "model": {"onnx": Digest::of(b"onnx")},
                "loss": "cross-entropy",
                "optimiser": {"kind": "sgd", "learning_rate": 0.5, "momentum": 0.9},
                "steps": 500,
            },
            "privacy": {
                "unit": "record", "people": "disjoint", "sampling_rate": 0.02, "noise_multiplier": 0.8,
                "clipping_norm": 1.0, "delta": 1e-5, "accountant": "rdp",
            },
            "attestation": {"aggregator": policy, "agents": policy, "interval_seconds": 3600},
            "ledger": {"members": ["alice"]},
            "disclosure": {"progress": true, "metrics": "validation"},
        }))
        .unwrap();
        let mut signed = SignedContract::write(&document, &self.tdc).unwrap();
        signed.sign(&self.alice);
        signed.envelope().clone()
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("ledger")
    }

    fn clock(&self) -> Clock {
        let now = self.now;
        Arc::new(move || now)
    }

    fn create(&self) -> Result<EmbeddedLedger, LedgerOpenError> {
        let identity = Arc::clone(&self.alice);
        EmbeddedLedger::create(
            &self.path(),
            &name("alice"),
            identity,
            self.clock(),
            Arc::new(Unlimited),
        )
    }

    fn open(&self) -> Result<EmbeddedLedger, LedgerOpenError> {
        self.open_with(Arc::new(NoFaults))
    }

    fn open_with(&self, faults: Arc<dyn Faults>) -> Result<EmbeddedLedger, LedgerOpenError> {
        open_at(&self.path(), &self.alice, self.clock(), faults)
    }

    fn log_file(&self) -> PathBuf {
        fs::read_dir(self.path().join("log"))
            .unwrap()
            .map(|file| file.unwrap().path())
            .find(|path| path.extension().is_some_and(|e| e == "raftlog"))
            .unwrap()
    }
}

fn open_at(
    folder: &Path,
    identity: &Arc<Identity>,
    clock: Clock,
    faults: Arc<dyn Faults>,
) -> Result<EmbeddedLedger, LedgerOpenError> {
    let identity = Arc::clone(identity);
    EmbeddedLedger::open_with(
        folder,
        &name("alice"),
        identity,
        clock,
        Arc::new(Unlimited),
        faults,
    )
}

fn lease(first_step: u64, end_step: u64) -> Request {
    Request::Lease {
        contract: SequenceNumber::FIRST,
        run: RunNumber::FIRST,
        dataset: digits(),
        first_step,
        end_step,
    }
}

async fn size(ledger: &EmbeddedLedger) -> u64 {
    match ledger.submit(&alice(), Request::Checkpoint).await.unwrap() {
        Response::Checkpoint(head) => head.claimed().size,
        other => panic!("{other:?}"),
    }
}

async fn view(ledger: &EmbeddedLedger) -> RunView {
    let request = Request::RunState {
        contract: SequenceNumber::FIRST,
        run: RunNumber::FIRST,
    };
    match ledger.submit(&alice(), request).await.unwrap() {
        Response::Run(view) => view,
        other => panic!("{other:?}"),
    }
}

fn refused(opened: Result<EmbeddedLedger, LedgerOpenError>) -> LedgerOpenError {
    match opened {
        Ok(_) => panic!("the ledger opened"),
        Err(error) => error,
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let target = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            copy_folder(&file.path(), &target);
        } else {
            fs::copy(file.path(), target).unwrap();
        }
    }
}

// The ordinary path.

#[tokio::test]
async fn what_was_answered_for_is_there_after_a_restart() {
    let world = World::running().await;
    let ledger = world.open().unwrap();
    for step in 0..20 {
        let response = ledger
            .submit(&alice(), lease(step, step + 1))
            .await
            .unwrap();
        let Response::Leased { receipt } = response else {
            panic!()
        };
        receipt.verify(ledger.members()).unwrap();
    }
    let before = view(&ledger).await;
    drop(ledger);
    let ledger = world.open().unwrap();
    assert_eq!(view(&ledger).await, before);
    assert_eq!(size(&ledger).await, 22);
    ledger.submit(&alice(), lease(20, 21)).await.unwrap();
}

#[tokio::test]
async fn refusals_leave_no_trace() {
    let world = World::running().await;
    let ledger = world.open().unwrap();
    let error = ledger.submit(&alice(), lease(5, 6)).await.unwrap_err();
    assert_eq!(error.code(), "ledger.lease-not-contiguous");
    assert_eq!(size(&ledger).await, 2);
}

#[tokio::test]
async fn the_lease_that_would_exceed_epsilon_is_refused() {
    let world = World::new();
    let identity = Arc::clone(&world.alice);
    let limit = Arc::new(EpsilonLimit);
    let ledger = EmbeddedLedger::open(
        &world.path(),
        &name("alice"),
        identity,
        world.clock(),
        limit,
    )
    .unwrap();
    world.begin(&ledger).await;
    let contract = Contract::parse(world.contract().payload()).unwrap();
    let (_, dataset) = contract.datasets().next().unwrap();
    let delta = contract.capacity(dataset).unwrap().remaining_delta;
    let epsilon = |steps| {
        contract
            .epsilon_after(tributary_accounting::Steps::new(steps), delta)
            .unwrap()
    };
    // The most steps that epsilon 3 allows, by the accountant itself.
    let most = (1..500)
        .take_while(|steps| epsilon(*steps).get() <= 3.0)
        .last()
        .unwrap();
    assert!(most < 499, "the test's contract must run out of budget");
    ledger.submit(&alice(), lease(0, most - 1)).await.unwrap();
    let error = ledger
        .submit(&alice(), lease(most - 1, most + 1))
        .await
        .unwrap_err();
    assert_eq!(
        (error.code(), error.exit().code()),
        ("budget.exhausted", 12)
    );
    ledger
        .submit(&alice(), lease(most - 1, most))
        .await
        .unwrap();
    let error = ledger
        .submit(&alice(), lease(most, most + 1))
        .await
        .unwrap_err();
    assert_eq!(error.exit().code(), 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_askers_at_once_lease_every_step_once() {
    let world = World::running().await;
    let ledger = Arc::new(world.open().unwrap());
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(async move {
                let mut mine = Vec::new();
                while mine.len() < 10 {
                    let next = view(&ledger).await.datasets[0].leased;
                    match ledger.submit(&alice(), lease(next, next + 1)).await {
                        Ok(Response::Leased { receipt }) => {
                            receipt.verify(ledger.members()).unwrap();
                            mine.push(next);
                        }
                        Err(LedgerError::Refused(Refusal::LeaseNotContiguous { .. })) => {}
                        other => panic!("{other:?}"),
                    }
                }
                mine
            })
        })
        .collect();
    let mut all = BTreeSet::new();
    for task in tasks {
        for step in task.await.unwrap() {
            assert!(all.insert(step), "step {step} was leased twice");
        }
    }
    assert_eq!(all, (0..160).collect());
    drop(ledger);
    assert_eq!(view(&world.open().unwrap()).await.datasets[0].leased, 160);
}

#[tokio::test]
async fn an_asker_that_goes_away_leaves_a_whole_entry_or_none() {
    let world = World::running().await;
    let ledger = world.open().unwrap();
    for _ in 0..20 {
        let next = view(&ledger).await.datasets[0].leased;
        let asker = alice();
        let mut asking = ledger.submit(&asker, lease(next, next + 1));
        // Polled once, and dropped.
        let waker = std::task::Waker::noop();
        let _ = asking
            .as_mut()
            .poll(&mut std::task::Context::from_waker(waker));
        drop(asking);
    }
    let leased = view(&ledger).await.datasets[0].leased;
    let entries = size(&ledger).await;
    assert_eq!(entries, leased + 2);
    ledger.close().await;
    assert_eq!(size(&world.open().unwrap()).await, entries);
}

#[tokio::test]
async fn a_closed_ledger_answers_nothing_more_and_another_process_may_open_it() {
    let world = World::running().await;
    let ledger = world.open().unwrap();
    ledger.close().await;
    drop(world.open().unwrap());
    for request in [Request::Checkpoint, lease(0, 1)] {
        let error = ledger.submit(&alice(), request).await.unwrap_err();
        assert_eq!(error.exit().code(), 13);
    }
}

// Making and opening.

#[test]
fn a_ledger_is_never_made_over_another_or_opened_where_none_is() {
    let world = World::empty();
    assert!(matches!(refused(world.open()), LedgerOpenError::Missing(_)));
    drop(world.create().unwrap());
    assert!(matches!(
        refused(world.create()),
        LedgerOpenError::Exists(_)
    ));
    drop(world.open().unwrap());
}

#[test]
fn a_second_process_is_told_who_has_the_ledger() {
    let world = World::new();
    let first = world.open().unwrap();
    let error = refused(world.open());
    assert!(matches!(
        &error,
        LedgerOpenError::InUse { holder, .. } if *holder == format!("pid {}", std::process::id())
    ));
    assert_eq!(LedgerError::from(error).exit().code(), 13);
    drop(first);
    drop(world.open().unwrap());
}

#[tokio::test]
async fn another_identity_does_not_open_the_ledger() {
    let world = World::running().await;
    let mallory = Arc::new(Identity::generate());
    let opened = open_at(&world.path(), &mallory, world.clock(), Arc::new(NoFaults));
    assert!(matches!(refused(opened), LedgerOpenError::Head { .. }));
}

// Damage.

#[tokio::test]
async fn a_missing_log_or_head_is_refused() {
    let world = World::running().await;
    let copy = world.folder.path().join("copy");
    for missing in ["log", "head"] {
        copy_folder(&world.path(), &copy);
        match missing {
            "log" => fs::remove_dir_all(copy.join("log")).unwrap(),
            other => fs::remove_file(copy.join(other)).unwrap(),
        }
        let opened = open_at(&copy, &world.alice, world.clock(), Arc::new(NoFaults));
        let error = refused(opened);
        assert!(
            matches!(
                error,
                LedgerOpenError::Truncated { .. } | LedgerOpenError::Io { .. }
            ),
            "{missing}: {error}"
        );
        fs::remove_dir_all(&copy).unwrap();
    }
    fs::remove_file(world.log_file()).unwrap();
    assert!(matches!(
        refused(world.open()),
        LedgerOpenError::Truncated {
            expected: 2,
            found: 0
        }
    ));
    // The refusal itself must not make the next start believe in an empty ledger.
    assert!(matches!(
        refused(world.open()),
        LedgerOpenError::Truncated { .. }
    ));
}

#[tokio::test]
async fn a_log_that_was_rolled_back_or_replaced_is_refused() {
    let world = World::running().await;
    let old = world.folder.path().join("old");
    copy_folder(&world.path().join("log"), &old);
    let ledger = world.open().unwrap();
    ledger.submit(&alice(), lease(0, 100)).await.unwrap();
    ledger.submit(&alice(), lease(100, 200)).await.unwrap();
    drop(ledger);
    let new = world.folder.path().join("new");
    fs::rename(world.path().join("log"), &new).unwrap();
    copy_folder(&old, &world.path().join("log"));
    assert!(matches!(
        refused(world.open()),
        LedgerOpenError::Truncated {
            expected: 4,
            found: 2
        }
    ));

    // The log of another ledger, of the same agent and as long.
    let other = World {
        folder: tempfile::tempdir().unwrap(),
        alice: Arc::clone(&world.alice),
        tdc: Identity::generate(),
        now: world.now,
    };
    drop(other.create().unwrap());
    let ledger = other.open().unwrap();
    other.begin(&ledger).await;
    ledger.submit(&alice(), lease(0, 1)).await.unwrap();
    ledger.submit(&alice(), lease(1, 2)).await.unwrap();
    drop(ledger);
    fs::remove_dir_all(world.path().join("log")).unwrap();
    copy_folder(&other.path().join("log"), &world.path().join("log"));
    assert!(matches!(
        refused(world.open()),
        LedgerOpenError::OtherEntries { size: 4 }
    ));

    fs::remove_dir_all(world.path().join("log")).unwrap();
    fs::rename(&new, world.path().join("log")).unwrap();
    assert_eq!(size(&world.open().unwrap()).await, 4);
}

#[tokio::test]
async fn a_head_that_was_rolled_back_is_refused() {
    let world = World::running().await;
    let head = fs::read(world.path().join("head")).unwrap();
    let ledger = world.open().unwrap();
    ledger.submit(&alice(), lease(0, 1)).await.unwrap();
    ledger.submit(&alice(), lease(1, 2)).await.unwrap();
    drop(ledger);
    fs::write(world.path().join("head"), head).unwrap();
    assert!(matches!(
        refused(world.open()),
        LedgerOpenError::HeadBehind {
            expected: 2,
            found: 4
        }
    ));
}

#[tokio::test]
async fn every_altered_byte_of_the_head_is_refused() {
    let world = World::running().await;
    let path = world.path().join("head");
    let good = fs::read(&path).unwrap();
    for position in 0..good.len() {
        let mut bad = good.clone();
        bad[position] ^= 1;
        fs::write(&path, &bad).unwrap();
        refused(world.open());
        fs::write(&path, &good[..position]).unwrap();
        refused(world.open());
    }
    fs::write(&path, &good).unwrap();
    drop(world.open().unwrap());
}

#[tokio::test]
async fn a_flipped_byte_or_a_cut_anywhere_in_the_log_is_refused() {
    let world = World::running().await;
    let ledger = world.open().unwrap();
    for step in 0..3 {
        ledger
            .submit(&alice(), lease(step, step + 1))
            .await
            .unwrap();
    }
    drop(ledger);
    let path = world.log_file();
    let good = fs::read(&path).unwrap();
    // raft-engine's file header ends in eight bytes that describe padding, which it does not write: no entry depends on them.
    let padding = 61..69;
    // All of the file's header and of the last record, and every so often in the long envelopes between.
    let dense = |position: usize| position < 96 || position + 300 > good.len();
    let positions = (0..good.len()).filter(|position| dense(*position) || position % 61 == 0);
    let mut accepted = Vec::new();
    for position in positions {
        let mut bad = good.clone();
        bad[position] ^= 1 << (position % 8);
        for (what, bytes) in [("flipped", &bad[..]), ("cut", &good[..position])] {
            fs::write(&path, bytes).unwrap();
            match world.open() {
                Ok(ledger) if what == "flipped" && padding.contains(&position) => {
                    assert_eq!(size(&ledger).await, 5);
                    ledger.close().await;
                    fs::write(&path, &good).unwrap();
                    continue;
                }
                Ok(_) => accepted.push((what, position)),
                Err(error) => assert_eq!(LedgerError::from(error).exit().code(), 13),
            }
            if accepted.is_empty() {
                assert_eq!(
                    fs::read(&path).unwrap(),
                    bytes,
                    "a refused log stays as it was found"
                );
            }
        }
    }
    assert_eq!(accepted, [], "of {} bytes", good.len());
    fs::write(&path, &good).unwrap();
    assert_eq!(size(&world.open().unwrap()).await, 5);
}

#[tokio::test]
async fn records_that_somebody_else_appended_are_refused() {
    let world = World::running().await;
    let ledger = world.open().unwrap();
    ledger.submit(&alice(), lease(0, 1)).await.unwrap();
    drop(ledger);
    let forger = Identity::generate();
    let origin = Members::single(name("alice"), world.alice.public())
        .origin()
        .clone();
    let (mut log, entries) = super::log::open(
        &world.path().join("log"),
        &origin,
        &world.alice.public(),
        3,
        Arc::new(NoFaults),
    )
    .unwrap();
    let mut forged = entries.last().unwrap().clone();
    if let tributary_protocol::ledger::Event::Lease {
        first_step,
        end_step,
        ..
    } = &mut forged.event
    {
        (*first_step, *end_step) = (1, 2);
    }
    log.append(&forged, &forger).unwrap();
    drop(log);
    assert!(matches!(
        refused(world.open()),
        LedgerOpenError::Record { index: 4, .. }
    ));
}

// Crashes.

#[tokio::test]
async fn a_power_cut_within_a_record_loses_only_what_was_never_answered() {
    let world = World::running().await;
    let ledger = world.open().unwrap();
    ledger.submit(&alice(), lease(0, 1)).await.unwrap();
    drop(ledger);
    let path = world.log_file();
    let answered = fs::read(&path).unwrap();
    let head = fs::read(world.path().join("head")).unwrap();
    let ledger = world.open().unwrap();
    ledger.submit(&alice(), lease(1, 2)).await.unwrap();
    drop(ledger);
    let whole = fs::read(&path).unwrap();
    let ends = (answered.len()..whole.len())
        .step_by(5)
        .chain([whole.len() - 1, whole.len()]);
    for end in ends {
        for zeros in [0, 5000] {
            // As a disk leaves it: the head of before, part of the record, and perhaps a hole of zeros behind it.
            let mut torn = whole[..end].to_vec();
            torn.resize(end + zeros, 0);
            fs::write(&path, torn).unwrap();
            fs::write(world.path().join("head"), &head).unwrap();
            let ledger = world.open().unwrap();
            let leased = view(&ledger).await.datasets[0].leased;
            assert_eq!(leased, if end == whole.len() { 2 } else { 1 });
            ledger
                .submit(&alice(), lease(leased, leased + 1))
                .await
                .unwrap();
        }
    }
}

/// What happens to a disk.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// No room is left. raft-engine knows this by the word `nospace` in the message.
    Full,
    /// It fails.
    Broken,
    /// The power goes in the middle of a write, and nothing is repaired after it.
    PowerCut,
}

/// Fails one step from its nth time on, for good: a disk that is full or broken stays so.
struct FailFrom {
    step: Step,
    fault: Fault,
    before: Mutex<u32>,
}

impl Faults for FailFrom {
    fn at(&self, step: Step, length: usize) -> Result<(), (usize, io::Error)> {
        let mut before = self.before.lock().unwrap();
        if *before > 0 {
            *before -= u32::from(step == self.step);
            return Ok(());
        }
        let fail = |kind, message: &str| io::Error::new(kind, message);
        match self.fault {
            Fault::PowerCut if step == self.step => {
                Err((length / 2, fail(io::ErrorKind::Other, "cut")))
            }
            Fault::PowerCut if step == Step::TruncateLog => {
                Err((0, fail(io::ErrorKind::Other, "cut")))
            }
            Fault::Full if step == self.step => {
                Err((0, fail(io::ErrorKind::StorageFull, "nospace")))
            }
            Fault::Broken if step == self.step => Err((0, fail(io::ErrorKind::Other, "broken"))),
            _ => Ok(()),
        }
    }
}

#[tokio::test]
async fn after_a_failed_write_nothing_more_is_taken_until_the_ledger_is_opened_again() {
    for (step, fault) in [
        (Step::WriteLog, Fault::Full),
        (Step::WriteLog, Fault::Broken),
        (Step::WriteLog, Fault::PowerCut),
        (Step::SyncLog, Fault::Broken),
        (Step::ReplaceHead, Fault::Full),
        (Step::ReplaceHead, Fault::Broken),
    ] {
        let case = format!("{step:?} {fault:?}");
        let world = World::running().await;
        let faults = Arc::new(FailFrom {
            step,
            fault,
            before: Mutex::new(3),
        });
        let ledger = world.open_with(faults).unwrap();
        let mut answered = 0;
        let error = loop {
            match ledger.submit(&alice(), lease(answered, answered + 1)).await {
                Ok(_) => answered += 1,
                Err(error) => break error,
            }
            assert!(answered < 10, "{case}: the fault never came");
        };
        assert_eq!(error.exit().code(), 13, "{case}: {error}");
        let mut codes = Vec::new();
        for next in [answered, answered + 1] {
            let asked = ledger.submit(&alice(), lease(next, next + 1)).await;
            codes.push(asked.unwrap_err().exit().code());
        }
        // One of the two follows the last entry and finds the ledger closed; the other leaves a gap or overlaps.
        assert!(codes.contains(&13), "{case}: {codes:?}");
        assert_eq!(size(&ledger).await, answered + 2, "{case}: reading goes on");
        drop(ledger);

        let ledger = world
            .open()
            .unwrap_or_else(|error| panic!("{case}: {error}"));
        let leased = view(&ledger).await.datasets[0].leased;
        // What was answered is kept; the entry in between may have reached the disk, and is spent then.
        assert!(
            (answered..=answered + 1).contains(&leased),
            "{case}: {answered} answered, {leased} kept"
        );
        ledger
            .submit(&alice(), lease(leased, leased + 1))
            .await
            .unwrap();
        drop(ledger);
        assert_eq!(
            view(&world.open().unwrap()).await.datasets[0].leased,
            leased + 1,
            "{case}"
        );
    }
}
