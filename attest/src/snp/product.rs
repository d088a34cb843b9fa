//! What AMD's documents say of each generation of processors.

use crate::claims::{SnpProduct, SnpSigningKey};

/// AMD's spelling, in certificates and in the addresses of its server.
pub(crate) const fn amd_name(product: SnpProduct) -> &'static str {
    match product {
        SnpProduct::Milan => "Milan",
        SnpProduct::Genoa => "Genoa",
        SnpProduct::Turin => "Turin",
    }
}

/// The generation that AMD's name means, with or without a stepping, such as `Milan-B0`.
pub(crate) fn by_amd_name(text: &str) -> Option<SnpProduct> {
    let name = text.split_once('-').map_or(text, |(name, _)| name);
    SnpProduct::ALL
        .into_iter()
        .find(|product| amd_name(*product) == name)
}

/// The generation that a processor's family and model belong to, both with their extended parts added.
pub(crate) const fn by_cpu(family: u8, model: u8) -> Option<SnpProduct> {
    match (family, model) {
        (0x19, 0x00..=0x0f) => Some(SnpProduct::Milan),
        (0x19, 0x10..=0x1f | 0xa0..=0xaf) => Some(SnpProduct::Genoa),
        (0x1a, 0x00..=0x11) => Some(SnpProduct::Turin),
        _ => None,
    }
}

/// Bytes of the hardware id in a VCEK: all of the report's chip id, or its front.
pub(crate) const fn hardware_id_len(product: SnpProduct) -> usize {
    match product {
        SnpProduct::Milan | SnpProduct::Genoa => 64,
        SnpProduct::Turin => 8,
    }
}

/// AMD's name of a kind of key.
pub(crate) const fn key_name(key: SnpSigningKey) -> &'static str {
    match key {
        SnpSigningKey::Vcek => "VCEK",
        SnpSigningKey::Vlek => "VLEK",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_with_and_without_a_stepping() {
        for product in SnpProduct::ALL {
            let name = amd_name(product);
            assert_eq!(by_amd_name(name), Some(product));
            assert_eq!(by_amd_name(&format!("{name}-B1")), Some(product));
        }
        for wrong in ["", "milan", "Venice", "Milano", "-Milan"] {
            assert_eq!(by_amd_name(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn processors_of_other_generations_have_no_product() {
        assert_eq!(by_cpu(0x19, 0x01), Some(SnpProduct::Milan));
        assert_eq!(by_cpu(0x19, 0xa0), Some(SnpProduct::Genoa));
        assert_eq!(by_cpu(0x1a, 0x02), Some(SnpProduct::Turin));
        for (family, model) in [(0x17, 0x31), (0x19, 0x20), (0x1a, 0x50), (0, 0)] {
            assert_eq!(by_cpu(family, model), None);
        }
    }
}
