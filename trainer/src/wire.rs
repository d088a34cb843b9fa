//! Protobuf messages field by field, so that a file can be edited without losing what this crate does not know.

use crate::onnx::{MODEL_SIZE_LIMIT, OnnxError};

/// Field numbers of onnx.proto on the way to nodes and tensors.
pub(crate) const MODEL_GRAPH: u64 = 7;
pub(crate) const GRAPH_NODE: u64 = 1;
pub(crate) const GRAPH_INITIALIZER: u64 = 5;

/// One field of a protobuf message as it stands in the bytes.
pub(crate) struct Field<'a> {
    pub(crate) number: u64,
    /// With its key.
    pub(crate) whole: &'a [u8],
    /// What a length-delimited field holds.
    pub(crate) payload: Option<&'a [u8]>,
}

/// Splits a message into its fields (protobuf's encoding, "Message Structure").
pub(crate) fn fields(message: &[u8]) -> Result<Vec<Field<'_>>, OnnxError> {
    let mut rest = message;
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let start = rest;
        let key = varint(&mut rest)?;
        let payload = match key & 7 {
            0 => varint(&mut rest).map(|_| None)?,
            1 => take(&mut rest, 8).map(|_| None)?,
            2 => {
                let length = varint(&mut rest)?;
                Some(take(
                    &mut rest,
                    usize::try_from(length).unwrap_or(MODEL_SIZE_LIMIT),
                )?)
            }
            5 => take(&mut rest, 4).map(|_| None)?,
            other => return Err(malformed(format!("wire type {other}"))),
        };
        fields.push(Field {
            number: key >> 3,
            whole: &start[..start.len() - rest.len()],
            payload,
        });
    }
    Ok(fields)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], OnnxError> {
    let (taken, left) = rest
        .split_at_checked(length)
        .ok_or_else(|| malformed("cut short"))?;
    *rest = left;
    Ok(taken)
}

fn varint(rest: &mut &[u8]) -> Result<u64, OnnxError> {
    prost::encoding::decode_varint(rest).map_err(malformed)
}

pub(crate) fn write_field(message: &mut Vec<u8>, number: u64, payload: &[u8]) {
    const LENGTH_DELIMITED: u64 = 2;
    prost::encoding::encode_varint(number << 3 | LENGTH_DELIMITED, message);
    prost::encoding::encode_varint(payload.len() as u64, message);
    message.extend_from_slice(payload);
}

/// A refusal of bytes that are no message.
pub(crate) fn malformed(error: impl ToString) -> OnnxError {
    OnnxError::Malformed(error.to_string())
}
