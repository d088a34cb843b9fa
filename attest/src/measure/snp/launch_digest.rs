//! The chain of page infos (SEV-SNP firmware ABI, AMD publication 56860, section 8.17.2).

use sha2::{Digest, Sha384};

use crate::measurement::Measurement;

/// GCTX.LD while the machine is put together: it begins with zeros, and each page replaces it by SHA-384 of the page's
/// PAGE_INFO structure, which holds the value before.
#[derive(Debug)]
pub(super) struct LaunchDigest([u8; 48]);

/// PAGE_TYPE of SNP_LAUNCH_UPDATE. Type 4, UNMEASURED, is asked for by no image that is supported here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageKind {
    Normal = 1,
    SaveArea = 2,
    Zero = 3,
    Secrets = 5,
    Cpuid = 6,
}

impl LaunchDigest {
    pub(super) fn new() -> Self {
        Self([0; 48])
    }

    /// Adds a page whose contents are not covered: zeros, secrets and CPUID values, which the firmware checks itself.
    pub(super) fn add(&mut self, kind: PageKind, address: u64) {
        self.update(kind, address, [0; 48]);
    }

    /// Adds pages with their contents; whole pages only.
    pub(super) fn add_contents(&mut self, address: u64, pages: &[u8]) {
        for (page, at) in pages.chunks_exact(PAGE).zip((address..).step_by(PAGE)) {
            self.update(PageKind::Normal, at, Sha384::digest(page).into());
        }
    }

    /// Adds a vCPU's save area, whose address is the same for all.
    pub(super) fn add_save_area(&mut self, page: &[u8; PAGE]) {
        self.update(
            PageKind::SaveArea,
            SAVE_AREA_ADDRESS,
            Sha384::digest(page).into(),
        );
    }

    pub(super) fn finish(self) -> Measurement {
        Measurement::new(self.0)
    }

    fn update(&mut self, kind: PageKind, address: u64, contents: [u8; 48]) {
        let mut info = [0; PAGE_INFO];
        info[..0x30].copy_from_slice(&self.0); // DIGEST_CUR
        info[0x30..0x60].copy_from_slice(&contents); // CONTENTS
        info[0x60..0x62].copy_from_slice(&(PAGE_INFO as u16).to_le_bytes()); // LENGTH
        info[0x62] = kind as u8; // PAGE_TYPE
        // IMI_PAGE and the permissions of VMPL 1 to 3 stay zero, as KVM asks for.
        info[0x68..0x70].copy_from_slice(&address.to_le_bytes()); // GPA
        self.0 = Sha384::digest(info).into();
    }
}

/// The size of the pages that are measured.
pub(super) const PAGE: usize = 4096;
const PAGE_INFO: usize = 0x70;
/// The highest page of 48 bits, to which KVM puts every save area.
const SAVE_AREA_ADDRESS: u64 = 0xffff_ffff_f000;
