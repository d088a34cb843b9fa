//! `attest doctor`: what this machine can produce, and what it lacks.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Serialize;
use tributary_attest::{Attester, Machine, ReportData, Tee, TsmError};
use tributary_console::{Console, Failure};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  attest doctor
  attest doctor --json")]
pub(crate) struct DoctorArgs {
    /// The root of the file system that is looked at.
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    root: PathBuf,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Examination {
    /// The kind of TEE whose evidence this machine produces, if any.
    produces: Option<Tee>,
    /// The measurement that the evidence states, where this version reads it.
    measurement: Option<String>,
    findings: Vec<Finding>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    name: &'static str,
    state: State,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// It is there and works.
    Good,
    /// It is not there, and another way may do.
    Absent,
    /// It is there and does not work.
    Broken,
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Absent => "absent",
            Self::Broken => "BROKEN",
        }
    }
}

pub(crate) fn run(args: &DoctorArgs, console: &Console) -> Result<(), Failure> {
    let examination = examine(&args.root);
    console.result(&examination, |out| {
        for finding in &examination.findings {
            writeln!(
                out,
                "{:<7}  {:<16}  {}",
                finding.state.word(),
                finding.name,
                finding.found
            )?;
            if let Some(mend) = finding.mend {
                writeln!(out, "         to mend it:       {mend}")?;
            }
        }
        match examination.produces {
            Some(tee) => writeln!(out, "this machine produces evidence of {tee}"),
            None => writeln!(
                out,
                "this machine produces no evidence; rehearsals use the simulated TEE, which protects nothing"
            ),
        }
    })
}

fn examine(root: &Path) -> Examination {
    let folder = root.join("sys/kernel/config/tsm/report");
    let machine = Machine::with_configfs_tsm(&folder);
    let mut findings = vec![
        processor(root),
        configfs(root),
        report_folder(&folder),
        provider(&machine),
        device(root, "dev/sev-guest", "/dev/sev-guest", SEV_GUEST_MEND),
        device(root, "dev/tdx_guest", "/dev/tdx_guest", TDX_GUEST_MEND),
    ];
    let (report, attester) = report(&machine);
    findings.push(report);
    Examination {
        produces: attester.as_ref().map(|attester| attester.tee()),
        measurement: attester
            .and_then(|attester| attester.measurement())
            .map(|measurement| measurement.to_string()),
        findings,
    }
}

/// What the processor says of itself. A guest's hypervisor may hide flags, so this decides nothing.
fn processor(root: &Path) -> Finding {
    let name = "processor";
    let text = match read_start(&root.join("proc/cpuinfo")) {
        Ok(text) => text,
        Err(error) => {
            return Finding {
                name,
                state: State::Absent,
                found: format!("/proc/cpuinfo could not be read: {error}"),
                mend: Some("run on Linux, with /proc mounted"),
            };
        }
    };
    let value = |key: &str| {
        text.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.trim() == key)
            .map_or("unknown", |(_, value)| value.trim())
    };
    let flags: Vec<&str> = value("flags")
        .split(' ')
        .filter(|flag| FLAGS.contains(flag))
        .collect();
    let shown = if flags.is_empty() {
        "no flag of a TEE".to_owned()
    } else {
        flags.join(" ")
    };
    let known = matches!(value("vendor_id"), "AuthenticAMD" | "GenuineIntel");
    Finding {
        name,
        state: if known { State::Good } else { State::Absent },
        found: format!("{}, {shown}", value("model name")),
        mend: (!known).then_some("SEV-SNP needs a processor of AMD, TDX one of Intel"),
    }
}

fn configfs(root: &Path) -> Finding {
    let mounts = read_start(&root.join("proc/mounts")).unwrap_or_default();
    let mounted = mounts
        .lines()
        .find_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
            [_, at, "configfs", ..] => Some(at.to_owned()),
            _ => None,
        });
    match mounted {
        Some(at) => Finding {
            name: "configfs",
            state: State::Good,
            found: format!("mounted at {at}"),
            mend: (at != "/sys/kernel/config")
                .then_some("mount it at /sys/kernel/config, where evidence is looked for"),
        },
        None => Finding {
            name: "configfs",
            state: State::Absent,
            found: "not mounted".to_owned(),
            mend: Some("mount -t configfs none /sys/kernel/config"),
        },
    }
}

fn report_folder(folder: &Path) -> Finding {
    let name = "tsm-report";
    match fs::metadata(folder) {
        Ok(_) => Finding {
            name,
            state: State::Good,
            found: folder.display().to_string(),
            mend: None,
        },
        Err(error) => Finding {
            name,
            state: State::Absent,
            found: format!("{}: {error}", folder.display()),
            mend: Some(
                "use Linux 6.7 or later inside a confidential machine; modprobe sev-guest or tdx-guest",
            ),
        },
    }
}

fn provider(machine: &Machine) -> Finding {
    let name = "tsm-provider";
    let error = match machine.provider() {
        Ok(provider) => {
            let known = matches!(provider.as_str(), "sev_guest" | "tdx_guest");
            return Finding {
                name,
                state: if known { State::Good } else { State::Broken },
                found: provider,
                mend: (!known).then_some("run on SEV-SNP or TDX"),
            };
        }
        Err(error) => error,
    };
    let (state, mend) = match &error {
        // What the folder's absence says, it says itself.
        TsmError::Absent { .. } => (State::Absent, None),
        TsmError::NoProvider => (
            State::Absent,
            Some("modprobe sev-guest or tdx-guest, inside a confidential machine"),
        ),
        TsmError::Folder { .. } => (
            State::Broken,
            Some("run as root, or give the service CAP_DAC_OVERRIDE: deploy/README.md"),
        ),
        _ => (
            State::Broken,
            Some("check that configfs is mounted there, and that nothing else is"),
        ),
    };
    Finding {
        name,
        state,
        found: with_sources(&error),
        mend,
    }
}

fn device(root: &Path, path: &str, name: &'static str, mend: &'static str) -> Finding {
    let (state, found, mend) = match OpenOptions::new().read(true).open(root.join(path)) {
        Ok(_) => (State::Good, "can be opened".to_owned(), None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            (State::Absent, "not there".to_owned(), Some(mend))
        }
        Err(error) => (
            State::Broken,
            error.to_string(),
            Some("run as root, or as a user who may read the device"),
        ),
    };
    Finding {
        name,
        state,
        found,
        mend,
    }
}

/// The proof of all the rest: a report that was asked for and came.
fn report(machine: &Machine) -> (Finding, Option<std::sync::Arc<dyn Attester>>) {
    let name = "report";
    let asked = machine.attester(None).and_then(|attester| {
        let evidence = attester.attest(&ReportData::new([0; ReportData::LEN]))?;
        Ok((attester, evidence))
    });
    match asked {
        Ok((attester, evidence)) => (
            Finding {
                name,
                state: State::Good,
                found: format!(
                    "{} bytes of {}, with {} endorsements",
                    evidence.report().len(),
                    attester.tee(),
                    evidence.endorsements().len()
                ),
                mend: None,
            },
            Some(attester),
        ),
        Err(error) => (
            Finding {
                name,
                state: State::Absent,
                found: with_sources(&error),
                mend: Some("mend what is absent or broken above"),
            },
            None,
        ),
    }
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

/// The beginning of a file, which holds the first processor and all mounts that matter.
fn read_start(path: &Path) -> io::Result<String> {
    const MOST: u64 = 64 * 1024;
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

const FLAGS: [&str; 6] = [
    "hypervisor",
    "sev",
    "sev_es",
    "sev_snp",
    "tdx_guest",
    "tdx_host_platform",
];
const SEV_GUEST_MEND: &str =
    "not needed where tsm-provider is sev_guest; else modprobe sev-guest inside an SEV-SNP machine";
const TDX_GUEST_MEND: &str =
    "not needed for evidence; it comes with tdx-guest inside a TDX machine";

#[cfg(test)]
mod tests {
    use super::*;

    fn state(examination: &Examination, name: &str) -> State {
        let finding = examination.findings.iter().find(|f| f.name == name);
        finding.unwrap().state
    }

    #[test]
    fn a_bare_machine_lacks_everything_and_is_told_how_to_mend_it() {
        let root = tempfile::tempdir().unwrap();
        let examination = examine(root.path());
        for name in ["processor", "configfs", "tsm-report", "tsm-provider"] {
            assert_eq!(state(&examination, name), State::Absent, "{name}");
        }
        let mendless = examination
            .findings
            .iter()
            .filter(|finding| finding.mend.is_none() && finding.state != State::Good);
        assert_eq!(
            mendless.map(|finding| finding.name).collect::<Vec<_>>(),
            ["tsm-provider"]
        );
    }

    #[test]
    fn what_is_there_is_named() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put(
            "proc/cpuinfo",
            "vendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 9654\nflags\t\t: fpu sev_snp hypervisor\n",
        );
        put("proc/mounts", "none /sys/kernel/config configfs rw 0 0\n");
        put("dev/sev-guest", "");
        fs::create_dir_all(root.path().join("sys/kernel/config/tsm/report")).unwrap();
        let examination = examine(root.path());
        for name in ["processor", "configfs", "tsm-report", "/dev/sev-guest"] {
            assert_eq!(state(&examination, name), State::Good, "{name}");
        }
        let processor = &examination.findings[0].found;
        assert_eq!(processor, "AMD EPYC 9654, sev_snp hypervisor");
        // The folder is no configfs: requests get no attributes.
        assert_eq!(state(&examination, "tsm-provider"), State::Broken);
        assert_eq!(state(&examination, "/dev/tdx_guest"), State::Absent);
    }
}
