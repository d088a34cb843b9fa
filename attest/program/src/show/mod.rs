//! `attest show`: what a file states about itself.

mod certificate;
mod snp_report;

pub use certificate::describe_certificates;

use std::{io::Write, path::PathBuf};

use clap::Args;
use serde_json::{Value, json};
use tributary_attest::{Evidence, Tee, danger_read_unverified};
use tributary_console::{Console, Failure};

use crate::{files::malformed, input::Input};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  attest show peer.evidence
  attest show report.bin --json
  attest show vcek.pem")]
pub(crate) struct ShowArgs {
    /// A container of evidence, an SEV-SNP report, a TDX quote, or certificates in DER or PEM.
    file: PathBuf,
}

pub(crate) fn run(args: &ShowArgs, console: &Console) -> Result<(), Failure> {
    match Input::read(&args.file)? {
        Input::Certificates(bytes) => {
            let certificates =
                describe_certificates(&bytes).map_err(|reason| malformed(&args.file, reason))?;
            let data = json!({
                "kind": "certificates",
                "verified": false,
                "certificates": certificates,
            });
            console.result(&data, |out| {
                for certificate in &certificates {
                    writeln!(out, "certificate, UNVERIFIED")?;
                    write_fields(out, "  ", certificate)?;
                }
                Ok(())
            })
        }
        input => {
            let kind = input.name();
            let input = match input {
                // What follows a quote is refused where it is judged, and passed over where it is only shown.
                Input::TdxQuote(mut quote) => {
                    quote.truncate(quote_len(&quote).unwrap_or(quote.len()));
                    Input::TdxQuote(quote)
                }
                other => other,
            };
            let evidence = input
                .into_evidence(Vec::new())
                .map_err(|reason| malformed(&args.file, reason))?;
            show_evidence(args, kind, &evidence, console)
        }
    }
}

/// What the report states in the terms of the appraisal; where it does not say of which product it is, as it stands.
fn claims(evidence: &Evidence) -> Result<Value, String> {
    match danger_read_unverified(evidence) {
        Ok(claims) => Ok(json!(claims)),
        Err(reason) if evidence.tee() == Tee::SevSnp => {
            snp_report::describe(evidence.report()).map_err(|_| reason)
        }
        Err(reason) => Err(reason),
    }
}

/// Where a quote ends by its own account (Intel TDX DCAP Quoting Library API, appendix A.3): a header of 48 bytes; in
/// version 5 the body's type and length; the body; the length of the signature data, and these.
fn quote_len(quote: &[u8]) -> Option<usize> {
    let number = |at: usize| {
        let bytes = quote.get(at..at.checked_add(4)?)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let body_end = match quote.first()? {
        4 => 48 + 584,
        _ => (48_usize + 6).checked_add(number(50)?)?,
    };
    body_end.checked_add(4)?.checked_add(number(body_end)?)
}

fn show_evidence(
    args: &ShowArgs,
    kind: &str,
    evidence: &Evidence,
    console: &Console,
) -> Result<(), Failure> {
    let claims = claims(evidence).map_err(|reason| malformed(&args.file, reason))?;
    let endorsements: Vec<usize> = evidence.endorsements().iter().map(Vec::len).collect();
    let data = json!({
        "kind": kind,
        "verified": false,
        "report_bytes": evidence.report().len(),
        "endorsement_bytes": endorsements,
        "claims": claims,
    });
    console.result(&data, |out| {
        let bytes = evidence.report().len();
        writeln!(
            out,
            "{kind}, UNVERIFIED: {} report of {bytes} bytes",
            evidence.tee()
        )?;
        write_fields(out, "  ", &data["claims"])?;
        for (number, bytes) in endorsements.iter().enumerate() {
            writeln!(out, "endorsement {} of {bytes} bytes", number + 1)?;
        }
        match evidence.tee().warning() {
            Some(warning) => writeln!(out, "{warning}"),
            None => Ok(()),
        }
    })
}

/// An object's fields, one a line, objects within it indented.
fn write_fields(out: &mut dyn Write, indent: &str, fields: &Value) -> std::io::Result<()> {
    let Some(fields) = fields.as_object() else {
        return writeln!(out, "{indent}{fields}");
    };
    for (name, value) in fields {
        match value {
            Value::Object(_) => {
                writeln!(out, "{indent}{name}")?;
                write_fields(out, &format!("{indent}  "), value)?;
            }
            // Registers by their number.
            Value::Array(items) if items.iter().all(Value::is_string) && !items.is_empty() => {
                for (number, item) in items.iter().enumerate() {
                    let name = format!("{name}[{number}]");
                    let text = item.as_str().unwrap_or_default();
                    writeln!(out, "{indent}{name:<16} {text}")?;
                }
            }
            Value::String(text) => writeln!(out, "{indent}{name:<16} {text}")?,
            Value::Null => writeln!(out, "{indent}{name:<16} not stated")?,
            value => writeln!(out, "{indent}{name:<16} {value}")?,
        }
    }
    Ok(())
}
