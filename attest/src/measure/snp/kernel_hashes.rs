//! The page by which QEMU hands the hashes of kernel, initrd and command line to the firmware (`kernel-hashes=on`).
//!
//! The firmware holds what it is given at boot against them, so the launch digest covers all three. The layout is QEMU's
//! (target/i386/sev.c, `SevHashTable`) and the firmware's (OvmfPkg/AmdSev/BlobVerifierLibSevHashes).

use sha2::{Digest, Sha256};

use super::launch_digest::PAGE;
use crate::measure::{
    digest::{CommandLineError, FileDigest, check_command_line},
    guid::Guid,
};

/// The hashes of what a machine is started with besides its firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelHashes {
    kernel: [u8; 32],
    initrd: [u8; 32],
    command_line: [u8; 32],
}

impl KernelHashes {
    /// The hashes of a kernel as it lies on disk, of an initrd or of nothing, and of a command line.
    ///
    /// # Errors
    /// [`CommandLineError`] for a command line that no kernel gets as it is written.
    pub fn new(
        kernel: &FileDigest,
        initrd: Option<&FileDigest>,
        command_line: &str,
    ) -> Result<Self, CommandLineError> {
        check_command_line(command_line)?;
        let nothing = FileDigest::of_bytes(b"");
        Ok(Self {
            kernel: *kernel.sha256(),
            initrd: *initrd.unwrap_or(&nothing).sha256(),
            // QEMU counts the NUL that ends it.
            command_line: Sha256::new()
                .chain_update(command_line)
                .chain_update([0])
                .finalize()
                .into(),
        })
    }

    /// The page, with the table at an offset that [`TABLE`] bytes fit behind.
    pub(super) fn page(&self, offset: usize) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        let mut at = offset;
        let mut put = |bytes: &[u8]| {
            page[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(HASHES.as_bytes());
        put(&(HASHES_LENGTH as u16).to_le_bytes());
        for (guid, hash) in [
            (COMMAND_LINE, &self.command_line),
            (INITRD, &self.initrd),
            (KERNEL, &self.kernel),
        ] {
            put(guid.as_bytes());
            put(&(ENTRY as u16).to_le_bytes());
            put(hash);
        }
        page
    }
}

/// GUID, length and SHA-256.
const ENTRY: usize = 16 + 2 + 32;
const HASHES_LENGTH: usize = 16 + 2 + 3 * ENTRY;
/// What QEMU sets aside: the table, padded to 16 bytes.
pub(super) const TABLE: usize = HASHES_LENGTH.next_multiple_of(16);

/// 9438d606-4f22-4cc9-b479-a793d411fd21
const HASHES: Guid = Guid::new(
    0x9438_d606,
    0x4f22,
    0x4cc9,
    [0xb4, 0x79, 0xa7, 0x93, 0xd4, 0x11, 0xfd, 0x21],
);
/// 97d02dd8-bd20-4c94-aa78-e7714d36ab2a
const COMMAND_LINE: Guid = Guid::new(
    0x97d0_2dd8,
    0xbd20,
    0x4c94,
    [0xaa, 0x78, 0xe7, 0x71, 0x4d, 0x36, 0xab, 0x2a],
);
/// 44baf731-3a2f-4bd7-9af1-41e29169781d
const INITRD: Guid = Guid::new(
    0x44ba_f731,
    0x3a2f,
    0x4bd7,
    [0x9a, 0xf1, 0x41, 0xe2, 0x91, 0x69, 0x78, 0x1d],
);
/// 4de79437-abd2-427f-b835-d5b172d2045b
const KERNEL: Guid = Guid::new(
    0x4de7_9437,
    0xabd2,
    0x427f,
    [0xb8, 0x35, 0xd5, 0xb1, 0x72, 0xd2, 0x04, 0x5b],
);
