//! `attest measure tdx`.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tributary_attest::{
    DirectBoot, EventLog, FirmwareGeneration, Measurement, PageOrder, Register, RegisterValues,
    TdxFirmware, Tee,
};
use tributary_console::{Blame, Console, ErrorCode, Failure};

use super::{boot_files::BootFiles, snp::MAX_FIRMWARE, unfit};
use crate::files::read_limited;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  attest measure tdx --firmware OVMF.fd
  attest measure tdx --firmware OVMF.fd --kernel vmlinuz --initrd initrd.img --cmdline 'console=ttyS0' --json
  attest measure tdx --event-log CCEL
  attest measure tdx --event-log CCEL --firmware OVMF.fd --kernel vmlinuz --cmdline 'console=ttyS0'

With a log and files, the log must say what the files lead to. RTMR0 covers the host's memory map and ACPI tables and
comes from a log alone. docs/measurements.md says what each register covers and what was checked against what.")]
pub(crate) struct TdxArgs {
    /// The firmware's image (`-bios`), code and variables in one file: gives MRTD.
    #[arg(long, value_name = "FILE", required_unless_present = "event_log")]
    firmware: Option<PathBuf>,
    /// How the host adds the image's pages: page (KVM since Linux 6.16) or section (earlier trees with QEMU 8).
    #[arg(
        long,
        value_name = "ORDER",
        default_value = "page",
        requires = "firmware"
    )]
    page_order: Order,
    #[command(flatten)]
    boot: BootFiles,
    /// The firmware's release, as far as its events differ: up-to-edk2-202408, edk2-202411 or edk2-202508.
    #[arg(long, value_name = "RELEASE", default_value_t = FirmwareGeneration::From202508, requires = "kernel")]
    firmware_events: FirmwareGeneration,
    /// The machine's event log (/sys/firmware/acpi/tables/data/CCEL): gives RTMR0 to RTMR3.
    #[arg(long, value_name = "FILE")]
    event_log: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Order {
    Page,
    Section,
}

/// What is known of the registers, each from files, from a log or from neither.
#[derive(Default)]
struct Known {
    mrtd: Option<Measurement>,
    boot: Option<DirectBoot>,
    log: Option<(EventLog, RegisterValues)>,
}

pub(super) fn run(args: &TdxArgs, console: &Console) -> Result<(), Failure> {
    let mut known = Known::default();
    let mut configuration = None;
    if let Some(file) = &args.firmware {
        let image = read_limited(file, MAX_FIRMWARE)?;
        let hint = "hand in the image that the machine is started with, built for TDX";
        let firmware = TdxFirmware::parse(&image)
            .map_err(|error| unfit(format!("{}: {error}", file.display()), hint))?;
        known.mrtd = Some(firmware.mrtd(match args.page_order {
            Order::Page => PageOrder::PageByPage,
            Order::Section => PageOrder::SectionBySection,
        }));
        configuration = firmware.configuration_digest();
    }
    if let Some(file) = &args.boot.kernel {
        known.boot = Some(direct_boot(args, file)?);
    }
    if let Some(file) = &args.event_log {
        let bytes = read_limited(file, EventLog::MAX_BYTES)?;
        let hint = "copy /sys/firmware/acpi/tables/data/CCEL of the machine as it is";
        let log = EventLog::parse(&bytes)
            .map_err(|error| unfit(format!("{}: {error}", file.display()), hint))?;
        let values = log.replay();
        known.log = Some((log, values));
    }
    known.agree(configuration)?;
    console.result(&known.data(args), |out| known.print(out))
}

fn direct_boot(args: &TdxArgs, kernel: &Path) -> Result<DirectBoot, Failure> {
    let image = read_limited(kernel, MAX_KERNEL)?;
    let (initrd, command_line) = (args.boot.initrd()?, args.boot.command_line()?);
    DirectBoot::new(&image, initrd.as_ref(), &command_line, args.firmware_events).map_err(|error| {
        unfit(
            error,
            "correct what is named, or take the register from an event log",
        )
    })
}

impl Known {
    /// A log and files about one machine must not contradict each other.
    fn agree(&self, configuration: Option<[u8; 48]>) -> Result<(), Failure> {
        let Some((log, _)) = &self.log else {
            return Ok(());
        };
        let of = |register| {
            log.events()
                .iter()
                .filter(move |event| event.register() == register)
        };
        if let Some(digest) = configuration
            && !of(Register::Rtmr0).any(|event| *event.digest() == digest)
        {
            return Err(contradiction(format!(
                "the log's events of rtmr0 do not hold the firmware's configuration volume, expected one with the \
                 digest {}",
                hex(&digest)
            )));
        }
        let Some(boot) = &self.boot else {
            return Ok(());
        };
        for (register, predicted) in [
            (Register::Rtmr1, boot.rtmr1_events()),
            (Register::Rtmr2, boot.rtmr2_events()),
        ] {
            let logged: Vec<_> = of(register).collect();
            for (i, (name, digest)) in predicted.iter().enumerate() {
                let got = logged.get(i).map(|event| event.digest());
                if got != Some(digest) {
                    let got = got.map_or_else(|| "no event".to_owned(), hex);
                    return Err(contradiction(format!(
                        "event {i} of {register} ({name}): expected {}, got {got}",
                        hex(digest)
                    )));
                }
            }
            if logged.len() > predicted.len() {
                return Err(contradiction(format!(
                    "the log has {} events of {register}, expected the {} of a direct boot",
                    logged.len(),
                    predicted.len()
                )));
            }
        }
        Ok(())
    }

    /// A register's value, and where it comes from or why it is not known.
    fn register(&self, register: Register) -> (Option<Measurement>, &'static str) {
        if let Some((_, values)) = &self.log {
            return (Some(values.get(register)), "event-log");
        }
        match (register, &self.boot) {
            (Register::Rtmr1, Some(boot)) => (Some(boot.rtmr1()), "predicted"),
            (Register::Rtmr2, Some(boot)) => (Some(boot.rtmr2()), "predicted"),
            (Register::Rtmr0, _) => (
                None,
                "not predicted: it covers the host's memory map and ACPI tables; give --event-log",
            ),
            (Register::Rtmr1 | Register::Rtmr2, None) => {
                (None, "not predicted: give --kernel, or --event-log")
            }
            (Register::Rtmr3, _) => (
                None,
                "not predicted: the guest's own software extends it; give --event-log",
            ),
        }
    }

    fn mrtd(&self) -> (Option<Measurement>, &'static str) {
        match self.mrtd {
            Some(mrtd) => (Some(mrtd), "predicted"),
            None => (None, "not predicted: give --firmware"),
        }
    }

    fn lines(&self) -> Vec<(&'static str, Option<Measurement>, &'static str)> {
        let (mrtd, source) = self.mrtd();
        let rtmrs = Register::ALL.map(|register| {
            let (value, source) = self.register(register);
            (register.as_str(), value, source)
        });
        [("mrtd", mrtd, source)].into_iter().chain(rtmrs).collect()
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        for (name, value, source) in self.lines() {
            match value {
                Some(value) => writeln!(out, "{name:<5}  {value}  {source}")?,
                None => writeln!(out, "{name:<5}  {source}")?,
            }
        }
        let Some((log, _)) = &self.log else {
            return Ok(());
        };
        writeln!(
            out,
            "\nevents (data that its digest does not vouch for is in brackets):"
        )?;
        for event in log.events() {
            let (register, name) = (event.register(), event.event_type().to_string());
            let text = event.description();
            let text = if event.is_bound() {
                text
            } else {
                format!("[{text}]")
            };
            writeln!(
                out,
                "{register}  {name:<32}  {}  {text}",
                hex(event.digest())
            )?;
        }
        Ok(())
    }

    fn data(&self, args: &TdxArgs) -> Value {
        let mut data = json!({ "tee": Tee::Tdx, "registers": {} });
        for (name, value, source) in self.lines() {
            if let Some(value) = value {
                data[name] = json!(value);
            }
            data["registers"][name] = json!({ "value": value, "source": source });
        }
        if self.mrtd.is_some() {
            data["page_order"] = json!(format!("{:?}", args.page_order).to_lowercase());
        }
        if self.boot.is_some() {
            data["firmware_events"] = json!(args.firmware_events.as_str());
        }
        if let Some((log, _)) = &self.log {
            data["events"] = log
                .events()
                .iter()
                .map(|event| {
                    json!({
                        "register": event.register(),
                        "type": event.event_type().to_string(),
                        "digest": hex(event.digest()),
                        "description": event.description(),
                        "bound": event.is_bound(),
                    })
                })
                .collect();
        }
        data
    }
}

fn contradiction(message: String) -> Failure {
    Failure::new(ErrorCode::DATA_INVALID, message)
        .hint("the log is of another machine, or the files, --firmware-events or the VMM's version are not the machine's")
        .blame(Blame::Configuration)
}

fn hex(digest: &[u8; 48]) -> String {
    Measurement::new(*digest).to_string()
}

/// Above what the library takes, so that its message says what is wrong.
const MAX_KERNEL: usize = 600 * 1024 * 1024;
