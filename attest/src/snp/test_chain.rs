//! A whole hierarchy of keys like AMD's, made for tests: what a forger, a mistake or the time can do to it.

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PSS_SHA384, RsaKeyPair,
    },
};
use chrono::{DateTime, TimeDelta, Utc};

use super::{
    certificate::SnpCertificate,
    product::amd_name,
    report::{SnpReport, tests::blank},
    roots::{ProductRoots, Roots},
    store::SnpStore,
};
use crate::claims::{SnpProduct, SnpSigningKey, SnpTcb};

/// Keys and certificates of one product, with its root pinned in place of AMD's.
pub(crate) struct TestChain {
    pub(crate) product: SnpProduct,
    pub(crate) now: DateTime<Utc>,
    pub(crate) root: RsaKeyPair,
    pub(crate) intermediate: RsaKeyPair,
    pub(crate) vek: EcdsaKeyPair,
    pub(crate) ark: Template,
    pub(crate) ask: Template,
    pub(crate) asvk: Template,
    pub(crate) leaf: Template,
    pub(crate) report: Vec<u8>,
}

/// A certificate before it is signed.
#[derive(Clone)]
pub(crate) struct Template {
    pub(crate) serial: u8,
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) not_before: DateTime<Utc>,
    pub(crate) not_after: DateTime<Utc>,
    /// Object identifier, whether critical, content.
    pub(crate) extensions: Vec<(&'static str, bool, Vec<u8>)>,
}

impl TestChain {
    pub(crate) fn new(product: SnpProduct, key: SnpSigningKey) -> Self {
        let now = DateTime::from_timestamp(1_795_000_000, 0).unwrap();
        let name = amd_name(product);
        let (ark, ask, asvk) = (
            format!("ARK-{name}"),
            format!("SEV-{name}"),
            format!("SEV-VLEK-{name}"),
        );
        let template = |serial, issuer: &str, subject: &str, extensions| Template {
            serial,
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            not_before: now - TimeDelta::days(30),
            not_after: now + TimeDelta::days(30),
            extensions,
        };
        let (issuer, subject) = match key {
            SnpSigningKey::Vcek => (&ask, "SEV-VCEK"),
            SnpSigningKey::Vlek => (&asvk, "SEV-VLEK"),
        };
        let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
        Self {
            product,
            now,
            root: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            intermediate: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            vek: p384,
            ark: template(1, &ark, &ark, authority()),
            ask: template(2, &ark, &ask, authority()),
            asvk: template(3, &ark, &asvk, authority()),
            leaf: template(0, issuer, subject, leaf_extensions(product, key)),
            report: report(product, key),
        }
    }

    /// The collateral whose root is this chain's; the built-in ASK is this chain's too.
    pub(crate) fn store(&self) -> SnpStore {
        let parse = |der: Vec<u8>| SnpCertificate::parse(&der).unwrap();
        let roots = ProductRoots {
            ark: parse(self.ark_der()),
            ask: parse(self.ask_der()),
        };
        SnpStore::for_tests(Roots::for_tests(self.product, roots))
    }

    pub(crate) fn ark_der(&self) -> Vec<u8> {
        self.ark.sign(&rsa_spki(&self.root), &self.root)
    }

    pub(crate) fn ask_der(&self) -> Vec<u8> {
        self.ask.sign(&rsa_spki(&self.intermediate), &self.root)
    }

    pub(crate) fn asvk_der(&self) -> Vec<u8> {
        self.asvk.sign(&rsa_spki(&self.intermediate), &self.root)
    }

    pub(crate) fn leaf_der(&self) -> Vec<u8> {
        self.leaf.sign(&p384_spki(&self.vek), &self.intermediate)
    }

    /// The report, signed over its front.
    pub(crate) fn signed_report(&self) -> Vec<u8> {
        let mut report = self.report.clone();
        let signature = self
            .vek
            .sign(&SystemRandom::new(), &report[..SnpReport::SIGNED])
            .unwrap();
        for (at, half) in [
            (0x2a0, &signature.as_ref()[..48]),
            (0x2e8, &signature.as_ref()[48..]),
        ] {
            let mut half = half.to_vec();
            half.reverse();
            report[at..at + 48].copy_from_slice(&half);
        }
        report
    }

    /// A list of revoked serial numbers, signed by the root.
    pub(crate) fn list(&self, serials: &[u8], from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<u8> {
        let entries: Vec<Vec<u8>> = serials
            .iter()
            .map(|serial| seq(&[integer(*serial), utc_time(from)]))
            .collect();
        let mut parts = vec![
            integer(1),
            pss(),
            name(&self.ark.subject),
            utc_time(from),
            utc_time(to),
        ];
        if !entries.is_empty() {
            parts.push(seq(&entries));
        }
        signed(seq(&parts), &self.root)
    }
}

impl Template {
    pub(crate) fn sign(&self, spki: &[u8], key: &RsaKeyPair) -> Vec<u8> {
        let extensions: Vec<Vec<u8>> = self
            .extensions
            .iter()
            .map(|(oid, critical, content)| {
                let mut parts = vec![object(oid)];
                if *critical {
                    parts.push(tlv(0x01, &[0xff]));
                }
                parts.push(tlv(0x04, content));
                seq(&parts)
            })
            .collect();
        let tbs = seq(&[
            tlv(0xa0, &integer(2)),
            integer(self.serial),
            pss(),
            name(&self.issuer),
            seq(&[utc_time(self.not_before), utc_time(self.not_after)]),
            name(&self.subject),
            spki.to_vec(),
            tlv(0xa3, &seq(&extensions)),
        ]);
        signed(tbs, key)
    }

    pub(crate) fn extension(&mut self, oid: &str) -> &mut Vec<u8> {
        let found = self.extensions.iter_mut().find(|(other, ..)| *other == oid);
        &mut found.unwrap().2
    }
}

/// A signing key's certificate: may sign certificates and lists.
fn authority() -> Vec<(&'static str, bool, Vec<u8>)> {
    vec![
        (BASIC_CONSTRAINTS, true, seq(&[tlv(0x01, &[0xff])])),
        (KEY_USAGE, true, tlv(0x03, &[1, 0b0000_0110])),
    ]
}

pub(crate) const TCB: SnpTcb = SnpTcb {
    fmc: None,
    bootloader: 4,
    tee: 0,
    snp: 24,
    microcode: 219,
};

fn leaf_extensions(product: SnpProduct, key: SnpSigningKey) -> Vec<(&'static str, bool, Vec<u8>)> {
    let mut extensions = vec![
        (STRUCTURE_VERSION, false, integer(0)),
        (PRODUCT_NAME, false, tlv(0x16, amd_name(product).as_bytes())),
        (BOOTLOADER, false, integer(TCB.bootloader)),
        (TEE, false, integer(TCB.tee)),
        (SNP, false, integer(TCB.snp)),
        (SPL5, false, integer(0)),
        (MICROCODE, false, integer(TCB.microcode)),
    ];
    if product == SnpProduct::Turin {
        extensions.push((FMC, false, integer(1)));
    }
    let id_len = super::product::hardware_id_len(product);
    extensions.push(match key {
        SnpSigningKey::Vcek => (HARDWARE_ID, false, vec![CHIP; id_len]),
        SnpSigningKey::Vlek => (PROVIDER_ID, false, tlv(0x16, b"CN=cloud.example")),
    });
    extensions
}

/// A report of version 3 from the leaf's chip and firmware.
fn report(product: SnpProduct, key: SnpSigningKey) -> Vec<u8> {
    let mut bytes = blank(3);
    let (cpu, tcb) = match product {
        SnpProduct::Milan => ([0x19, 0x01], [4, 0, 0, 0, 0, 0, 24, 219]),
        SnpProduct::Genoa => ([0x19, 0x11], [4, 0, 0, 0, 0, 0, 24, 219]),
        SnpProduct::Turin => ([0x1a, 0x02], [1, 4, 0, 24, 0, 0, 0, 219]),
    };
    bytes[0x188..0x18a].copy_from_slice(&cpu);
    for at in [0x38, 0x180, 0x1e0, 0x1f0] {
        bytes[at..at + 8].copy_from_slice(&tcb);
    }
    if key == SnpSigningKey::Vlek {
        bytes[0x48] = 1 << 2;
    } else {
        bytes[0x1a0..0x1a0 + super::product::hardware_id_len(product)].fill(CHIP);
    }
    bytes
}

fn signed(tbs: Vec<u8>, key: &RsaKeyPair) -> Vec<u8> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PSS_SHA384, &SystemRandom::new(), &tbs, &mut signature)
        .unwrap();
    seq(&[tbs, pss(), bits(&signature)])
}

pub(crate) fn rsa_spki(key: &RsaKeyPair) -> Vec<u8> {
    let algorithm = seq(&[object("1.2.840.113549.1.1.1"), tlv(0x05, &[])]);
    seq(&[algorithm, bits(key.public_key().as_ref())])
}

pub(crate) fn p384_spki(key: &EcdsaKeyPair) -> Vec<u8> {
    let algorithm = seq(&[object("1.2.840.10045.2.1"), object("1.3.132.0.34")]);
    seq(&[algorithm, bits(key.public_key().as_ref())])
}

/// RSASSA-PSS with SHA-384 and a salt of 48 bytes (RFC 4055, section 3.1).
fn pss() -> Vec<u8> {
    let sha384 = seq(&[object("2.16.840.1.101.3.4.2.2"), tlv(0x05, &[])]);
    let mgf = seq(&[object("1.2.840.113549.1.1.8"), sha384.clone()]);
    let parameters = seq(&[tlv(0xa0, &sha384), tlv(0xa1, &mgf), tlv(0xa2, &integer(48))]);
    seq(&[object("1.2.840.113549.1.1.10"), parameters])
}

fn name(common: &str) -> Vec<u8> {
    let attribute = seq(&[object("2.5.4.3"), tlv(0x0c, common.as_bytes())]);
    seq(&[tlv(0x31, &attribute)])
}

fn utc_time(time: DateTime<Utc>) -> Vec<u8> {
    tlv(0x17, time.format("%y%m%d%H%M%SZ").to_string().as_bytes())
}

pub(crate) fn integer(number: u8) -> Vec<u8> {
    match number {
        0..0x80 => tlv(0x02, &[number]),
        _ => tlv(0x02, &[0, number]),
    }
}

fn bits(bytes: &[u8]) -> Vec<u8> {
    tlv(0x03, &[&[0], bytes].concat())
}

fn object(oid: &str) -> Vec<u8> {
    let oid = x509_cert::der::oid::ObjectIdentifier::new(oid).unwrap();
    tlv(0x06, oid.as_bytes())
}

fn seq(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len();
    let mut out = vec![tag];
    match len {
        0..0x80 => out.push(len as u8),
        0x80..0x100 => out.extend_from_slice(&[0x81, len as u8]),
        _ => {
            out.push(0x82);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(content);
    out
}

const CHIP: u8 = 0xc7;
pub(crate) const BASIC_CONSTRAINTS: &str = "2.5.29.19";
pub(crate) const KEY_USAGE: &str = "2.5.29.15";
pub(crate) const STRUCTURE_VERSION: &str = "1.3.6.1.4.1.3704.1.1";
pub(crate) const PRODUCT_NAME: &str = "1.3.6.1.4.1.3704.1.2";
pub(crate) const BOOTLOADER: &str = "1.3.6.1.4.1.3704.1.3.1";
pub(crate) const TEE: &str = "1.3.6.1.4.1.3704.1.3.2";
pub(crate) const SNP: &str = "1.3.6.1.4.1.3704.1.3.3";
pub(crate) const SPL5: &str = "1.3.6.1.4.1.3704.1.3.5";
pub(crate) const MICROCODE: &str = "1.3.6.1.4.1.3704.1.3.8";
pub(crate) const FMC: &str = "1.3.6.1.4.1.3704.1.3.9";
pub(crate) const HARDWARE_ID: &str = "1.3.6.1.4.1.3704.1.4";
pub(crate) const PROVIDER_ID: &str = "1.3.6.1.4.1.3704.1.5";
