//! `attest collateral fetch`: fills a collateral folder from the vendors' services.
//!
//! `plan` says what is wanted, `fetch` gets it, `keep` verifies it and puts it in its place.

mod fetch;
mod keep;
mod plan;

pub use fetch::amd_intermediate;

use std::{path::PathBuf, time::Duration};

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::json;
use tributary_attest::SnpProduct;
use tributary_collateral_fetch::{
    FetchOptions, Fetcher, Fmspc, PckCa, ProxyChoice, Retry, ServiceUrl,
};
use tributary_console::{Blame, Console, ErrorCode, Failure};

use self::plan::Plan;
use crate::files::{malformed, read_limited};

#[derive(Debug, Subcommand)]
pub(crate) enum CollateralCommand {
    /// Fetch what evidence, or a product of AMD, needs to be verified; keep it only if it verifies.
    Fetch(FetchArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  attest collateral fetch --collateral /var/lib/tributary/collateral --evidence report.bin
  attest collateral fetch --collateral collateral --product Milan --product Genoa
  attest collateral fetch --collateral collateral --fmspc b0c06f000000 --pck-ca platform
  attest collateral fetch --collateral collateral --evidence quote.bin --pcs https://pccs.example:8081 --ca pccs.pem

The layout of the folder: docs/collateral.md. What was there before stays.")]
pub(crate) struct FetchArgs {
    /// The folder to fill; made where it is not there.
    #[arg(long, env = "TRIBUTARY_COLLATERAL", value_name = "DIR")]
    collateral: PathBuf,
    /// Evidence to fetch for: an SEV-SNP report, a TDX quote or a container. May be repeated.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["product", "fmspc"])]
    evidence: Vec<PathBuf>,
    /// A product of AMD whose certificates and revocation lists to fetch: Milan, Genoa or Turin. May be repeated; says
    /// also of which product a report of version 2 is.
    #[arg(long, value_name = "NAME", value_parser = plan::parse_product)]
    product: Vec<SnpProduct>,
    /// A model of Intel's platforms whose TCB documents and revocation lists to fetch, where no quote is at hand: 12
    /// hexadecimal digits, as `attest show` prints them. May be repeated.
    #[arg(long, value_name = "HEX", value_parser = plan::parse_fmspc)]
    fmspc: Vec<Fmspc>,
    /// Which of Intel's authorities certified the platforms of --fmspc: platform (several packages, and all that register
    /// themselves) or processor.
    #[arg(long, value_name = "CA", value_parser = plan::parse_pck_ca, requires = "fmspc", default_value = "platform")]
    pck_ca: PckCa,
    /// AMD's Key Distribution Service, or a mirror.
    #[arg(
        long,
        env = "TRIBUTARY_KDS",
        value_name = "URL",
        default_value = "https://kdsintf.amd.com"
    )]
    kds: ServiceUrl,
    /// Intel's Provisioning Certification Service, or a PCCS.
    #[arg(
        long,
        env = "TRIBUTARY_PCS",
        value_name = "URL",
        default_value = "https://api.trustedservices.intel.com"
    )]
    pcs: ServiceUrl,
    /// A proxy [default: what HTTPS_PROXY, ALL_PROXY and NO_PROXY say].
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
    /// Certificates in PEM that vouch for the service, in place of the web's: for a PCCS of one's own.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Seconds that one attempt may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
    /// How often one thing is asked for.
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=20))]
    attempts: u32,
}

pub(crate) fn run(
    command: &CollateralCommand,
    console: &Console,
    now: DateTime<Utc>,
) -> Result<(), Failure> {
    let CollateralCommand::Fetch(args) = command;
    let mut plan = Plan::of(&args.evidence, &args.product)?;
    plan.add_platforms(&args.fmspc, args.pck_ca)?;
    let fetcher = fetcher(args)?;
    let files = fetch::fetch(&plan, &fetcher, args, console)?;
    let written = keep::keep(&args.collateral, files, &plan, now)?;
    let data = json!({ "folder": args.collateral, "written": written });
    console.result(&data, |out| {
        for file in &written {
            writeln!(out, "{}", file.display())?;
        }
        Ok(())
    })
}

fn fetcher(args: &FetchArgs) -> Result<Fetcher, Failure> {
    let mut options = FetchOptions {
        timeout: Duration::from_secs(args.timeout),
        retry: Retry {
            attempts: args.attempts,
            ..Retry::default()
        },
        ..FetchOptions::default()
    };
    if let Some(address) = &args.proxy {
        options.proxy = ProxyChoice::Address(address.clone());
    }
    if let Some(file) = &args.ca {
        let bytes = read_limited(file, MAX_CA)?;
        options.roots = CertificateDer::pem_slice_iter(&bytes)
            .map(|der| der.map(|der| der.to_vec()))
            .collect::<Result<_, _>>()
            .map_err(|error| malformed(file, error))?;
        if options.roots.is_empty() {
            return Err(malformed(file, "expected certificates in PEM, got none"));
        }
    }
    Fetcher::new(&options)
        .map_err(|error| Failure::from_error(ErrorCode::USAGE, &error).blame(Blame::Configuration))
}

/// A bundle of a company's roots.
const MAX_CA: usize = 256 * 1024;
