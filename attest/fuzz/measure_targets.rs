//! What the fuzz targets of predicted measurements do with their input; the ordinary tests replay the seeds through them.

use tributary_attest::{
    EventLog, GuestFeatures, PageOrder, Register, SnpFirmware, SnpGuest, TdxFirmware, VcpuType,
    authenticode_sha384,
};

/// The end of a firmware image for SEV-SNP.
pub fn ovmf(data: &[u8]) {
    let image = image_that_ends_with(data);
    if let Ok(firmware) = SnpFirmware::parse(&image) {
        let guest = SnpGuest {
            firmware: &firmware,
            kernel_hashes: None,
            vcpus: 2,
            cpu: VcpuType::EpycMilan.signature(),
            guest_features: GuestFeatures::SNP_ACTIVE,
        };
        assert!(guest.digest().is_ok());
    }
}

/// The end of a firmware image for TDX.
pub fn tdvf(data: &[u8]) {
    let image = image_that_ends_with(data);
    if let Ok(firmware) = TdxFirmware::parse(&image) {
        // A boot volume of one page has but one order.
        let _ = firmware.mrtd(PageOrder::PageByPage);
        let _ = firmware.configuration_digest();
    }
}

/// An event log.
pub fn ccel(data: &[u8]) {
    if let Ok(log) = EventLog::parse(data) {
        assert!(log.events().len() <= data.len() / 64);
        let values = log.replay();
        for register in Register::ALL {
            let extended = log
                .events()
                .iter()
                .any(|event| event.register() == register);
            assert_eq!(values.get(register).as_bytes() != &[0; 48], extended);
        }
        for event in log.events() {
            assert!(
                event
                    .description()
                    .chars()
                    .all(|c| c == ' ' || c.is_ascii_graphic())
            );
        }
    }
}

/// A kernel's image.
pub fn kernel_image(data: &[u8]) {
    if authenticode_sha384(data).is_ok() {
        assert_eq!(data.len() % 8, 0);
    }
}

/// Whole pages, with zeros before the data: an image's headers all lie at its end.
fn image_that_ends_with(data: &[u8]) -> Vec<u8> {
    let mut image = vec![0; data.len().next_multiple_of(4096).max(4096) - data.len()];
    image.extend(data);
    image
}
