//! Certificates for people, with what AMD and Intel say in extensions of their own.

use chrono::{DateTime, Utc};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::{Map, Value, json};
use x509_cert::{
    Certificate,
    der::{
        Decode, Reader as _, SliceReader, Tag, Tagged as _,
        asn1::{Any, AnyRef, ObjectIdentifier},
    },
    time::Time,
};

/// The certificates in the bytes, DER or PEM, each as an object of what it states; nothing is verified.
///
/// # Errors
/// A message where there is none, there are too many, or one is malformed.
pub fn describe_certificates(bytes: &[u8]) -> Result<Vec<Value>, String> {
    const DER_SEQUENCE: u8 = 0x30;
    if bytes.first() == Some(&DER_SEQUENCE) {
        return Ok(vec![describe(bytes)?]);
    }
    let mut certificates = Vec::new();
    for der in CertificateDer::pem_slice_iter(bytes) {
        if certificates.len() == MAX_CERTIFICATES {
            return Err(format!(
                "expected at most {MAX_CERTIFICATES} certificates, got more"
            ));
        }
        let der = der.map_err(|error| format!("malformed PEM: {error}"))?;
        certificates.push(describe(&der)?);
    }
    if certificates.is_empty() {
        return Err("expected a certificate in PEM, got none".to_owned());
    }
    Ok(certificates)
}

fn describe(der: &[u8]) -> Result<Value, String> {
    let malformed = |error: x509_cert::der::Error| format!("malformed certificate: {error}");
    let certificate = Certificate::from_der(der).map_err(malformed)?;
    let tbs = certificate.tbs_certificate();
    let key = tbs.subject_public_key_info();
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| {
        fields.insert(name.to_owned(), value);
    };
    put("subject", tbs.subject().to_string().into());
    put("issuer", tbs.issuer().to_string().into());
    put("self_issued", (tbs.subject() == tbs.issuer()).into());
    put("serial", hex::encode(tbs.serial_number().as_bytes()).into());
    put("not_before", time(tbs.validity().not_before));
    put("not_after", time(tbs.validity().not_after));
    let bits = key.subject_public_key.raw_bytes().len() * 8;
    put(
        "key",
        key_name(&key.algorithm.oid, &key.algorithm.parameters, bits).into(),
    );
    put(
        "signature",
        algorithm(&certificate.signature_algorithm().oid).into(),
    );
    let mut vendor = Map::new();
    let mut others = Vec::new();
    for extension in tbs.extensions().into_iter().flatten() {
        let (oid, value) = (
            extension.extn_id.to_string(),
            extension.extn_value.as_bytes(),
        );
        if let Some(last) = oid.strip_prefix(AMD).and_then(amd_name) {
            vendor.insert(last.to_owned(), plain(value));
        } else if oid == INTEL_SGX {
            vendor.extend(intel(value).map_err(malformed)?);
        } else {
            others.push(Value::String(oid));
        }
    }
    if !vendor.is_empty() {
        put("platform", Value::Object(vendor));
    }
    put("other_extensions", others.into());
    put("bytes", der.len().into());
    Ok(Value::Object(fields))
}

fn time(time: Time) -> Value {
    let seconds = time.to_unix_duration().as_secs();
    let date = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| DateTime::<Utc>::from_timestamp(seconds, 0));
    json!(date)
}

/// "Versioned Chip Endorsement Key (VCEK) Certificate and KDS Interface Specification" (AMD 57230), table of extensions.
fn amd_name(last: &str) -> Option<&'static str> {
    Some(match last {
        "1" => "structure_version",
        "2" => "product",
        "3.1" => "bootloader",
        "3.2" => "tee",
        "3.3" => "snp",
        "3.4" => "spl4",
        "3.5" => "spl5",
        "3.6" => "spl6",
        "3.7" => "spl7",
        "3.8" => "microcode",
        "3.9" => "fmc",
        "4" => "hardware_id",
        "5" => "provider",
        _ => return None,
    })
}

/// A value in DER: a number of at most eight bytes, text, or bytes in hexadecimal. AMD's hardware id is bare bytes.
fn plain(value: &[u8]) -> Value {
    let Ok(any) = AnyRef::from_der(value) else {
        return hex::encode(value).into();
    };
    match any.tag() {
        Tag::Integer => match any.decode_as::<u64>() {
            Ok(number) => number.into(),
            Err(_) => hex::encode(any.value()).into(),
        },
        Tag::Boolean => any.value().iter().any(|byte| *byte != 0).into(),
        Tag::Ia5String | Tag::Utf8String | Tag::PrintableString => {
            String::from_utf8_lossy(any.value()).into_owned().into()
        }
        Tag::OctetString => hex::encode(any.value()).into(),
        _ => hex::encode(value).into(),
    }
}

/// "Intel SGX PCK Certificate and Certificate Revocation List Profile Specification", section 1.3.5: a sequence of pairs
/// of an identifier and a value.
fn intel(value: &[u8]) -> x509_cert::der::Result<Map<String, Value>> {
    let mut fields = Map::new();
    for (oid, value) in pairs(value)? {
        let oid = oid.to_string();
        let name = match oid.strip_prefix(INTEL_SGX) {
            Some(".1") => "ppid",
            Some(".2") => "tcb",
            Some(".3") => "pce_id",
            Some(".4") => "fmspc",
            Some(".5") => "sgx_type",
            Some(".6") => "platform_instance_id",
            Some(".7") => "configuration",
            _ => continue,
        };
        let nested = name == "tcb" || name == "configuration";
        let value = if nested {
            let parts = pairs(value)?;
            let numbered = parts.into_iter().map(|(oid, value)| {
                let last = oid.to_string();
                let last = last.rsplit('.').next().unwrap_or_default().to_owned();
                (last, plain(value))
            });
            Value::Object(numbered.collect())
        } else {
            plain(value)
        };
        fields.insert(name.to_owned(), value);
    }
    Ok(fields)
}

/// The pairs of a SEQUENCE OF SEQUENCE { OBJECT IDENTIFIER, ANY }, the values with their tags.
fn pairs(der: &[u8]) -> x509_cert::der::Result<Vec<(ObjectIdentifier, &[u8])>> {
    let mut pairs = Vec::new();
    let outer = AnyRef::from_der(der)?;
    let mut outer = SliceReader::new(outer.value())?;
    while !outer.is_finished() {
        let pair: AnyRef = outer.decode()?;
        let mut pair = SliceReader::new(pair.value())?;
        let oid: ObjectIdentifier = pair.decode()?;
        pairs.push((oid, pair.tlv_bytes()?));
        pair.finish()?;
    }
    Ok(pairs)
}

fn key_name(oid: &ObjectIdentifier, parameters: &Option<Any>, bits: usize) -> String {
    let curve = parameters
        .as_ref()
        .and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
    match (
        oid.to_string().as_str(),
        curve.map(|oid| oid.to_string()).as_deref(),
    ) {
        ("1.2.840.10045.2.1", Some("1.3.132.0.34")) => "P-384".to_owned(),
        ("1.2.840.10045.2.1", Some("1.2.840.10045.3.1.7")) => "P-256".to_owned(),
        ("1.2.840.113549.1.1.1", _) => format!("RSA, {bits} bits encoded"),
        (other, _) => other.to_owned(),
    }
}

fn algorithm(oid: &ObjectIdentifier) -> String {
    match oid.to_string().as_str() {
        "1.2.840.113549.1.1.10" => "RSA-PSS".to_owned(),
        "1.2.840.10045.4.3.2" => "ECDSA with SHA-256".to_owned(),
        "1.2.840.10045.4.3.3" => "ECDSA with SHA-384".to_owned(),
        other => other.to_owned(),
    }
}

const AMD: &str = "1.3.6.1.4.1.3704.1.";
const INTEL_SGX: &str = "1.2.840.113741.1.13.1";
/// A chain of each vendor has three.
const MAX_CERTIFICATES: usize = 8;
