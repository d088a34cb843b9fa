//! AMD's keys at the top of every chain.

use std::sync::LazyLock;

use super::certificate::SnpCertificate;
use crate::claims::SnpProduct;

/// The root key (ARK) and the signing key for chips (ASK) of each product.
///
/// Only tests make others than [`Roots::amd`].
#[derive(Debug, Clone)]
pub(crate) struct Roots([ProductRoots; 3]);

#[derive(Debug, Clone)]
pub(crate) struct ProductRoots {
    pub(crate) ark: SnpCertificate,
    pub(crate) ask: SnpCertificate,
}

impl Roots {
    /// The certificates that AMD publishes at `https://kdsintf.amd.com/vcek/v1/{product}/cert_chain`.
    pub(crate) fn amd() -> &'static Self {
        &AMD
    }

    pub(crate) fn of(&self, product: SnpProduct) -> &ProductRoots {
        &self.0[match product {
            SnpProduct::Milan => 0,
            SnpProduct::Genoa => 1,
            SnpProduct::Turin => 2,
        }]
    }

    /// Roots that a test made itself, for one product.
    #[cfg(test)]
    pub(crate) fn for_tests(product: SnpProduct, roots: ProductRoots) -> Self {
        let mut all = Self::amd().clone();
        all.0[match product {
            SnpProduct::Milan => 0,
            SnpProduct::Genoa => 1,
            SnpProduct::Turin => 2,
        }] = roots;
        all
    }
}

static AMD: LazyLock<Roots> = LazyLock::new(|| {
    Roots([
        built_in(
            include_bytes!("roots/ark-milan.der"),
            include_bytes!("roots/ask-milan.der"),
        ),
        built_in(
            include_bytes!("roots/ark-genoa.der"),
            include_bytes!("roots/ask-genoa.der"),
        ),
        built_in(
            include_bytes!("roots/ark-turin.der"),
            include_bytes!("roots/ask-turin.der"),
        ),
    ])
});

#[allow(
    clippy::expect_used,
    reason = "the bytes are in the program, and a test parses them"
)]
fn built_in(ark: &[u8], ask: &[u8]) -> ProductRoots {
    let parse = |der| SnpCertificate::parse(der).expect("a built-in certificate parses");
    ProductRoots {
        ark: parse(ark),
        ask: parse(ask),
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::snp::product::amd_name;

    /// SHA-256 of the certificates, so that an exchanged file is seen in review.
    #[test]
    fn the_roots_are_the_ones_that_were_reviewed() {
        for (product, ark, ask) in [
            (
                SnpProduct::Milan,
                "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",
                "67d303bd3905fd38db8b20e0793699870e7fa612eaad5dec358293fd8c0bac1b",
            ),
            (
                SnpProduct::Genoa,
                "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",
                "5464738c1546aed5f2cecf1dc98c5c960a92e8913238a61711bc90ec6e828521",
            ),
            (
                SnpProduct::Turin,
                "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a",
                "5b77ef5fe7a7a004fd9032668fba9d0fda22f88c4442069a479636a6ae3b3185",
            ),
        ] {
            let roots = Roots::amd().of(product);
            assert_eq!(hex::encode(Sha256::digest(roots.ark.der())), ark);
            assert_eq!(hex::encode(Sha256::digest(roots.ask.der())), ask);
            assert!(roots.ark.is_signed_by(&roots.ark) && roots.ask.is_signed_by(&roots.ark));
            assert_eq!(
                roots.ark.common_name(),
                format!("ARK-{}", amd_name(product))
            );
            assert_eq!(
                roots.ask.common_name(),
                format!("SEV-{}", amd_name(product))
            );
        }
    }
}
