//! The save area (VMSA) with which a vCPU starts (AMD64 manual volume 2, publication 24593, appendix B, table B-4).
//!
//! The values are those of a CPU at reset (same volume, section 14.1.3) as KVM and QEMU set them.

use super::{
    launch_digest::PAGE,
    vcpu::{CpuSignature, GuestFeatures},
};

/// The save area of a vCPU that starts at the address, in the 16-bit mode of a reset.
pub(super) fn save_area(eip: u32, cpu: CpuSignature, features: GuestFeatures) -> [u8; PAGE] {
    let mut page = [0; PAGE];
    let mut put =
        |offset: usize, value: &[u8]| page[offset..offset + value.len()].copy_from_slice(value);

    // Selector, attributes, limit, base.
    let mut segment = |offset: usize, selector: u16, attributes: u16, base: u64| {
        put(offset, &selector.to_le_bytes());
        put(offset + 2, &attributes.to_le_bytes());
        put(offset + 4, &0xffff_u32.to_le_bytes());
        put(offset + 8, &base.to_le_bytes());
    };
    let (high, low) = (eip & 0xffff_0000, eip & 0xffff);
    for data in [0x00, 0x20, 0x30, 0x40, 0x50] {
        segment(data, 0, 0x93, 0); // ES, SS, DS, FS, GS: writable data, accessed
    }
    segment(0x10, 0xf000, 0x9b, high.into()); // CS: readable code, accessed
    segment(0x60, 0, 0, 0); // GDTR
    segment(0x70, 0, 0x82, 0); // LDTR
    segment(0x80, 0, 0, 0); // IDTR
    segment(0x90, 0, 0x8b, 0); // TR: busy 32-bit TSS

    put(0xd0, &0x1000_u64.to_le_bytes()); // EFER: SVME, which KVM needs
    put(0x148, &0x40_u64.to_le_bytes()); // CR4: MCE, likewise
    put(0x158, &0x10_u64.to_le_bytes()); // CR0: ET
    put(0x160, &0x400_u64.to_le_bytes()); // DR7
    put(0x168, &0xffff_0ff0_u64.to_le_bytes()); // DR6
    put(0x170, &0x2_u64.to_le_bytes()); // RFLAGS
    put(0x178, &u64::from(low).to_le_bytes()); // RIP
    put(0x268, &0x0007_0406_0007_0406_u64.to_le_bytes()); // G_PAT
    put(0x310, &u64::from(cpu.0).to_le_bytes()); // RDX
    put(0x3b0, &features.bits().to_le_bytes()); // SEV_FEATURES
    put(0x3e8, &0x1_u64.to_le_bytes()); // XCR0: x87
    put(0x408, &0x1f80_u32.to_le_bytes()); // MXCSR
    put(0x410, &0x37f_u16.to_le_bytes()); // x87 control word
    page
}

/// Where the first vCPU starts: 16 bytes below 4 GiB.
pub(super) const BOOT_EIP: u32 = 0xffff_fff0;
