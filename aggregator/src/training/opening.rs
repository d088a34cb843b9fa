//! Opening a run: everybody is there, the ledger agrees, every agent takes part.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{TimeDelta, Utc};
use tributary_accounting::Steps as StepCount;
use tributary_console::{Blame, Console, ErrorCode, Failure, FailureContext as _, wait_visibly};
use tributary_protocol::ledger::{
    ContractView, Ledger as _, LedgerError, Request, Requester, Response, RunView,
};
use tributary_protocol::{
    Authorisation, CheckpointKey, Contract, Digest, Envelope, KeyShare, PartyName, RunNumber,
};

use crate::failures::ledger_failure;

use super::feed::{Feed, FeedTerms, JoinedFeed};
use super::ledger::{ThroughAgent, ledger_of};
use super::peers::Peers;
use super::run_folder::RunFolder;
use super::settings::TrainArgs;
use super::setup::Setup;

/// An authorisation made on the spot is for this process; a resumed run makes another.
const AUTHORISATION_HOURS: i64 = 24;

/// A lease covers a twentieth of a run, and at most this many steps: what a crash can lose.
const LONGEST_WINDOW: u64 = 32;

/// An open run with all its agents.
pub(super) struct Opening {
    pub(super) run: RunNumber,
    pub(super) feeds: Vec<Feed>,
    pub(super) checkpoint: Option<Digest>,
    pub(super) leased_by_earlier_runs: Vec<u64>,
    pub(super) window: u64,
    pub(super) folder: RunFolder,
    ledger: tributary_protocol::ledger::RemoteLedger<ThroughAgent>,
    me: Requester,
}

impl Opening {
    pub(super) async fn open(
        setup: &Setup,
        args: &TrainArgs,
        peers: &Arc<Peers>,
        console: &Console,
    ) -> Result<Self, Failure> {
        let contract = setup.contract();
        attest_all(contract, peers, args, console).await?;
        let (ledger, me) = ledger_of(peers, contract);
        let number = setup.registered.number;
        let view = match ledger.submit(&me, Request::Show { number }).await {
            Ok(Response::Contract(view)) => view,
            other => return Err(unexpected(other)),
        };
        check_view(&view, contract)?;
        let run = choose_run(&view, contract, args)?;
        if !args.resume {
            expect_budget(&view, contract)?;
        }
        let envelope = authorise(setup, run)?;
        let authorisation = envelope.payload_digest();
        let opened = Request::OpenRun {
            contract: number,
            run,
            authorisation: envelope,
        };
        let state = match ledger.submit(&me, opened).await {
            Ok(Response::RunOpened { run, .. }) => run,
            other => return Err(unexpected(other)),
        };
        console.note(format_args!(
            "contract {number}, run {run}: {} on the ledger of {}",
            if args.resume {
                "taken up again"
            } else {
                "opened"
            },
            contract.document().ledger.members[0]
        ));
        let window = (contract.steps().get() / 20).clamp(1, LONGEST_WINDOW);
        let feeds = join_all(setup, args, peers, console, &state, authorisation, window).await?;
        Ok(Self {
            run,
            feeds,
            checkpoint: state.checkpoint,
            leased_by_earlier_runs: state
                .datasets
                .iter()
                .map(|dataset| dataset.leased_in_all_runs - dataset.leased)
                .collect(),
            window,
            folder: RunFolder::open(setup.home.folder(), number, run)?,
            ledger,
            me,
        })
    }

    /// The key of the run's checkpoints, from the shares that the agents gave this attested program.
    pub(super) fn checkpoint_key(&self, contract: &Contract) -> Result<CheckpointKey, Failure> {
        let shares: BTreeMap<PartyName, KeyShare> = self
            .feeds
            .iter()
            .map(|feed| (feed.dataset.owner.clone(), feed.share.clone()))
            .collect();
        CheckpointKey::derive(&shares, contract, self.run)
            .or_fail(ErrorCode::INTERNAL, "the checkpoint key")
    }

    /// Records the end of the run.
    pub(super) async fn close(&self, setup: &Setup, receipt: Digest) -> Result<(), Failure> {
        let request = Request::CloseRun {
            contract: setup.registered.number,
            run: self.run,
            receipt,
        };
        match self.ledger.submit(&self.me, request).await {
            Ok(Response::RunClosed { .. }) => Ok(()),
            other => Err(unexpected(other)),
        }
    }
}

/// Everybody is here and attested before anything is opened: an absent agent costs nothing.
async fn attest_all(
    contract: &Contract,
    peers: &Peers,
    args: &TrainArgs,
    console: &Console,
) -> Result<(), Failure> {
    for agent in contract.providers() {
        let what = match args.addresses().get(agent) {
            Some(address) => format!("agent {agent} at {address}"),
            None => format!("agent {agent} to dial"),
        };
        let Some(channel) = wait_visibly(console, &what, args.wait(), peers.channel(agent)).await
        else {
            let last = peers
                .last_error(agent)
                .map(|error| format!(" (last: {error})"))
                .unwrap_or_default();
            return Err(Failure::new(
                ErrorCode::PEER_ABSENT,
                format!("expected {what} within {} s, it did not come{last}", args.wait),
            )
            .blame(Blame::Peer)
            .hint("start it with `agent serve`, and pass --agent NAME=ADDR or have it --dial; nothing was spent"));
        };
        let verdict = channel?.verdict();
        console.note(format_args!(
            "agent {agent} attested this program and was attested: {verdict}"
        ));
    }
    Ok(())
}

fn check_view(view: &ContractView, contract: &Contract) -> Result<(), Failure> {
    if view.envelope.payload_digest() != contract.digest() {
        return Err(Failure::new(
            ErrorCode::CONTRACT_MISMATCH,
            format!(
                "expected contract {} to be {} on the ledger, got {}",
                view.number,
                contract.digest(),
                view.envelope.payload_digest()
            ),
        ));
    }
    if let Some(revoked) = &view.revoked {
        return Err(Failure::new(
            ErrorCode::REVOKED,
            format!(
                "contract {} was revoked by {} at {}: {}",
                view.number, revoked.by, revoked.at, revoked.reason
            ),
        )
        .blame(Blame::Contract)
        .hint("agree on a new contract"));
    }
    Ok(())
}

fn choose_run(
    view: &ContractView,
    contract: &Contract,
    args: &TrainArgs,
) -> Result<RunNumber, Failure> {
    let next = RunNumber::new(view.runs_opened.saturating_add(1)).unwrap_or(RunNumber::FIRST);
    match (view.open_run, args.resume) {
        (Some(open), true) if args.run.is_none_or(|run| run == open) => Ok(open),
        // A unit that names its run can be started again and again: it begins, goes on, and is done.
        (None, true) if args.run == Some(next) && next.get() <= contract.runs() => Ok(next),
        (open, true) => Err(Failure::new(
            ErrorCode::USAGE,
            match open {
                Some(open) => format!(
                    "expected to resume the open run {open}, got --run {}",
                    args.run.unwrap_or(open)
                ),
                None => format!(
                    "expected an open run of contract {} to resume; there is none",
                    view.number
                ),
            },
        )
        .hint("leave --resume out to begin a new run")),
        (Some(open), false) if args.run != Some(next) => Err(Failure::new(
            ErrorCode::USAGE,
            format!("run {open} of contract {} is open", view.number),
        )
        .hint(format!(
            "go on with it by --resume, or give it up and begin the next by --run {next}"
        ))),
        (_, false) if next.get() > contract.runs() => Err(Failure::new(
            ErrorCode::CONTRACT_USED_UP,
            format!(
                "expected one of {} runs of contract {}, all were begun",
                contract.runs(),
                view.number
            ),
        )
        .blame(Blame::Contract)
        .hint("agree on a new contract")),
        (_, false) if args.run.is_some_and(|run| run != next) => Err(Failure::new(
            ErrorCode::USAGE,
            format!(
                "expected --run {next}, the next run of contract {}",
                view.number
            ),
        )),
        (_, false) => Ok(next),
    }
}

/// Refuses a run that some dataset's limit has no room for, before it is opened. The agents refuse it, too.
fn expect_budget(view: &ContractView, contract: &Contract) -> Result<(), Failure> {
    let plan = contract
        .plan()
        .or_fail(ErrorCode::CONTRACT_INVALID, "the plan")?;
    for dataset in &plan.datasets {
        let spent = view
            .leased
            .iter()
            .find(|leased| leased.dataset == dataset.dataset)
            .map_or(0, |leased| leased.steps);
        let after = contract
            .epsilon_after(
                StepCount::new(spent + contract.steps().get()),
                dataset.capacity.remaining_delta,
            )
            .or_fail(ErrorCode::CONTRACT_INVALID, "the plan")?;
        if after > dataset.limit {
            return Err(Failure::new(
                ErrorCode::BUDGET_EXHAUSTED,
                format!(
                    "{}: expected at most epsilon {}, {spent} steps are spent and this run of {} more would come to {after}",
                    dataset.dataset,
                    dataset.limit,
                    contract.steps().get()
                ),
            )
            .blame(Blame::Contract)
            .hint("agree on a new contract; nothing was spent"));
        }
    }
    Ok(())
}

fn authorise(setup: &Setup, run: RunNumber) -> Result<Envelope, Failure> {
    if let Some(envelope) = &setup.authorisation {
        return Ok(envelope.clone());
    }
    Authorisation::issue(
        setup.contract().digest(),
        run,
        setup.identity.public(),
        Utc::now() + TimeDelta::hours(AUTHORISATION_HOURS),
        &setup.identity,
    )
    .or_fail(ErrorCode::INTERNAL, "the authorisation")
}

async fn join_all(
    setup: &Setup,
    args: &TrainArgs,
    peers: &Arc<Peers>,
    console: &Console,
    state: &RunView,
    authorisation: Digest,
    window: u64,
) -> Result<Vec<Feed>, Failure> {
    let contract = setup.contract();
    let mut joined = Vec::new();
    for (id, dataset) in contract.datasets() {
        let terms = FeedTerms {
            contract: setup.registered.number,
            run: state.run,
            authorisation,
            format: contract
                .batch_format(dataset)
                .or_fail(ErrorCode::CONTRACT_INVALID, &id)?,
            dataset: id,
            steps: contract.steps().get(),
            window,
            patience: args.patience(),
        };
        joined.push(JoinedFeed::join(Arc::clone(peers), terms, console.clone()).await?);
    }
    // Only now, when nobody refuses, does anything cost privacy.
    Ok(joined.into_iter().map(JoinedFeed::start).collect())
}

fn unexpected(answer: Result<Response, LedgerError>) -> Failure {
    match answer {
        Err(error) => ledger_failure(error),
        Ok(_) => Failure::new(
            ErrorCode::PEER_MISBEHAVED,
            "the ledger answers another question",
        ),
    }
}
