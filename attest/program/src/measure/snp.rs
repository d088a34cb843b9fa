//! `attest measure snp`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tributary_attest::{
    CpuSignature, GuestFeatures, KernelHashes, SnpFirmware, SnpGuest, Tee, VcpuType,
};
use tributary_console::{Console, Failure};

use super::{
    boot_files::{self, BootFiles},
    unfit,
};
use crate::files::read_limited;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  attest measure snp --firmware OVMF.fd --vcpus 4 --vcpu-type EPYC-Milan
  attest measure snp --firmware OVMF.amdsev.fd --kernel vmlinuz --initrd initrd.img --cmdline 'console=ttyS0' \\
    --vcpus 4 --vcpu-sig 00a00f11 --json > measurement.json

docs/measurements.md says what the digest covers and what it was checked against.")]
pub(crate) struct SnpArgs {
    /// The firmware's image (`-bios`), code and variables in one file.
    #[arg(long, value_name = "FILE")]
    firmware: PathBuf,
    #[command(flatten)]
    boot: BootFiles,
    /// How many vCPUs the machine has (`-smp`).
    #[arg(long, value_name = "NUMBER")]
    vcpus: u32,
    /// Their model (`-cpu`), for example EPYC-Milan.
    #[arg(
        long,
        value_name = "NAME",
        required_unless_present = "vcpu_sig",
        conflicts_with = "vcpu_sig"
    )]
    vcpu_type: Option<VcpuType>,
    /// Their signature, where the model is not known here: CPUID leaf 1's EAX.
    #[arg(long, value_name = "HEX")]
    vcpu_sig: Option<CpuSignature>,
    /// SEV_FEATURES as the hypervisor sets it: 1 for KVM, 21 where it turns DebugSwap on.
    #[arg(long, value_name = "HEX", default_value_t = GuestFeatures::SNP_ACTIVE)]
    guest_features: GuestFeatures,
    /// The VMM: qemu. Others start vCPUs otherwise and are not predicted.
    #[arg(long, value_name = "NAME", default_value = "qemu", value_parser = parse_vmm)]
    vmm: String,
}

pub(super) fn run(args: &SnpArgs, console: &Console) -> Result<(), Failure> {
    let image = read_limited(&args.firmware, MAX_FIRMWARE)?;
    let hint = "hand in the image that the machine is started with, built for SEV-SNP";
    let firmware = SnpFirmware::parse(&image)
        .map_err(|error| unfit(format!("{}: {error}", args.firmware.display()), hint))?;
    let kernel_hashes = kernel_hashes(&args.boot)?;
    // One of the two is there, clap sees to it.
    let cpu = args.vcpu_sig.or(args.vcpu_type.map(VcpuType::signature));
    let cpu = cpu.ok_or_else(|| {
        unfit(
            "no model of vCPU",
            "name one with --vcpu-type or --vcpu-sig",
        )
    })?;
    let guest = SnpGuest {
        firmware: &firmware,
        kernel_hashes: kernel_hashes.as_ref(),
        vcpus: args.vcpus,
        cpu,
        guest_features: args.guest_features,
    };
    let measurement = guest.digest().map_err(|error| {
        unfit(
            error,
            "correct the named value, or use an image that fits it",
        )
    })?;
    let data = json!({
        "tee": Tee::SevSnp,
        "measurement": measurement,
        "vcpus": args.vcpus,
        "vcpu_signature": cpu.to_string(),
        "guest_features": args.guest_features.to_string(),
        "vmm": args.vmm,
        "kernel_covered": kernel_hashes.is_some(),
    });
    console.result(&data, |out| writeln!(out, "{measurement}"))?;
    if kernel_hashes.is_none() {
        console.note("the digest covers the firmware and the vCPUs alone: a kernel is not in it");
    }
    Ok(())
}

fn kernel_hashes(boot: &BootFiles) -> Result<Option<KernelHashes>, Failure> {
    let Some(kernel) = &boot.kernel else {
        return Ok(None);
    };
    let kernel = boot_files::digest(kernel)?;
    KernelHashes::new(&kernel, boot.initrd()?.as_ref(), &boot.command_line()?)
        .map(Some)
        .map_err(|error| {
            unfit(
                error,
                "hand in the command line exactly as the VMM is given it",
            )
        })
}

fn parse_vmm(name: &str) -> Result<String, String> {
    match name {
        "qemu" => Ok(name.to_owned()),
        "ec2" | "gce" | "krun" => Err(format!(
            "{name} starts vCPUs with other registers than QEMU, which are published nowhere and on which the public \
             calculators disagree: it is not predicted"
        )),
        _ => Err(format!("expected qemu, got {name:?}")),
    }
}

/// Above what the library takes, so that its message says what is wrong.
pub(super) const MAX_FIRMWARE: usize = 64 * 1024 * 1024;
