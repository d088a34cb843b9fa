//! `agent serve`: listens, dials out, or both; serves records to attested aggregators and keeps the ledger.
//!
//! A channel arrives or is dialled (`links`), becomes a session (`session`), whose requests are judged by `runs` with the
//! contract book, the ledger (`ledgers`), the meter and the vault. Only a session with an attested aggregator can reach the sampler.

mod ledgers;
mod links;
mod refusals;
mod runs;
mod session;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use tokio::sync::Mutex;
use tributary_attest::{Attester, Collateral, Machine, Measurement, Tee, TeeChoice};
use tributary_console::{Blame, ByteSize, Console, ErrorCode, Failure, FailureContext as _};
use tributary_protocol::{
    ConsumerAccess, Identity, LocalParty, PartyName, Passphrase, SignedAuthorisations,
    TermsDirectory,
};
use tributary_protocol::{Endpoint, EndpointOptions};

use self::ledgers::Ledgers;
use self::runs::Runs;
use crate::failures::{endpoint_failure, folder_failure, ledger_failure, vault_failure};
use crate::home::AgentHome;
use crate::ledger::{EmbeddedLedger, EpsilonLimit, system_clock};
use crate::meter::Meter;
use crate::vault::{CacheSize, Owner, Vault};
use tributary_console_collateral::CollateralArgs;

/// Serves this party's datasets under the contracts that it has signed.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  agent serve --home alice --passphrase-file alice.pass --listen 127.0.0.1:7001
  agent serve --home bob --passphrase-file bob.pass --dial aggregator.example:7100 --ledger alice=alice.example:7001
  agent serve --home eve --passphrase-file eve.pass --listen 0.0.0.0:7001 --tee sev-snp --collateral /var/lib/tributary/collateral

The collateral folder is read again on SIGHUP, and within a minute when it changes; every peer is then judged anew.")]
pub struct ServeArgs {
    /// The agent's folder, made by `agent init`.
    #[arg(long, env = "TRIBUTARY_HOME", value_name = "DIR")]
    pub home: PathBuf,
    /// A file whose first line opens the private key and the vault.
    #[arg(long, env = "TRIBUTARY_PASSPHRASE_FILE", value_name = "FILE")]
    pub passphrase_file: PathBuf,
    /// Where aggregators, and agents that ask this one's ledger, reach it.
    #[arg(
        long,
        env = "TRIBUTARY_LISTEN",
        value_name = "ADDR",
        required_unless_present = "dial"
    )]
    pub listen: Option<SocketAddr>,
    /// An aggregator to dial, for agents behind a firewall that lets nothing in. Tried until it answers.
    #[arg(long, value_name = "HOST:PORT")]
    pub dial: Vec<String>,
    /// Where the agent listens that keeps a contract's ledger, if it is not this one.
    #[arg(long, value_name = "NAME=HOST:PORT", value_parser = parse_ledger)]
    pub ledger: Vec<(PartyName, String)>,
    /// Decrypted pages that are kept in memory, for each dataset.
    #[arg(
        long,
        env = "TRIBUTARY_CACHE",
        value_name = "SIZE",
        default_value = "64MiB"
    )]
    pub cache: ByteSize,
    /// What vouches for this program: auto, sev-snp, tdx or simulated. `auto` takes what the machine offers and never the
    /// simulated TEE [default: simulated in a home made with `init --simulated`, else auto].
    #[arg(long, env = "TRIBUTARY_TEE", value_name = "TEE")]
    pub tee: Option<TeeChoice>,
    /// Where the collateral lies by which evidence of hardware is judged.
    #[command(flatten)]
    pub collateral: CollateralArgs,
}

/// Printed once, when the agent can be reached.
#[derive(Debug, Serialize)]
struct Ready {
    party: PartyName,
    listening: Option<SocketAddr>,
    measurement: Option<Measurement>,
    tee: Tee,
}

/// Serves until it is told to stop.
///
/// # Errors
///
/// Before serving: a home, vault, meter or ledger that does not open, a port in use, nothing that attests this program.
pub async fn serve(args: &ServeArgs, console: &Console) -> Result<(), Failure> {
    let home = AgentHome::open(&args.home).map_err(folder_failure)?;
    let passphrase = Passphrase::read(&args.passphrase_file)
        .or_fail(ErrorCode::FILE_MISSING, "--passphrase-file")?;
    let identity = home.party().identity(&passphrase).map_err(folder_failure)?;
    let identity = Arc::new(identity);
    let attester = attester(args, &home, console)?;
    let (tee, measurement) = (attester.tee(), attester.measurement());
    let party = home.party().party().clone();
    let owner = Owner {
        name: party.clone(),
        key: home.party().key(),
    };
    let vault =
        Vault::open(&home.vault().to_string_lossy(), &passphrase, owner).map_err(vault_failure)?;
    let meter = Meter::open(&home.meter(), vault.state_key("meter"))?;
    let ledger = open_ledger(&home, &identity)?;
    let book = Arc::new(home.contracts());
    let (folder, collateral) = args.collateral.open()?;
    let endpoint = bind(args, &party, &identity, attester, &book, collateral)?;
    let listening = match args.listen {
        Some(_) => Some(endpoint.local_addr()?),
        None => None,
    };
    let runs = Runs {
        ledgers: Ledgers::new(
            party.clone(),
            Arc::new(ledger),
            endpoint.clone(),
            args.ledger.iter().cloned().collect(),
        ),
        share_key: vault.state_key("checkpoint shares"),
        party: party.clone(),
        book,
        vault: Arc::new(vault),
        meter: Arc::new(meter),
        cache: CacheSize::bytes(args.cache.as_bytes()),
        joined: Mutex::default(),
    };
    let ready = Ready {
        party,
        listening,
        measurement,
        tee,
    };
    console.result(&ready, |out| match ready.listening {
        Some(address) => writeln!(out, "agent {} listens at {address}", ready.party),
        None => writeln!(out, "agent {} dials out", ready.party),
    })?;
    links::run(Arc::new(runs), endpoint, &args.dial, folder, console).await;
    Ok(())
}

fn open_ledger(home: &AgentHome, identity: &Arc<Identity>) -> Result<EmbeddedLedger, Failure> {
    let folder = home.ledger();
    let party = home.party().party();
    EmbeddedLedger::open(
        &folder,
        party,
        Arc::clone(identity),
        system_clock(),
        Arc::new(EpsilonLimit),
    )
    .map_err(|error| ledger_failure(&error))
}

fn bind(
    args: &ServeArgs,
    party: &PartyName,
    identity: &Arc<Identity>,
    attester: Arc<dyn Attester>,
    book: &Arc<crate::contracts::ContractBook>,
    collateral: Arc<Collateral>,
) -> Result<Endpoint, Failure> {
    let local = LocalParty::provider(
        party.clone(),
        Arc::clone(identity),
        attester,
        // A consumer's workstation may ask the ledger; it is never sent a record.
        ConsumerAccess::Identified,
    )
    .with_collateral(collateral);
    let terms: Arc<dyn TermsDirectory> = Arc::clone(book) as _;
    let options = EndpointOptions {
        authorisations: Arc::new(SignedAuthorisations),
        ..EndpointOptions::new(local, terms)
    };
    // An agent that only dials takes any port.
    let address = args
        .listen
        .unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
    Endpoint::bind(address, options).map_err(|error| endpoint_failure(&error))
}

/// What signs this program's evidence. The simulated TEE says on every screen that it protects nothing.
fn attester(
    args: &ServeArgs,
    home: &AgentHome,
    console: &Console,
) -> Result<Arc<dyn Attester>, Failure> {
    let platform = home
        .party()
        .platform()
        .or_fail(ErrorCode::KEY_UNREADABLE, "the platform")?;
    let choice = args
        .tee
        .unwrap_or_else(|| TeeChoice::of_home(platform.as_ref()));
    let attester = choice
        .attester(&Machine::local(), platform.as_ref())
        .map_err(|error| {
            Failure::from_error(ErrorCode::ATTESTATION_MISSING, &error)
                .hint(error.hint())
                .blame(Blame::Hardware)
        })?;
    if let Some(warning) = attester.tee().warning() {
        console.warn(warning);
    }
    Ok(attester)
}

fn parse_ledger(text: &str) -> Result<(PartyName, String), String> {
    let (name, address) = text.split_once('=').ok_or_else(|| {
        format!("expected NAME=HOST:PORT such as alice=127.0.0.1:7001, got `{text}`")
    })?;
    Ok((
        name.parse().map_err(|error| format!("{error}"))?,
        address.to_owned(),
    ))
}
