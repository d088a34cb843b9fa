//! The launch digest of SEV-SNP: what the report's field MEASUREMENT will hold.

mod firmware;
mod kernel_hashes;
mod launch_digest;
mod save_area;
mod vcpu;

pub use firmware::{SnpFirmware, SnpFirmwareError};
pub use kernel_hashes::KernelHashes;
pub use vcpu::{CpuSignature, GuestFeatures, VcpuType};

use self::{
    firmware::SectionKind,
    launch_digest::{LaunchDigest, PAGE, PageKind},
    save_area::{BOOT_EIP, save_area},
};
use crate::measurement::Measurement;

/// What a confidential machine is started with, as far as the launch digest covers it.
///
/// The order is QEMU's: the firmware's image, the pages its metadata names, one save area for each vCPU.
///
/// ```no_run
/// # use tributary_attest::{GuestFeatures, SnpFirmware, SnpGuest, VcpuType};
/// let image = std::fs::read("OVMF.fd")?;
/// let guest = SnpGuest {
///     firmware: &SnpFirmware::parse(&image)?,
///     kernel_hashes: None,
///     vcpus: 2,
///     cpu: VcpuType::EpycMilan.signature(),
///     guest_features: GuestFeatures::SNP_ACTIVE,
/// };
/// println!("{}", guest.digest()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct SnpGuest<'a> {
    /// The firmware.
    pub firmware: &'a SnpFirmware<'a>,
    /// Kernel, initrd and command line, where the machine is started with `kernel-hashes=on`.
    pub kernel_hashes: Option<&'a KernelHashes>,
    /// How many vCPUs the machine has, 1 to [`Self::MAX_VCPUS`].
    pub vcpus: u32,
    /// What CPUID leaf 1 says of the vCPUs' model: it stands in the register RDX at reset.
    pub cpu: CpuSignature,
    /// The features of the guest that the hypervisor turns on.
    pub guest_features: GuestFeatures,
}

impl SnpGuest<'_> {
    /// KVM's limit on x86.
    pub const MAX_VCPUS: u32 = 4096;

    /// The launch digest.
    ///
    /// # Errors
    /// [`SnpGuestError`] for a number of vCPUs that cannot be, and for a kernel that the firmware would not check.
    pub fn digest(&self) -> Result<Measurement, SnpGuestError> {
        if !(1..=Self::MAX_VCPUS).contains(&self.vcpus) {
            return Err(SnpGuestError::Vcpus {
                max: Self::MAX_VCPUS,
                got: self.vcpus,
            });
        }
        let hashes_page = match self.kernel_hashes {
            None => None,
            Some(hashes) => Some(
                hashes.page(
                    self.firmware
                        .kernel_hashes_offset()
                        .ok_or(SnpGuestError::NoKernelHashes)?,
                ),
            ),
        };
        let mut digest = LaunchDigest::new();
        digest.add_contents(self.firmware.address(), self.firmware.image());
        for section in self.firmware.sections() {
            match (section.kind, &hashes_page) {
                (SectionKind::Secrets, _) => digest.add(PageKind::Secrets, section.address),
                (SectionKind::Cpuid, _) => digest.add(PageKind::Cpuid, section.address),
                (SectionKind::KernelHashes, Some(page)) => {
                    digest.add_contents(section.address, page)
                }
                (
                    SectionKind::Memory | SectionKind::SvsmCallingArea | SectionKind::KernelHashes,
                    _,
                ) => {
                    for page in 0..section.size / PAGE as u64 {
                        digest.add(PageKind::Zero, section.address + page * PAGE as u64);
                    }
                }
            }
        }
        digest.add_save_area(&save_area(BOOT_EIP, self.cpu, self.guest_features));
        let others = save_area(self.firmware.reset_eip(), self.cpu, self.guest_features);
        for _ in 1..self.vcpus {
            digest.add_save_area(&others);
        }
        Ok(digest.finish())
    }
}

/// Why a launch digest cannot be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnpGuestError {
    /// A number of vCPUs that no machine has.
    #[error("a machine has 1 to {max} vCPUs, got {got}")]
    Vcpus {
        /// The most.
        max: u32,
        /// How many were asked for.
        got: u32,
    },
    /// A kernel that nothing would cover.
    #[error(
        "a kernel was given, and the firmware has no page for its hashes (section type 0x10): the digest would not cover \
         it; use an image built from OvmfPkg/AmdSev"
    )]
    NoKernelHashes,
}
