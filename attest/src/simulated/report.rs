//! What a simulated platform says about a machine.

use chrono::{DateTime, Utc};
use ed25519_dalek::{SigningKey, VerifyingKey};

use super::certificate::{SIGNATURE, read_chip_id, read_time, sign_with_label, verify_with_label};
use crate::{
    claims::{ChipId, Claims, HostData, ProductId, SecurityVersion, SignerDigest, Tcb, Vmpl},
    measurement::Measurement,
    report_data::ReportData,
    tee::Tee,
    wire::{Reader, WireError, put_prefixed},
};

/// A simulated report. Encoding, integers big-endian, times in seconds since 1970:
///
/// ```text
/// "TRBSIMR" | layout (4) | VMPL (1) | flags (4): bit 0 debug, others zero | SVN (4) | made at (8)
///           | product id (16) | measurement (48) | signer (48) | host data (32) | report data (64)
///           | TCB (4) | chip id: length (2), 32 to 64 | Ed25519 signature (64)
/// ```
///
/// The platform signs a label and all bytes before the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) layout: u32,
    pub(crate) vmpl: Vmpl,
    pub(crate) debug: bool,
    pub(crate) svn: SecurityVersion,
    pub(crate) issued_at: DateTime<Utc>,
    pub(crate) product_id: ProductId,
    pub(crate) measurement: Measurement,
    pub(crate) signer: SignerDigest,
    pub(crate) host_data: HostData,
    pub(crate) report_data: ReportData,
    pub(crate) tcb: Tcb,
    pub(crate) chip_id: ChipId,
}

impl Report {
    /// The one layout that this version reads.
    pub(crate) const LAYOUT: u32 = 1;

    /// The encoding, signed by the platform.
    pub(crate) fn sign(&self, platform: &SigningKey) -> Vec<u8> {
        let mut out = Vec::with_capacity(384);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.layout.to_be_bytes());
        out.push(self.vmpl.get());
        out.extend_from_slice(&u32::from(self.debug).to_be_bytes());
        out.extend_from_slice(&self.svn.0.to_be_bytes());
        out.extend_from_slice(&self.issued_at.timestamp().to_be_bytes());
        out.extend_from_slice(self.product_id.as_bytes());
        out.extend_from_slice(self.measurement.as_bytes());
        out.extend_from_slice(self.signer.as_bytes());
        out.extend_from_slice(self.host_data.as_bytes());
        out.extend_from_slice(self.report_data.as_bytes());
        out.extend_from_slice(&self.tcb.to_array());
        put_prefixed(&mut out, self.chip_id.as_bytes());
        sign_with_label(platform, LABEL, &mut out);
        out
    }

    /// The layout that the bytes state, which decides whether the rest can be read.
    pub(crate) fn read_layout(bytes: &[u8]) -> Result<u32, WireError> {
        let mut reader = Reader::new(bytes);
        reader.expect("the mark of a simulated report", MAGIC)?;
        reader.u32("the report's layout")
    }

    /// Reads the fields of a report of [`Report::LAYOUT`]; says nothing about the signature.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        reader.expect("the mark of a simulated report", MAGIC)?;
        let report = Self {
            layout: read_known_layout(&mut reader)?,
            vmpl: read_vmpl(&mut reader)?,
            debug: read_debug(&mut reader)?,
            svn: SecurityVersion(reader.u32("the security version")?),
            issued_at: read_time(&mut reader, "the time of the report")?,
            product_id: ProductId::new(reader.array("the product id")?),
            measurement: Measurement::new(reader.array("the measurement")?),
            signer: SignerDigest::new(reader.array("the signer's digest")?),
            host_data: HostData::new(reader.array("the host data")?),
            report_data: ReportData::new(reader.array("the report data")?),
            tcb: Tcb::from_array(reader.array("the TCB")?),
            chip_id: read_chip_id(&mut reader)?,
        };
        reader.take("the report's signature", SIGNATURE)?;
        reader.finish("the report")?;
        Ok(report)
    }

    /// Whether `platform` signed exactly these bytes.
    pub(crate) fn is_signed_by(bytes: &[u8], platform: &VerifyingKey) -> bool {
        verify_with_label(platform, LABEL, bytes)
    }

    pub(crate) fn into_claims(self) -> Claims {
        Claims {
            tee: Tee::Simulated,
            measurement: self.measurement,
            report_data: self.report_data,
            debug: self.debug,
            signer: Some(self.signer),
            product_id: Some(self.product_id),
            svn: Some(self.svn),
            tcb: Some(self.tcb),
            vmpl: Some(self.vmpl),
            host_data: Some(self.host_data),
            chip_id: Some(self.chip_id),
            issued_at: Some(self.issued_at),
        }
    }
}

fn read_known_layout(reader: &mut Reader<'_>) -> Result<u32, WireError> {
    match reader.u32("the report's layout")? {
        Report::LAYOUT => Ok(Report::LAYOUT),
        other => Err(WireError::value(
            "the report's layout",
            Report::LAYOUT,
            other,
        )),
    }
}

fn read_vmpl(reader: &mut Reader<'_>) -> Result<Vmpl, WireError> {
    let level = reader.u8("the VMPL")?;
    Vmpl::try_from(level).map_err(|_| WireError::value("the VMPL", "0 to 3", level))
}

fn read_debug(reader: &mut Reader<'_>) -> Result<bool, WireError> {
    match reader.u32("the flags")? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(WireError::value("the flags", "0 or 1", other)),
    }
}

const MAGIC: &[u8] = b"TRBSIMR";
const LABEL: &[u8] = b"tributary simulated report v1\0";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(tail in prop::collection::vec(any::<u8>(), 0..500)) {
            let _ = Report::parse(&tail);
            let _ = Report::parse(&[b"TRBSIMR\0\0\0\x01\0\0\0\0\0", tail.as_slice()].concat());
        }
    }
}
